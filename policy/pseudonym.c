/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two statements a round at most: one that reads the keys of all subjects asked
 * for, one that makes those that are wanted.  Only one of the second kind is under
 * way at a time, so that new keys share a commit.  Questions for one subject meet
 * in one fetch.
 *
 * What is remembered is the pseudonym, not the key: a table of fixed size, four
 * places for each subject, cleared when an epoch turns or somebody was erased.
 * On the engine's loop.
 */
#include "policy/pseudonym.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/random.h"

#define WAYS 4
#define CHAINS 1024
#define FETCHES_MAX 20000          /* as many as entries may wait */
#define ROUND_MAX 1000             /* subjects in one statement */
#define ABSENT_MS 60000            /* another engine may make the key meanwhile */
#define REF_SIZE SUBJECT_HASH_SIZE /* "k1." and the digest */

struct slot {
	uint8_t ref[SUBJECT_DIGEST_SIZE];
	uint8_t digest[SUBJECT_DIGEST_SIZE];
	int64_t absent_until_ms; /* 0: has a key */
	bool is_used;
};

enum stage { STAGE_READ, STAGE_READING, STAGE_CREATE, STAGE_CREATING, STAGE_GIVE_UP };

struct pseudonym_fetch {
	struct pseudonym_fetch *chain; /* of its ref */
	struct pseudonym_fetch *next;  /* in the queue or round it is in */
	enum stage stage;
	size_t place; /* in its round */
	bool may_create;
	struct object_id object;
	uint8_t ref[SUBJECT_DIGEST_SIZE];
	uint8_t key[KEYRING_KEY_SIZE]; /* made here, when creating */
	struct pseudonym_question *questions;
};

struct round {
	struct pseudonyms *owner;
	struct pseudonym_fetch *fetches[ROUND_MAX];
	size_t count;
	uint64_t generation;
	bool is_creating;
};

struct pseudonyms {
	struct pseudonyms_settings settings;
	struct subject_key region, epoch;
	char epoch_prefix[16]; /* "u1.<epoch>." */
	uint64_t generation;
	struct slot *slots;
	size_t sets;
	uint8_t victim;
	struct pseudonym_fetch *chains[CHAINS];
	struct pseudonym_fetch *queue; /* to read, to create or to give up */
	size_t fetch_count;
	size_t rounds;
	bool is_creating, is_stopped, will_flush;
	struct loop_task flush;
	struct metric_series *at_hand, *read, *made, *epochal;
	struct log_limit unreadable;
};

static const char select_keys[] =
	"SELECT q.n, (SELECT encode(k.wrapped, 'hex') FROM homeward.subject_keys k WHERE k.ref = q.ref) "
	"FROM unnest((SELECT $1::text[])) WITH ORDINALITY AS q(ref, n)";
/* A key that another engine made first is the one that counts.  In one order, so that two writers do not deadlock. */
static const char insert_keys[] =
	"INSERT INTO homeward.subject_keys (ref, wrapped) SELECT q.ref, decode(q.wrapped, 'hex') "
	"FROM unnest($1::text[], $2::text[]) AS q(ref, wrapped) ORDER BY q.ref "
	"ON CONFLICT (ref) DO UPDATE SET ref = excluded.ref RETURNING ref, encode(wrapped, 'hex')";

/* ---- what is at hand ---- */

static void follow_keyring(struct pseudonyms *pseudonyms)
{
	uint64_t generation = keyring_generation(pseudonyms->settings.keyring);
	uint8_t key[KEYRING_KEY_SIZE];
	uint32_t epoch;

	if (generation == pseudonyms->generation)
		return;
	pseudonyms->generation = generation;
	memset(pseudonyms->slots, 0, pseudonyms->sets * WAYS * sizeof(*pseudonyms->slots));
	keyring_epoch(pseudonyms->settings.keyring, &epoch, key);
	subject_key_release(&pseudonyms->epoch);
	subject_key_init(&pseudonyms->epoch, key);
	OPENSSL_cleanse(key, sizeof(key));
	snprintf(pseudonyms->epoch_prefix, sizeof(pseudonyms->epoch_prefix), "u1.%u.", epoch);
}

static size_t number_of(const uint8_t ref[SUBJECT_DIGEST_SIZE])
{
	uint64_t number;

	memcpy(&number, ref, sizeof(number)); /* random already */
	return (size_t)number;
}

static struct slot *find_slot(struct pseudonyms *pseudonyms, const uint8_t ref[SUBJECT_DIGEST_SIZE])
{
	struct slot *set = &pseudonyms->slots[number_of(ref) % pseudonyms->sets * WAYS];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].is_used && memcmp(set[i].ref, ref, SUBJECT_DIGEST_SIZE) == 0)
			return &set[i];
	}
	return NULL;
}

static void remember(struct pseudonyms *pseudonyms, const uint8_t ref[SUBJECT_DIGEST_SIZE], const uint8_t *digest)
{
	struct slot *set = &pseudonyms->slots[number_of(ref) % pseudonyms->sets * WAYS];
	struct slot *slot = find_slot(pseudonyms, ref);

	for (size_t i = 0; i < WAYS && slot == NULL; i++)
		slot = set[i].is_used ? NULL : &set[i];
	if (slot == NULL)
		slot = &set[pseudonyms->victim++ % WAYS];
	slot->is_used = true;
	memcpy(slot->ref, ref, SUBJECT_DIGEST_SIZE);
	slot->absent_until_ms = digest == NULL ? loop_now_ms(pseudonyms->settings.loop) + ABSENT_MS : 0;
	if (digest != NULL)
		memcpy(slot->digest, digest, SUBJECT_DIGEST_SIZE);
}

void pseudonym_of_epoch(struct pseudonyms *pseudonyms, const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE])
{
	uint8_t digest[SUBJECT_DIGEST_SIZE];

	follow_keyring(pseudonyms);
	subject_key_digest(&pseudonyms->epoch, "u1\n", object, digest);
	subject_digest_text(pseudonyms->epoch_prefix, digest, subject);
}

static bool find(struct pseudonyms *pseudonyms, const uint8_t ref[SUBJECT_DIGEST_SIZE], const struct object_id *object,
	enum pseudonym_wish wish, char subject[ENTRY_SUBJECT_SIZE])
{
	const struct slot *slot = find_slot(pseudonyms, ref);

	if (slot == NULL)
		return false;
	if (slot->absent_until_ms == 0) {
		subject_digest_text("p1.", slot->digest, subject);
		return true;
	}
	if (wish == PSEUDONYM_CREATE || slot->absent_until_ms <= loop_now_ms(pseudonyms->settings.loop))
		return false;
	pseudonym_of_epoch(pseudonyms, object, subject);
	return true;
}

bool pseudonym_find(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish,
	char subject[ENTRY_SUBJECT_SIZE])
{
	uint8_t ref[SUBJECT_DIGEST_SIZE];

	follow_keyring(pseudonyms);
	subject_key_digest(&pseudonyms->region, "", object, ref);
	if (!find(pseudonyms, ref, object, wish, subject))
		return false;
	metric_add(pseudonyms->at_hand, 1);
	return true;
}

/* ---- fetches ---- */

static struct pseudonym_fetch **chain_of(struct pseudonyms *pseudonyms, const uint8_t ref[SUBJECT_DIGEST_SIZE])
{
	return &pseudonyms->chains[number_of(ref) % CHAINS];
}

static struct pseudonym_fetch *find_fetch(struct pseudonyms *pseudonyms, const uint8_t ref[SUBJECT_DIGEST_SIZE])
{
	struct pseudonym_fetch *fetch = *chain_of(pseudonyms, ref);

	while (fetch != NULL && memcmp(fetch->ref, ref, SUBJECT_DIGEST_SIZE) != 0)
		fetch = fetch->chain;
	return fetch;
}

/* Off the tables first: a completion may ask for the same subject again. */
static void finish(
	struct pseudonyms *pseudonyms, struct pseudonym_fetch *fetch, enum status status, const char *subject)
{
	struct pseudonym_fetch **at = chain_of(pseudonyms, fetch->ref);
	struct pseudonym_question *question = fetch->questions;

	while (*at != fetch)
		at = &(*at)->chain;
	*at = fetch->chain;
	pseudonyms->fetch_count--;
	OPENSSL_cleanse(fetch->key, sizeof(fetch->key));
	free(fetch);
	while (question != NULL) {
		struct pseudonym_question *next = question->next;

		question->fetch = NULL;
		question->done(question, status, subject);
		question = next;
	}
}

static void finish_with_epoch(struct pseudonyms *pseudonyms, struct pseudonym_fetch *fetch)
{
	char subject[ENTRY_SUBJECT_SIZE];

	pseudonym_of_epoch(pseudonyms, &fetch->object, subject);
	metric_add(pseudonyms->epochal, 1);
	finish(pseudonyms, fetch, STATUS_OK, subject);
}

static void finish_with_key(struct round *round, struct pseudonym_fetch *fetch, const char *wrapped_hex)
{
	struct pseudonyms *pseudonyms = round->owner;
	uint8_t wrapped[KEYRING_WRAPPED_SIZE], key[KEYRING_KEY_SIZE], digest[SUBJECT_DIGEST_SIZE];
	char ref[REF_SIZE], subject[ENTRY_SUBJECT_SIZE];
	struct subject_key state;
	size_t size = strlen(wrapped_hex) / 2;

	for (size_t i = 0; i < size && i < sizeof(wrapped); i++)
		wrapped[i] = (uint8_t)(hex_digit(wrapped_hex[2 * i]) << 4 | hex_digit(wrapped_hex[2 * i + 1]));
	subject_digest_text("k1.", fetch->ref, ref);
	if (!keyring_unwrap(pseudonyms->settings.keyring, ref, wrapped, size, key)) {
		LOG_LIMITED(&pseudonyms->unreadable, LOG_LEVEL_ERROR, "subject_key_unreadable", "ref", ref);
		finish_with_epoch(pseudonyms, fetch);
		return;
	}
	subject_key_init(&state, key);
	subject_key_digest(&state, "p1\n", &fetch->object, digest);
	subject_key_release(&state);
	OPENSSL_cleanse(key, sizeof(key));
	if (round->generation == keyring_generation(pseudonyms->settings.keyring) &&
		round->generation == pseudonyms->generation)
		remember(pseudonyms, fetch->ref, digest);
	subject_digest_text("p1.", digest, subject);
	metric_add(round->is_creating ? pseudonyms->made : pseudonyms->read, 1);
	finish(pseudonyms, fetch, STATUS_OK, subject);
}

static void flush_soon(struct pseudonyms *pseudonyms)
{
	if (!pseudonyms->will_flush && !pseudonyms->is_stopped) {
		pseudonyms->will_flush = true;
		loop_defer(pseudonyms->settings.loop, &pseudonyms->flush);
	}
}

static void queue_fetch(struct pseudonyms *pseudonyms, struct pseudonym_fetch *fetch, enum stage stage)
{
	fetch->stage = stage;
	fetch->next = pseudonyms->queue;
	pseudonyms->queue = fetch;
	flush_soon(pseudonyms);
}

static void has_no_key(struct round *round, struct pseudonym_fetch *fetch)
{
	struct pseudonyms *pseudonyms = round->owner;

	if (fetch->may_create && !pseudonyms->is_stopped) {
		queue_fetch(pseudonyms, fetch, STAGE_CREATE);
		return;
	}
	if (round->generation == pseudonyms->generation)
		remember(pseudonyms, fetch->ref, NULL);
	finish_with_epoch(pseudonyms, fetch);
}

static void read_rows(struct round *round, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++) {
		unsigned long number = strtoul(PQgetvalue(result, row, 0), NULL, 10);
		struct pseudonym_fetch *fetch;

		if (number < 1 || number > round->count || round->fetches[number - 1] == NULL)
			continue;
		fetch = round->fetches[number - 1];
		round->fetches[number - 1] = NULL;
		if (PQgetisnull(result, row, 1))
			has_no_key(round, fetch);
		else
			finish_with_key(round, fetch, PQgetvalue(result, row, 1));
	}
}

static bool read_ref(const char *text, uint8_t ref[SUBJECT_DIGEST_SIZE])
{
	if (strlen(text) != 3 + 2 * SUBJECT_DIGEST_SIZE)
		return false;
	for (size_t i = 0; i < SUBJECT_DIGEST_SIZE; i++)
		ref[i] = (uint8_t)(hex_digit(text[3 + 2 * i]) << 4 | hex_digit(text[4 + 2 * i]));
	return true;
}

static void created_rows(struct round *round, const PGresult *result)
{
	uint8_t ref[SUBJECT_DIGEST_SIZE];

	for (int row = 0; row < PQntuples(result); row++) {
		struct pseudonym_fetch *fetch = NULL;

		if (read_ref(PQgetvalue(result, row, 0), ref))
			fetch = find_fetch(round->owner, ref);
		if (fetch == NULL || fetch->stage != STAGE_CREATING || round->fetches[fetch->place] != fetch)
			continue;
		round->fetches[fetch->place] = NULL;
		finish_with_key(round, fetch, PQgetvalue(result, row, 1));
	}
}

static void round_done(void *arg, enum status status, const PGresult *result)
{
	struct round *round = arg;
	struct pseudonyms *pseudonyms = round->owner;

	pseudonyms->rounds--;
	if (round->is_creating)
		pseudonyms->is_creating = false;
	if (!pseudonyms->is_stopped) {
		follow_keyring(pseudonyms);
		if (status == STATUS_OK && round->is_creating)
			created_rows(round, result);
		else if (status == STATUS_OK)
			read_rows(round, result);
		/* Whatever the database did not answer for. */
		for (size_t i = 0; i < round->count; i++) {
			if (round->fetches[i] != NULL)
				finish_with_epoch(pseudonyms, round->fetches[i]);
		}
		if (pseudonyms->queue != NULL)
			flush_soon(pseudonyms);
	}
	free(round);
	if (pseudonyms->is_stopped && pseudonyms->rounds == 0)
		pseudonyms->settings.idle(pseudonyms->settings.owner);
}

static void add_new_key(struct pseudonyms *pseudonyms, struct pseudonym_fetch *fetch, const char *ref,
	struct strbuf *wrapped, bool is_first)
{
	uint8_t bytes[KEYRING_WRAPPED_SIZE];
	struct strbuf hex = STRBUF_INIT;

	random_fill(random_system(), fetch->key, sizeof(fetch->key));
	if (!keyring_wrap(pseudonyms->settings.keyring, ref, fetch->key, bytes))
		wrapped->failed = true;
	OPENSSL_cleanse(fetch->key, sizeof(fetch->key));
	strbuf_add_hex(&hex, bytes, sizeof(bytes));
	database_array_add(wrapped, hex.data, hex.length, is_first);
	strbuf_release(&hex);
}

static void send_round(struct pseudonyms *pseudonyms, struct round *round)
{
	struct strbuf refs = STRBUF_INIT, wrapped = STRBUF_INIT;
	struct database_parameter parameters[2];
	char ref[REF_SIZE];

	strbuf_addc(&refs, '{');
	strbuf_addc(&wrapped, '{');
	for (size_t i = 0; i < round->count; i++) {
		subject_digest_text("k1.", round->fetches[i]->ref, ref);
		database_array_add(&refs, ref, strlen(ref), i == 0);
		if (round->is_creating)
			add_new_key(pseudonyms, round->fetches[i], ref, &wrapped, i == 0);
	}
	strbuf_addc(&refs, '}');
	strbuf_addc(&wrapped, '}');
	parameters[0].text = refs.data;
	parameters[1].text = wrapped.data;
	pseudonyms->rounds++;
	if (strbuf_ok(&refs) && strbuf_ok(&wrapped))
		database_query(pseudonyms->settings.database, round->is_creating ? insert_keys : select_keys,
			parameters, round->is_creating ? 2 : 1,
			loop_now_ms(pseudonyms->settings.loop) + PSEUDONYM_WAIT_MS, round_done, round);
	else
		round_done(round, STATUS_NO_MEMORY, NULL);
	strbuf_release(&refs);
	strbuf_release(&wrapped);
}

static bool has_stage(const struct pseudonyms *pseudonyms, enum stage stage)
{
	const struct pseudonym_fetch *fetch = pseudonyms->queue;

	while (fetch != NULL && fetch->stage != stage)
		fetch = fetch->next;
	return fetch != NULL;
}

/* Takes those of this stage off the queue and sends them. */
static void send_stage(struct pseudonyms *pseudonyms, enum stage stage)
{
	struct pseudonym_fetch **at = &pseudonyms->queue;
	struct round *round;

	if (!has_stage(pseudonyms, stage))
		return;
	round = calloc(1, sizeof(*round));
	must(round != NULL);
	while (*at != NULL && round->count < ROUND_MAX) {
		struct pseudonym_fetch *fetch = *at;

		if (fetch->stage != stage) {
			at = &fetch->next;
			continue;
		}
		*at = fetch->next;
		fetch->stage = stage == STAGE_CREATE ? STAGE_CREATING : STAGE_READING;
		fetch->place = round->count;
		round->fetches[round->count++] = fetch;
	}
	round->owner = pseudonyms;
	round->generation = pseudonyms->generation;
	round->is_creating = stage == STAGE_CREATE;
	pseudonyms->is_creating = pseudonyms->is_creating || round->is_creating;
	send_round(pseudonyms, round);
}

static void give_up(struct pseudonyms *pseudonyms)
{
	struct pseudonym_fetch **at = &pseudonyms->queue;
	struct pseudonym_fetch *given_up = NULL;

	while (*at != NULL) {
		struct pseudonym_fetch *fetch = *at;

		if (fetch->stage != STAGE_GIVE_UP) {
			at = &fetch->next;
			continue;
		}
		*at = fetch->next;
		fetch->next = given_up;
		given_up = fetch;
	}
	while (given_up != NULL) {
		struct pseudonym_fetch *fetch = given_up;

		given_up = fetch->next;
		finish_with_epoch(pseudonyms, fetch);
	}
}

static void flush(struct loop_task *task)
{
	struct pseudonyms *pseudonyms = (struct pseudonyms *)((char *)task - offsetof(struct pseudonyms, flush));

	pseudonyms->will_flush = false;
	follow_keyring(pseudonyms);
	while (has_stage(pseudonyms, STAGE_READ))
		send_stage(pseudonyms, STAGE_READ);
	if (!pseudonyms->is_creating)
		send_stage(pseudonyms, STAGE_CREATE);
	give_up(pseudonyms);
}

static struct pseudonym_fetch *open_fetch(
	struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish)
{
	uint8_t ref[SUBJECT_DIGEST_SIZE];
	struct pseudonym_fetch *fetch, **chain;
	const struct slot *slot;

	follow_keyring(pseudonyms);
	subject_key_digest(&pseudonyms->region, "", object, ref);
	fetch = find_fetch(pseudonyms, ref);
	if (fetch == NULL) {
		fetch = calloc(1, sizeof(*fetch));
		/* Without these few bytes the promise to end every entry cannot be kept. */
		must(fetch != NULL);
		fetch->object = *object;
		memcpy(fetch->ref, ref, sizeof(ref));
		chain = chain_of(pseudonyms, ref);
		fetch->chain = *chain;
		*chain = fetch;
		slot = find_slot(pseudonyms, ref);
		if (pseudonyms->fetch_count++ >= FETCHES_MAX || !database_is_up(pseudonyms->settings.database))
			queue_fetch(pseudonyms, fetch, STAGE_GIVE_UP);
		else
			queue_fetch(pseudonyms, fetch,
				slot != NULL && wish == PSEUDONYM_CREATE ? STAGE_CREATE : STAGE_READ);
	}
	fetch->may_create = fetch->may_create || wish == PSEUDONYM_CREATE;
	return fetch;
}

void pseudonym_ask(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish,
	struct pseudonym_question *question)
{
	struct pseudonym_fetch *fetch = open_fetch(pseudonyms, object, wish);

	question->fetch = fetch;
	question->next = fetch->questions;
	fetch->questions = question;
}

void pseudonym_prepare(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish)
{
	char subject[ENTRY_SUBJECT_SIZE];

	if (pseudonyms->is_stopped || pseudonym_find(pseudonyms, object, wish, subject))
		return;
	(void)open_fetch(pseudonyms, object, wish);
}

/* ---- life ---- */

static void register_metrics(struct pseudonyms *pseudonyms)
{
	struct metric *metric = metric_register(METRIC_COUNTER, "homeward_access_subjects_total",
		"Pseudonyms for entries: at hand, read from the database, made, or the epoch's for want of a key.",
		"source");

	pseudonyms->at_hand = metric_series(metric, "at_hand", (char *)NULL);
	pseudonyms->read = metric_series(metric, "read", (char *)NULL);
	pseudonyms->made = metric_series(metric, "made", (char *)NULL);
	pseudonyms->epochal = metric_series(metric, "epoch", (char *)NULL);
}

enum status pseudonyms_create(const struct pseudonyms_settings *settings, struct pseudonyms **out)
{
	struct pseudonyms *pseudonyms = calloc(1, sizeof(*pseudonyms));

	*out = NULL;
	if (pseudonyms == NULL)
		return STATUS_NO_MEMORY;
	must(settings->remembered > 0);
	pseudonyms->settings = *settings;
	pseudonyms->sets = (settings->remembered + WAYS - 1) / WAYS;
	pseudonyms->slots = calloc(pseudonyms->sets * WAYS, sizeof(*pseudonyms->slots));
	if (pseudonyms->slots == NULL) {
		free(pseudonyms);
		return STATUS_NO_MEMORY;
	}
	subject_key_init(&pseudonyms->region, settings->key);
	pseudonyms->settings.key = NULL; /* only the hashed blocks are kept */
	pseudonyms->generation = keyring_generation(settings->keyring) - 1;
	follow_keyring(pseudonyms);
	pseudonyms->flush.run = flush;
	register_metrics(pseudonyms);
	*out = pseudonyms;
	return STATUS_OK;
}

void pseudonyms_stop(struct pseudonyms *pseudonyms)
{
	pseudonyms->is_stopped = true;
	if (pseudonyms->will_flush)
		loop_defer_cancel(pseudonyms->settings.loop, &pseudonyms->flush);
	pseudonyms->queue = NULL;
	for (size_t i = 0; i < CHAINS; i++) {
		while (pseudonyms->chains[i] != NULL)
			finish(pseudonyms, pseudonyms->chains[i], STATUS_DRAINING, "");
	}
}

bool pseudonyms_are_idle(const struct pseudonyms *pseudonyms)
{
	return pseudonyms->rounds == 0;
}

void pseudonyms_free(struct pseudonyms *pseudonyms)
{
	if (pseudonyms == NULL)
		return;
	must(pseudonyms->rounds == 0 && pseudonyms->fetch_count == 0);
	subject_key_release(&pseudonyms->region);
	subject_key_release(&pseudonyms->epoch);
	free(pseudonyms->slots);
	free(pseudonyms);
}
