/* SPDX-License-Identifier: Apache-2.0 */
/* What of a peer's record may be kept, seen from its text. */
#ifndef LOCATOR_RECORD_VIEW_H
#define LOCATOR_RECORD_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

/*
 * True when the object is flat and has only members that `permitted` ("a,b,c") names, each once: then its text is
 * its own view, and `names` has them in the same form.  False says nothing: parse it.
 */
bool record_is_its_view(const char *text, size_t size, const char *permitted, struct strbuf *names);
/* The members' names, as many as fit the log. */
void record_name_fields(const json_t *record, struct strbuf *names);

#endif
