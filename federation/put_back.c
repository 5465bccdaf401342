/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event handed in again, for a command: to homeward.submit over a connection of
 * its own, as the region itself, and done only when the broker has confirmed it.
 */
#include <stdio.h>

#include "base/clock.h"
#include "federation/broker.h"
#include "federation/federation.h"

#define CONFIRM_MS 10000

static enum status wait_confirmed(struct broker *broker, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + CONFIRM_MS;
	enum status status = STATUS_OK;
	bool is_returned = false;

	while (status == STATUS_OK && clock_monotonic_ms(clock_system()) < end_ms) {
		struct broker_news news;
		enum broker_happening happening;

		status = broker_wait(broker, 100, &news, why);
		happening = news.happening;
		broker_news_release(&news);
		is_returned |= status == STATUS_OK && happening == BROKER_RETURNED;
		if (status == STATUS_OK && happening == BROKER_REFUSED)
			is_returned = true;
		if (status == STATUS_OK && (happening == BROKER_CONFIRMED || happening == BROKER_REFUSED)) {
			if (!is_returned)
				return STATUS_OK;
			strbuf_adds(why, "the broker does not take it: " MESH_SUBMIT " is full or not there");
			return STATUS_OVERLOADED;
		}
	}
	if (status == STATUS_OK) {
		strbuf_adds(why, "the broker does not confirm it");
		status = STATUS_DEADLINE;
	}
	return status;
}

enum status events_put_back(const struct settings *settings, const char *body, size_t size, struct strbuf *why)
{
	const struct broker_settings connection = { settings->events.broker, settings->tls.certificate,
		settings->tls.key, settings->tls.ca, settings->events.timeout_ms, (int)settings->events.heartbeat_s };
	const struct broker_message message = { .exchange = MESH_SUBMIT,
		.key = "requeued",
		.id = "",
		.mark = "",
		.body = body,
		.body_size = size,
		.is_mandatory = true };
	struct broker *broker = NULL;
	enum status status = broker_open(&connection, &broker, why);

	if (status == STATUS_OK)
		status = broker_confirm(broker, why);
	if (status == STATUS_OK)
		status = broker_publish(broker, &message, why);
	if (status == STATUS_OK)
		status = wait_confirmed(broker, why);
	broker_close(broker);
	return status;
}
