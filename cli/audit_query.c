/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One statement for every combination of filters: what is not asked for is NULL
 * and compares to nothing.  A cursor keeps what is in memory to one fetch.
 */
#include "cli/audit_query.h"

#include <stdio.h>
#include <string.h>

#include "base/exchange_id.h"

#define FETCH_ROWS "1000"

void audit_filter_init(struct audit_filter *filter)
{
	*filter = (struct audit_filter){ .from_us = INT64_MIN, .to_us = INT64_MAX };
}

/* A day or an RFC 3339 time, as UTC. */
static bool read_time(const char *text, char formatted[CLOCK_TEXT_SIZE], int64_t *wall_us_out)
{
	char day[32];

	if (strlen(text) == 10) {
		snprintf(day, sizeof(day), "%sT00:00:00Z", text);
		text = day;
	}
	if (clock_parse(text, wall_us_out) != STATUS_OK)
		return false;
	clock_format(*wall_us_out, formatted);
	return true;
}

bool audit_filter_take(struct audit_filter *filter, struct command_line *line, int id)
{
	enum audit_filter_name name = (enum audit_filter_name)(id - AUDIT_OPTION);
	struct exchange_id exchange;
	bool is_right = true;

	filter->values[name] = line->value;
	if (name == AUDIT_FROM) {
		is_right = read_time(line->value, filter->from, &filter->from_us);
		filter->values[name] = filter->from;
	} else if (name == AUDIT_TO) {
		is_right = read_time(line->value, filter->to, &filter->to_us);
		filter->values[name] = filter->to;
	} else if (name == AUDIT_EXCHANGE) {
		is_right = exchange_id_parse(line->value, &exchange) == STATUS_OK;
	}
	if (!is_right)
		line->exit_code = command_line_wrong(line, "`%s` is not %s", line->value,
			name == AUDIT_EXCHANGE ? "an exchange id" : "a time, such as 2026-11-21T04:00:00Z");
	return is_right;
}

static enum status begin(struct database_session *session, const char *columns, const char *rest,
	const struct audit_filter *filter, const char *subjects, struct strbuf *why)
{
	struct strbuf sql = STRBUF_INIT;
	const char *parameters[AUDIT_FILTERS + 1];
	enum status status;

	memcpy(parameters, filter->values, sizeof(filter->values));
	parameters[AUDIT_FILTERS] = subjects;
	strbuf_addf(&sql,
		"DECLARE audit NO SCROLL CURSOR FOR SELECT %s FROM homeward.exchanges e WHERE "
		"($1::timestamptz IS NULL OR at >= $1) AND ($2::timestamptz IS NULL OR at < $2) AND "
		"($3::text IS NULL OR kind = $3) AND ($4::uuid IS NULL OR exchange = $4) AND "
		"($5::text IS NULL OR peer = $5) AND ($6::text IS NULL OR type = $6) AND "
		"($7::text IS NULL OR purpose = $7) AND ($8::text IS NULL OR caller = $8) AND "
		"($9::text IS NULL OR decision = $9) AND ($10::text IS NULL OR $10 = ANY (string_to_array(rules, "
		"','))) "
		"AND ($11::text IS NULL OR subject = $11) AND ($12::text[] IS NULL OR subject = ANY ($12)) %s",
		columns, rest);
	status = strbuf_ok(&sql) ? database_session_script(session, "BEGIN READ ONLY", COMMAND_STATEMENT_MS, why)
				 : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = database_session_query(
			session, sql.data, parameters, AUDIT_FILTERS + 1, COMMAND_STATEMENT_MS, NULL, why);
	strbuf_release(&sql);
	return status;
}

enum status audit_query(struct database_session *session, const char *columns, const char *rest,
	const struct audit_filter *filter, const char *subjects, audit_each_row *each, void *arg, struct strbuf *why)
{
	enum status status = begin(session, columns, rest, filter, subjects, why);
	bool goes_on = true;

	while (status == STATUS_OK && goes_on) {
		PGresult *rows = NULL;

		status = database_session_query(
			session, "FETCH " FETCH_ROWS " FROM audit", NULL, 0, COMMAND_STATEMENT_MS, &rows, why);
		goes_on = status == STATUS_OK && PQntuples(rows) > 0;
		for (int i = 0; goes_on && i < PQntuples(rows); i++)
			goes_on = each(arg, rows, i);
		PQclear(rows);
	}
	if (status == STATUS_OK)
		status = database_session_script(session, "COMMIT", COMMAND_STATEMENT_MS, why);
	return status;
}
