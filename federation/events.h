/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: the running part.  A publisher thread carries rows of homeward.outbox
 * to the region's broker; a consumer thread takes what the mesh brings into
 * homeward.inbox and passes it on to the exchange homeward.delivered; a submitter
 * thread takes homeward.submit into the outbox.  Each has a broker connection and a database session of its own, and waits for whichever of
 * them is away.
 *
 * Promises: an event in the outbox arrives at least once (it leaves the outbox only
 * when the broker has confirmed it and not returned it), and is taken into the
 * inbox exactly once.  Local consumers of homeward.delivered may see an event
 * twice after a crash, with the same source and id.
 */
#ifndef FEDERATION_EVENTS_H
#define FEDERATION_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/database.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "base/tls.h"
#include "policy/policy.h"

struct events;
struct system_events;

/* Upward seam: what is done with events that homeward itself understands.  On the consumer's thread. */
struct events_hooks {
	void (*forget)(void *arg, const struct object_id *object); /* it has changed at its home; NULL: nobody */
	/*
	 * subject.erased and subject.erasure.acknowledged came from that region, and were passed on; request is the
	 * erasure's id.  Neither is told twice for sure, so they must bear being lost.  NULL: nobody.
	 */
	void (*erased)(void *arg, const char *region, const char *request, const char *type, const char *id);
	void (*acknowledged)(void *arg, const char *region, const char *request);
	void *arg;
};

struct events_settings {
	const struct settings *settings; /* borrowed; events.broker is not "" */
	const char *dsn;                 /* copied; with any password */
	struct loop *loop;               /* where submissions are written, with its database and access log */
	struct database *database;
	struct gate *gate;
	const struct tls_store *tls; /* whose end is told to peers; may be NULL */
	struct access_log *log;      /* all of these outlive the events */
	struct events_hooks hooks;
	struct system_events *system; /* published from here; outlives the events */
};

/* Starts all threads at once, whether or not broker and database can be reached. */
MUST_CHECK enum status events_start(
	const struct events_settings *settings, struct events **events_out, struct strbuf *why);
/*
 * Waits for what is under way, a few seconds at most; nothing is lost by it.  Accepts NULL.  Submissions must have
 * been answered: stop the listeners first.
 */
void events_stop(struct events *events);

/*
 * One CloudEvent (structured JSON, or binary), or a batch, into the outbox for a caller whose credential was checked;
 * replies to the request: 202 with the id once it is committed.  The same source and id again is 202 again and sent once.
 * What the schema or the policy does not allow is refused with the fields' names, the latter on record.  Of a batch all
 * are kept or none.
 */
void events_submit(void *events, struct http_request *request, const char *caller);

/*
 * The mesh file read again, in two steps so that nothing changes when another part of a reload fails: what was read
 * comes into force, or is dropped.  STATUS_INVALID and the file's errors in `why`; without a mesh file *change_out is
 * NULL.  One thread at a time.
 */
struct events_change;
MUST_CHECK enum status events_read_mesh(struct events *events, struct events_change **change_out, struct strbuf *why);
void events_follow(struct events *events, struct events_change *change); /* takes; accepts NULL, as the next does */
void events_change_drop(struct events_change *change);
/* Whether the mesh file is another than the one in force; *was_refused_out: and was refused already. */
bool events_mesh_has_changed(struct events *events, bool *was_refused_out);

/* What is known here of every link of the mesh; NULL without a mesh file, or out of memory. */
json_t *events_mesh(struct events *events);

/* For commands: hands a dead letter in again, to homeward.submit of this region's broker.  Blocks; STATUS_OK only when
 * the broker has confirmed it. */
MUST_CHECK enum status events_put_back(
	const struct settings *settings, const char *body, size_t size, struct strbuf *why);

#endif
