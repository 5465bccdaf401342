/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets of asking regions' callers: a token bucket for the rate, an exact set of
 * the objects asked for in the hour, and the share of misses in the minute.  The
 * set holds 64-bit keyed hashes and not ids; it is exact and not an estimate, so
 * that a caller at its limit may still ask for whom it has asked for, and is
 * refused only new ones.  It grows as it fills and is bounded by the limit.
 *
 * A verdict depends on what was asked before and on whether this object was
 * asked for before, never on whether it exists.
 *
 * Callers' names come from the other region, so their number is bounded: further
 * ones share one budget.  One mutex, held for a few probes; any thread.
 */
#include "policy/budget.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/random.h"

#define ACCOUNTS_MAX 512 /* regions are few; callers of each are CALLERS_MAX at most */
#define ACCOUNT_SLOTS 1024
#define CALLERS_MAX 16
#define CALLER_NAME_SIZE 64
#define BURST_S 2
#define MINUTE_US INT64_C(60000000)
#define HOUR_US INT64_C(3600000000)
#define SECOND_US INT64_C(1000000)
#define SUBJECT_SLOTS_MIN 256
#define OTHER_CALLER "_other"

struct subjects {
	uint64_t *slots; /* 0 is free; at most half are taken */
	size_t slot_count, count;
};

struct account {
	char region[REGION_SIZE], caller[CALLER_NAME_SIZE];
	int64_t tokens_us; /* lookups it may make now, each SECOND_US worth */
	int64_t refilled_us;
	int64_t minute_us, lookups, misses; /* the minute's beginning, and its counts */
	int64_t slow_until_us;
	int64_t hour_us;
	struct subjects subjects;
	int64_t alarmed_us[BUDGET_VERDICTS]; /* the minute it was last told of; -1 for never */
};

struct budgets {
	struct budget_limits limits;
	const struct clock_source *clock;
	budget_alarmed *alarmed;
	void *arg;
	uint64_t seed;
	pthread_mutex_t mutex; /* guards all below */
	struct account *accounts[ACCOUNT_SLOTS];
	int account_count;
};

const char *budget_verdict_name(enum budget_verdict verdict)
{
	static const char *const names[BUDGET_VERDICTS] = { "within", "lookups", "subjects", "misses" };

	return names[verdict];
}

/* ---- the set ---- */

static size_t slot_of(const uint64_t *slots, size_t slot_count, uint64_t hash)
{
	size_t slot = (size_t)hash & (slot_count - 1);

	while (slots[slot] != 0 && slots[slot] != hash)
		slot = (slot + 1) & (slot_count - 1);
	return slot;
}

static bool subjects_grow(struct subjects *subjects)
{
	size_t slot_count = subjects->slot_count > 0 ? subjects->slot_count * 2 : SUBJECT_SLOTS_MIN;
	uint64_t *slots = calloc(slot_count, sizeof(*slots));

	if (slots == NULL)
		return false;
	for (size_t i = 0; i < subjects->slot_count; i++) {
		if (subjects->slots[i] != 0)
			slots[slot_of(slots, slot_count, subjects->slots[i])] = subjects->slots[i];
	}
	free(subjects->slots);
	subjects->slots = slots;
	subjects->slot_count = slot_count;
	return true;
}

/* Whether the subject is in the set, or was added below the limit. */
static bool subjects_admit(struct subjects *subjects, uint64_t hash, int64_t limit)
{
	size_t slot;

	hash = hash != 0 ? hash : 1;
	if (subjects->count * 2 >= subjects->slot_count && (int64_t)subjects->count < limit && !subjects_grow(subjects))
		return false;
	slot = slot_of(subjects->slots, subjects->slot_count, hash);
	if (subjects->slots[slot] == hash)
		return true;
	if ((int64_t)subjects->count >= limit)
		return false;
	subjects->slots[slot] = hash;
	subjects->count++;
	return true;
}

static void subjects_clear(struct subjects *subjects)
{
	free(subjects->slots);
	memset(subjects, 0, sizeof(*subjects));
}

/* ---- accounts ---- */

static struct account **place_of(struct budgets *budgets, const char *region, const char *caller)
{
	size_t slot = hash_key64(region, strlen(region), hash_key64(caller, strlen(caller), budgets->seed));

	for (slot %= ACCOUNT_SLOTS; budgets->accounts[slot] != NULL; slot = (slot + 1) % ACCOUNT_SLOTS) {
		const struct account *account = budgets->accounts[slot];

		if (strcmp(account->region, region) == 0 && strcmp(account->caller, caller) == 0)
			break;
	}
	return &budgets->accounts[slot];
}

static int callers_of(const struct budgets *budgets, const char *region)
{
	int count = 0;

	for (size_t i = 0; i < ACCOUNT_SLOTS; i++)
		count += budgets->accounts[i] != NULL && strcmp(budgets->accounts[i]->region, region) == 0;
	return count;
}

/* NULL when out of memory, or past the bound. */
static struct account *account_of(struct budgets *budgets, const char *region, const char *caller, int64_t now_us)
{
	struct account **place = place_of(budgets, region, caller);
	struct account *account;

	if (*place != NULL)
		return *place;
	/* One place of each region is kept for all its further callers. */
	if (strcmp(caller, OTHER_CALLER) != 0 && callers_of(budgets, region) >= CALLERS_MAX - 1)
		return account_of(budgets, region, OTHER_CALLER, now_us);
	if (budgets->account_count == ACCOUNTS_MAX || (account = calloc(1, sizeof(*account))) == NULL)
		return NULL;
	memccpy(account->region, region, '\0', sizeof(account->region) - 1);
	memccpy(account->caller, caller, '\0', sizeof(account->caller) - 1);
	account->refilled_us = account->minute_us = account->hour_us = now_us;
	account->tokens_us = budgets->limits.lookups_per_s * BURST_S * SECOND_US;
	for (int i = 0; i < BUDGET_VERDICTS; i++)
		account->alarmed_us[i] = -1;
	budgets->account_count++;
	return *place = account;
}

static void turn_windows(struct account *account, int64_t now_us)
{
	if (now_us - account->minute_us >= MINUTE_US) {
		account->minute_us = now_us;
		account->lookups = account->misses = 0;
	}
	if (now_us - account->hour_us >= HOUR_US) {
		account->hour_us = now_us;
		subjects_clear(&account->subjects);
	}
}

static bool take_token(struct account *account, int64_t per_s, int64_t now_us)
{
	int64_t full_us = per_s * BURST_S * SECOND_US;
	int64_t elapsed_us = now_us - account->refilled_us;

	account->refilled_us = now_us;
	/* A bucket is full after BURST_S, so more cannot overflow. */
	if (elapsed_us >= BURST_S * SECOND_US)
		account->tokens_us = full_us;
	else if (elapsed_us > 0)
		account->tokens_us += elapsed_us * per_s;
	if (account->tokens_us > full_us)
		account->tokens_us = full_us;
	if (account->tokens_us < SECOND_US)
		return false;
	account->tokens_us -= SECOND_US;
	return true;
}

static enum budget_verdict judge(
	const struct budget_limits *limits, struct account *account, uint64_t subject, int64_t now_us)
{
	bool is_slow = now_us < account->slow_until_us;

	if (is_slow && !take_token(account, limits->slow_per_s, now_us))
		return BUDGET_MISSES;
	if (!is_slow && limits->lookups_per_s > 0 && !take_token(account, limits->lookups_per_s, now_us))
		return BUDGET_LOOKUPS;
	if (limits->subjects_per_hour > 0 && !subjects_admit(&account->subjects, subject, limits->subjects_per_hour))
		return BUDGET_SUBJECTS;
	account->lookups++;
	return BUDGET_WITHIN;
}

/* Whether to tell of it: once a minute for each kind. */
static bool note_alarm(struct account *account, enum budget_verdict verdict, struct budget_alarm *alarm)
{
	if (verdict == BUDGET_WITHIN || account->alarmed_us[verdict] == account->minute_us)
		return false;
	account->alarmed_us[verdict] = account->minute_us;
	*alarm = (struct budget_alarm){ account->region, account->caller, verdict, account->lookups, account->misses,
		(int64_t)account->subjects.count };
	return true;
}

/* ---- the whole ---- */

struct budgets *budgets_create(
	const struct budget_limits *limits, const struct clock_source *clock, budget_alarmed *alarmed, void *arg)
{
	struct budgets *budgets = calloc(1, sizeof(*budgets));

	if (budgets == NULL)
		return NULL;
	budgets->limits = *limits;
	budgets->clock = clock;
	budgets->alarmed = alarmed;
	budgets->arg = arg;
	random_fill(random_system(), &budgets->seed, sizeof(budgets->seed));
	must(pthread_mutex_init(&budgets->mutex, NULL) == 0);
	return budgets;
}

void budgets_destroy(struct budgets *budgets)
{
	if (budgets == NULL)
		return;
	for (size_t i = 0; i < ACCOUNT_SLOTS; i++) {
		if (budgets->accounts[i] != NULL)
			subjects_clear(&budgets->accounts[i]->subjects);
		free(budgets->accounts[i]);
	}
	pthread_mutex_destroy(&budgets->mutex);
	free(budgets);
}

enum budget_verdict budgets_take(
	struct budgets *budgets, const char *region, const char *caller, const struct object_id *object)
{
	uint64_t subject = hash_key64(
		object->id, strlen(object->id), hash_key64(object->type, strlen(object->type), budgets->seed));
	int64_t now_us = clock_monotonic_ms(budgets->clock) * 1000;
	enum budget_verdict verdict = BUDGET_LOOKUPS;
	struct budget_alarm alarm;
	struct account *account;
	bool is_alarm = false;

	pthread_mutex_lock(&budgets->mutex);
	account = account_of(budgets, region, caller, now_us);
	if (account != NULL) {
		turn_windows(account, now_us);
		verdict = judge(&budgets->limits, account, subject, now_us);
		is_alarm = note_alarm(account, verdict, &alarm);
	}
	pthread_mutex_unlock(&budgets->mutex);
	/* Accounts are never freed before the end, so their names may be read. */
	if (is_alarm && budgets->alarmed != NULL)
		budgets->alarmed(budgets->arg, &alarm);
	return verdict;
}

void budgets_missed(struct budgets *budgets, const char *region, const char *caller)
{
	const struct budget_limits *limits = &budgets->limits;
	int64_t now_us = clock_monotonic_ms(budgets->clock) * 1000;
	struct budget_alarm alarm;
	struct account *account;
	bool is_alarm = false;

	pthread_mutex_lock(&budgets->mutex);
	account = account_of(budgets, region, caller, now_us);
	if (account != NULL) {
		turn_windows(account, now_us);
		account->misses++;
		if (limits->misses_percent > 0 && now_us >= account->slow_until_us &&
			account->lookups >= limits->misses_min &&
			account->misses * 100 > account->lookups * limits->misses_percent) {
			account->slow_until_us = now_us + limits->slow_s * SECOND_US;
			account->tokens_us = 0;
			is_alarm = note_alarm(account, BUDGET_MISSES, &alarm);
		}
	}
	pthread_mutex_unlock(&budgets->mutex);
	if (is_alarm && budgets->alarmed != NULL)
		budgets->alarmed(budgets->arg, &alarm);
}
