/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System events to the broker, on a thread of its own, a batch at a time.  What is
 * confirmed is done; after a lost connection the batch is published again, under
 * the same ids.  Nobody need listen: homeward.system drops what no queue wants.
 */
#include "federation/system_publisher.h"

#include "base/clock.h"
#include "federation/federation.h"

#define SETTLE_MS 30000

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	(void)worker;
	(void)why;
	return STATUS_OK;
}

/* How many; -1 when the broker was lost. */
static int publish_batch(struct worker *worker, uint64_t *last_out)
{
	struct strbuf why = STRBUF_INIT;
	struct system_event event;
	bool is_fine = true;
	int count = 0;

	*last_out = system_events_last_published(worker->system);
	confirms_begin(&worker->confirms, worker->is_new_channel);
	worker->is_new_channel = false;
	while (is_fine && count < SYSTEM_BATCH_MAX && system_events_next(worker->system, *last_out, &event)) {
		struct broker_message message = { .exchange = MESH_SYSTEM,
			.key = event.type,
			.id = event.id,
			.mark = "",
			.body = event.text.data,
			.body_size = event.text.length };

		confirms_add(&worker->confirms);
		is_fine = broker_publish(worker->broker, &message, &why) == STATUS_OK;
		*last_out = event.number;
		count++;
		strbuf_release(&event.text);
	}
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	return is_fine ? count : -1;
}

static bool wait_confirmed(struct worker *worker)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;
	struct broker_news news;

	while (!confirms_all_settled(&worker->confirms)) {
		if (!worker_listen(worker, WORKER_TURN_MS, &news))
			return false;
		broker_news_release(&news);
		if (atomic_load(&worker->is_stopping))
			return false;
		if (clock_monotonic_ms(clock_system()) >= end_ms) {
			worker_lose_broker(worker, "no confirmation in time");
			return false;
		}
	}
	for (size_t i = 0; i < worker->confirms.count; i++)
		if (!confirms_is_done(&worker->confirms, i))
			return false;
	return true;
}

void system_publisher_work(struct worker *worker)
{
	struct broker_news news;
	uint64_t last;
	int count;

	if (!worker_connect(worker, prepare))
		return;
	if (!worker_listen(worker, WORKER_TURN_MS, &news))
		return;
	broker_news_release(&news);
	if (broker_is_blocked(worker->broker))
		return;
	count = publish_batch(worker, &last);
	if (count > 0 && wait_confirmed(worker))
		system_events_published(worker->system, last);
	else if (count != 0)
		worker_wait(worker);
	if (count >= 0 && worker->broker != NULL)
		worker_succeed(worker);
}
