/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyring file is JSON, replaced whole and synced before a new key is used:
 *
 *   {"masters":[{"id":1,"key":"<64 hex>"}],
 *    "epochs":[{"epoch":1,"from":"2026-01-01T00:00:00.000000Z","key":"<64 hex>"}]}
 *
 * Keys are wrapped with AES-256-GCM under a random nonce, with the row's name as
 * associated data, so that a wrapped key moved to another row does not open.
 *
 * Whoever changes keys holds `writing`, copies them, writes the file, and then puts
 * the copy in their place under `lock`, so that readers never wait for the disk.
 */
#include "policy/keyring.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/must.h"
#include "base/random.h"

#define FILE_BYTES_MAX 65536
#define WRAP_VERSION 1
#define NONCE_SIZE 12
#define TAG_SIZE 16
#define NONCE_AT 5
#define TEXT_AT (NONCE_AT + NONCE_SIZE)

struct master {
	uint32_t id;
	uint8_t key[KEYRING_KEY_SIZE];
};

struct epoch {
	uint32_t number;
	int64_t from_us;
	uint8_t key[KEYRING_KEY_SIZE];
};

struct keys {
	struct master masters[KEYRING_MASTERS_MAX];
	size_t master_count;
	struct epoch epochs[KEYRING_EPOCHS_MAX]; /* oldest first */
	size_t epoch_count;
};

struct keyring {
	char *path;
	const struct clock_source *clock;
	int64_t epoch_us, keep_us;
	pthread_mutex_t writing;
	pthread_mutex_t lock; /* of keys */
	struct keys keys;
	atomic_uint_fast64_t generation;
};

/* ---- the file ---- */

static bool read_key(const json_t *object, uint8_t key[KEYRING_KEY_SIZE])
{
	const char *text = json_get_string(object, "key");

	if (text == NULL || strlen(text) != 2 * KEYRING_KEY_SIZE)
		return false;
	for (size_t i = 0; i < KEYRING_KEY_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool read_number(const json_t *object, const char *name, uint32_t *number)
{
	int64_t value;

	if (!json_get_integer(object, name, &value) || value < 1 || value > 999999999)
		return false;
	*number = (uint32_t)value;
	return true;
}

static bool read_keys(const json_t *document, struct keys *keys)
{
	json_t *masters = json_object_get(document, "masters"), *epochs = json_object_get(document, "epochs");

	if (!json_is_array(masters) || !json_is_array(epochs) || json_array_size(masters) < 1 ||
		json_array_size(masters) > KEYRING_MASTERS_MAX || json_array_size(epochs) < 1 ||
		json_array_size(epochs) > KEYRING_EPOCHS_MAX)
		return false;
	for (; keys->master_count < json_array_size(masters); keys->master_count++) {
		struct master *master = &keys->masters[keys->master_count];
		const json_t *object = json_array_get(masters, keys->master_count);

		if (!read_number(object, "id", &master->id) || !read_key(object, master->key))
			return false;
	}
	for (; keys->epoch_count < json_array_size(epochs); keys->epoch_count++) {
		struct epoch *epoch = &keys->epochs[keys->epoch_count];
		const json_t *object = json_array_get(epochs, keys->epoch_count);
		const char *from = json_get_string(object, "from");

		if (!read_number(object, "epoch", &epoch->number) || !read_key(object, epoch->key) || from == NULL ||
			clock_parse(from, &epoch->from_us) != STATUS_OK ||
			(keys->epoch_count > 0 && epoch[-1].number >= epoch->number))
			return false;
	}
	return true;
}

static enum status read_file(const char *path, struct keys *keys, struct strbuf *why)
{
	struct strbuf content = STRBUF_INIT;
	json_t *document = NULL;
	enum status status;

	content.max = FILE_BYTES_MAX;
	memset(keys, 0, sizeof(*keys));
	status = file_read_secret(path, &content, why);
	if (status != STATUS_OK)
		goto out;
	status = json_parse(content.data, content.length, &document, NULL);
	if (status != STATUS_OK || !read_keys(document, keys)) {
		strbuf_addf(why, "%s: no file of subject keys", path);
		status = STATUS_INVALID;
	}
out:
	json_decref(document);
	strbuf_wipe(&content);
	return status;
}

static enum status write_file(const char *path, const struct keys *keys, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	char from[CLOCK_TEXT_SIZE];
	enum status status = STATUS_NO_MEMORY;

	/* Reserved whole, so that no half of it is left behind in freed memory. */
	(void)strbuf_reserve(&text, 256 + 192 * (keys->master_count + keys->epoch_count));
	strbuf_adds(&text, "{\"masters\":[");
	for (size_t i = 0; i < keys->master_count; i++) {
		strbuf_addf(&text, "%s{\"id\":%u,\"key\":\"", i > 0 ? "," : "", keys->masters[i].id);
		strbuf_add_hex(&text, keys->masters[i].key, KEYRING_KEY_SIZE);
		strbuf_adds(&text, "\"}");
	}
	strbuf_adds(&text, "],\n \"epochs\":[");
	for (size_t i = 0; i < keys->epoch_count; i++) {
		clock_format(keys->epochs[i].from_us, from);
		strbuf_addf(&text, "%s{\"epoch\":%u,\"from\":\"%s\",\"key\":\"", i > 0 ? ",\n  " : "",
			keys->epochs[i].number, from);
		strbuf_add_hex(&text, keys->epochs[i].key, KEYRING_KEY_SIZE);
		strbuf_adds(&text, "\"}");
	}
	strbuf_adds(&text, "]}\n");
	if (strbuf_ok(&text))
		status = file_replace(path, text.data, text.length, 0600, why);
	strbuf_wipe(&text);
	return status;
}

/* ---- epochs ---- */

static void add_epoch(struct keys *keys, int64_t now_us)
{
	struct epoch *epoch = &keys->epochs[keys->epoch_count];

	epoch->number = keys->epoch_count > 0 ? epoch[-1].number + 1 : 1;
	epoch->from_us = now_us;
	random_fill(random_system(), epoch->key, sizeof(epoch->key));
	keys->epoch_count++;
}

static void drop_oldest(struct keys *keys)
{
	memmove(keys->epochs, keys->epochs + 1, (keys->epoch_count - 1) * sizeof(keys->epochs[0]));
	OPENSSL_cleanse(&keys->epochs[--keys->epoch_count], sizeof(keys->epochs[0]));
}

/* True when something changed. */
static bool turn(struct keys *keys, int64_t now_us, int64_t epoch_us, int64_t keep_us)
{
	bool has_changed = false;

	/* An epoch ended when the next began. */
	while (keys->epoch_count > 1 && now_us - keys->epochs[1].from_us >= keep_us) {
		drop_oldest(keys);
		has_changed = true;
	}
	if (keys->epoch_count == 0 || now_us - keys->epochs[keys->epoch_count - 1].from_us >= epoch_us) {
		if (keys->epoch_count == KEYRING_EPOCHS_MAX)
			drop_oldest(keys);
		add_epoch(keys, now_us);
		has_changed = true;
	}
	return has_changed;
}

/* A copy to be changed; end_change() has to follow. */
static void begin_change(struct keyring *keyring, struct keys *keys)
{
	pthread_mutex_lock(&keyring->writing);
	pthread_mutex_lock(&keyring->lock);
	*keys = keyring->keys;
	pthread_mutex_unlock(&keyring->lock);
}

/* The file first, so that no key is used that a restart would not find. */
static enum status end_change(struct keyring *keyring, struct keys *keys, bool has_changed, struct strbuf *why)
{
	enum status status = has_changed ? write_file(keyring->path, keys, why) : STATUS_OK;

	if (has_changed && status == STATUS_OK) {
		pthread_mutex_lock(&keyring->lock);
		keyring->keys = *keys;
		pthread_mutex_unlock(&keyring->lock);
	}
	pthread_mutex_unlock(&keyring->writing);
	OPENSSL_cleanse(keys, sizeof(*keys));
	return status;
}

enum status keyring_tend(struct keyring *keyring, struct strbuf *why)
{
	struct keys keys;
	enum status status;
	bool has_changed;
	uint32_t epoch;

	begin_change(keyring, &keys);
	has_changed = turn(&keys, clock_wall_us(keyring->clock), keyring->epoch_us, keyring->keep_us);
	epoch = keys.epochs[keys.epoch_count - 1].number;
	status = end_change(keyring, &keys, has_changed, why);
	if (has_changed && status == STATUS_OK) {
		keyring_subjects_changed(keyring);
		LOG_INFO("subject_epoch", "epoch", log_number(epoch));
	}
	return status;
}

void keyring_epoch(struct keyring *keyring, uint32_t *epoch_out, uint8_t key_out[KEYRING_KEY_SIZE])
{
	must(keyring_epoch_at(keyring, 0, epoch_out, key_out));
}

bool keyring_epoch_at(struct keyring *keyring, size_t n, uint32_t *epoch_out, uint8_t key_out[KEYRING_KEY_SIZE])
{
	bool is_there;

	pthread_mutex_lock(&keyring->lock);
	is_there = n < keyring->keys.epoch_count;
	if (is_there) {
		const struct epoch *epoch = &keyring->keys.epochs[keyring->keys.epoch_count - 1 - n];

		*epoch_out = epoch->number;
		memcpy(key_out, epoch->key, KEYRING_KEY_SIZE);
	}
	pthread_mutex_unlock(&keyring->lock);
	return is_there;
}

uint64_t keyring_generation(const struct keyring *keyring)
{
	return atomic_load_explicit(&keyring->generation, memory_order_acquire);
}

void keyring_subjects_changed(struct keyring *keyring)
{
	atomic_fetch_add_explicit(&keyring->generation, 1, memory_order_acq_rel);
}

/* ---- master keys ---- */

size_t keyring_masters(struct keyring *keyring, uint32_t *first_out)
{
	size_t count;

	pthread_mutex_lock(&keyring->lock);
	*first_out = keyring->keys.masters[0].id;
	count = keyring->keys.master_count;
	pthread_mutex_unlock(&keyring->lock);
	return count;
}

enum status keyring_add_master(struct keyring *keyring, struct strbuf *why)
{
	struct keys keys;
	bool is_free;
	enum status status;

	begin_change(keyring, &keys);
	is_free = keys.master_count == 1;
	if (is_free) {
		keys.masters[1] = keys.masters[0];
		keys.masters[0].id = keys.masters[1].id + 1;
		random_fill(random_system(), keys.masters[0].key, KEYRING_KEY_SIZE);
		keys.master_count = 2;
	}
	status = end_change(keyring, &keys, is_free, why);
	if (is_free || status != STATUS_OK)
		return status;
	strbuf_adds(why, "an earlier master key is still being replaced");
	return STATUS_CONFLICT;
}

enum status keyring_drop_masters(struct keyring *keyring, struct strbuf *why)
{
	struct keys keys;
	bool has_changed;

	begin_change(keyring, &keys);
	has_changed = keys.master_count > 1;
	OPENSSL_cleanse(&keys.masters[1], (keys.master_count - 1) * sizeof(keys.masters[0]));
	keys.master_count = 1;
	return end_change(keyring, &keys, has_changed, why);
}

/* The master that wraps, or the one of this number; false when there is none. */
static bool copy_master(struct keyring *keyring, const uint32_t *id, struct master *master_out)
{
	bool is_there = false;

	pthread_mutex_lock(&keyring->lock);
	for (size_t i = 0; i < keyring->keys.master_count && !is_there; i++) {
		is_there = id == NULL || keyring->keys.masters[i].id == *id;
		*master_out = keyring->keys.masters[i];
	}
	pthread_mutex_unlock(&keyring->lock);
	return is_there;
}

/* ---- wrapping ---- */

static bool seal(EVP_CIPHER_CTX *context, const struct master *master, const char *ref, const void *text, size_t size,
	uint8_t *sealed)
{
	uint8_t *tag = sealed + TEXT_AT + size;
	int length;

	return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, master->key, sealed + NONCE_AT) == 1 &&
	       EVP_EncryptUpdate(context, NULL, &length, (const uint8_t *)ref, (int)strlen(ref)) == 1 &&
	       EVP_EncryptUpdate(context, sealed + TEXT_AT, &length, text, (int)size) == 1 &&
	       EVP_EncryptFinal_ex(context, tag, &length) == 1 &&
	       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) == 1;
}

bool keyring_seal(struct keyring *keyring, const char *ref, const void *text, size_t size, uint8_t *sealed_out)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	struct master master;
	bool is_done;

	must(copy_master(keyring, NULL, &master));
	sealed_out[0] = WRAP_VERSION;
	for (int i = 0; i < 4; i++)
		sealed_out[1 + i] = (uint8_t)(master.id >> (24 - 8 * i));
	random_fill(random_system(), sealed_out + NONCE_AT, NONCE_SIZE);
	is_done = context != NULL && seal(context, &master, ref, text, size, sealed_out);
	EVP_CIPHER_CTX_free(context);
	OPENSSL_cleanse(&master, sizeof(master));
	return is_done;
}

static bool unseal(EVP_CIPHER_CTX *context, const struct master *master, const char *ref, const uint8_t *sealed,
	size_t size, uint8_t *text)
{
	uint8_t tag[TAG_SIZE];
	int length;

	memcpy(tag, sealed + TEXT_AT + size, TAG_SIZE);
	return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, master->key, sealed + NONCE_AT) == 1 &&
	       EVP_DecryptUpdate(context, NULL, &length, (const uint8_t *)ref, (int)strlen(ref)) == 1 &&
	       EVP_DecryptUpdate(context, text, &length, sealed + TEXT_AT, (int)size) == 1 &&
	       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
	       EVP_DecryptFinal_ex(context, text + length, &length) == 1;
}

bool keyring_unseal(struct keyring *keyring, const char *ref, const uint8_t *sealed, size_t size, uint8_t *text_out)
{
	EVP_CIPHER_CTX *context = NULL;
	struct master master = { .id = 0 };
	bool is_open = false;
	uint32_t id = 0;

	if (size < KEYRING_SEALED_EXTRA || sealed[0] != WRAP_VERSION)
		return false;
	size -= KEYRING_SEALED_EXTRA;
	for (int i = 0; i < 4; i++)
		id = id << 8 | sealed[1 + i];
	context = EVP_CIPHER_CTX_new();
	is_open = context != NULL && copy_master(keyring, &id, &master) &&
		  unseal(context, &master, ref, sealed, size, text_out);
	EVP_CIPHER_CTX_free(context);
	OPENSSL_cleanse(&master, sizeof(master));
	if (!is_open)
		OPENSSL_cleanse(text_out, size);
	return is_open;
}

bool keyring_wrap(struct keyring *keyring, const char *ref, const uint8_t key[KEYRING_KEY_SIZE],
	uint8_t wrapped_out[KEYRING_WRAPPED_SIZE])
{
	return keyring_seal(keyring, ref, key, KEYRING_KEY_SIZE, wrapped_out);
}

bool keyring_unwrap(struct keyring *keyring, const char *ref, const uint8_t *wrapped, size_t size,
	uint8_t key_out[KEYRING_KEY_SIZE])
{
	memset(key_out, 0, KEYRING_KEY_SIZE);
	return size == KEYRING_WRAPPED_SIZE && keyring_unseal(keyring, ref, wrapped, size, key_out);
}

/* ---- life ---- */

static struct keyring *make(const char *path, const struct clock_source *clock)
{
	struct keyring *keyring = calloc(1, sizeof(*keyring));

	if (keyring == NULL)
		return NULL;
	must(pthread_mutex_init(&keyring->writing, NULL) == 0);
	must(pthread_mutex_init(&keyring->lock, NULL) == 0);
	keyring->clock = clock;
	keyring->path = strdup(path);
	if (keyring->path != NULL)
		return keyring;
	keyring_destroy(keyring);
	return NULL;
}

enum status keyring_read(const char *path, struct keyring **keyring_out, struct strbuf *why)
{
	struct keyring *keyring = make(path, clock_system());
	enum status status = STATUS_NO_MEMORY;

	*keyring_out = NULL;
	if (keyring != NULL)
		status = read_file(path, &keyring->keys, why);
	if (status == STATUS_OK)
		*keyring_out = keyring;
	else
		keyring_destroy(keyring);
	return status;
}

static enum status begin(struct keyring *keyring, struct strbuf *why)
{
	enum status status = read_file(keyring->path, &keyring->keys, why);

	if (status != STATUS_NOT_FOUND)
		return status;
	strbuf_reset(why);
	keyring->keys.masters[0].id = 1;
	random_fill(random_system(), keyring->keys.masters[0].key, KEYRING_KEY_SIZE);
	keyring->keys.master_count = 1;
	add_epoch(&keyring->keys, clock_wall_us(keyring->clock));
	return write_file(keyring->path, &keyring->keys, why);
}

enum status keyring_open(const struct keyring_settings *settings, const struct clock_source *clock,
	struct keyring **keyring_out, struct strbuf *why)
{
	struct keyring *keyring = make(settings->path, clock);
	enum status status = STATUS_NO_MEMORY;

	*keyring_out = NULL;
	must(settings->epoch_s > 0 && settings->keep_s >= 0);
	if (keyring == NULL)
		return status;
	keyring->epoch_us = settings->epoch_s * 1000000;
	keyring->keep_us = settings->keep_s * 1000000;
	status = begin(keyring, why);
	if (status == STATUS_OK)
		status = keyring_tend(keyring, why);
	if (status == STATUS_OK)
		*keyring_out = keyring;
	else
		keyring_destroy(keyring);
	return status;
}

void keyring_destroy(struct keyring *keyring)
{
	if (keyring == NULL)
		return;
	pthread_mutex_destroy(&keyring->writing);
	pthread_mutex_destroy(&keyring->lock);
	OPENSSL_cleanse(&keyring->keys, sizeof(keyring->keys));
	free(keyring->path);
	free(keyring);
}
