/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An auditor who has an id finds its entries; the log does not hold it.  The
 * keys are read as the daemon reads them, and nothing is made or changed.
 */
#include "cli/audit_subject.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/object_id.h"
#include "policy/policy.h"

static enum status read_object(
	const struct settings *settings, const char *subject, struct object_id *object_out, struct strbuf *why)
{
	char type[OBJECT_TYPE_SIZE] = "";
	const char *slash = strchr(subject, '/');
	const struct settings_type *known;

	if (slash == NULL || (size_t)(slash - subject) >= sizeof(type)) {
		strbuf_addf(why, "a subject is TYPE/ID, as token/04A2B3C4D5E6F7, not \"%s\"", subject);
		return STATUS_INVALID;
	}
	memcpy(type, subject, (size_t)(slash - subject));
	known = settings_type(settings, type);
	if (known == NULL) {
		strbuf_addf(why, "the settings have no type \"%s\"", type);
		return STATUS_INVALID;
	}
	return object_id_make(type, slash + 1, strlen(slash + 1), known->id_format, object_out, why);
}

static bool read_hex(const char *text, uint8_t *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);

		if (high == NULL || low == NULL)
			return false;
		bytes[i] = (uint8_t)((high - digits) << 4 | (low - digits));
	}
	return true;
}

/* Under its own key, which lies wrapped in the database until it is erased. */
static enum status each_own(struct database_session *session, struct keyring *keyring, const struct object_id *object,
	const char *ref, audit_each_subject *each, void *arg, struct strbuf *why)
{
	uint8_t wrapped[KEYRING_WRAPPED_SIZE], key[KEYRING_KEY_SIZE];
	char subject[ENTRY_SUBJECT_SIZE];
	PGresult *rows = NULL;
	enum status status = database_session_query(session,
		"SELECT encode(wrapped, 'hex') FROM homeward.subject_keys WHERE ref = $1", &ref, 1,
		COMMAND_STATEMENT_MS, &rows, why);

	if (status == STATUS_OK && PQntuples(rows) == 1) {
		if (read_hex(PQgetvalue(rows, 0, 0), wrapped, sizeof(wrapped)) &&
			keyring_unwrap(keyring, ref, wrapped, sizeof(wrapped), key)) {
			pseudonym_write(key, object, subject);
			OPENSSL_cleanse(key, sizeof(key));
			each(arg, subject, "its own");
		} else {
			strbuf_adds(why, "the subject's key is not wrapped by a master key of this region");
			status = STATUS_INVALID;
		}
	}
	PQclear(rows);
	return status;
}

static void each_epoch(struct keyring *keyring, const struct object_id *object, audit_each_subject *each, void *arg)
{
	char subject[ENTRY_SUBJECT_SIZE], name[32];
	uint8_t key[KEYRING_KEY_SIZE];
	uint32_t epoch;

	for (size_t i = 0; keyring_epoch_at(keyring, i, &epoch, key); i++) {
		pseudonym_write_epoch(key, epoch, object, subject);
		OPENSSL_cleanse(key, sizeof(key));
		snprintf(name, sizeof(name), "epoch %u", epoch);
		each(arg, subject, name);
	}
}

enum status audit_subject_each(const struct settings *settings, struct database_session *session, const char *subject,
	audit_each_subject *each, void *arg, struct strbuf *why)
{
	char ref[SUBJECT_HASH_SIZE];
	struct keyring *keyring = NULL;
	struct object_id object;
	uint8_t key[32];
	enum status status = read_object(settings, subject, &object, why);

	if (status == STATUS_OK && access(settings->access_log.key_file, R_OK) != 0) {
		strbuf_addf(why, "%s cannot be read: %s", settings->access_log.key_file, strerror(errno));
		status = STATUS_NOT_FOUND;
	}
	if (status == STATUS_OK)
		status = access_key_load(settings->access_log.key_file, key, why);
	if (status == STATUS_OK) {
		access_log_subject(key, &object, ref);
		OPENSSL_cleanse(key, sizeof(key));
		status = keyring_read(settings->access_log.subject_key_file, &keyring, why);
	}
	if (status == STATUS_OK)
		status = each_own(session, keyring, &object, ref, each, arg, why);
	if (status == STATUS_OK) {
		each_epoch(keyring, &object, each, arg);
		each(arg, ref, "region");
	}
	keyring_destroy(keyring);
	return status;
}

static void add(void *arg, const char *pseudonym, const char *key)
{
	struct strbuf *array = arg;

	(void)key;
	database_array_add(array, pseudonym, strlen(pseudonym), array->length == 1);
}

enum status audit_subject_array(const struct settings *settings, struct database_session *session, const char *subject,
	struct strbuf *array, struct strbuf *why)
{
	enum status status;

	strbuf_addc(array, '{');
	status = audit_subject_each(settings, session, subject, add, array, why);
	strbuf_addc(array, '}');
	return status == STATUS_OK && !strbuf_ok(array) ? STATUS_NO_MEMORY : status;
}
