/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event: a CloudEvents 1.0 envelope in JSON, checked, and its routing key.
 * Pure.  Besides the specification's attributes: `destination` (a region, or
 * "all"), and five that only homeward sets: `originregion`, `sequence`, `skippedfrom`, `exchangeid` and `outboxtime`.
 */
#ifndef FEDERATION_EVENT_H
#define FEDERATION_EVENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exchange_id.h"
#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

#define EVENT_OWN_PREFIX "homeward." /* types that only homeward itself sends: about events, never about persons */
#define EVENT_ID_MAX 255             /* also an AMQP short string, as message-id */
#define EVENT_TYPE_MAX 128           /* with two regions before it, well within a routing key's 255 bytes */
#define EVENT_BYTES_MAX 1048576      /* of the envelope; larger data belongs behind a reference */

enum event_side {
	EVENT_SUBMITTED, /* by a caller: may not say where it comes from */
	EVENT_CARRIED    /* between regions: must say */
};

struct event {
	json_t *envelope;
	/* Borrowed from the envelope; "" where there is none. */
	const char *id, *source, *type, *subject, *destination, *origin, *schema;
	struct exchange_id exchange; /* this crossing, on both sides' records */
	bool has_exchange;
	int64_t sequence;        /* 0: none */
	int64_t first;           /* numbers of its stream from here to before its own will not come; mostly its own */
	int64_t expires_wall_us; /* INT64_MAX: never */
};

/* STATUS_INVALID names the attribute in `why`. */
MUST_CHECK enum status event_parse(
	const char *text, size_t size, enum event_side side, struct event *event_out, struct strbuf *why);
/* The same of an envelope that was parsed; takes it, also when it is refused. */
MUST_CHECK enum status event_read(json_t *envelope, enum event_side side, struct event *event_out, struct strbuf *why);
void event_release(struct event *event);

/* "<destination>.<origin>.<type>" taken apart; type_out is borrowed from the key. */
struct event_key {
	char destination[REGION_SIZE], origin[REGION_SIZE];
	char type[EVENT_TYPE_MAX + 1];
};
MUST_CHECK enum status event_key_parse(const char *key, size_t length, struct event_key *key_out);

/* What to do with an event that has arrived. */
enum event_verdict {
	EVENT_TAKE,
	EVENT_DISCARD_FOREIGN, /* for another region: it should not have come, and is not kept */
	EVENT_DEAD_MALFORMED,
	EVENT_DEAD_FORGED, /* key, envelope and link do not agree on where it comes from */
	EVENT_DEAD_EXPIRED,
	EVENT_DEAD_REFUSED /* by this region's policy; the judge does not know it */
};
struct event_arrival {
	const char *region; /* this one */
	const char *key;    /* routing key */
	size_t key_length;
	const char *link_origin; /* the link's cluster name; NULL when it was published at this region's own broker */
	const char *body;
	size_t body_size;
	int64_t now_wall_us;
	bool is_batched; /* one of several in a message: the key names the regions, and of the type only that */
};
/* event_out is filled, and the caller's to release, only for EVENT_TAKE and EVENT_DEAD_EXPIRED.  `why` is for people. */
enum event_verdict event_judge(const struct event_arrival *arrival, struct event *event_out, struct strbuf *why);
const char *event_verdict_name(enum event_verdict verdict);

#endif
