/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each delivery is in the list of all, so that none is forgotten, and while it is
 * not yet sent in its webhook's own.  On the webhooks' thread.
 */
#include "federation/webhook_queue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "federation/webhook_store.h"

static struct metric_series *series(
	enum metric_kind kind, const char *name, const char *help, const struct webhook *hook)
{
	return metric_series(metric_register(kind, name, help, "webhook"), hook->settings->name, NULL);
}

void webhook_init(struct webhook *hook, const struct settings_webhook *settings)
{
	static const char *const outcomes[] = { "delivered", "failed", "dead", "gone" };

	hook->settings = settings;
	hook->terms = (struct webhook_terms){ settings->retry_min_ms, settings->retry_max_s * 1000,
		settings->refusals_max };
	hook->ready_end = &hook->ready;
	webhook_secrets_init(&hook->secrets);
	for (size_t i = 0; i <= WEBHOOK_PAUSE; i++)
		hook->attempts[i] = metric_series(
			metric_register(METRIC_COUNTER, "homeward_webhook_attempts_total",
				"Attempts to deliver an event to a webhook, by what became of them.",
				"webhook,outcome"),
			settings->name, outcomes[i], NULL);
	hook->pending = series(METRIC_GAUGE, "homeward_webhook_pending", "Events that wait for a webhook.", hook);
	hook->oldest_s = series(
		METRIC_GAUGE, "homeward_webhook_oldest_seconds", "How long the oldest of them has waited.", hook);
	hook->paused = series(METRIC_GAUGE, "homeward_webhook_paused", "1 while nothing is sent to a webhook.", hook);
	hook->under_way = series(METRIC_GAUGE, "homeward_webhook_in_flight", "Attempts under way.", hook);
	hook->took = series(METRIC_HISTOGRAM, "homeward_webhook_attempt_seconds", "How long attempts took.", hook);
	hook->dead = series(METRIC_COUNTER, "homeward_webhook_dead_letters_total",
		"Events that a webhook refused or did not take in time.", hook);
}

void webhook_delivery_destroy(struct webhook_delivery *delivery)
{
	*delivery->at = delivery->next;
	if (delivery->next != NULL)
		delivery->next->at = delivery->at;
	free(delivery->origin);
	free(delivery->source);
	free(delivery->id);
	strbuf_release(&delivery->event);
	free(delivery);
}

struct webhook_delivery *webhook_take_ready(struct webhook *hook)
{
	struct webhook_delivery *delivery = hook->ready;

	hook->ready = delivery->next_ready;
	if (hook->ready == NULL)
		hook->ready_end = &hook->ready;
	hook->ready_count--;
	return delivery;
}

void webhook_drop_ready(struct webhook *hook)
{
	while (hook->ready != NULL)
		webhook_delivery_destroy(webhook_take_ready(hook));
	hook->is_hungry = true;
}

bool webhook_add_ready(struct webhook_delivery **all, struct webhook *hook, const PGresult *rows, int row)
{
	struct webhook_delivery *delivery = calloc(1, sizeof(*delivery));

	if (delivery == NULL)
		return false;
	delivery->hook = hook;
	strbuf_init(&delivery->event);
	delivery->place = strtoll(PQgetvalue(rows, row, DELIVERY_PLACE), NULL, 10);
	delivery->stream = strtoll(PQgetvalue(rows, row, DELIVERY_STREAM), NULL, 10);
	delivery->attempts = strtoll(PQgetvalue(rows, row, DELIVERY_ATTEMPTS), NULL, 10);
	delivery->refusals = strtoll(PQgetvalue(rows, row, DELIVERY_REFUSALS), NULL, 10);
	delivery->expires_us = strtoll(PQgetvalue(rows, row, DELIVERY_EXPIRES_US), NULL, 10);
	delivery->origin = strdup(PQgetvalue(rows, row, DELIVERY_ORIGIN));
	delivery->source = strdup(PQgetvalue(rows, row, DELIVERY_SOURCE));
	delivery->id = strdup(PQgetvalue(rows, row, DELIVERY_ID));
	strbuf_add(&delivery->event, PQgetvalue(rows, row, DELIVERY_EVENT),
		(size_t)PQgetlength(rows, row, DELIVERY_EVENT));
	delivery->next = *all;
	delivery->at = all;
	if (delivery->next != NULL)
		delivery->next->at = &delivery->next;
	*all = delivery;
	if (delivery->origin == NULL || delivery->source == NULL || delivery->id == NULL ||
		!strbuf_ok(&delivery->event)) {
		webhook_delivery_destroy(delivery);
		return false;
	}
	*hook->ready_end = delivery;
	hook->ready_end = &delivery->next_ready;
	hook->ready_count++;
	return true;
}

bool webhook_list_known(const struct webhook_delivery *all, const struct webhook *hook, struct strbuf *array)
{
	strbuf_addc(array, '{');
	for (const struct webhook_delivery *delivery = all; delivery != NULL; delivery = delivery->next)
		if (hook == NULL || delivery->hook == hook)
			strbuf_addf(array, "%s%" PRId64, array->length > 1 ? "," : "", delivery->place);
	strbuf_addc(array, '}');
	return strbuf_ok(array);
}

size_t webhook_in_flight_max(const struct webhook *hook)
{
	return hook->failures > 0 ? 1 : (size_t)hook->settings->in_flight_max;
}

void webhook_add_stuck(struct webhook *hook, int64_t stream, int64_t until_ms, int64_t now_ms)
{
	size_t free_place = WEBHOOK_STUCK_MAX;

	for (size_t i = 0; i < WEBHOOK_STUCK_MAX; i++) {
		if (hook->stuck[i].stream == stream)
			hook->stuck[i].until_ms = 0;
		if (hook->stuck[i].until_ms <= now_ms)
			free_place = i;
	}
	/* One that finds no place is looked at like any other. */
	if (stream == 0 || free_place == WEBHOOK_STUCK_MAX)
		return;
	hook->stuck[free_place].stream = stream;
	hook->stuck[free_place].until_ms = until_ms;
}

void webhook_forget_stuck(struct webhook *hook)
{
	memset(hook->stuck, 0, sizeof(hook->stuck));
}

bool webhook_list_stuck(const struct webhook *hook, int64_t now_ms, struct strbuf *array)
{
	strbuf_addc(array, '{');
	for (size_t i = 0; i < WEBHOOK_STUCK_MAX; i++)
		if (hook->stuck[i].until_ms > now_ms)
			strbuf_addf(array, "%s%" PRId64, array->length > 1 ? "," : "", hook->stuck[i].stream);
	strbuf_addc(array, '}');
	return strbuf_ok(array);
}
