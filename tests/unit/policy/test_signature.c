/* SPDX-License-Identifier: Apache-2.0 */
/* Which policy files are believed: by signature, and never an older one again. */
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
#include "policy/policy.h"

#define POLICY                                                                                                         \
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":%d,\"not_after\":\"2030-01-01T00:00:00Z\","     \
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\"],\"personal\":true}},\"rules\":[{"             \
	"\"id\":\"%s\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"fields\":[\"uid\"]}]}\n"

struct place {
	char folder[64];
	char policy[96], signature[96], accepted[96], key[96], other_key[96];
	struct strbuf keys; /* the first key's */
};

static void write_policy(const struct place *place, int version, const char *rule)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text, POLICY, version, rule);
	assert_int_equal(file_replace(place->policy, text.data, text.length, 0644, NULL), STATUS_OK);
	strbuf_release(&text);
}

static int make_place(void **state)
{
	static struct place place;
	struct strbuf why = STRBUF_INIT;

	memset(&place, 0, sizeof(place));
	snprintf(place.folder, sizeof(place.folder), "/tmp/homeward-signature-XXXXXX");
	assert_non_null(mkdtemp(place.folder));
	snprintf(place.policy, sizeof(place.policy), "%s/policy.json", place.folder);
	snprintf(place.signature, sizeof(place.signature), "%s/policy.json.sig", place.folder);
	snprintf(place.accepted, sizeof(place.accepted), "%s/policy.accepted", place.folder);
	snprintf(place.key, sizeof(place.key), "%s/a.key", place.folder);
	snprintf(place.other_key, sizeof(place.other_key), "%s/b.key", place.folder);
	strbuf_init(&place.keys);
	assert_int_equal(policy_key_make(place.key, "eu-office", &place.keys, &why), STATUS_OK);
	strbuf_release(&why);
	write_policy(&place, 3, "A");
	*state = &place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;
	static const char *const names[] = { "policy.json", "policy.json.sig", "policy.accepted", "a.key", "a.key.pub",
		"b.key", "b.key.pub" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", place->folder, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(place->folder), 0);
	strbuf_release(&place->keys);
	return 0;
}

static void sign(const struct place *place, const char *key)
{
	struct strbuf why = STRBUF_INIT;
	struct policy_load load;

	if (policy_sign(place->policy, key, &load, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
}

/* Loads, and accepts what was loaded, as a start or a reload does. */
static enum status load_with(const struct place *place, const char *keys, const char *says)
{
	struct strbuf why = STRBUF_INIT;
	struct policy_load load;
	struct policy *policy;
	enum status status = policy_load(place->policy, keys, place->accepted, &policy, &load, &why);

	assert_int_equal(status == STATUS_OK, policy != NULL);
	assert_int_equal(strlen(load.hash), 64);
	if (status == STATUS_OK && keys[0] != '\0') {
		assert_string_equal(load.signer, "eu-office");
		assert_int_equal(policy_accept(place->accepted, &load, &why), STATUS_OK);
	}
	if (says != NULL && strstr(why.data, says) == NULL)
		fail_msg("not \"%s\" but: %s", says, why.data);
	strbuf_release(&why);
	policy_release_reference(policy);
	return status;
}

static void without_keys_nothing_is_asked_of_a_file(void **state)
{
	const struct place *place = *state;

	assert_int_equal(load_with(place, "", NULL), STATUS_OK);
	write_policy(place, 2, "A");
	assert_int_equal(load_with(place, "", NULL), STATUS_OK);
}

static void a_signed_file_is_believed_and_an_unsigned_one_is_not(void **state)
{
	const struct place *place = *state;

	assert_int_equal(load_with(place, place->keys.data, "the policy is not signed"), STATUS_FORBIDDEN);
	sign(place, place->key);
	assert_int_equal(load_with(place, place->keys.data, NULL), STATUS_OK);
}

static void a_changed_byte_ends_the_signature(void **state)
{
	const struct place *place = *state;

	sign(place, place->key);
	write_policy(place, 3, "B");
	assert_int_equal(load_with(place, place->keys.data, "signs something else"), STATUS_FORBIDDEN);
}

static void a_forged_signature_is_refused(void **state)
{
	const struct place *place = *state;
	struct strbuf content = STRBUF_INIT;
	char *base64;

	sign(place, place->key);
	assert_int_equal(file_read(place->signature, 4096, &content, NULL), STATUS_OK);
	base64 = strstr(content.data, "eu-office ");
	assert_non_null(base64);
	base64 += strlen("eu-office ") + 40;
	*base64 = *base64 == 'A' ? 'B' : 'A';
	assert_int_equal(file_replace(place->signature, content.data, content.length, 0644, NULL), STATUS_OK);
	assert_int_equal(load_with(place, place->keys.data, "a signature does not verify"), STATUS_FORBIDDEN);
	strbuf_release(&content);
}

static void another_key_is_not_believed_but_does_no_harm_beside(void **state)
{
	const struct place *place = *state;
	struct strbuf vkey = STRBUF_INIT, why = STRBUF_INIT;

	assert_int_equal(policy_key_make(place->other_key, "someone", &vkey, &why), STATUS_OK);
	sign(place, place->other_key);
	assert_int_equal(load_with(place, place->keys.data, "not signed by any key"), STATUS_FORBIDDEN);
	sign(place, place->key);
	assert_int_equal(load_with(place, place->keys.data, NULL), STATUS_OK);
	strbuf_release(&why);
	strbuf_release(&vkey);
}

static void versions_only_rise(void **state)
{
	const struct place *place = *state;

	sign(place, place->key);
	assert_int_equal(load_with(place, place->keys.data, NULL), STATUS_OK);
	assert_int_equal(load_with(place, place->keys.data, NULL), STATUS_OK);

	write_policy(place, 3, "B");
	sign(place, place->key);
	assert_int_equal(
		load_with(place, place->keys.data, "another content was accepted as version 3"), STATUS_CONFLICT);

	write_policy(place, 2, "A");
	sign(place, place->key);
	assert_int_equal(load_with(place, place->keys.data, "version 2 is older than 3"), STATUS_CONFLICT);

	write_policy(place, 4, "B");
	sign(place, place->key);
	assert_int_equal(load_with(place, place->keys.data, NULL), STATUS_OK);
}

static void a_spoilt_memory_refuses_rather_than_forgets(void **state)
{
	const struct place *place = *state;

	sign(place, place->key);
	assert_int_equal(file_replace(place->accepted, "what?\n", 6, 0600, NULL), STATUS_OK);
	assert_int_equal(load_with(place, place->keys.data, "does not say which"), STATUS_INVALID);
}

static void a_setting_that_is_no_key_is_told_of(void **state)
{
	const struct place *place = *state;

	sign(place, place->key);
	assert_int_equal(load_with(place, "nonsense", "\"nonsense\" is no key"), STATUS_INVALID);
}

static void a_key_is_not_made_twice(void **state)
{
	const struct place *place = *state;
	struct strbuf vkey = STRBUF_INIT, why = STRBUF_INIT;
	struct stat there;

	assert_int_equal(policy_key_make(place->key, "eu-office", &vkey, &why), STATUS_CONFLICT);
	assert_int_equal(stat(place->key, &there), 0);
	assert_int_equal(there.st_mode & 0777, 0600);
	assert_int_equal(policy_key_make(place->other_key, "no name", &vkey, &why), STATUS_INVALID);
	strbuf_release(&vkey);
	strbuf_release(&why);
}

static void a_bad_policy_is_not_signed(void **state)
{
	const struct place *place = *state;
	struct strbuf why = STRBUF_INIT;
	struct policy_load load;

	assert_int_equal(file_replace(place->policy, "{}", 2, 0644, NULL), STATUS_OK);
	assert_int_equal(policy_sign(place->policy, place->key, &load, &why), STATUS_INVALID);
	assert_int_not_equal(access(place->signature, F_OK), 0);
	strbuf_release(&why);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_keys_nothing_is_asked_of_a_file),
		TEST(a_signed_file_is_believed_and_an_unsigned_one_is_not),
		TEST(a_changed_byte_ends_the_signature),
		TEST(a_forged_signature_is_refused),
		TEST(another_key_is_not_believed_but_does_no_harm_beside),
		TEST(versions_only_rise),
		TEST(a_spoilt_memory_refuses_rather_than_forgets),
		TEST(a_setting_that_is_no_key_is_told_of),
		TEST(a_key_is_not_made_twice),
		TEST(a_bad_policy_is_not_signed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
