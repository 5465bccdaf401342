/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that homeward itself acts on, beside keeping them and passing them on: an object that
 * changed, a subject that was erased, and the word that it was.  Nothing of an event of another type.
 */
#ifndef FEDERATION_OWN_EVENTS_H
#define FEDERATION_OWN_EVENTS_H

#include "federation/event.h"
#include "federation/events.h"

/* object.changed: as soon as it is in the inbox. */
void own_events_forget(const struct events_hooks *hooks, const struct event *event);
/* subject.erased and subject.erasure.acknowledged: when they were passed on. */
void own_events_erasure(const struct events_hooks *hooks, const struct event *event);

#endif
