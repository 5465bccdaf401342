/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a worker: connect, work until something is lost, wait longer each
 * time (100 ms to 5 s, half of it random, so that regions do not return together),
 * and again.  The broker pointer is guarded because stopping must be able to end a
 * write that the broker no longer reads.
 */
#include "federation/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

#define PATIENCE_MIN_MS 100
#define PATIENCE_MAX_MS 5000
#define SESSION_OPEN_MS 5000
#define SETTLE_MS 30000    /* for the broker to confirm a batch; then the connection is made anew */
#define STOP_GRACE_MS 3000 /* for a batch under way, before its connection is cut */

static void *run(void *arg)
{
	struct worker *worker = arg;

	worker->patience_ms = PATIENCE_MIN_MS;
	while (!atomic_load(&worker->is_stopping))
		worker->work(worker);
	worker_lose_broker(worker, NULL);
	worker_lose_session(worker, NULL);
	return NULL;
}

enum status worker_start(struct worker *worker, struct strbuf *why)
{
	pthread_mutex_init(&worker->lock, NULL);
	if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
		pthread_mutex_destroy(&worker->lock);
		strbuf_addf(why, "events: no thread for the %s", worker->name);
		return STATUS_INTERNAL;
	}
	worker->is_running = true;
	return STATUS_OK;
}

void worker_stop(struct worker *worker)
{
	struct timespec end;

	if (!worker->is_running)
		return;
	atomic_store(&worker->is_stopping, true);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_GRACE_MS / 1000;
	if (pthread_timedjoin_np(worker->thread, NULL, &end) != 0) {
		pthread_mutex_lock(&worker->lock);
		if (worker->broker != NULL)
			broker_interrupt(worker->broker);
		pthread_mutex_unlock(&worker->lock);
		pthread_join(worker->thread, NULL);
	}
	pthread_mutex_destroy(&worker->lock);
	worker->is_running = false;
}

void worker_lose_broker(struct worker *worker, const char *why)
{
	struct broker *broker = worker->broker;

	if (why != NULL)
		LOG_WARN("events_broker_lost", "worker", worker->name, "reason", why);
	pthread_mutex_lock(&worker->lock);
	worker->broker = NULL;
	pthread_mutex_unlock(&worker->lock);
	broker_close(broker);
}

void worker_lose_session(struct worker *worker, const char *why)
{
	if (why != NULL)
		LOG_WARN("events_database_lost", "worker", worker->name, "reason", why);
	database_session_close(worker->session);
	worker->session = NULL;
}

void worker_wait(struct worker *worker)
{
	int64_t half = worker->patience_ms / 2;
	int64_t left_ms = half + (int64_t)random_below(random_system(), (uint64_t)half + 1);

	while (left_ms > 0 && !atomic_load(&worker->is_stopping)) {
		int64_t step_ms = left_ms < WORKER_TURN_MS ? left_ms : WORKER_TURN_MS;
		struct timespec step = { 0, step_ms * 1000000L };

		nanosleep(&step, NULL);
		left_ms -= step_ms;
	}
	worker->patience_ms = worker->patience_ms * 2 < PATIENCE_MAX_MS ? worker->patience_ms * 2 : PATIENCE_MAX_MS;
}

void worker_succeed(struct worker *worker)
{
	worker->patience_ms = PATIENCE_MIN_MS;
}

void worker_count_batched(const char *direction, size_t events)
{
	metric_add(metric_series(metric_register(METRIC_COUNTER, "homeward_events_batched_total",
					 "Events that shared a message with others, by direction.", "direction"),
			   direction, NULL),
		events);
}

static bool connect_broker(struct worker *worker, struct strbuf *why)
{
	struct broker *broker;
	enum status status = broker_open(&worker->broker_settings, &broker, why);

	if (status == STATUS_OK)
		status = broker_confirm(broker, why);
	pthread_mutex_lock(&worker->lock);
	worker->broker = status == STATUS_OK ? broker : NULL;
	pthread_mutex_unlock(&worker->lock);
	if (status != STATUS_OK)
		broker_close(broker);
	worker->is_new_channel = true;
	return status == STATUS_OK;
}

enum status worker_take_lock(struct worker *worker, enum worker_lock lock, struct strbuf *why)
{
	static const char sql[] = "SELECT pg_try_advisory_lock(7451038219046000 + $1::bigint)";
	char number[16];
	const char *parameters[] = { number };
	PGresult *result = NULL;
	enum status status;
	bool is_ours;

	(void)snprintf(number, sizeof(number), "%d", (int)lock);
	status = database_session_query(worker->session, sql, parameters, 1, WORKER_QUERY_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	is_ours = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return is_ours ? STATUS_OK : STATUS_CONFLICT;
}

bool worker_connect(struct worker *worker, enum status (*prepare)(struct worker *worker, struct strbuf *why))
{
	struct strbuf why = STRBUF_INIT;
	bool is_new = false, is_fine = true;

	if (worker->session == NULL && worker->dsn != NULL) {
		is_fine = database_session_open(worker->dsn, SESSION_OPEN_MS, &worker->session, &why) == STATUS_OK;
		is_new = true;
	}
	if (is_fine && worker->broker == NULL && worker->broker_settings.url != NULL) {
		is_fine = connect_broker(worker, &why);
		is_new = true;
	}
	if (is_fine && is_new && prepare(worker, &why) != STATUS_OK) {
		/* Either may be the cause: both are made anew. */
		worker_lose_broker(worker, NULL);
		worker_lose_session(worker, NULL);
		is_fine = false;
	}
	if (!is_fine && why.length > 0)
		LOG_WARN("events_not_connected", "worker", worker->name, "reason", why.data);
	if (is_fine && is_new)
		LOG_INFO("events_connected", "worker", worker->name);
	strbuf_release(&why);
	if (!is_fine)
		worker_wait(worker);
	return is_fine;
}

bool worker_listen(struct worker *worker, int64_t timeout_ms, struct broker_news *news_out)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = broker_wait(worker->broker, timeout_ms, news_out, &why);

	if (status != STATUS_OK)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	if (status != STATUS_OK) {
		broker_news_release(news_out);
		news_out->happening = BROKER_NOTHING;
		return false;
	}
	switch (news_out->happening) {
	case BROKER_CONFIRMED:
		confirms_settle(&worker->confirms, news_out->tag, news_out->is_multiple, CONFIRM_DONE);
		break;
	case BROKER_REFUSED:
		confirms_settle(&worker->confirms, news_out->tag, news_out->is_multiple, CONFIRM_REFUSED);
		break;
	case BROKER_RETURNED:
		confirms_return(&worker->confirms, (size_t)strtoull(news_out->mark, NULL, 10));
		LOG_DEBUG("event_returned", "reason", news_out->reason);
		break;
	case BROKER_BLOCKED:
		LOG_WARN("events_broker_blocked", "worker", worker->name, "reason", news_out->reason);
		break;
	case BROKER_UNBLOCKED:
		LOG_INFO("events_broker_unblocked", "worker", worker->name);
		break;
	case BROKER_NOTHING:
	case BROKER_DELIVERED:
		break;
	}
	return true;
}

bool worker_pump(struct worker *worker, int64_t timeout_ms)
{
	struct broker_news news;

	do {
		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		broker_news_release(&news);
		timeout_ms = 0;
	} while (news.happening != BROKER_NOTHING);
	return true;
}

bool worker_settle(struct worker *worker)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;

	while (!confirms_all_settled(&worker->confirms)) {
		if (!worker_pump(worker, WORKER_TURN_MS))
			return false;
		if (broker_is_blocked(worker->broker)) {
			/* Confirmations wait for the alarm to end, and it may last. */
			end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;
			if (atomic_load(&worker->is_stopping))
				return false;
		}
		if (clock_monotonic_ms(clock_system()) >= end_ms) {
			worker_lose_broker(worker, "no confirmation in time");
			return false;
		}
	}
	return true;
}

void worker_wait_notified(struct worker *worker)
{
	struct strbuf why = STRBUF_INIT;
	bool is_notified = false;

	for (int waited_ms = 0; waited_ms < 1000 && !is_notified && !atomic_load(&worker->is_stopping);
		waited_ms += WORKER_TURN_MS) {
		if (database_session_wait(worker->session, WORKER_TURN_MS, &is_notified, &why) != STATUS_OK) {
			worker_lose_session(worker, why.data);
			break;
		}
		if (!worker_pump(worker, 0))
			break;
	}
	strbuf_release(&why);
}
