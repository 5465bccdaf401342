/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status: the one vocabulary of outcomes.  Every fallible function returns
 * one; base/problem.c is the one place that maps them to HTTP and to the
 * stable error codes of the API.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum status {
	STATUS_OK = 0,
	STATUS_INVALID,               /* the input breaks a rule; the caller can correct it */
	STATUS_UNAUTHENTICATED,       /* no credential, or one that is not known */
	STATUS_FORBIDDEN,             /* this caller may not do this, whatever the object is */
	STATUS_NOT_AVAILABLE,         /* no such object, or not for this purpose: one word for both */
	STATUS_NOT_FOUND,             /* no such route, file, row or endpoint; never said of an object */
	STATUS_NOT_CACHED,            /* only-if-cached was asked and nothing fresh is held */
	STATUS_CONFLICT,              /* it exists already, or a newer version does */
	STATUS_PRECONDITION_FAILED,   /* If-Match names another version */
	STATUS_PRECONDITION_REQUIRED, /* a write without If-Match */
	STATUS_MISDIRECTED,           /* a write for an object whose home is another region */
	STATUS_TOO_LARGE,             /* a body, batch or record is over its bound */
	STATUS_OVERLOADED,            /* a queue is at its bound; try again */
	STATUS_DEADLINE,              /* the time allowed ran out */
	STATUS_UNREACHABLE,           /* the peer, database or service could not be reached */
	STATUS_BAD_PEER,              /* the other side answered nonsense */
	STATUS_UNRECORDED,            /* the access log cannot take it, so nothing personal may cross */
	STATUS_DRAINING,              /* this process is shutting down */
	STATUS_NO_MEMORY,
	STATUS_IO,       /* a file or socket failed */
	STATUS_INTERNAL, /* our bug, contained */
	STATUS_COUNT
};

/* A short stable name, for logs and metric labels: "ok", "not_available" … Never NULL. */
const char *status_name(enum status status);

#endif
