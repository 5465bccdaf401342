/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer protocol's bodies, both directions, in one file so that they are
 * tested as a round trip.  POST /peer/v1/resolve carries
 *
 *   {"lookups":[{"exchange":"…","type":"token","id":"…","purpose":"…","caller":"…",
 *                "timeout_ms":2300,"station":"…","station_type":"station","tap":"…Z","traceparent":"…"}]}
 * and is answered by
 *   {"policy":"42:9f…","answers":[{"exchange":"…","status":"found","type":"token","id":"…",
 *                "version":7,"ttl_s":900,"nonce":"AAECAwQFBgcICQoLDA0ODw==","record":{…}},
 *                {"exchange":"…","status":"not_available","ttl_s":30},
 *                {"exchange":"…","status":"error","code":"overloaded"}]}
 *
 * Both regions' access logs have SHA-256(nonce || record) of an answer, the record as it stands in the body.
 *
 * Unknown members are ignored, so that either side may be newer.
 */
#ifndef BASE_PEER_WIRE_H
#define BASE_PEER_WIRE_H

#include "base/lookup.h"
#include "base/strbuf.h"

#define PEER_BATCH_MAX 1000
#define PEER_RECORD_BYTES_MAX (256 * 1024) /* a record answers one tap; bigger ones are files, not records */

/* timeout_ms of each is its deadline less now_ms, at least 1. */
void peer_wire_write_questions(
	const struct lookup_question *const *questions, size_t count, int64_t now_ms, struct strbuf *body);
/* *questions_out is one heap array, free().  Deadlines are now_ms plus the smaller of timeout_ms and timeout_ms_max.
 * Ids are only checked for length and characters here; canonical form is the types' business.
 * STATUS_TOO_LARGE: over PEER_BATCH_MAX.  STATUS_INVALID: one bad lookup refuses all, `why` says which. */
MUST_CHECK enum status peer_wire_read_questions(const char *body, size_t size, int64_t now_ms, int64_t timeout_ms_max,
	struct lookup_question **questions_out, size_t *count_out, struct strbuf *why);

/* answers[i] belongs to questions[i]. */
void peer_wire_write_answers(const struct lookup_question *questions, const struct lookup_answer *answers, size_t count,
	const char *policy_version, struct strbuf *body);
/*
 * Matches answers to questions by exchange id and checks that each found one is for the object asked
 * (a confused or hostile peer must not plant others).  answers_out has `count` elements, filled also on
 * failure; a question without an answer, or with two, gets STATUS_BAD_PEER, and answers to what was not
 * asked are passed over.  STATUS_BAD_PEER when the body is no answer at all.  A record is a well-formed JSON
 * object in compact form, at most PEER_RECORD_BYTES_MAX; members named twice inside it are not looked for.
 * An error keeps its status when it is one a client can act on, else it is STATUS_BAD_PEER.
 */
MUST_CHECK enum status peer_wire_read_answers(const char *body, size_t size,
	const struct lookup_question *const *questions, size_t count, struct lookup_answer *answers_out,
	struct strbuf *why);

#endif
