/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer table: for each region its URLs, a state for each URL (router/peer_state.c)
 * and a retry budget.  One mutex guards it; it is held for a walk over a handful
 * of entries and never across I/O or logging.
 *
 * The first URL that is up is used, in the operator's order, so that connections
 * stay warm; the others are for when it is not.
 */
#include "router/peers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"

#define URLS_MAX 16   /* of one peer; more addresses belong behind one name */
#define PEERS_MAX 256 /* regions of one mesh */

struct peer_url {
	char url[PEER_URL_SIZE];
	struct peer_health health;
	bool is_probing;
};

struct peer {
	char region[REGION_SIZE];
	struct peer_url *urls;
	size_t url_count;
	struct retry_budget budget;
	int64_t down_ms; /* when its last address went down */
	struct metric_series *up, *duration, *errors[HTTP_CLIENT_ERROR_COUNT];
};

struct peers {
	pthread_mutex_t mutex;
	struct peer *peers;
	size_t count;
	struct peers_settings settings;
	const struct clock_source *clock;
	const struct random_source *random;
	struct metric *up_metric, *errors_metric, *duration_metric;
	struct peers_prober *prober;
	struct peers_hook hook;
};

struct peers *peers_create(
	const struct peers_settings *settings, const struct clock_source *clock, const struct random_source *random)
{
	struct peers *peers = calloc(1, sizeof(*peers));

	if (peers == NULL)
		return NULL;
	must(pthread_mutex_init(&peers->mutex, NULL) == 0);
	peers->settings = *settings;
	peers->clock = clock;
	peers->random = random;
	peers->up_metric = metric_register(
		METRIC_GAUGE, "homeward_peer_up", "1 when at least one URL of the peer is not down.", "peer");
	peers->errors_metric = metric_register(METRIC_COUNTER, "homeward_peer_errors_total",
		"Requests and probes to the peer that brought no answer.", "peer,reason");
	peers->duration_metric = metric_register(METRIC_HISTOGRAM, "homeward_peer_request_duration_seconds",
		"From sending a request to the peer until its answer.", "peer");
	return peers;
}

void peers_tell(struct peers *peers, const struct peers_hook *hook)
{
	peers->hook = *hook;
}

static void free_list(struct peer *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].urls);
	free(list);
}

void peers_destroy(struct peers *peers)
{
	if (peers == NULL)
		return;
	must(peers->prober == NULL);
	free_list(peers->peers, peers->count);
	pthread_mutex_destroy(&peers->mutex);
	free(peers);
}

struct peers_prober **peers_prober_slot(struct peers *peers)
{
	return &peers->prober;
}

static struct peer *find(const struct peers *peers, const char *region)
{
	for (size_t i = 0; i < peers->count; i++)
		if (strcmp(peers->peers[i].region, region) == 0)
			return &peers->peers[i];
	return NULL;
}

static struct peer_url *find_url(const struct peer *peer, const char *url)
{
	for (size_t i = 0; peer != NULL && i < peer->url_count; i++)
		if (strcmp(peer->urls[i].url, url) == 0)
			return &peer->urls[i];
	return NULL;
}

static bool is_reachable(const struct peer *peer)
{
	for (size_t i = 0; i < peer->url_count; i++)
		if (peer->urls[i].health.state != PEER_DOWN)
			return true;
	return false;
}

static enum status make_peer(
	struct peers *peers, const struct peer_definition *definition, int64_t now_ms, struct peer *peer)
{
	if (!region_is_valid(definition->region) || definition->url_count == 0 || definition->url_count > URLS_MAX)
		return STATUS_INVALID;
	memcpy(peer->region, definition->region, strlen(definition->region));
	peer->urls = calloc(definition->url_count, sizeof(*peer->urls));
	if (peer->urls == NULL)
		return STATUS_NO_MEMORY;
	peer->url_count = definition->url_count;
	for (size_t i = 0; i < definition->url_count; i++) {
		size_t length = strlen(definition->urls[i]);

		while (length > 0 && definition->urls[i][length - 1] == '/')
			length--;
		if (length == 0 || length >= PEER_URL_SIZE)
			return STATUS_INVALID;
		memcpy(peer->urls[i].url, definition->urls[i], length);
		peer_health_init(&peer->urls[i].health, now_ms);
	}
	retry_budget_init(&peer->budget, now_ms);
	peer->up = metric_series(peers->up_metric, peer->region, NULL);
	peer->duration = metric_series(peers->duration_metric, peer->region, NULL);
	for (int error = 1; error < HTTP_CLIENT_ERROR_COUNT; error++)
		peer->errors[error] = metric_series(peers->errors_metric, peer->region,
			http_client_error_name((enum http_client_error)error), NULL);
	return STATUS_OK;
}

static void keep_state(const struct peers *peers, struct peer *peer)
{
	const struct peer *before = find(peers, peer->region);

	if (before == NULL)
		return;
	peer->budget = before->budget;
	peer->down_ms = before->down_ms;
	for (size_t i = 0; i < peer->url_count; i++) {
		const struct peer_url *url = find_url(before, peer->urls[i].url);

		if (url != NULL)
			peer->urls[i] = *url;
	}
}

enum status peers_define(struct peers *peers, const struct peer_definition *definitions, size_t count)
{
	struct peer *list = calloc(count > 0 ? count : 1, sizeof(*list)), *old;
	int64_t now_ms = clock_monotonic_ms(peers->clock);
	enum status status = count > PEERS_MAX ? STATUS_TOO_LARGE : STATUS_OK;
	size_t old_count;

	if (list == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < count && status == STATUS_OK; i++)
		status = make_peer(peers, &definitions[i], now_ms, &list[i]);
	if (status != STATUS_OK) {
		free_list(list, count);
		return status;
	}
	pthread_mutex_lock(&peers->mutex);
	for (size_t i = 0; i < count; i++) {
		keep_state(peers, &list[i]);
		metric_set(list[i].up, is_reachable(&list[i]));
	}
	old = peers->peers;
	old_count = peers->count;
	peers->peers = list;
	peers->count = count;
	pthread_mutex_unlock(&peers->mutex);
	free_list(old, old_count);
	return STATUS_OK;
}

bool peers_know(struct peers *peers, const char *region)
{
	bool is_known;

	pthread_mutex_lock(&peers->mutex);
	is_known = find(peers, region) != NULL;
	pthread_mutex_unlock(&peers->mutex);
	return is_known;
}

enum status peers_choose(struct peers *peers, const char *region, const char *not_url, char url_out[PEER_URL_SIZE])
{
	const struct peer_url *chosen = NULL;
	enum status status = STATUS_NOT_FOUND;
	struct peer *peer;

	url_out[0] = '\0';
	pthread_mutex_lock(&peers->mutex);
	peer = find(peers, region);
	if (peer != NULL) {
		status = STATUS_UNREACHABLE;
		for (size_t i = 0; i < peer->url_count; i++) {
			const struct peer_url *url = &peer->urls[i];

			if (url->health.state == PEER_DOWN || (not_url != NULL && strcmp(url->url, not_url) == 0))
				continue;
			if (chosen == NULL || url->health.state < chosen->health.state)
				chosen = url;
		}
	}
	if (chosen != NULL) {
		memcpy(url_out, chosen->url, PEER_URL_SIZE);
		status = STATUS_OK;
		if (not_url == NULL)
			retry_budget_sent(&peer->budget, peers->settings.retry_percent);
	}
	pthread_mutex_unlock(&peers->mutex);
	return status;
}

static void report(struct peers *peers, const char *region, const char *url, bool is_probe,
	enum http_client_error error, int64_t duration_ms)
{
	struct metric_series *up = NULL, *duration = NULL, *errors = NULL;
	enum peer_state state = PEER_UP;
	bool has_changed = false, reachable = false, was_reachable = false;
	int64_t now_ms = clock_monotonic_ms(peers->clock), down_ms = 0;
	struct peer_url *entry;
	struct peer *peer;

	pthread_mutex_lock(&peers->mutex);
	peer = find(peers, region);
	entry = find_url(peer, url);
	if (entry != NULL) {
		if (is_probe)
			entry->is_probing = false;
		was_reachable = is_reachable(peer);
		has_changed = peer_health_report(
			&entry->health, &peers->settings, is_probe, error, duration_ms, now_ms, peers->random);
		state = entry->health.state;
		reachable = is_reachable(peer);
		if (was_reachable && !reachable)
			peer->down_ms = now_ms;
		down_ms = now_ms - peer->down_ms;
		up = peer->up;
		duration = peer->duration;
		errors = peer->errors[error];
	}
	pthread_mutex_unlock(&peers->mutex);
	if (entry == NULL || error == HTTP_CLIENT_CANCELLED)
		return;
	if (error != HTTP_CLIENT_OK)
		metric_add(errors, 1);
	else if (!is_probe)
		metric_observe_us(duration, duration_ms * 1000);
	if (!has_changed)
		return;
	metric_set(up, reachable);
	log_event(state == PEER_UP ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "peer_state", "peer", region, "url", url, "state",
		peer_state_name(state), "reason", error == HTTP_CLIENT_OK ? "" : http_client_error_name(error),
		(const char *)0);
	if (was_reachable != reachable && peers->hook.changed != NULL)
		peers->hook.changed(peers->hook.arg, region, reachable, http_client_error_name(error), down_ms);
}

void peers_report(
	struct peers *peers, const char *region, const char *url, enum http_client_error error, int64_t duration_ms)
{
	report(peers, region, url, false, error, duration_ms);
}

void peers_report_probe(
	struct peers *peers, const struct peer_probe_target *target, enum http_client_error error, int64_t duration_ms)
{
	report(peers, target->region, target->url, true, error, duration_ms);
}

bool peers_may_retry(struct peers *peers, const char *region)
{
	bool may = false;
	struct peer *peer;

	pthread_mutex_lock(&peers->mutex);
	peer = find(peers, region);
	if (peer != NULL)
		may = retry_budget_take(&peer->budget, clock_monotonic_ms(peers->clock));
	pthread_mutex_unlock(&peers->mutex);
	return may;
}

size_t peers_take_due(struct peers *peers, struct peer_probe_target *targets, size_t max)
{
	int64_t now_ms = clock_monotonic_ms(peers->clock);
	size_t count = 0;

	pthread_mutex_lock(&peers->mutex);
	for (size_t i = 0; i < peers->count; i++) {
		struct peer *peer = &peers->peers[i];

		for (size_t j = 0; j < peer->url_count && count < max; j++) {
			if (peer->urls[j].is_probing || !peer_health_wants_probe(&peer->urls[j].health, now_ms))
				continue;
			peer->urls[j].is_probing = true;
			memcpy(targets[count].region, peer->region, REGION_SIZE);
			memcpy(targets[count].url, peer->urls[j].url, PEER_URL_SIZE);
			count++;
		}
	}
	pthread_mutex_unlock(&peers->mutex);
	return count;
}

static void fill_row(const struct peer *peer, const struct peer_url *url, int64_t now_ms, struct peer_row *row)
{
	const struct peer_health *health = &url->health;

	memcpy(row->region, peer->region, REGION_SIZE);
	memcpy(row->url, url->url, PEER_URL_SIZE);
	row->state = health->state;
	row->reason[0] = '\0';
	if (health->reason != HTTP_CLIENT_OK)
		snprintf(row->reason, sizeof(row->reason), "%s", http_client_error_name(health->reason));
	row->since_ms = now_ms - health->since_ms;
	row->last_success_ms = health->last_success_ms < 0 ? -1 : now_ms - health->last_success_ms;
	row->round_trip_ms = health->round_trip_us < 0 ? -1 : (health->round_trip_us + 500) / 1000;
}

void peers_each(struct peers *peers, void (*each)(void *arg, const struct peer_row *row), void *arg)
{
	int64_t now_ms = clock_monotonic_ms(peers->clock);
	struct peer_row *rows = NULL;
	size_t count = 0, filled = 0;

	pthread_mutex_lock(&peers->mutex);
	for (size_t i = 0; i < peers->count; i++)
		count += peers->peers[i].url_count;
	rows = calloc(count > 0 ? count : 1, sizeof(*rows));
	for (size_t i = 0; i < peers->count && rows != NULL; i++)
		for (size_t j = 0; j < peers->peers[i].url_count; j++)
			fill_row(&peers->peers[i], &peers->peers[i].urls[j], now_ms, &rows[filled++]);
	pthread_mutex_unlock(&peers->mutex);
	for (size_t i = 0; i < filled; i++)
		each(arg, &rows[i]);
	free(rows);
}
