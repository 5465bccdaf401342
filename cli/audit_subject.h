/* SPDX-License-Identifier: Apache-2.0 */
/* What stands for an object in this region's access log; private to cli. */
#ifndef CLI_AUDIT_SUBJECT_H
#define CLI_AUDIT_SUBJECT_H

#include "cli/command.h"

/* subject: "TYPE/ID", in any spelling of the id.  key: whose key it is under, for people. */
typedef void audit_each_subject(void *arg, const char *pseudonym, const char *key);
MUST_CHECK enum status audit_subject_each(const struct settings *settings, struct database_session *session,
	const char *subject, audit_each_subject *each, void *arg, struct strbuf *why);
/* The same as an array literal. */
MUST_CHECK enum status audit_subject_array(const struct settings *settings, struct database_session *session,
	const char *subject, struct strbuf *array, struct strbuf *why);

#endif
