/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The asking side of tlog-witness.  A round takes one checkpoint of this region's
 * log and gives it to every peer with a proof that it goes on from what that peer
 * cosigned last; what the peer remembers is not kept here but asked for, with a
 * request it answers with 409 and the size.
 *
 * A peer that remembers more than this log has is the alarm this is all for: the
 * log was cut or replaced.  Peers that do not answer are asked again next round.
 *
 * All of it is on the control loop.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "router/router.h"

#define FIRST_ROUND_MS 1000   /* the listener of a region that starts at the same time is up by then */
#define REQUEST_MS 5000       /* a peer syncs one small file */
#define ANSWER_BYTES_MAX 8192 /* a size, or a line or two */

struct submission {
	struct cosigning *owner; /* NULL once it is gone */
	struct submission *next, **link;
	struct log_peer peer;
	char url[PEER_URL_SIZE];
	struct strbuf body;
	bool is_second; /* the size it remembers was told before */
};

struct remembered {
	char region[REGION_SIZE];
	uint64_t size;
};

struct cosigning {
	struct loop *loop;
	struct http_client *client;
	struct peers *peers;
	struct log_peers *log_peers;
	char *directory;
	struct note_verifier own;
	int64_t interval_ms;
	struct loop_timer timer;
	struct submission *first; /* under way */
	struct remembered remembered[LOG_PEERS_MAX];
	size_t remembered_count;
	/* This round's. */
	struct log_reader *reader;
	struct strbuf lines;
	struct metric *results, *sizes;
	struct log_limit unreadable;
};

/* What this peer remembered when it was last heard of; a place for it is made.  NULL: there are too many. */
static uint64_t *remembered_of(struct cosigning *cosigning, const char *region)
{
	struct remembered *place;

	for (size_t i = 0; i < cosigning->remembered_count; i++) {
		if (strcmp(cosigning->remembered[i].region, region) == 0)
			return &cosigning->remembered[i].size;
	}
	if (cosigning->remembered_count == LOG_PEERS_MAX)
		return NULL;
	place = &cosigning->remembered[cosigning->remembered_count++];
	(void)snprintf(place->region, sizeof(place->region), "%s", region);
	place->size = 0;
	return &place->size;
}

static void count(struct cosigning *cosigning, const char *region, const char *result)
{
	metric_add(metric_series(cosigning->results, region, result, NULL), 1);
}

static void submission_free(struct submission *submission)
{
	strbuf_release(&submission->body);
	free(submission);
}

static void unlink_submission(struct submission *submission)
{
	*submission->link = submission->next;
	if (submission->next != NULL)
		submission->next->link = submission->link;
}

/* ---- answers ---- */

/* Keeps the lines that really are by this peer, beside the checkpoint they are about. */
static enum status keep(
	struct cosigning *cosigning, const struct log_peer *peer, const char *lines, size_t size, struct strbuf *why)
{
	const struct strbuf *checkpoint = log_reader_note(cosigning->reader);
	struct strbuf text = STRBUF_INIT, path = STRBUF_INIT;
	struct note_verifier cosigner;
	enum status status;
	struct note note;

	strbuf_add(&text, checkpoint->data, checkpoint->length);
	strbuf_add(&text, lines, size);
	note_verifier_as(&peer->key, NOTE_COSIGNATURE_V1, &cosigner);
	status = note_parse(text.data, text.length, &note, why);
	if (status == STATUS_OK)
		status = note_verify(&note, &cosigner, NULL);
	if (status != STATUS_OK) {
		strbuf_adds(why, "its answer is not its cosignature");
		goto out;
	}
	note_add_lines(&note, &cosigner, &cosigning->lines);
	strbuf_reset(&text);
	strbuf_add(&text, checkpoint->data, checkpoint->length);
	strbuf_add(&text, cosigning->lines.data, cosigning->lines.length);
	strbuf_addf(&path, "%s/" LOG_CHECKPOINT_COSIGNED, cosigning->directory);
	status = strbuf_ok(&text) && strbuf_ok(&path) ? STATUS_OK : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = file_replace(path.data, text.data, text.length, 0644, why);
out:
	strbuf_release(&text);
	strbuf_release(&path);
	return status;
}

static void take_cosignature(
	struct cosigning *cosigning, const struct log_peer *peer, const struct http_client_result *result)
{
	uint64_t size = log_reader_checkpoint(cosigning->reader)->size;
	uint64_t *remembered = remembered_of(cosigning, peer->region);
	struct strbuf why = STRBUF_INIT;

	if (keep(cosigning, peer, result->body, result->body_size, &why) == STATUS_OK) {
		if (remembered != NULL)
			*remembered = size;
		count(cosigning, peer->region, "cosigned");
		metric_set(metric_series(cosigning->sizes, peer->region, NULL), (double)size);
	} else {
		count(cosigning, peer->region, "failed");
		LOG_WARN("cosignature_not_kept", "peer", peer->region, "reason", why.data);
	}
	strbuf_release(&why);
}

/* The size in a 409's body; false when it has none. */
static bool read_size(const struct http_client_result *result, uint64_t *size)
{
	char *end;

	if (result->body_size < 2 || result->body[0] < '0' || result->body[0] > '9')
		return false;
	*size = strtoull(result->body, &end, 10);
	return end[0] == '\n' && end[1] == '\0' && *size <= MERKLE_SIZE_MAX;
}

static void submit(struct cosigning *cosigning, const struct log_peer *peer, bool is_second);

static void take_conflict(
	struct cosigning *cosigning, const struct submission *submission, const struct http_client_result *result)
{
	const char *region = submission->peer.region;
	uint64_t size = log_reader_checkpoint(cosigning->reader)->size, told;
	uint64_t *remembered = remembered_of(cosigning, region);

	if (read_size(result, &told) && told > size) {
		count(cosigning, region, "behind");
		LOG_ERROR("access_log_is_behind", "peer", region, "entries", log_number((int64_t)size), "cosigned",
			log_number((int64_t)told), "meaning", "this region's log was cut or replaced");
	} else if (read_size(result, &told) && remembered != NULL && !submission->is_second) {
		*remembered = told;
		submit(cosigning, &submission->peer, true);
	} else {
		count(cosigning, region, "refused");
		LOG_ERROR("cosignature_refused", "peer", region, "status", log_number(result->status), "meaning",
			"it remembers another log of this region");
	}
}

static void take_refusal(struct cosigning *cosigning, const char *region, int status)
{
	if (status == 404 || status == 403) {
		count(cosigning, region, "unknown");
		LOG_WARN("cosignature_refused", "peer", region, "status", log_number(status), "meaning",
			"it does not have this region's log key: its setting peers.REGION.log_key");
	} else if (status == 422) {
		count(cosigning, region, "refused");
		LOG_ERROR("cosignature_refused", "peer", region, "status", log_number(status), "meaning",
			"this log does not go on from what it remembers");
	} else {
		count(cosigning, region, "failed");
		LOG_WARN("cosignature_refused", "peer", region, "status", log_number(status));
	}
}

static void on_answer(void *arg, const struct http_client_result *result)
{
	struct submission *submission = arg;
	struct cosigning *cosigning = submission->owner;

	if (cosigning == NULL)
		goto out;
	unlink_submission(submission);
	peers_report(cosigning->peers, submission->peer.region, submission->url, result->error, result->duration_ms);
	if (result->error != HTTP_CLIENT_OK)
		count(cosigning, submission->peer.region, "unreachable");
	else if (result->status == 200)
		take_cosignature(cosigning, &submission->peer, result);
	else if (result->status == 409)
		take_conflict(cosigning, submission, result);
	else
		take_refusal(cosigning, submission->peer.region, result->status);
out:
	submission_free(submission);
}

/* ---- a round ---- */

/* From the end of the log's own tree: a failure is this region's, and is told once a second at most. */
static enum status write_request(struct cosigning *cosigning, uint64_t old_size, struct strbuf *body)
{
	const struct checkpoint *checkpoint = log_reader_checkpoint(cosigning->reader);
	const struct strbuf *note = log_reader_note(cosigning->reader);
	struct merkle_reader hashes = log_reader_hashes(cosigning->reader);
	struct merkle_proof proof = { .count = 0 };
	enum status status = STATUS_OK;

	if (old_size > 0 && old_size <= checkpoint->size)
		status = merkle_prove_consistency(&hashes, old_size, checkpoint->size, &proof);
	if (status != STATUS_OK) {
		LOG_LIMITED(&cosigning->unreadable, LOG_LEVEL_ERROR, "access_log_unreadable", "reason",
			log_reader_why(cosigning->reader));
		return status;
	}
	/* What a peer remembers and this log has not is found by the peer, whose word is the one that counts. */
	add_checkpoint_write(old_size <= checkpoint->size ? old_size : 0, &proof, note->data, note->length, body);
	return strbuf_ok(body) ? STATUS_OK : STATUS_NO_MEMORY;
}

static void submit(struct cosigning *cosigning, const struct log_peer *peer, bool is_second)
{
	static const char *const headers[] = { "Content-Type: text/plain; charset=utf-8", NULL };
	const uint64_t *remembered = remembered_of(cosigning, peer->region);
	struct submission *submission = calloc(1, sizeof(*submission));
	char url[PEER_URL_SIZE + 40];
	struct http_client_request request = { .method = "POST",
		.url = url,
		.headers = headers,
		.deadline_ms = loop_now_ms(cosigning->loop) + REQUEST_MS,
		.response_bytes_max = ANSWER_BYTES_MAX };

	if (submission == NULL)
		return;
	strbuf_init(&submission->body);
	if (remembered == NULL)
		goto out;
	submission->owner = cosigning;
	submission->peer = *peer;
	submission->is_second = is_second;
	if (write_request(cosigning, *remembered, &submission->body) != STATUS_OK)
		goto out;
	if (peers_choose(cosigning->peers, peer->region, NULL, submission->url) != STATUS_OK) {
		count(cosigning, peer->region, "unreachable");
		goto out;
	}
	(void)snprintf(url, sizeof(url), "%s/peer/v1/log/add-checkpoint", submission->url);
	request.peer_region = strncmp(url, "https:", 6) == 0 ? peer->region : NULL;
	request.body = submission->body.data;
	request.body_size = submission->body.length;
	submission->link = &cosigning->first;
	submission->next = cosigning->first;
	if (cosigning->first != NULL)
		cosigning->first->link = &submission->next;
	cosigning->first = submission;
	if (http_client_send(cosigning->client, &request, on_answer, submission, NULL) == STATUS_OK)
		return;
	unlink_submission(submission);
	count(cosigning, peer->region, "unreachable");
out:
	submission_free(submission);
}

/* False: nobody's key is known yet. */
static bool start_round(struct cosigning *cosigning)
{
	struct log_peer peers[LOG_PEERS_MAX];
	size_t peer_count = log_peers_copy(cosigning->log_peers, peers);
	struct strbuf why = STRBUF_INIT;

	if (peer_count == 0)
		return false;
	log_reader_close(cosigning->reader);
	strbuf_reset(&cosigning->lines);
	if (log_reader_open(cosigning->directory, &cosigning->own, &cosigning->reader, &why) != STATUS_OK)
		LOG_WARN("access_log_unreadable", "reason", why.data);
	for (size_t i = 0; cosigning->reader != NULL && i < peer_count; i++)
		submit(cosigning, &peers[i], false);
	strbuf_release(&why);
	return true;
}

static int64_t soon_ms(const struct cosigning *cosigning)
{
	return FIRST_ROUND_MS < cosigning->interval_ms ? FIRST_ROUND_MS : cosigning->interval_ms;
}

static void on_timer(void *arg)
{
	struct cosigning *cosigning = arg;
	/* A round's requests end by their deadline; until then its checkpoint stays. */
	bool has_peers = cosigning->first != NULL || start_round(cosigning);

	loop_timer_start(&cosigning->timer, has_peers ? cosigning->interval_ms : soon_ms(cosigning));
}

/* ---- life ---- */

enum status cosigning_create(const struct cosigning_settings *settings, struct cosigning **cosigning_out)
{
	struct cosigning *cosigning = calloc(1, sizeof(*cosigning));
	enum status status = STATUS_NO_MEMORY;

	*cosigning_out = NULL;
	if (cosigning == NULL)
		return STATUS_NO_MEMORY;
	cosigning->loop = settings->loop;
	cosigning->client = settings->client;
	cosigning->peers = settings->peers;
	cosigning->log_peers = settings->log_peers;
	cosigning->own = settings->own;
	cosigning->interval_ms = settings->interval_ms;
	strbuf_init(&cosigning->lines);
	cosigning->directory = strdup(settings->directory);
	if (cosigning->directory != NULL)
		status = loop_timer_init(settings->loop, &cosigning->timer, on_timer, cosigning);
	if (status != STATUS_OK) {
		cosigning_destroy(cosigning);
		return status;
	}
	cosigning->results = metric_register(METRIC_COUNTER, "homeward_access_log_cosignatures_total",
		"Requests to other regions to cosign this region's access log, by what came of them.", "peer,result");
	cosigning->sizes = metric_register(METRIC_GAUGE, "homeward_access_log_cosigned_entries",
		"Entries of this region's access log that the peer cosigned last.", "peer");
	loop_timer_start(
		&cosigning->timer, FIRST_ROUND_MS < cosigning->interval_ms ? FIRST_ROUND_MS : cosigning->interval_ms);
	*cosigning_out = cosigning;
	return STATUS_OK;
}

void cosigning_destroy(struct cosigning *cosigning)
{
	if (cosigning == NULL)
		return;
	/* The client still owes each of them its end. */
	for (struct submission *submission = cosigning->first; submission != NULL; submission = submission->next)
		submission->owner = NULL;
	loop_timer_release(&cosigning->timer);
	log_reader_close(cosigning->reader);
	strbuf_release(&cosigning->lines);
	free(cosigning->directory);
	free(cosigning);
}
