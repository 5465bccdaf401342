/* SPDX-License-Identifier: Apache-2.0 */
/* Notes, keys, checkpoints and cosignatures are those of other implementations, and no altered one is believed. */
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

#include "base/file.h"
#include "policy/note.h"

#define FOO_KEY "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
#define FOO_NOTE                                                                                                       \
	"This is an example message.\n\n— example.com/foo "                                                          \
	"Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
#define LOG "eu.locator.example/access-log"
#define LOG_KEY LOG "+f58761ef+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
#define LOG_3                                                                                                          \
	LOG "\n3\nX0+3q88S96m+G8aTARSKVYQCZ6WCD3sHTquS1nV9GxM=\n\n— " LOG                                              \
	    " 9Ydh71riKbFxOVXfZE4uIJaW/UqUxwdmko6aDoaEU7U1MYLrWsBaDI8qaZCVFlFJ0XYd0Ciq/bRN0ZZCQxQAV9ZG1gY=\n"
#define LOG_300_TEXT LOG "\n300\n5h5O1RlDu3WYC6o+7QjhNy0tT4QvYjzMuKAH9oybKUI=\n"
#define LOG_300                                                                                                        \
	LOG_300_TEXT "\n— " LOG                                                                                        \
		     " 9Ydh75th7QYCkuIBvMeyl9HVVmTiFJL9k2NlnxG9DW8zaBkn150yoN6F6eZqBInHULKmNMk3NjYUSXDv/eN/Xto6eg8=\n"
#define WITNESS "au.locator.example/witness"
#define WITNESS_KEY WITNESS "+aab869b5+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
#define WITNESS_LINE                                                                                                   \
	"— " WITNESS                                                                                                   \
	" qrhptQAAAABpVbkA+Q6aQzex8u0M6TEdX4ZHrsa5sYnB3h88rL9nQLOUQEXSkr62DQJYg6BNj9cadvFlZdvl/Rme9JIOS1Rt0FhDCg==\n"

static struct note_verifier verifier_of(const char *vkey)
{
	struct note_verifier verifier;
	struct strbuf back = STRBUF_INIT;

	assert_int_equal(note_verifier_parse(vkey, &verifier, NULL), STATUS_OK);
	note_verifier_write(&verifier, &back);
	assert_string_equal(back.data, vkey);
	strbuf_release(&back);
	return verifier;
}

static struct note_signer *signer_from(const char *name, uint8_t first)
{
	uint8_t seed[NOTE_SEED_SIZE];
	struct note_signer *signer;

	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(first + i);
	assert_int_equal(note_signer_create(name, seed, &signer), STATUS_OK);
	return signer;
}

static void notes_of_others_are_believed(void **state)
{
	static const char *const keys[] = { FOO_KEY,
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" };
	static const char *const notes[] = { FOO_NOTE,
		"If you think cryptography is the answer to your problem,\nthen you don't know what your problem "
		"is.\n\n— PeterNeumann "
		"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n" };
	struct note note;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct note_verifier verifier = verifier_of(keys[i]), other = verifier_of(keys[1 - i]);

		assert_int_equal(note_parse(notes[i], strlen(notes[i]), &note, NULL), STATUS_OK);
		assert_int_equal(note_verify(&note, &verifier, NULL), STATUS_OK);
		assert_int_equal(note_verify(&note, &other, NULL), STATUS_NOT_FOUND);
	}
}

static void a_checkpoint_is_signed_as_others_sign_it(void **state)
{
	struct note_signer *signer = signer_from(LOG, 0), *witness = signer_from(WITNESS, 32);
	struct note_verifier log = verifier_of(LOG_KEY), cosigner = verifier_of(WITNESS_KEY), same;
	struct strbuf text = STRBUF_INIT, signed_text = STRBUF_INIT;
	struct checkpoint checkpoint;
	uint64_t time_s;
	struct note note;

	(void)state;
	assert_int_equal(checkpoint_open(LOG_300, strlen(LOG_300), &log, &note, &checkpoint, NULL), STATUS_OK);
	assert_int_equal(checkpoint.size, 300);
	assert_string_equal(checkpoint.origin, LOG);
	assert_int_equal(checkpoint_sign(&checkpoint, signer, &signed_text), STATUS_OK);
	assert_string_equal(signed_text.data, LOG_300);
	assert_memory_equal(note_signer_verifier(signer)->id, log.id, sizeof(log.id));
	/* The cosignature, added as a further line, and both still hold. */
	assert_int_equal(note_cosign(witness, LOG_300_TEXT, strlen(LOG_300_TEXT), 1767225600, &signed_text), STATUS_OK);
	assert_string_equal(signed_text.data, LOG_300 WITNESS_LINE);
	assert_int_equal(
		checkpoint_open(signed_text.data, signed_text.length, &log, &note, &checkpoint, NULL), STATUS_OK);
	assert_int_equal(note_verify(&note, &cosigner, &time_s), STATUS_OK);
	assert_int_equal(time_s, 1767225600);
	note_verifier_as(note_signer_verifier(witness), NOTE_COSIGNATURE_V1, &same);
	assert_memory_equal(&same, &cosigner, sizeof(same));
	/* The witness signed no checkpoint of its own by that. */
	assert_int_equal(note_verify(&note, note_signer_verifier(witness), NULL), STATUS_NOT_FOUND);
	assert_int_equal(checkpoint_open(LOG_3, strlen(LOG_3), &log, &note, &checkpoint, NULL), STATUS_OK);
	assert_int_equal(checkpoint.size, 3);
	strbuf_release(&text);
	strbuf_release(&signed_text);
	note_signer_destroy(signer);
	note_signer_destroy(witness);
}

static void no_flipped_bit_is_believed(void **state)
{
	static const char whole[] = LOG_300 WITNESS_LINE;
	struct note_verifier log = verifier_of(LOG_KEY), cosigner = verifier_of(WITNESS_KEY);

	(void)state;
	for (size_t i = 0; i < sizeof(whole) - 1; i++) {
		char altered[sizeof(whole)];
		struct checkpoint checkpoint;
		struct note note;
		bool in_witness = i >= strlen(LOG_300);
		enum status status;

		memcpy(altered, whole, sizeof(whole));
		altered[i] ^= 1;
		status = checkpoint_open(altered, sizeof(whole) - 1, &log, &note, &checkpoint, NULL);
		if (!in_witness)
			assert_int_equal(status, STATUS_INVALID);
		else if (status == STATUS_OK)
			assert_int_not_equal(note_verify(&note, &cosigner, NULL), STATUS_OK);
	}
	for (size_t size = 0; size < strlen(LOG_300); size++) {
		struct checkpoint checkpoint;
		struct note note;

		assert_int_equal(checkpoint_open(whole, size, &log, &note, &checkpoint, NULL), STATUS_INVALID);
	}
}

static void what_is_no_note_is_refused(void **state)
{
	static const char *const notes[] = { "", "\n", "\n\n", "text\n", "text\n\n", "text\n\nno signature\n",
		"text\n\n— name\n", "text\n\n— name \n", "text\n\n—  QUJDREU=\n", "text\n\n— a+b QUJDREU=\n",
		"text\n\n— name QUJDRA==\n", "text\n\n— name QUJDREU\n", "text\n\n- name QUJDREU=\n",
		"text\t\n\n— name QUJDREU=\n", "te\xfft\n\n— name QUJDREU=\n",
		"text\n\n— name QUJDREU=", "\n\n— name QUJDREU=\n", "text\n— name QUJDREU=\n" };
	struct strbuf many = STRBUF_INIT, why = STRBUF_INIT;
	struct note note;

	(void)state;
	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
		strbuf_reset(&why);
		assert_int_equal(note_parse(notes[i], strlen(notes[i]), &note, &why), STATUS_INVALID);
		assert_true(why.length > 0);
	}
	strbuf_adds(&many, "text\n\n");
	for (int i = 0; i < NOTE_SIGNATURES_MAX; i++)
		strbuf_adds(&many, "— name QUJDREU=\n");
	assert_int_equal(note_parse(many.data, many.length, &note, &why), STATUS_OK);
	strbuf_adds(&many, "— name QUJDREU=\n");
	assert_int_equal(note_parse(many.data, many.length, &note, &why), STATUS_INVALID);
	/* The last empty line parts the text from the signatures. */
	assert_int_equal(note_parse("a\n\nb\n\n— n QUJDREU=\n", 21, &note, &why), STATUS_OK);
	assert_int_equal(note.text_size, 5);
	strbuf_release(&many);
	strbuf_release(&why);
}

static void what_is_no_key_is_refused(void **state)
{
	static const char *const keys[] = { "", "name", "name+530d903a",
		"+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
		"example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k" };

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct strbuf why = STRBUF_INIT;
		struct note_verifier verifier;

		assert_int_equal(note_verifier_parse(keys[i], &verifier, &why), STATUS_INVALID);
		assert_true(why.length > 0);
		strbuf_release(&why);
	}
}

static void what_is_no_checkpoint_is_refused(void **state)
{
#define ROOT "5h5O1RlDu3WYC6o+7QjhNy0tT4QvYjzMuKAH9oybKUI="
	static const char *const texts[] = { "", "\n", "a\n1\n", "a\n1\n" ROOT, "a\n01\n" ROOT "\n",
		"a\n-1\n" ROOT "\n", "a\n\n" ROOT "\n", "\n1\n" ROOT "\n", "a\n99999999999999999999\n" ROOT "\n",
		"a\n9000000000000000000\n" ROOT "\n", "a\n1\n" ROOT "\nextension\n", "a\n1\nQUJD\n",
		"a\n1\n" ROOT "\n\n" };
	struct checkpoint checkpoint;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(checkpoint_parse(texts[i], strlen(texts[i]), &checkpoint, NULL), STATUS_INVALID);
	assert_int_equal(checkpoint_parse("a\n0\n" ROOT "\n", 5 + strlen(ROOT), &checkpoint, NULL), STATUS_OK);
}

static void a_signing_key_is_made_once_and_kept_to_its_owner(void **state)
{
	char folder[] = "/tmp/homeward-note-XXXXXX";
	struct note_signer *first, *second;
	struct strbuf why = STRBUF_INIT;
	struct stat facts;
	char path[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/log.key", folder);
	assert_int_equal(note_signer_load(path, LOG, false, &first, &why), STATUS_NOT_FOUND);
	assert_int_equal(note_signer_load(path, LOG, true, &first, &why), STATUS_OK);
	assert_int_equal(note_signer_load(path, LOG, false, &second, &why), STATUS_OK);
	assert_memory_equal(note_signer_verifier(first), note_signer_verifier(second), sizeof(struct note_verifier));
	assert_int_equal(stat(path, &facts), 0);
	assert_int_equal(facts.st_mode & 0777, 0600);
	note_signer_destroy(first);
	note_signer_destroy(second);
	assert_int_equal(file_replace(path, "short", 5, 0600, &why), STATUS_OK);
	strbuf_reset(&why);
	assert_int_equal(note_signer_load(path, LOG, true, &first, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "a signing key is 32 bytes"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notes_of_others_are_believed),
		cmocka_unit_test(a_checkpoint_is_signed_as_others_sign_it),
		cmocka_unit_test(no_flipped_bit_is_believed),
		cmocka_unit_test(what_is_no_note_is_refused),
		cmocka_unit_test(what_is_no_key_is_refused),
		cmocka_unit_test(what_is_no_checkpoint_is_refused),
		cmocka_unit_test(a_signing_key_is_made_once_and_kept_to_its_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
