/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lookup's question and answer: what locator asks, router carries, and
 * handlers answer.  Plain values without pointers to anything shared, so that
 * they can be handed from thread to thread.
 */
#ifndef BASE_LOOKUP_H
#define BASE_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/exchange_id.h"
#include "base/object_id.h"
#include "base/status.h"

#define LOOKUP_IMPOSSIBLE_TRAVEL 1U /* this card was shown in another region too lately to be here */
#define CALLER_SIZE 64
#define TRACEPARENT_SIZE 56 /* W3C trace context, version 00 */
#define LOOKUP_NONCE_SIZE 16
#define POLICY_VERSION_SIZE 32 /* "<version>:<first 8 bytes of SHA-256 in hex>" */

/* Why the requester believes the driver is there.  station.id[0] == 0: none given. */
struct evidence {
	struct object_id station;
	int64_t tap_wall_us; /* 0: not given */
};

struct lookup_question {
	struct exchange_id exchange;
	struct object_id object;
	char purpose[PURPOSE_SIZE];
	char caller[CALLER_SIZE]; /* the requesting service's name in its own region */
	struct evidence evidence;
	int64_t deadline_ms;                /* absolute, monotonic, of this process */
	char traceparent[TRACEPARENT_SIZE]; /* "" when none */
};

/*
 * STATUS_OK: record is set.  STATUS_NOT_AVAILABLE: unknown or not permitted; ttl_s says
 * how long that may be remembered.  Anything else: no answer, and the reason.
 */
struct lookup_answer {
	enum status status;
	uint64_t version;
	int64_t ttl_s; /* 0: must not be reused */
	char *record;  /* JSON object text, only fields of the view; owned by the answer */
	size_t record_length;
	unsigned int flags; /* LOOKUP_…: what the home noticed */
	bool has_nonce;     /* of the hash of the record that both regions' access logs have */
	uint8_t nonce[LOOKUP_NONCE_SIZE];
	char policy_version[POLICY_VERSION_SIZE]; /* of the side that permitted it */
};

void lookup_answer_release(struct lookup_answer *answer);

#endif
