/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows the route table in PostgreSQL: a NOTIFY, and every new connection, asks
 * for a bulk read.  The read runs in a thread of its own for as long as it takes,
 * so that a slow or frozen database never stops the control loop, which must keep
 * probing peers.  The thread hands the finished table over with loop_post().
 *
 * Reads are apart by at least GAP_MIN_MS, and by up to GAP_MAX_MS while changes
 * keep coming.  A failed read is tried again; the old table stays until then.
 *
 * Invariant: at most one read at a time; `pending` says one more is wanted.
 */
#include "router/routes.h"
#include "router/route_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"

#define GAP_MIN_MS 100  /* a statement for each of a thousand rows becomes a handful of reads */
#define GAP_MAX_MS 1000 /* a route just added is in force within about this */
#define RETRY_MS 1000   /* after a failed read */
#define OPEN_TIMEOUT_MS 3000
#define QUERY_TIMEOUT_MS 5000
#define FETCH_ROWS "20000" /* a few MB of rows held at once */

struct routes_follower {
	struct routes *routes;
	struct loop *loop;
	struct loop_timer timer;
	struct loop_task loaded;
	pthread_t thread;
	bool is_loading, pending, is_waiting, has_loaded;
	int64_t gap_ms, last_read_ms;
	struct metric_series *succeeded, *failed;

	/* Written by the thread before it posts. */
	struct route_table *table;
	enum status status;
	uint64_t known_generation; /* 0: read whatever it is */
	atomic_bool is_cancelled;
};

static enum status ask(struct database_session *session, const char *sql, PGresult **result_out, struct strbuf *why)
{
	return database_session_query(session, sql, NULL, 0, QUERY_TIMEOUT_MS, result_out, why);
}

static enum status ask_only(struct database_session *session, const char *sql, struct strbuf *why)
{
	PGresult *result = NULL;
	enum status status = ask(session, sql, &result, why);

	PQclear(result);
	return status;
}

/* One bad row must not keep all others from being read. */
static enum status add_rows(struct route_builder *builder, const PGresult *rows, size_t *bad_rows)
{
	for (int i = 0; i < PQntuples(rows); i++) {
		const char *kind = PQgetvalue(rows, i, 1);
		enum status status = route_builder_put(builder, PQgetvalue(rows, i, 0),
			strcmp(kind, "prefix") == 0 ? ROUTE_PREFIX : ROUTE_EXACT, PQgetvalue(rows, i, 2),
			(size_t)PQgetlength(rows, i, 2), PQgetvalue(rows, i, 3));

		if (status == STATUS_INVALID)
			(*bad_rows)++;
		else if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

static enum status read_rows(struct routes_follower *follower, struct database_session *session,
	struct route_builder *builder, struct strbuf *why)
{
	size_t bad_rows = 0;
	int count;

	do {
		PGresult *rows = NULL;
		enum status status = ask(session, "FETCH " FETCH_ROWS " FROM route_rows", &rows, why);

		count = status == STATUS_OK ? PQntuples(rows) : 0;
		if (status == STATUS_OK)
			status = add_rows(builder, rows, &bad_rows);
		PQclear(rows);
		if (status != STATUS_OK)
			return status;
		if (atomic_load(&follower->is_cancelled))
			return STATUS_DRAINING;
	} while (count > 0);
	if (bad_rows > 0)
		LOG_WARN("routes_rows_passed_over", "count", log_number((int64_t)bad_rows));
	return STATUS_OK;
}

/* One snapshot of the database, so that the generation is that of the rows.  *table_out stays NULL when nothing
 * has changed. */
static enum status read_table(struct routes_follower *follower, struct database_session *session,
	struct route_table **table_out, struct strbuf *why)
{
	struct route_builder *builder = NULL;
	PGresult *result = NULL;
	uint64_t generation = 0;
	enum status status;

	status = ask_only(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", why);
	if (status == STATUS_OK)
		status = ask(session, "SELECT generation FROM homeward.route_generation", &result, why);
	if (status != STATUS_OK)
		goto out;
	if (PQntuples(result) == 1)
		generation = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	if (generation != 0 && generation == follower->known_generation)
		goto out;
	status = ask_only(session,
		"DECLARE route_rows NO SCROLL CURSOR FOR SELECT type, kind, key, region FROM homeward.routes", why);
	if (status != STATUS_OK)
		goto out;
	builder = route_builder_create();
	status = builder == NULL ? STATUS_NO_MEMORY : read_rows(follower, session, builder, why);
	if (status == STATUS_OK) {
		*table_out = route_builder_finish(builder, generation);
		builder = NULL;
	}
out:
	PQclear(result);
	route_builder_destroy(builder);
	return status;
}

static void *load_main(void *arg)
{
	struct routes_follower *follower = arg;
	const struct routes *routes = follower->routes;
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;

	pthread_setname_np(pthread_self(), "routes");
	follower->status = database_session_open(routes->dsn, OPEN_TIMEOUT_MS, &session, &why);
	if (follower->status == STATUS_OK)
		follower->status = read_table(follower, session, &follower->table, &why);
	database_session_close(session);
	if (follower->status != STATUS_OK)
		LOG_WARN("routes_read_failed", "status", status_name(follower->status), "why", why.data);
	else if (follower->table != NULL && route_table_save(follower->table, routes->snapshot_path, &why) != STATUS_OK)
		LOG_WARN("routes_not_saved", "why", why.data);
	strbuf_release(&why);
	loop_post(follower->loop, &follower->loaded);
	return NULL;
}

static void wait_for(struct routes_follower *follower, int64_t delay_ms)
{
	follower->is_waiting = true;
	loop_timer_start(&follower->timer, delay_ms);
}

static void start_read(void *arg)
{
	struct routes_follower *follower = arg;

	follower->is_waiting = false;
	follower->pending = false;
	follower->table = NULL;
	follower->known_generation = follower->has_loaded ? routes_generation(follower->routes) : 0;
	if (pthread_create(&follower->thread, NULL, load_main, follower) != 0) {
		LOG_WARN("routes_read_failed", "status", status_name(STATUS_NO_MEMORY));
		wait_for(follower, RETRY_MS);
		return;
	}
	follower->is_loading = true;
}

/* A read is wanted: now if the last one is long past, else when the gap is over. */
static void want_read(struct routes_follower *follower)
{
	int64_t passed_ms = loop_now_ms(follower->loop) - follower->last_read_ms;

	follower->pending = true;
	if (follower->is_loading || follower->is_waiting)
		return;
	if (passed_ms >= GAP_MAX_MS || !follower->has_loaded)
		follower->gap_ms = GAP_MIN_MS;
	else if (follower->gap_ms * 2 <= GAP_MAX_MS)
		follower->gap_ms *= 2;
	wait_for(follower, passed_ms >= follower->gap_ms ? 0 : follower->gap_ms - passed_ms);
}

static void on_loaded(struct loop_task *task)
{
	struct routes_follower *follower = (struct routes_follower *)((char *)task -
								      offsetof(struct routes_follower, loaded));
	struct route_table *table = follower->table;

	pthread_join(follower->thread, NULL);
	follower->is_loading = false;
	follower->table = NULL;
	follower->last_read_ms = loop_now_ms(follower->loop);
	if (follower->status != STATUS_OK) {
		metric_add(follower->failed, 1);
		wait_for(follower, RETRY_MS);
		return;
	}
	metric_add(follower->succeeded, 1);
	follower->has_loaded = true;
	if (table != NULL) {
		LOG_INFO("routes_loaded", "count", log_number((int64_t)route_table_count(table)), "generation",
			log_number((int64_t)route_table_generation(table)));
		routes_swap(follower->routes, table);
	}
	if (follower->pending)
		want_read(follower);
}

static void on_notify(void *arg, const char *channel)
{
	(void)channel;
	want_read(arg);
}

static void stop_following(struct routes_follower *follower)
{
	atomic_store(&follower->is_cancelled, true);
	if (follower->is_loading)
		pthread_join(follower->thread, NULL);
	route_table_destroy(follower->table);
	loop_timer_release(&follower->timer);
	free(follower);
}

enum status routes_follow(struct routes *routes, struct loop *loop, struct database *database)
{
	struct routes_follower *follower = calloc(1, sizeof(*follower));
	struct metric *reads = metric_register(METRIC_COUNTER, "homeward_route_reads_total",
		"Bulk reads of the route table from the database.", "result");
	enum status status;

	must(routes->follower == NULL);
	if (follower == NULL)
		return STATUS_NO_MEMORY;
	follower->routes = routes;
	follower->loop = loop;
	follower->loaded.run = on_loaded;
	follower->gap_ms = GAP_MIN_MS;
	follower->succeeded = metric_series(reads, "ok", NULL);
	follower->failed = metric_series(reads, "failed", NULL);
	status = loop_timer_init(loop, &follower->timer, start_read, follower);
	if (status == STATUS_OK)
		status = database_listen(database, "homeward_routes", on_notify, follower);
	if (status != STATUS_OK) {
		loop_timer_release(&follower->timer);
		free(follower);
		return status;
	}
	routes->follower = follower;
	routes->stop_following = stop_following;
	return STATUS_OK;
}
