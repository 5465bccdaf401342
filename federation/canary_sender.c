/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends a canary to each peer when it is due and answers those that came, by the
 * exchange and links that events take, straight to the broker: a canary that
 * waited in the outbox would tell of the database.  The consumer hands over what
 * came and wakes this worker by an eventfd, so that an answer leaves at once.
 *
 * Under a memory or disk alarm the broker reads nothing: then nothing is sent, and
 * the peers see this region's links as what they are.
 */
#include "federation/canary_sender.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "federation/canary.h"
#include "federation/event_batch.h"
#include "federation/receipts.h"

#define CANARY_SOURCE "/homeward/mesh"
#define CANARY_EXPIRES_US 60000000 /* also what clocks may differ by */
#define ANSWERS_MAX 1024           /* waiting to be sent: a hub's sites, twice */
#define WATCH_EVERY_MS 500
#define LOOK_EVERY_MS 5000 /* at events without a receipt */
#define DAY_S 86400

/* One canary or answer to be sent. */
struct canary_note {
	bool is_answer;
	char to[REGION_SIZE], instance[CANARY_INSTANCE_SIZE];
	uint64_t number;
	json_t *view; /* of a canary */
};

struct canary_sender {
	const struct tls_store *tls;
	struct system_events *system;
	int wake_fd;
	int64_t watched_ms;   /* the worker's */
	int64_t looked_ms;    /* the publisher's */
	pthread_mutex_t lock; /* of all below; never held across I/O */
	struct canaries canaries;
	struct canary_note answers[ANSWERS_MAX]; /* to be sent, oldest first from answer_first */
	size_t answer_first, answer_count;
};

static int64_t now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

enum status canary_sender_create(const struct settings *settings, const struct mesh *mesh, const struct tls_store *tls,
	struct system_events *system, struct canary_sender **sender_out)
{
	struct canary_sender *sender = calloc(1, sizeof(*sender));
	uint8_t random[(CANARY_INSTANCE_SIZE - 1) / 2];

	*sender_out = NULL;
	if (sender == NULL)
		return STATUS_NO_MEMORY;
	sender->tls = tls;
	sender->system = system;
	sender->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&sender->lock, NULL);
	if (sender->wake_fd < 0 || canaries_init(&sender->canaries, mesh, settings->region,
					   settings->events.canary_interval_ms, now_ms()) != STATUS_OK) {
		canary_sender_destroy(sender);
		return STATUS_NO_MEMORY;
	}
	random_fill(random_system(), random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(&sender->canaries.instance[2 * i], 3, "%02x", random[i]);
	*sender_out = sender;
	return STATUS_OK;
}

void canary_sender_destroy(struct canary_sender *sender)
{
	if (sender == NULL)
		return;
	if (sender->wake_fd >= 0)
		close(sender->wake_fd);
	pthread_mutex_destroy(&sender->lock);
	canaries_release(&sender->canaries);
	free(sender);
}

static void say_silence(const struct canary_sender *sender, const char *from, bool is_silent)
{
	if (is_silent)
		LOG_WARN("mesh_link_silent", "from", from, "silent_ms", log_number(CANARY_SILENT_MS));
	else
		LOG_INFO("mesh_link_back", "from", from);
	system_say_link(sender->system, from, sender->canaries.region, !is_silent);
}

/* ---- what came, on the consumer's thread ---- */

static void queue_answer(struct canary_sender *sender, const struct event *event, const char *instance, int64_t number)
{
	struct canary_note *note = &sender->answers[(sender->answer_first + sender->answer_count) % ANSWERS_MAX];

	/* Peers send few; more than fit would be a backlog, of which any answer tells as much as all. */
	if (sender->answer_count == ANSWERS_MAX)
		return;
	*note = (struct canary_note){ .is_answer = true, .number = (uint64_t)number };
	memccpy(note->to, event->origin, '\0', sizeof(note->to) - 1);
	memccpy(note->instance, instance, '\0', sizeof(note->instance) - 1);
	sender->answer_count++;
}

bool canary_take(struct canary_sender *sender, const struct event *event, bool is_late)
{
	json_t *data = json_object_get(event->envelope, "data"), *view = json_object_get(data, "view");
	const char *kind = json_get_string(data, "kind"), *instance = json_get_string(data, "instance");
	bool is_answer = kind != NULL && strcmp(kind, "answer") == 0, is_back = false;
	struct canary_peer *peer = NULL;
	int64_t number = 0, batch_events = 1;

	if (event->envelope == NULL || strcmp(event->type, CANARY_TYPE) != 0)
		return false;
	if (sender == NULL || instance == NULL || !json_get_integer(data, "number", &number))
		return true;
	if (!json_get_integer(event->envelope, EVENT_BATCH_ATTRIBUTE, &batch_events) || batch_events < 1)
		batch_events = 1;
	pthread_mutex_lock(&sender->lock);
	peer = canaries_find(&sender->canaries, event->origin);
	if (peer == NULL)
		goto out;
	is_back = canary_heard(peer, now_ms());
	if (is_answer && strcmp(instance, sender->canaries.instance) == 0)
		(void)canary_answered(peer, (uint64_t)number, now_ms());
	if (!is_answer && !is_late)
		queue_answer(sender, event, instance, number);
	if (!is_late)
		peer->batch_events_max = batch_events;
	if (!is_answer && !is_late && json_is_object(view))
		canary_told(peer, view, now_ms());
out:
	pthread_mutex_unlock(&sender->lock);
	if (!is_answer && peer != NULL)
		(void)eventfd_write(sender->wake_fd, 1);
	if (is_back)
		say_silence(sender, event->origin, false);
	return true;
}

void canary_count(struct canary_sender *sender, const char *region, enum canary_count what, int64_t amount)
{
	struct canary_peer *peer;

	if (sender == NULL)
		return;
	pthread_mutex_lock(&sender->lock);
	peer = canaries_find(&sender->canaries, region);
	if (peer != NULL)
		*(what == CANARY_DUPLICATES ? &peer->duplicates : &peer->gaps) += amount;
	pthread_mutex_unlock(&sender->lock);
}

enum status canary_count_unreceipted(struct worker *worker, struct strbuf *why)
{
	static const char query[] = RECEIPT_PLACES
		" SELECT destination, count(*) FROM ((SELECT late.destination FROM places CROSS JOIN LATERAL"
		" (SELECT destination FROM homeward.outbox WHERE " RECEIPT_MISSING " AND destination = name"
		" AND sent_at < now() - interval '10 seconds' ORDER BY sent_at LIMIT 10000) AS late) UNION ALL"
		" (SELECT destination FROM homeward.outbox WHERE sent_at IS NULL AND refused_at IS NULL"
		" AND created_at < now() - interval '10 seconds' AND destination <> 'all' ORDER BY seq LIMIT 10000))"
		" AS late GROUP BY destination";
	struct canary_sender *sender = worker->canary;
	PGresult *rows = NULL;
	enum status status;

	if (sender == NULL || now_ms() - sender->looked_ms < LOOK_EVERY_MS)
		return STATUS_OK;
	sender->looked_ms = now_ms();
	status = database_session_query(worker->session, query, NULL, 0, WORKER_QUERY_MS, &rows, why);
	if (status != STATUS_OK)
		return status;
	pthread_mutex_lock(&sender->lock);
	for (size_t i = 0; i < sender->canaries.count; i++)
		sender->canaries.peers[i].unreceipted = 0;
	for (int row = 0; row < PQntuples(rows); row++) {
		struct canary_peer *peer = canaries_find(&sender->canaries, PQgetvalue(rows, row, 0));

		if (peer != NULL)
			peer->unreceipted = strtoll(PQgetvalue(rows, row, 1), NULL, 10);
	}
	pthread_mutex_unlock(&sender->lock);
	PQclear(rows);
	return STATUS_OK;
}

enum status canary_reached(struct canary_sender *sender, struct strbuf *regions, struct strbuf *ages_ms)
{
	strbuf_addc(regions, '{');
	strbuf_addc(ages_ms, '{');
	if (sender != NULL)
		pthread_mutex_lock(&sender->lock);
	for (size_t i = 0; sender != NULL && i < sender->canaries.count; i++) {
		const struct canary_peer *peer = &sender->canaries.peers[i];

		database_array_add(regions, peer->region, strlen(peer->region), i == 0);
		strbuf_addf(ages_ms, "%s%lld", i == 0 ? "" : ",", (long long)canary_reached_age_ms(peer, now_ms()));
	}
	if (sender != NULL)
		pthread_mutex_unlock(&sender->lock);
	strbuf_addc(regions, '}');
	strbuf_addc(ages_ms, '}');
	return strbuf_ok(regions) && strbuf_ok(ages_ms) ? STATUS_OK : STATUS_NO_MEMORY;
}

size_t canary_batch_events(struct canary_sender *sender, const char *region)
{
	const struct canary_peer *peer;
	int64_t batch_events;

	if (sender == NULL)
		return 1;
	pthread_mutex_lock(&sender->lock);
	peer = canaries_find(&sender->canaries, region);
	batch_events = peer != NULL ? canary_batch_events_max(peer, now_ms()) : 1;
	pthread_mutex_unlock(&sender->lock);
	return (size_t)batch_events;
}

json_t *canary_matrix(struct canary_sender *sender)
{
	json_t *matrix;

	pthread_mutex_lock(&sender->lock);
	matrix = canaries_matrix(&sender->canaries, now_ms());
	pthread_mutex_unlock(&sender->lock);
	return matrix;
}

/* ---- sending, on the worker's thread ---- */

/* The next to be sent; false when there is none now.  The view is the caller's. */
static bool next_note(struct canary_sender *sender, struct canary_note *note)
{
	struct canaries *canaries = &sender->canaries;
	bool has_one = false;
	int64_t at_ms = now_ms();

	pthread_mutex_lock(&sender->lock);
	if (sender->answer_count > 0) {
		*note = sender->answers[sender->answer_first];
		sender->answer_first = (sender->answer_first + 1) % ANSWERS_MAX;
		sender->answer_count--;
		has_one = true;
	}
	for (size_t i = 0; i < canaries->count && !has_one; i++) {
		struct canary_peer *peer = &canaries->peers[i];

		if (!canary_is_due(peer, at_ms))
			continue;
		*note = (struct canary_note){ .number = canary_sent(canaries, peer, at_ms),
			.view = canary_view(canaries, peer, at_ms) };
		memcpy(note->to, peer->region, sizeof(note->to));
		memcpy(note->instance, canaries->instance, sizeof(note->instance));
		has_one = true;
	}
	pthread_mutex_unlock(&sender->lock);
	return has_one;
}

static json_t *make_event(
	const struct canary_sender *sender, const struct canary_note *note, char id[EXCHANGE_ID_TEXT_SIZE])
{
	struct exchange_id exchange = exchange_id_make(clock_system(), random_system());
	int64_t wall_us = clock_wall_us(clock_system());
	char now[CLOCK_TEXT_SIZE], end[CLOCK_TEXT_SIZE];
	json_t *data;

	exchange_id_format(&exchange, id);
	clock_format(wall_us, now);
	clock_format(wall_us + CANARY_EXPIRES_US, end);
	data = json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:O*}", "from", sender->canaries.region, "to", note->to, "number",
		(json_int_t)note->number, "sent_at", now, "kind", note->is_answer ? "answer" : "canary", "instance",
		note->instance, "view", note->view);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:o}", "specversion", "1.0", "id", id,
		"source", CANARY_SOURCE, "type", CANARY_TYPE, "time", now, "expirytime", end, "datacontenttype",
		"application/json", "dataschema", EVENT_SCHEMA_BASE CANARY_TYPE ".v1.json", "dataclassification",
		"operational", "destination", note->to, "originregion", sender->canaries.region, "exchangeid", id,
		EVENT_BATCH_ATTRIBUTE, EVENT_BATCH_EVENTS_MAX, "data", data);
}

static bool send_note(struct worker *worker, const struct canary_note *note)
{
	char id[EXCHANGE_ID_TEXT_SIZE], key[2 * REGION_SIZE + sizeof(CANARY_TYPE) + 2];
	json_t *event = make_event(worker->canary, note, id);
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	enum status status = event != NULL ? json_write(event, &body) : STATUS_NO_MEMORY;
	struct broker_message message = { .exchange = MESH_EVENTS,
		.key = key,
		.id = id,
		.mark = "",
		.body = body.data,
		.body_size = body.length,
		.is_passing = true };

	snprintf(key, sizeof(key), "%s.%s.%s", note->to, worker->canary->canaries.region, CANARY_TYPE);
	if (status == STATUS_OK && broker_publish(worker->broker, &message, &why) != STATUS_OK)
		worker_lose_broker(worker, why.data);
	json_decref(event);
	strbuf_release(&body);
	strbuf_release(&why);
	return worker->broker != NULL;
}

/* ---- watching ---- */

static double seconds(int64_t ms)
{
	return (double)ms / 1000;
}

static void set_gauge(const char *name, const char *help, const char *region, double value, bool is_shown)
{
	struct metric_series *series = metric_series(metric_register(METRIC_GAUGE, name, help, "region"), region, NULL);

	if (is_shown)
		metric_set(series, value);
	else
		metric_withdraw(series);
}

/* Of a peer that is gone nothing is shown. */
static void show_metrics(const struct canary_peer *peer, int64_t at_ms, bool is_gone)
{
	int64_t p50_ms = canary_percentile(peer, 50), p99_ms = canary_percentile(peer, 99);

	set_gauge("homeward_mesh_canary_age_seconds", "Since a region's last canary came.", peer->region,
		seconds(at_ms - peer->heard_ms), !is_gone && peer->heard_ms >= 0);
	set_gauge("homeward_mesh_canary_answer_age_seconds", "Since a region last answered a canary.", peer->region,
		seconds(at_ms - peer->answered_ms), !is_gone && peer->answered_ms >= 0);
	set_gauge("homeward_mesh_canary_round_trip_p50_seconds", "Median round trip of the last canaries.",
		peer->region, seconds(p50_ms), !is_gone && p50_ms >= 0);
	set_gauge("homeward_mesh_canary_round_trip_p99_seconds", "99th percentile round trip of the last canaries.",
		peer->region, seconds(p99_ms), !is_gone && p99_ms >= 0);
	set_gauge("homeward_mesh_canary_silent", "1 while no canary of a region comes.", peer->region, peer->is_silent,
		!is_gone);
}

static int64_t days_left(const struct tls_store *tls)
{
	int64_t ends_s[3] = { 0, 0, 0 }, first_s = INT64_MAX, now_s = clock_wall_us(clock_system()) / 1000000;

	if (tls == NULL)
		return -1;
	tls_store_expiry(tls, &ends_s[0], &ends_s[1], &ends_s[2]);
	for (size_t i = 0; i < 3; i++)
		if (ends_s[i] > 0 && ends_s[i] < first_s)
			first_s = ends_s[i];
	if (first_s == INT64_MAX)
		return -1;
	return first_s > now_s ? (first_s - now_s) / DAY_S : 0;
}

static void watch(struct worker *worker)
{
	struct canary_sender *sender = worker->canary;
	struct canaries *canaries = &sender->canaries;
	int64_t at_ms = now_ms(), days = days_left(sender->tls);
	bool is_last = false;

	if (at_ms - sender->watched_ms < WATCH_EVERY_MS)
		return;
	sender->watched_ms = at_ms;
	for (size_t i = 0; !is_last; i++) {
		bool has_fallen_silent = false;
		char region[REGION_SIZE];

		pthread_mutex_lock(&sender->lock);
		is_last = i >= canaries->count;
		if (!is_last) {
			struct canary_peer *peer = &canaries->peers[i];

			canaries->certificate_days = days;
			canaries->alarms = worker->broker != NULL && broker_is_blocked(worker->broker);
			has_fallen_silent = canary_falls_silent(peer, now_ms());
			show_metrics(peer, now_ms(), false);
			memcpy(region, peer->region, sizeof(region));
		}
		pthread_mutex_unlock(&sender->lock);
		if (has_fallen_silent)
			say_silence(sender, region, true);
	}
}

void canary_sender_follow(struct canary_sender *sender, struct canaries *fresh)
{
	pthread_mutex_lock(&sender->lock);
	canaries_follow(&sender->canaries, fresh);
	for (size_t i = 0; i < fresh->count; i++)
		show_metrics(&fresh->peers[i], now_ms(), true);
	pthread_mutex_unlock(&sender->lock);
	canaries_release(fresh);
	(void)eventfd_write(sender->wake_fd, 1);
}

static void wait_for_work(struct canary_sender *sender)
{
	struct pollfd wake = { .fd = sender->wake_fd, .events = POLLIN };
	int64_t next_ms, left_ms;
	eventfd_t ignored;

	pthread_mutex_lock(&sender->lock);
	next_ms = canaries_next_ms(&sender->canaries);
	pthread_mutex_unlock(&sender->lock);
	left_ms = next_ms - now_ms();
	if (left_ms < 0 || left_ms > WORKER_TURN_MS)
		left_ms = WORKER_TURN_MS; /* also while an alarm holds up what is due */
	if (poll(&wake, 1, (int)left_ms) > 0)
		(void)eventfd_read(sender->wake_fd, &ignored);
}

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	(void)worker;
	(void)why;
	return STATUS_OK;
}

void canary_sender_work(struct worker *worker)
{
	watch(worker);
	if (!worker_connect(worker, prepare))
		return;
	worker_succeed(worker);
	while (!atomic_load(&worker->is_stopping)) {
		struct broker_news news = { .happening = BROKER_NOTHING };
		struct canary_note note;

		do {
			if (!worker_listen(worker, 0, &news))
				return;
			broker_news_release(&news);
		} while (news.happening != BROKER_NOTHING);
		watch(worker);
		while (!broker_is_blocked(worker->broker) && next_note(worker->canary, &note)) {
			bool is_sent = send_note(worker, &note);

			json_decref(note.view);
			if (!is_sent)
				return;
		}
		wait_for_work(worker->canary);
	}
}
