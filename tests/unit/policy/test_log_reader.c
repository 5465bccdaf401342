/* SPDX-License-Identifier: Apache-2.0 */
/* A log is read by index and range, also as it grows; receipts hold; any altered byte is found in its file. */
#include <fcntl.h>
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

#include "policy/log_proof.h"
#include "policy/log_reader.h"
#include "tests/unit/support/log_files.h"
#include "tests/unit/support/scratch.h"

static char folder[64];
static char told[512]; /* the files told by the last check */

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "%s/homeward-log-XXXXXX", scratch_place());
	return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	assert_true(scratch_remove(folder));
	return 0;
}

static struct log_reader *open_log(void)
{
	struct note_signer *signer = log_files_signer();
	struct strbuf why = STRBUF_INIT;
	struct log_reader *reader;

	if (log_reader_open(folder, note_signer_verifier(signer), &reader, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	note_signer_destroy(signer);
	strbuf_release(&why);
	return reader;
}

static void remember(void *arg, const char *path, const char *what)
{
	size_t used = strlen(told);

	(void)arg;
	(void)what;
	snprintf(told + used, sizeof(told) - used, "%s%s", used == 0 ? "" : " ", path);
}

/* The files a check names; "" for a sound log. */
static const char *check(void)
{
	struct log_reader *reader = open_log();
	enum status status;

	told[0] = '\0';
	status = log_reader_check(reader, remember, NULL);
	assert_int_equal(status, told[0] == '\0' ? STATUS_OK : STATUS_INVALID);
	log_reader_close(reader);
	return told;
}

static void flip(const char *name, off_t at)
{
	char path[128];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(unlink(path), 0);
}

static void cut(const char *name, off_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(truncate(path, size), 0);
}

static bool compare_entry(void *arg, uint64_t index, const char *entry, size_t size)
{
	uint64_t *next = arg;
	char expected[64];
	int length = log_files_entry(index, expected);

	assert_int_equal(index, *next);
	assert_int_equal(size, length);
	assert_memory_equal(entry, expected, size);
	(*next)++;
	return true;
}

static void entries_are_read_by_index_and_range(void **state)
{
	static const uint64_t ranges[][2] = { { 0, 0 }, { 0, 1 }, { 0, 600 }, { 255, 257 }, { 256, 512 }, { 511, 600 },
		{ 599, 600 }, { 600, 600 } };
	struct strbuf entry = STRBUF_INIT, why = STRBUF_INIT;
	struct log_reader *reader;
	char expected[64];

	(void)state;
	log_files_write(folder, 600);
	reader = open_log();
	assert_int_equal(log_reader_checkpoint(reader)->size, 600);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		uint64_t next = ranges[i][0];

		assert_int_equal(
			log_reader_each(reader, ranges[i][0], ranges[i][1], compare_entry, &next, &why), STATUS_OK);
		assert_int_equal(next, ranges[i][1]);
	}
	assert_int_equal(log_reader_entry(reader, 299, &entry, &why), STATUS_OK);
	log_files_entry(299, expected);
	assert_string_equal(entry.data, expected);
	assert_int_equal(log_reader_entry(reader, 600, &entry, &why), STATUS_NOT_FOUND);
	assert_string_equal(why.data, "the log has 600 entries, and the first is 0");
	assert_int_equal(log_reader_each(reader, 0, 601, compare_entry, NULL, &why), STATUS_NOT_FOUND);
	log_reader_close(reader);
	strbuf_release(&entry);
	strbuf_release(&why);
}

static void a_reader_goes_on_while_the_log_grows(void **state)
{
	struct strbuf entry = STRBUF_INIT, why = STRBUF_INIT;
	struct log_reader *reader;
	uint64_t next = 0;

	(void)state;
	log_files_write(folder, 300);
	reader = open_log();
	/* As a writer does: wider tiles, then the checkpoint, and the narrower tiles are gone. */
	log_files_write(folder, 310);
	remove_file("tile/entries/001.p/44");
	remove_file("tile/0/001.p/44");
	assert_int_equal(log_reader_each(reader, 0, 300, compare_entry, &next, &why), STATUS_OK);
	assert_int_equal(next, 300);
	told[0] = '\0';
	assert_int_equal(log_reader_check(reader, remember, NULL), STATUS_OK);
	log_files_write(folder, 700);
	remove_file("tile/entries/001.p/54");
	remove_file("tile/0/001.p/54");
	assert_int_equal(log_reader_check(reader, remember, NULL), STATUS_OK);
	assert_int_equal(log_reader_refresh(reader, &why), STATUS_OK);
	assert_int_equal(log_reader_checkpoint(reader)->size, 700);
	next = 290;
	assert_int_equal(log_reader_each(reader, 290, 700, compare_entry, &next, &why), STATUS_OK);
	assert_int_equal(log_reader_check(reader, remember, NULL), STATUS_OK);
	assert_string_equal(told, "");
	/* A log never gets shorter. */
	log_files_write(folder, 699);
	assert_int_equal(log_reader_refresh(reader, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "its size is 699, and was 700 before"));
	log_reader_close(reader);
	strbuf_release(&entry);
	strbuf_release(&why);
}

static void logs_of_every_shape_are_sound(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 2, 255, 256, 257, 511, 512, 513, 1000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		log_files_write(folder, sizes[i]);
		assert_string_equal(check(), "");
	}
	log_files_write(folder, 65536 + 300); /* a second tile at level 1, and one at level 2 */
	assert_string_equal(check(), "");
}

static void an_altered_byte_is_found_in_its_file(void **state)
{
	static const struct {
		const char *file;
		off_t at;
	} cases[] = { { "tile/entries/000", 2 }, { "tile/entries/000", 3000 }, { "tile/entries/001", 17 },
		{ "tile/entries/002.p/88", 1400 }, { "tile/entries/002.p/88", 3 }, { "tile/0/000", 0 },
		{ "tile/0/001", 8191 }, { "tile/0/002.p/88", 32 }, { "tile/1/000.p/2", 5 }, { "tile/1/000.p/2", 40 } };

	(void)state;
	log_files_write(folder, 600);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		flip(cases[i].file, cases[i].at);
		assert_string_equal(check(), cases[i].file);
		flip(cases[i].file, cases[i].at);
	}
	flip("tile/entries/000", 1); /* a length: what follows is no list of entries any more */
	assert_string_equal(check(), "tile/entries/000");
	flip("tile/entries/000", 1);
	flip("tile/entries/001", 17);
	flip("tile/0/002.p/88", 32);
	assert_string_equal(check(), "tile/entries/001 tile/0/002.p/88");
	flip("tile/entries/001", 17);
	flip("tile/0/002.p/88", 32);
	assert_string_equal(check(), "");
}

static void a_missing_or_torn_file_is_found(void **state)
{
	static const char *const files[] = { "tile/entries/001", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2",
		"tile/entries/002.p/88" };

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		log_files_write(folder, 600);
		cut(files[i], 64);
		assert_string_equal(check(), strcmp(files[i], "tile/1/000.p/2") == 0 ? "" : files[i]);
		cut(files[i], 63);
		assert_string_equal(check(), files[i]);
		remove_file(files[i]);
		assert_string_equal(check(), files[i]);
	}
}

static void an_altered_checkpoint_is_refused(void **state)
{
	struct note_signer *signer = log_files_signer();
	struct log_reader *reader;
	struct stat facts;
	char path[128];

	(void)state;
	log_files_write(folder, 600);
	snprintf(path, sizeof(path), "%s/checkpoint", folder);
	assert_int_equal(stat(path, &facts), 0);
	for (off_t at = 0; at < facts.st_size; at++) {
		struct strbuf why = STRBUF_INIT;

		flip("checkpoint", at);
		assert_int_equal(log_reader_open(folder, note_signer_verifier(signer), &reader, &why), STATUS_INVALID);
		assert_non_null(strstr(why.data, path));
		flip("checkpoint", at);
		strbuf_release(&why);
	}
	note_signer_destroy(signer);
}

static void a_receipt_holds_and_no_altered_one(void **state)
{
	static const uint64_t indexes[] = { 0, 255, 256, 511, 512, 599 };
	struct note_signer *signer = log_files_signer();
	const struct note_verifier *verifier = note_signer_verifier(signer);
	struct log_reader *reader;

	(void)state;
	log_files_write(folder, 600);
	reader = open_log();
	for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
		struct strbuf receipt = STRBUF_INIT, why = STRBUF_INIT;
		struct checkpoint checkpoint;
		struct log_proof proof;
		char entry[64];
		int size = log_files_entry(indexes[i], entry);

		assert_int_equal(log_reader_receipt(reader, indexes[i], &receipt, &why), STATUS_OK);
		assert_int_equal(log_proof_parse(receipt.data, receipt.length, &proof, &why), STATUS_OK);
		assert_int_equal(proof.index, indexes[i]);
		assert_string_equal(proof.entry.data, entry);
		assert_int_equal(log_proof_check(&proof, NULL, 0, verifier, &checkpoint, &why), STATUS_OK);
		assert_int_equal(log_proof_check(&proof, entry, (size_t)size, verifier, &checkpoint, &why), STATUS_OK);
		entry[3] ^= 1;
		assert_int_equal(
			log_proof_check(&proof, entry, (size_t)size, verifier, &checkpoint, &why), STATUS_INVALID);
		log_proof_release(&proof);
		for (size_t at = 0; at < receipt.length; at++) {
			receipt.data[at] ^= 1;
			if (log_proof_parse(receipt.data, receipt.length, &proof, &why) == STATUS_OK)
				assert_int_equal(
					log_proof_check(&proof, NULL, 0, verifier, &checkpoint, &why), STATUS_INVALID);
			receipt.data[at] ^= 1;
			log_proof_release(&proof);
		}
		strbuf_release(&receipt);
		strbuf_release(&why);
	}
	log_reader_close(reader);
	note_signer_destroy(signer);
}

static void a_request_for_a_cosignature_comes_back_as_it_was_written(void **state)
{
	static const char *const wrong[] = { "", "old\n\n", "old 1", "old x\n\n", "old 01\n\n", "new 1\n\n",
		"old 1\nQUJD\n\n", "old 1\n" };
	struct merkle_proof proof = { .count = 3 };
	struct strbuf text = STRBUF_INIT;
	struct add_checkpoint request;

	(void)state;
	memset(proof.hashes, 9, sizeof(proof.hashes));
	add_checkpoint_write(7, &proof, "the checkpoint", 14, &text);
	assert_int_equal(add_checkpoint_parse(text.data, text.length, &request, NULL), STATUS_OK);
	assert_int_equal(request.old_size, 7);
	assert_int_equal(request.proof.count, 3);
	assert_memory_equal(request.proof.hashes, proof.hashes, 3 * SHA256_SIZE);
	assert_string_equal(request.checkpoint, "the checkpoint");
	strbuf_reset(&text);
	proof.count = 64;
	add_checkpoint_write(7, &proof, "", 0, &text);
	assert_int_equal(add_checkpoint_parse(text.data, text.length, &request, NULL), STATUS_INVALID);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(add_checkpoint_parse(wrong[i], strlen(wrong[i]), &request, NULL), STATUS_INVALID);
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(entries_are_read_by_index_and_range, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reader_goes_on_while_the_log_grows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(logs_of_every_shape_are_sound, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_altered_byte_is_found_in_its_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_missing_or_torn_file_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_altered_checkpoint_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_receipt_holds_and_no_altered_one, set_up, tear_down),
		cmocka_unit_test(a_request_for_a_cosignature_comes_back_as_it_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
