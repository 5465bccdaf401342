/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers snapshot.  Sorted by token hash, so that an unknown token costs one
 * SHA-256 and a binary search however many callers there are.
 *
 * A known token is remembered in a slot of the snapshot, since SHA-256 would be
 * a noticeable part of a cache hit.  A slot is filled once and lives as long as
 * the snapshot, so readers need no lock; two tokens that share a slot only cost
 * the second one its hash each time.  The comparison is in constant time.
 */
#include "locator/callers.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/object_id.h"

#define CALLERS_MAX 10000
#define CALLER_PURPOSES_MAX 64
#define TOKEN_BYTES_MAX 512
#define SLOTS 256

struct known_token {
	const struct caller *caller;
	size_t length;
	char token[];
};

struct callers {
	atomic_int references;
	uint64_t seed;
	struct caller *callers;
	size_t count;
	_Atomic(struct known_token *) slots[SLOTS];
};

static bool parse_hash(const char *text, uint8_t hash[SHA256_SIZE])
{
	if (!text || strlen(text) != 2 * SHA256_SIZE)
		return false;
	for (size_t i = 0; i < SHA256_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		hash[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool parse_purposes(const json_t *list, struct caller *caller)
{
	size_t count = json_array_size(list);
	if (!json_is_array(list) || count > CALLER_PURPOSES_MAX)
		return false;
	caller->purposes = calloc(count + 1, sizeof(*caller->purposes));
	if (!caller->purposes)
		return false;
	for (size_t i = 0; i < count; i++) {
		const char *purpose = json_string_value(json_array_get(list, i));
		if (!purpose)
			return false;
		if (!strcmp(purpose, "*")) {
			caller->may_name_any_purpose = true;
			continue;
		}
		if (!purpose_is_valid(purpose))
			return false;
		memcpy(caller->purposes[caller->purpose_count++], purpose, strlen(purpose) + 1);
	}
	return true;
}

static bool parse_caller(const json_t *value, struct caller *caller)
{
	const char *name = json_get_string(value, "name");
	if (!name || !name[0] || strlen(name) >= CALLER_SIZE)
		return false;
	memcpy(caller->name, name, strlen(name) + 1);
	return parse_hash(json_get_string(value, "token_hash"), caller->token_hash) &&
	       parse_purposes(json_object_get(value, "purposes"), caller) &&
	       json_get_boolean(value, "may_write", &caller->may_write);
}

static int compare_hash(const void *a, const void *b)
{
	return memcmp(((const struct caller *)a)->token_hash, ((const struct caller *)b)->token_hash, SHA256_SIZE);
}

enum status callers_parse(
	const char *text, size_t size, uint64_t seed, struct callers **callers_out, struct strbuf *why)
{
	*callers_out = NULL;
	json_t *list = NULL;
	struct callers *callers = NULL;
	enum status status = json_parse(text, size, &list, why);
	if (status)
		return status;
	status = STATUS_INVALID;
	size_t count = json_array_size(list);
	if (!json_is_array(list) || count > CALLERS_MAX) {
		strbuf_addf(why, "not a list of at most %d callers", CALLERS_MAX);
		goto out;
	}
	callers = calloc(1, sizeof(*callers));
	struct caller *all = calloc(count + 1, sizeof(*all));
	if (!callers || !all) {
		free(callers);
		free(all);
		callers = NULL;
		status = STATUS_NO_MEMORY;
		goto out;
	}
	atomic_init(&callers->references, 1);
	callers->seed = seed;
	callers->callers = all;
	for (size_t i = 0; i < count; i++) {
		callers->count++;
		if (!parse_caller(json_array_get(list, i), &all[i])) {
			strbuf_addf(why, "caller %zu: a member is missing or malformed", i);
			goto out;
		}
	}
	qsort(all, count, sizeof(*all), compare_hash);
	*callers_out = callers;
	callers = NULL;
	status = STATUS_OK;
out:
	callers_release(callers);
	json_decref(list);
	return status;
}

struct callers *callers_acquire(struct callers *callers)
{
	atomic_fetch_add_explicit(&callers->references, 1, memory_order_relaxed);
	return callers;
}

void callers_release(struct callers *callers)
{
	if (!callers || atomic_fetch_sub_explicit(&callers->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		free(atomic_load_explicit(&callers->slots[i], memory_order_relaxed));
	for (size_t i = 0; i < callers->count; i++)
		free(callers->callers[i].purposes);
	free(callers->callers);
	free(callers);
}

size_t callers_count(const struct callers *callers)
{
	return callers->count;
}

static void remember(_Atomic(struct known_token *) *slot, const struct caller *caller, const char *token, size_t length)
{
	struct known_token *none = NULL, *known = malloc(sizeof(*known) + length);
	if (!known)
		return;
	known->caller = caller;
	known->length = length;
	memcpy(known->token, token, length);
	if (!atomic_compare_exchange_strong(slot, &none, known))
		free(known);
}

const struct caller *callers_identify(struct callers *callers, const char *authorization)
{
	if (!callers || !authorization || strncasecmp(authorization, "Bearer ", 7))
		return NULL;
	const char *token = authorization + 7;
	token += strspn(token, " ");
	size_t length = strlen(token);
	if (!length || length > TOKEN_BYTES_MAX)
		return NULL;
	_Atomic(struct known_token *) *slot = &callers->slots[hash_key64(token, length, callers->seed) & (SLOTS - 1)];
	const struct known_token *known = atomic_load_explicit(slot, memory_order_acquire);
	if (known && known->length == length && hash_equal(known->token, token, length))
		return known->caller;
	struct caller wanted = { 0 };
	hash_sha256(token, length, wanted.token_hash);
	const struct caller *caller = bsearch(&wanted, callers->callers, callers->count, sizeof(wanted), compare_hash);
	if (caller && !known)
		remember(slot, caller, token, length);
	return caller;
}

bool caller_may_name(const struct caller *caller, const char *purpose)
{
	bool may = caller->may_name_any_purpose;
	for (size_t i = 0; i < caller->purpose_count && !may; i++)
		may = !strcmp(caller->purposes[i], purpose);
	return may;
}
