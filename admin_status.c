/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /admin/v1/status: what one daemon knows of itself.  Begun on an HTTP thread;
 * where there are events, finished on the control loop once the database has
 * counted them, or two seconds later without the counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/problem.h"
#include "service.h"

#define COUNT_MS 2000
#define ALARMS_SHOWN 5

/* Partial indexes hold just these rows; the oldest first. */
static const char count_events[] =
	"SELECT (SELECT count(*) FROM homeward.outbox WHERE sent_at IS NULL AND refused_at IS NULL),"
	" (SELECT coalesce(greatest(0, extract(epoch FROM now() - min(created_at)))::bigint, 0) FROM homeward.outbox"
	" WHERE sent_at IS NULL AND refused_at IS NULL),"
	" (SELECT count(*) FROM homeward.outbox WHERE sent_at IS NOT NULL AND receipted_at IS NULL AND refused_at IS "
	"NULL"
	" AND destination <> 'all'), (SELECT count(*) FROM homeward.dead_letters)";

struct asked {
	struct loop_task task;
	struct service *service;
	struct http_request *request;
	struct strbuf text;
};

struct row_list {
	struct strbuf *text;
	int count;
};

static void add_peer(void *arg, const struct peer_row *row)
{
	struct row_list *list = arg;

	strbuf_adds(list->text, list->count++ > 0 ? ",{\"region\":" : "{\"region\":");
	strbuf_add_json(list->text, row->region, strlen(row->region));
	strbuf_adds(list->text, ",\"url\":");
	strbuf_add_json(list->text, row->url, strlen(row->url));
	strbuf_addf(list->text, ",\"state\":\"%s\",\"reason\":\"%s\",\"since_ms\":%lld,", peer_state_name(row->state),
		row->reason, (long long)row->since_ms);
	strbuf_addf(list->text, "\"last_success_ms\":%lld,\"round_trip_ms\":%lld}", (long long)row->last_success_ms,
		(long long)row->round_trip_ms);
}

static void add_facts(struct service *service, struct strbuf *text)
{
	struct policy *policy = gate_acquire(service->gate);
	struct row_list list = { text, 0 };

	strbuf_addf(text, "{\"region\":\"%s\",\"version\":\"%s\",\"policy\":\"%s\",", service->settings->region,
		HOMEWARD_VERSION, policy != NULL ? policy_version(policy) : "");
	strbuf_addf(text, "\"routes\":{\"count\":%zu,\"generation\":%llu},\"in_flight\":%d,\"draining\":%s,\"peers\":[",
		routes_count(service->routes), (unsigned long long)routes_generation(service->routes),
		locator_in_flight(service->locator), atomic_load(&service->is_draining) ? "true" : "false");
	peers_each(service->peers, add_peer, &list);
	strbuf_adds(text, "],\"alarms\":");
	system_events_alarms(service->system, ALARMS_SHOWN, text);
	policy_release_reference(policy);
}

static void counted(void *arg, enum status status, const PGresult *result)
{
	struct asked *asked = arg;

	if (status == STATUS_OK && PQntuples(result) == 1)
		strbuf_addf(&asked->text,
			",\"events\":{\"unsent\":%s,\"oldest_unsent_s\":%s,\"unreceipted\":%s,\"dead_letters\":%s}}\n",
			PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 2),
			PQgetvalue(result, 0, 3));
	else
		strbuf_adds(&asked->text, ",\"events\":null}\n");
	admin_reply(asked->request, "application/json", &asked->text);
	free(asked);
}

static void ask_database(struct loop_task *task)
{
	struct asked *asked = (struct asked *)task;
	struct service *service = asked->service;

	database_query(service->control_database, count_events, NULL, 0, loop_now_ms(service->control) + COUNT_MS,
		counted, asked);
}

void admin_status(void *arg, struct http_request *request)
{
	struct service *service = arg;
	struct strbuf text = STRBUF_INIT;
	struct asked *asked;

	add_facts(service, &text);
	if (service->events == NULL) {
		strbuf_adds(&text, "}\n");
		admin_reply(request, "application/json", &text);
		return;
	}
	asked = calloc(1, sizeof(*asked));
	if (asked == NULL) {
		strbuf_release(&text);
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	*asked = (struct asked){ { ask_database, NULL }, service, request, text };
	http_request_suspend(request);
	loop_post(service->control, &asked->task);
}
