/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broadcast leaves once, under the key `all.…`, and every link takes it.  The rows
 * of its regions are made when it has left, and not with it, so that the publisher's
 * hot path knows nothing of them; a receipt may well be quicker.  Without a mesh file
 * nobody knows who is there, and nothing is expected.
 */
#include "federation/broadcasts.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "federation/mesh_current.h"
#include "federation/receipts.h"

#define SPREAD_ROWS "1000"

static const char spread[] =
	"WITH sent AS (UPDATE homeward.outbox SET is_spread = true WHERE seq IN (SELECT seq FROM homeward.outbox"
	" WHERE destination = 'all' AND NOT is_spread AND sent_at IS NOT NULL AND refused_at IS NULL ORDER BY seq"
	" LIMIT " SPREAD_ROWS ") RETURNING seq, sent_at)"
	" INSERT INTO homeward.broadcasts (seq, region, sent_at) SELECT seq, region, sent_at FROM sent,"
	" unnest($1::text[]) AS region ON CONFLICT (seq, region) DO NOTHING";
static const char give_up[] =
	"UPDATE homeward.broadcasts SET given_up_at = now() WHERE receipted_at IS NULL AND given_up_at IS NULL"
	" AND resends >= " BROADCASTS_RESENDS_MAX " AND sent_at < now() - interval '1 hour'";
static const char receipted[] =
	"INSERT INTO homeward.broadcasts AS b (seq, region, receipted_at, receipt, exchange)"
	" SELECT DISTINCT ON (o.seq) o.seq, $2, now(), e->>'outcome', " RECEIPT_EXCHANGE
	" FROM jsonb_array_elements($1::jsonb) AS e"
	" JOIN homeward.outbox o ON o.source = e->>'source' AND o.id = e->>'id' AND o.destination = 'all'"
	" ON CONFLICT (seq, region) DO UPDATE SET receipted_at = now(), receipt = EXCLUDED.receipt,"
	" exchange = EXCLUDED.exchange"
	" WHERE b.receipted_at IS NULL";

/* This region, and those it has a link with. */
static bool list_regions(const struct worker *worker, struct strbuf *array)
{
	const char *own = worker->settings->region;
	char(*regions)[REGION_SIZE] = NULL;
	size_t count = 0;

	if (mesh_current_linked(worker->mesh, own, &regions, &count) != STATUS_OK)
		return false;
	strbuf_addc(array, '{');
	database_array_add(array, own, strlen(own), true);
	for (size_t i = 0; i < count; i++)
		database_array_add(array, regions[i], strlen(regions[i]), false);
	strbuf_addc(array, '}');
	free(regions);
	return strbuf_ok(array);
}

enum status broadcasts_upkeep(struct worker *worker, struct strbuf *why)
{
	struct strbuf regions = STRBUF_INIT;
	const char *parameters[1];
	PGresult *result = NULL;
	enum status status = STATUS_NO_MEMORY;
	int64_t lost;

	if (worker->mesh == NULL)
		return STATUS_OK;
	if (list_regions(worker, &regions)) {
		parameters[0] = regions.data;
		status = database_session_query(worker->session, spread, parameters, 1, WORKER_QUERY_MS, NULL, why);
	}
	strbuf_release(&regions);
	if (status == STATUS_OK)
		status = database_session_query(worker->session, give_up, NULL, 0, WORKER_QUERY_MS, &result, why);
	lost = status == STATUS_OK ? strtoll(PQcmdTuples(result), NULL, 10) : 0;
	if (lost > 0)
		LOG_ERROR("broadcasts_given_up", "count", log_number(lost));
	PQclear(result);
	return status;
}

enum status broadcasts_receipted(struct worker *worker, const char *region, const char *events, struct strbuf *why)
{
	const char *parameters[] = { events, region };

	return database_session_query(worker->session, receipted, parameters, 2, WORKER_QUERY_MS, NULL, why);
}
