/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the checks is that of tlog-witness.  A signed checkpoint that
 * contradicts one signed before is proof of wrongdoing, or of a restore from a
 * backup: it is kept beside the remembered one, counted, and said loudly.
 */
#include "policy/witness.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "policy/log_reader.h"

struct witness {
	char *folder;
	struct note_signer *signer;
	struct log_peers *peers;
	struct metric *requests;
};

static const struct {
	const char *name;
	int status;
} results[WITNESS_RESULT_COUNT] = { [WITNESS_COSIGNED] = { "cosigned", 200 },
	[WITNESS_MALFORMED] = { "malformed", 400 },
	[WITNESS_UNKNOWN] = { "unknown", 404 },
	[WITNESS_UNSIGNED] = { "unsigned", 403 },
	[WITNESS_CONFLICT] = { "conflict", 409 },
	[WITNESS_ROLLBACK] = { "rollback", 409 },
	[WITNESS_FORK] = { "fork", 409 },
	[WITNESS_INCONSISTENT] = { "inconsistent", 422 },
	[WITNESS_FAILED] = { "failed", 503 } };

const char *witness_result_name(enum witness_result result)
{
	return results[result].name;
}

int witness_result_status(enum witness_result result)
{
	return results[result].status;
}

enum witness_result witness_judge(
	const struct add_checkpoint *request, const struct checkpoint *offered, const struct checkpoint *remembered)
{
	if (request->old_size > offered->size)
		return WITNESS_MALFORMED;
	if (offered->size < remembered->size)
		return WITNESS_ROLLBACK;
	if (offered->size == remembered->size && !merkle_equal(&offered->root, &remembered->root))
		return WITNESS_FORK;
	if (request->old_size != remembered->size)
		return WITNESS_CONFLICT;
	/* Nothing can be proved about the empty tree, and nothing needs to be. */
	if (remembered->size == 0)
		return request->proof.count == 0 ? WITNESS_COSIGNED : WITNESS_INCONSISTENT;
	return merkle_consistency_holds(remembered->size, &remembered->root, offered->size, &offered->root,
		       request->proof.hashes, request->proof.count)
		       ? WITNESS_COSIGNED
		       : WITNESS_INCONSISTENT;
}

/* ---- what is remembered ---- */

enum status witness_create(const char *folder, struct note_signer *signer, struct log_peers *peers,
	struct witness **witness_out, struct strbuf *why)
{
	struct witness *witness = calloc(1, sizeof(*witness));
	enum status status = STATUS_NO_MEMORY;

	*witness_out = NULL;
	if (witness == NULL) {
		note_signer_destroy(signer);
		return STATUS_NO_MEMORY;
	}
	witness->signer = signer;
	witness->peers = peers;
	witness->folder = strdup(folder);
	if (witness->folder != NULL)
		status = file_make_folder(folder, 0700, why);
	if (status != STATUS_OK) {
		witness_destroy(witness);
		return status;
	}
	witness->requests = metric_register(METRIC_COUNTER, "homeward_witness_requests_total",
		"Requests of other regions to cosign their access log, by what came of them.", "peer,result");
	*witness_out = witness;
	return STATUS_OK;
}

void witness_destroy(struct witness *witness)
{
	if (witness == NULL)
		return;
	note_signer_destroy(witness->signer);
	free(witness->folder);
	free(witness);
}

const struct note_verifier *witness_key(const struct witness *witness)
{
	return note_signer_verifier(witness->signer);
}

/* False: there is a file and it cannot be believed, so nothing may be cosigned on top of it. */
static bool recall(const struct witness *witness, const char *region, const struct note_verifier *key,
	struct checkpoint *remembered)
{
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT, why = STRBUF_INIT;
	bool is_believed = true;
	enum status status;
	struct note note;

	memset(remembered, 0, sizeof(*remembered));
	merkle_empty(&remembered->root);
	strbuf_addf(&path, "%s/%s.checkpoint", witness->folder, region);
	status = file_read(path.data, NOTE_BYTES_MAX, &bytes, &why);
	if (status != STATUS_NOT_FOUND) {
		if (status == STATUS_OK)
			status = checkpoint_open(bytes.data, bytes.length, key, &note, remembered, &why);
		is_believed = status == STATUS_OK;
		if (!is_believed)
			LOG_ERROR("witness_memory_unusable", "file", path.data, "reason", why.data);
	}
	strbuf_release(&path);
	strbuf_release(&bytes);
	strbuf_release(&why);
	return is_believed;
}

static bool remember(
	const struct witness *witness, const char *region, const char *suffix, const struct add_checkpoint *request)
{
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
	bool is_kept;

	strbuf_addf(&path, "%s/%s.%s", witness->folder, region, suffix);
	is_kept = strbuf_ok(&path) &&
		  file_replace(path.data, request->checkpoint, request->checkpoint_size, 0600, &why) == STATUS_OK;
	if (!is_kept)
		LOG_ERROR("witness_memory_not_written", "peer", region, "reason", why.data);
	strbuf_release(&path);
	strbuf_release(&why);
	return is_kept;
}

static enum witness_result cosign(const struct witness *witness, const char *region,
	const struct add_checkpoint *request, const struct note *note, uint64_t now_s, struct strbuf *answer)
{
	if (!remember(witness, region, "checkpoint", request))
		return WITNESS_FAILED;
	if (note_cosign(witness->signer, note->text, note->text_size, now_s, answer) != STATUS_OK)
		return WITNESS_FAILED;
	return WITNESS_COSIGNED;
}

static void accuse(const struct witness *witness, const char *region, enum witness_result result,
	const struct add_checkpoint *request, const struct checkpoint *offered, const struct checkpoint *remembered)
{
	LOG_ERROR("peer_log_contradicts_itself", "peer", region, "result", witness_result_name(result), "size",
		log_number((int64_t)offered->size), "remembered", log_number((int64_t)remembered->size));
	(void)remember(witness, region, "evidence", request);
}

static enum witness_result add(struct witness *witness, const char *region, const char *body, size_t size,
	uint64_t now_s, struct strbuf *answer)
{
	struct checkpoint offered, remembered;
	struct add_checkpoint request;
	struct note_verifier key;
	enum witness_result result;
	struct note note;

	if (add_checkpoint_parse(body, size, &request, answer) != STATUS_OK ||
		note_parse(request.checkpoint, request.checkpoint_size, &note, answer) != STATUS_OK ||
		checkpoint_parse(note.text, note.text_size, &offered, answer) != STATUS_OK)
		return WITNESS_MALFORMED;
	if (!log_peers_find(witness->peers, region, &key) || strcmp(offered.origin, key.name) != 0)
		return WITNESS_UNKNOWN;
	if (note_verify(&note, &key, NULL) != STATUS_OK)
		return WITNESS_UNSIGNED;
	if (!recall(witness, region, &key, &remembered))
		return WITNESS_FAILED;
	result = witness_judge(&request, &offered, &remembered);
	if (result == WITNESS_COSIGNED)
		return cosign(witness, region, &request, &note, now_s, answer);
	if (result == WITNESS_CONFLICT || result == WITNESS_ROLLBACK)
		strbuf_addf(answer, "%" PRIu64 "\n", remembered.size);
	if (result == WITNESS_ROLLBACK || result == WITNESS_FORK || result == WITNESS_INCONSISTENT)
		accuse(witness, region, result, &request, &offered, &remembered);
	return result;
}

enum witness_result witness_add(struct witness *witness, const char *region, const char *body, size_t size,
	uint64_t now_s, struct strbuf *answer)
{
	enum witness_result result = add(witness, region, body, size, now_s, answer);

	metric_add(metric_series(witness->requests, region, witness_result_name(result), NULL), 1);
	return result;
}

/* ---- this region's own log ---- */

enum status log_cosigned_check(const char *directory, const struct note_verifier *verifier, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT, reason = STRBUF_INIT;
	struct log_reader *reader = NULL;
	struct checkpoint cosigned;
	enum status status;
	struct note note;

	strbuf_addf(&path, "%s/" LOG_CHECKPOINT_COSIGNED, directory);
	status = file_read(path.data, NOTE_BYTES_MAX, &bytes, &reason);
	if (status == STATUS_NOT_FOUND) {
		status = STATUS_OK;
		goto out;
	}
	if (status == STATUS_OK) {
		strbuf_addf(&reason, "%s: ", path.data);
		status = checkpoint_open(bytes.data, bytes.length, verifier, &note, &cosigned, &reason);
	}
	if (status == STATUS_OK) {
		strbuf_reset(&reason);
		status = log_reader_open(directory, verifier, &reader, &reason);
		/* Peers have signed a log, so it cannot be that there is none yet. */
		if (status == STATUS_NOT_FOUND)
			status = STATUS_INVALID;
	}
	if (status == STATUS_OK)
		status = log_reader_continues(reader, &cosigned, path.data, &reason);
	strbuf_add(why, reason.data, status == STATUS_OK ? 0 : reason.length);
out:
	log_reader_close(reader);
	strbuf_release(&path);
	strbuf_release(&bytes);
	strbuf_release(&reason);
	return status;
}
