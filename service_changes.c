/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other regions say has changed, heard by every process of this region: the
 * one that takes the event writes it into the inbox, a trigger there notifies, and
 * each process forgets.  A connection that was away is made up for from the inbox.
 *
 * Runs on the control loop.  What cannot be told apart (a route of a prefix, more
 * than a notification holds, too much missed) empties the cache: its answers are
 * only asked for again.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "service.h"

#define CHANNEL "homeward_changed"
#define MARGIN_S 60       /* between this clock and the database's, and for a transaction under way */
#define MISSED_ROWS 10000 /* more are forgotten all at once */
#define DATABASE_MS 5000

static const char read_missed[] =
	"SELECT CASE type WHEN 'object.changed' THEN jsonb_build_array(event->'data'->>'object_type',"
	" event->'data'->>'object_id')::text ELSE '' END FROM homeward.inbox WHERE received_at > now() - $1::bigint *"
	" interval '1 second' AND type IN ('object.changed', 'route.changed') LIMIT 10001";
static const char write_region[] =
	"INSERT INTO homeward.this_region (region) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET region = $1"
	" WHERE this_region.region <> $1";

static void count(const char *what)
{
	metric_add(
		metric_series(
			metric_register(METRIC_COUNTER, "homeward_changes_heard_total",
				"What other regions said has changed, and the cache forgot: an object, or everything.",
				"what"),
			what, (const char *)NULL),
		1);
}

/* ["type", "id"], or "" for everything. */
static void forget(struct service *service, const char *told)
{
	struct object_id object = { .type = "" };
	json_t *pair = NULL;
	const char *type = NULL, *id = NULL;

	if (told[0] != '\0' && json_parse(told, strlen(told), &pair, NULL) == STATUS_OK) {
		type = json_string_value(json_array_get(pair, 0));
		id = json_string_value(json_array_get(pair, 1));
	}
	if (type != NULL && id != NULL && strlen(type) < sizeof(object.type) && strlen(id) < sizeof(object.id)) {
		memcpy(object.type, type, strlen(type));
		memcpy(object.id, id, strlen(id));
		(void)locator_forget(service->locator, &object);
		count("object");
	} else {
		(void)locator_forget(service->locator, NULL);
		count("all");
	}
	json_decref(pair);
}

static void missed(void *arg, enum status status, const PGresult *result)
{
	struct service *service = arg;

	if (status != STATUS_OK || PQntuples(result) > MISSED_ROWS) {
		forget(service, "");
		return;
	}
	for (int i = 0; i < PQntuples(result); i++)
		forget(service, PQgetvalue(result, i, 0));
	LOG_INFO("changes_made_up_for", "count", log_number(PQntuples(result)));
}

static void region_told(void *arg, enum status status, const PGresult *result)
{
	(void)arg;
	(void)result;
	if (status != STATUS_OK)
		LOG_WARN("region_not_written", "status", status_name(status));
}

/* The database tells others of routes in its region's name. */
void service_changes_migrated(struct service *service)
{
	struct database_parameter parameter = { service->settings->region };

	if (service->settings->events.broker[0] != '\0')
		database_query(service->control_database, write_region, &parameter, 1,
			loop_now_ms(service->control) + DATABASE_MS, region_told, NULL);
}

/* On each connection: the first has missed nothing, for the cache was empty before it. */
static void connected(struct service *service)
{
	int64_t now_ms = loop_now_ms(service->control);
	struct database_parameter parameter;
	char away_s[24];

	if (service->is_migrated)
		service_changes_migrated(service);
	if (service->changes_heard_ms != 0) {
		(void)snprintf(away_s, sizeof(away_s), "%lld",
			(long long)((now_ms - service->changes_heard_ms) / 1000 + MARGIN_S));
		parameter.text = away_s;
		database_query(
			service->control_database, read_missed, &parameter, 1, now_ms + DATABASE_MS, missed, service);
	}
	service->changes_heard_ms = now_ms;
}

static void heard(void *arg, const char *channel)
{
	struct service *service = arg;
	const char *told = database_notice(service->control_database);

	(void)channel;
	if (told == NULL)
		connected(service);
	else
		forget(service, told);
}

enum status service_changes_follow(struct service *service)
{
	return database_listen(service->control_database, CHANNEL, heard, service);
}

void service_changes_tend(struct service *service)
{
	if (service->changes_heard_ms != 0 && database_is_up(service->control_database))
		service->changes_heard_ms = loop_now_ms(service->control);
}
