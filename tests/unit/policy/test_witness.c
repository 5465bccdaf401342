/* SPDX-License-Identifier: Apache-2.0 */
/* A witness cosigns what goes on from what it cosigned before, and nothing else, also after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/metrics.h"
#include "policy/log_reader.h"
#include "policy/witness.h"
#include "tests/unit/support/scratch.h"
#include "tests/unit/support/witness_requests.h"

#define OWN "na.test.example/access-log"

static char folder[64];
static struct log_peers *peers;
static struct witness *witness;
static struct note_verifier own;

static struct note_signer *own_signer(void)
{
	uint8_t seed[NOTE_SEED_SIZE];
	struct note_signer *signer;

	memset(seed, 9, sizeof(seed));
	assert_int_equal(note_signer_create(OWN, seed, &signer), STATUS_OK);
	return signer;
}

static void start_witness(void)
{
	struct note_signer *signer = own_signer();
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;

	own = *note_signer_verifier(signer);
	strbuf_addf(&path, "%s/witnessed", folder);
	assert_int_equal(witness_create(path.data, signer, peers, &witness, &why), STATUS_OK);
	strbuf_release(&path);
	strbuf_release(&why);
}

static int set_up(void **state)
{
	struct note_signer *signer = log_files_signer();
	struct log_peer peer = { .region = "eu" };

	(void)state;
	snprintf(folder, sizeof(folder), "%s/homeward-witness-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(folder));
	peers = log_peers_create();
	peer.key = *note_signer_verifier(signer);
	log_peers_define(peers, &peer, 1);
	note_signer_destroy(signer);
	start_witness();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	witness_destroy(witness);
	log_peers_destroy(peers);
	assert_true(scratch_remove(folder));
	metrics_reset();
	return 0;
}

static enum witness_result ask(uint64_t old, uint64_t size, struct strbuf *answer)
{
	struct strbuf request = STRBUF_INIT;
	enum witness_result result;

	witness_request_write(folder, old, size, &request);
	strbuf_reset(answer);
	result = witness_add(witness, "eu", request.data, request.length, 1767225600, answer);
	strbuf_release(&request);
	return result;
}

static void what_goes_on_is_cosigned(void **state)
{
	struct strbuf answer = STRBUF_INIT, cosigned = STRBUF_INIT;
	struct note_verifier cosigner;
	struct checkpoint checkpoint;
	struct note note;
	uint64_t time_s;
	char path[128];

	(void)state;
	assert_int_equal(ask(0, 300, &answer), WITNESS_COSIGNED);
	assert_int_equal(ask(300, 300, &answer), WITNESS_COSIGNED); /* the same again */
	assert_int_equal(ask(300, 700, &answer), WITNESS_COSIGNED);
	snprintf(path, sizeof(path), "%s/log-700/checkpoint", folder);
	assert_int_equal(file_read(path, NOTE_BYTES_MAX, &cosigned, NULL), STATUS_OK);
	strbuf_add(&cosigned, answer.data, answer.length);
	note_verifier_as(&own, NOTE_COSIGNATURE_V1, &cosigner);
	assert_int_equal(note_parse(cosigned.data, cosigned.length, &note, NULL), STATUS_OK);
	assert_int_equal(note_verify(&note, &cosigner, &time_s), STATUS_OK);
	assert_int_equal(time_s, 1767225600);
	assert_int_equal(checkpoint_parse(note.text, note.text_size, &checkpoint, NULL), STATUS_OK);
	assert_int_equal(checkpoint.size, 700);
	strbuf_release(&answer);
	strbuf_release(&cosigned);
}

static void another_size_is_told(void **state)
{
	struct strbuf answer = STRBUF_INIT;

	(void)state;
	assert_int_equal(ask(7, 300, &answer), WITNESS_CONFLICT);
	assert_string_equal(answer.data, "0\n");
	assert_int_equal(ask(0, 300, &answer), WITNESS_COSIGNED);
	assert_int_equal(ask(0, 700, &answer), WITNESS_CONFLICT);
	assert_string_equal(answer.data, "300\n");
	assert_int_equal(ask(301, 300, &answer), WITNESS_MALFORMED);
	strbuf_release(&answer);
}

static void a_rollback_is_refused_also_after_a_restart(void **state)
{
	struct strbuf answer = STRBUF_INIT;
	char path[128];

	(void)state;
	assert_int_equal(ask(0, 700, &answer), WITNESS_COSIGNED);
	assert_int_equal(ask(0, 300, &answer), WITNESS_ROLLBACK);
	assert_string_equal(answer.data, "700\n");
	witness_destroy(witness);
	start_witness();
	assert_int_equal(ask(300, 300, &answer), WITNESS_ROLLBACK);
	assert_string_equal(answer.data, "700\n");
	snprintf(path, sizeof(path), "%s/witnessed/eu.evidence", folder);
	assert_int_equal(access(path, R_OK), 0);
	assert_int_equal(ask(700, 1000, &answer), WITNESS_COSIGNED);
	strbuf_release(&answer);
}

static void a_fork_is_refused(void **state)
{
	struct strbuf answer = STRBUF_INIT, request = STRBUF_INIT;

	(void)state;
	assert_int_equal(ask(0, 300, &answer), WITNESS_COSIGNED);
	witness_request_fork(300, 300, &request);
	assert_int_equal(witness_add(witness, "eu", request.data, request.length, 1, &answer), WITNESS_FORK);
	witness_request_fork(300, 301, &request);
	assert_int_equal(witness_add(witness, "eu", request.data, request.length, 1, &answer), WITNESS_INCONSISTENT);
	assert_int_equal(ask(300, 700, &answer), WITNESS_COSIGNED);
	strbuf_release(&answer);
	strbuf_release(&request);
}

static void only_a_regions_own_log_by_its_own_key_is_cosigned(void **state)
{
	struct strbuf answer = STRBUF_INIT, request = STRBUF_INIT;

	(void)state;
	witness_request_write(folder, 0, 300, &request);
	assert_int_equal(witness_add(witness, "ap", request.data, request.length, 1, &answer), WITNESS_UNKNOWN);
	assert_int_equal(witness_add(witness, "eu", "old 0\n", 6, 1, &answer), WITNESS_MALFORMED);
	*strstr(request.data, "\n300\n") = '\t';
	assert_int_equal(witness_add(witness, "eu", request.data, request.length, 1, &answer), WITNESS_MALFORMED);
	witness_request_write(folder, 0, 300, &request);
	memcpy(strstr(request.data, "\n300\n"), "\n301\n", 5);
	assert_int_equal(witness_add(witness, "eu", request.data, request.length, 1, &answer), WITNESS_UNSIGNED);
	assert_int_equal(ask(0, 300, &answer), WITNESS_COSIGNED);
	strbuf_release(&answer);
	strbuf_release(&request);
}

static void a_memory_that_was_damaged_is_not_begun_anew(void **state)
{
	struct strbuf answer = STRBUF_INIT, why = STRBUF_INIT;
	char path[128];

	(void)state;
	assert_int_equal(ask(0, 300, &answer), WITNESS_COSIGNED);
	snprintf(path, sizeof(path), "%s/witnessed/eu.checkpoint", folder);
	assert_int_equal(file_replace(path, "", 0, 0600, &why), STATUS_OK);
	assert_int_equal(ask(0, 300, &answer), WITNESS_FAILED);
	assert_int_equal(ask(300, 700, &answer), WITNESS_FAILED);
	strbuf_release(&answer);
	strbuf_release(&why);
}

static void a_log_is_not_behind_what_peers_cosigned(void **state)
{
	struct note_signer *signer = log_files_signer();
	const struct note_verifier *verifier = note_signer_verifier(signer);
	struct strbuf answer = STRBUF_INIT, why = STRBUF_INIT, cosigned = STRBUF_INIT;
	char path[192], log[128];

	(void)state;
	snprintf(log, sizeof(log), "%s/log", folder);
	log_files_write(log, 700);
	assert_int_equal(log_cosigned_check(log, verifier, &why), STATUS_OK);
	snprintf(path, sizeof(path), "%s/checkpoint", log);
	assert_int_equal(file_read(path, NOTE_BYTES_MAX, &cosigned, NULL), STATUS_OK);
	assert_int_equal(ask(0, 700, &answer), WITNESS_COSIGNED);
	strbuf_add(&cosigned, answer.data, answer.length);
	snprintf(path, sizeof(path), "%s/checkpoint.cosigned", log);
	assert_int_equal(file_replace(path, cosigned.data, cosigned.length, 0600, &why), STATUS_OK);
	assert_int_equal(log_cosigned_check(log, verifier, &why), STATUS_OK);
	log_files_write(log, 1000);
	assert_int_equal(log_cosigned_check(log, verifier, &why), STATUS_OK);
	assert_int_equal(why.length, 0);
	log_files_write(log, 699);
	assert_int_equal(log_cosigned_check(log, verifier, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "has 700 entries"));
	assert_non_null(strstr(why.data, "only 699: its end was cut off"));
	snprintf(path, sizeof(path), "%s/checkpoint", log);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(log_cosigned_check(log, verifier, &why), STATUS_INVALID);
	note_signer_destroy(signer);
	strbuf_release(&answer);
	strbuf_release(&why);
	strbuf_release(&cosigned);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_goes_on_is_cosigned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(another_size_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_rollback_is_refused_also_after_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_fork_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_a_regions_own_log_by_its_own_key_is_cosigned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_memory_that_was_damaged_is_not_begun_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_log_is_not_behind_what_peers_cosigned, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
