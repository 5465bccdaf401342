/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that homeward itself acts on, beside keeping them and passing them on: an object that
 * changed, a subject that was erased, and the word that it was.  Nothing of an event of another type.
 */
#ifndef FEDERATION_EFFECTS_H
#define FEDERATION_EFFECTS_H

#include "federation/event.h"
#include "federation/events.h"

/* object.changed: as soon as it is in the inbox. */
void effects_forget(const struct events_hooks *hooks, const struct event *event);
/* subject.erased and subject.erasure.acknowledged: when they were passed on. */
void effects_erasure(const struct events_hooks *hooks, const struct event *event);

#endif
