/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit reconcile`: this region's entries and a peer's, exchange by
 * exchange, as two sorted streams that are merged; a page of each is in memory.
 * What a peer says is checked for form and order before it is believed to be
 * even that.
 *
 * An event that we sent and the peer's log says nothing of has a second witness: the
 * receipt in our outbox, which names the exchange it was taken under.  Those are looked
 * up some at a time.
 */
#include "cli/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/audit_query.h"
#include "cli/peer_client.h"

enum { OPTION_WITH = COMMAND_ID_FIRST, OPTION_ALL };
enum { SETTLED_US = 60000000 }; /* younger crossings may be under way, or not yet in an index */

/* One region's entries, in the order of exchange ids. */
struct source {
	const char *peer;                 /* of whose crossings */
	struct database_session *session; /* ours, or */
	struct peer_client *client;       /* theirs */
	char before[EXCHANGE_ID_TEXT_SIZE], after[EXCHANGE_ID_TEXT_SIZE];
	PGresult *rows;
	json_t *answer;
	size_t count, at;
	bool has_more;
	/* The exchange at hand; "" at the end. */
	char exchange[EXCHANGE_ID_TEXT_SIZE];
	struct reconcile_side side;
};

static void source_release(struct source *source)
{
	PQclear(source->rows);
	json_decref(source->answer);
	source->rows = NULL;
	source->answer = NULL;
}

static enum status load_ours(struct source *source, struct strbuf *why)
{
	const char *const parameters[] = { source->peer, source->after, source->before };
	enum status status = database_session_query(
		source->session, reconcile_page_statement, parameters, 3, COMMAND_STATEMENT_MS, &source->rows, why);

	if (status == STATUS_OK)
		source->count = reconcile_page_rows(source->rows, &source->has_more);
	return status;
}

static enum status load_theirs(struct source *source, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	enum status status;

	strbuf_addf(&path, "/peer/v1/exchanges?after=%s&before=%s", source->after, source->before);
	status = strbuf_ok(&path) ? peer_client_get(source->client, path.data, &source->answer, why) : STATUS_NO_MEMORY;
	strbuf_release(&path);
	if (status != STATUS_OK)
		return status;
	source->count = json_array_size(json_object_get(source->answer, "entries"));
	source->has_more = json_is_true(json_object_get(source->answer, "more"));
	return STATUS_OK;
}

static bool row_texts(const struct source *source, size_t row, const char *texts[RECONCILE_COLUMNS])
{
	static const char *const names[RECONCILE_COLUMNS] = { "x", "op", "k", "dec", "out", "fld", "ttl", "rh" };
	const json_t *entry = source->answer != NULL ? json_array_get(json_object_get(source->answer, "entries"), row)
						     : NULL;

	for (int i = 0; i < RECONCILE_COLUMNS; i++) {
		texts[i] = entry != NULL          ? json_get_string(entry, names[i])
			   : source->rows != NULL ? PQgetvalue(source->rows, (int)row, i)
						  : NULL;
		if (texts[i] == NULL)
			return false;
	}
	return true;
}

static enum status out_of_form(const struct source *source, struct strbuf *why)
{
	strbuf_addf(why, "%s's answer is not a page of exchanges in order",
		source->client != NULL ? source->peer : "the database");
	return STATUS_INVALID;
}

/* Puts the next exchange at hand. */
static enum status source_next(struct source *source, struct strbuf *why)
{
	const char *texts[RECONCILE_COLUMNS];
	enum status status = STATUS_OK;
	struct exchange_id id;

	source->exchange[0] = '\0';
	source->side = (struct reconcile_side){ .ask = 0 };
	if (source->at == source->count && source->has_more) {
		source_release(source);
		source->at = source->count = 0;
		status = source->session != NULL ? load_ours(source, why) : load_theirs(source, why);
		if (status == STATUS_OK && source->has_more && source->count == 0)
			return out_of_form(source, why);
	}
	while (status == STATUS_OK && source->at < source->count) {
		if (!row_texts(source, source->at, texts) ||
			exchange_id_parse(texts[RECONCILE_EXCHANGE], &id) != STATUS_OK)
			return out_of_form(source, why);
		if (source->exchange[0] != '\0' && strcmp(source->exchange, texts[RECONCILE_EXCHANGE]) != 0)
			break;
		if (source->exchange[0] == '\0') {
			exchange_id_format(&id, source->exchange);
			if (strcmp(source->exchange, source->after) <= 0 ||
				strcmp(source->exchange, source->before) >= 0)
				return out_of_form(source, why);
			memcpy(source->after, source->exchange, sizeof(source->after));
		}
		reconcile_side_add(&source->side, texts);
		source->at++;
	}
	return status;
}

/* ---- the merge ---- */

#define UNRECEIVED_MAX 1000

struct reconcile {
	const char *me, *peer;
	char (*unreceived)[EXCHANGE_ID_TEXT_SIZE]; /* sent by us; to be looked up */
	size_t unreceived_count;
	struct source ours, theirs;
	struct output *output;
	bool shows_all;
	uint64_t counts[RECONCILE_FINDINGS];
	uint64_t crossings, faults;
};

static const struct output_column columns[] = {
	{ "finding", OUTPUT_TEXT },
	{ "exchange", OUTPUT_TEXT },
	{ "at", OUTPUT_TEXT },
	{ "asked_by", OUTPUT_TEXT },
	{ "detail", OUTPUT_TEXT },
};

/* An exchange id begins with milliseconds since 1970. */
static void time_of(const char *exchange, char text[CLOCK_TEXT_SIZE])
{
	char digits[13];

	memcpy(digits, exchange, 8);
	memcpy(digits + 8, exchange + 9, 4);
	digits[12] = '\0';
	clock_format((int64_t)(strtoull(digits, NULL, 16) * 1000), text);
}

static const char *or_none(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : "none";
}

static void add_detail(struct strbuf *detail, enum reconcile_finding finding, const char *asking_region,
	const char *serving_region, const struct reconcile_side *asking, const struct reconcile_side *serving)
{
	if (finding == RECONCILE_ASK_WITHOUT_SERVE)
		strbuf_addf(detail, "%s has no entry of serving it", serving_region);
	else if (finding == RECONCILE_SERVE_WITHOUT_ASK)
		strbuf_addf(detail, "%s has no entry of asking", asking_region);
	else if (finding == RECONCILE_SERVE_WITHOUT_GOT)
		strbuf_addf(detail, "%s has no entry of what it got", asking_region);
	else if (finding == RECONCILE_DECISION_DIFFERS)
		strbuf_addf(detail, "%s %s, %s got %s", serving_region, serving->serve > 0 ? "served" : "denied",
			asking_region, or_none(asking->got_outcome));
	else if (finding == RECONCILE_FIELDS_DIFFER && asking->is_event)
		strbuf_addf(detail, "%s sent %s; %s received %s", asking_region, or_none(asking->send_fields),
			serving_region, or_none(serving->receive_fields));
	else if (finding == RECONCILE_FIELDS_DIFFER)
		strbuf_addf(detail, "%s served %s; %s got %s", serving_region, or_none(serving->serve_fields),
			asking_region, or_none(asking->got_fields));
	else if (finding == RECONCILE_RECORD_DIFFERS)
		strbuf_addf(detail, "record hash: %s served %s; %s got %s", serving_region,
			or_none(serving->serve_hash), asking_region, or_none(asking->got_hash));
	else if (finding == RECONCILE_RECEIVE_WITHOUT_SEND)
		strbuf_addf(detail, "%s has no entry of sending", asking_region);
	else if (finding == RECONCILE_RECEIPT_WITHOUT_RECEIVE)
		strbuf_addf(detail, "%s's receipt says that it came; its log does not", serving_region);
	else if (finding == RECONCILE_TERMS_DIFFER)
		strbuf_addf(detail, "%s allowed %" PRId64 " s; %s kept it for %" PRId64 " s", serving_region,
			serving->serve_ttl_s, asking_region, asking->got_ttl_s);
}

static void tell(struct reconcile *reconcile, enum reconcile_finding finding, const char *exchange,
	const struct reconcile_side *ours, const struct reconcile_side *theirs)
{
	bool we_ask = ours != NULL ? ours->is_asking : !theirs->is_asking;
	struct strbuf detail = STRBUF_INIT;
	char at[CLOCK_TEXT_SIZE];

	reconcile->counts[finding]++;
	reconcile->crossings += finding != RECONCILE_NOT_ASKED;
	reconcile->faults += reconcile_is_fault(finding);
	if (!reconcile_is_fault(finding) && !reconcile->shows_all)
		return;
	time_of(exchange, at);
	add_detail(&detail, finding, we_ask ? reconcile->me : reconcile->peer, we_ask ? reconcile->peer : reconcile->me,
		we_ask ? ours : theirs, we_ask ? theirs : ours);
	output_row(reconcile->output,
		(const char *const[]){ reconcile_finding_name(finding), exchange, at,
			we_ask ? reconcile->me : reconcile->peer, detail.length > 0 ? detail.data : "" });
	strbuf_release(&detail);
}

/* Of what we sent and the peer's log does not have: did its receipt say that it took it? */
static enum status look_up_receipts(struct reconcile *reconcile, struct strbuf *why)
{
	static const char sql[] =
		"SELECT x::text, EXISTS (SELECT FROM homeward.outbox o WHERE o.exchange = x AND o.receipt IN "
		"('applied', "
		"'duplicate')) OR EXISTS (SELECT FROM homeward.broadcasts b WHERE b.exchange = x AND b.region = $2 AND "
		"b.receipt IN ('applied', 'duplicate')) FROM unnest($1::uuid[]) AS x ORDER BY 1";
	static const struct reconcile_side sent = { .send = 1, .is_asking = true, .is_event = true };
	struct strbuf ids = STRBUF_INIT;
	PGresult *result = NULL;
	enum status status = STATUS_NO_MEMORY;

	strbuf_addc(&ids, '{');
	for (size_t i = 0; i < reconcile->unreceived_count; i++)
		strbuf_addf(&ids, "%s%s", i == 0 ? "" : ",", reconcile->unreceived[i]);
	strbuf_addc(&ids, '}');
	const char *const parameters[] = { ids.data, reconcile->peer };
	if (strbuf_ok(&ids))
		status = database_session_query(
			reconcile->ours.session, sql, parameters, 2, COMMAND_STATEMENT_MS, &result, why);
	for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
		tell(reconcile,
			PQgetvalue(result, row, 1)[0] == 't' ? RECONCILE_RECEIPT_WITHOUT_RECEIVE : RECONCILE_UNRECEIVED,
			PQgetvalue(result, row, 0), &sent, NULL);
	reconcile->unreceived_count = 0;
	PQclear(result);
	strbuf_release(&ids);
	return status;
}

static enum status judge(struct reconcile *reconcile, const char *exchange, const struct reconcile_side *ours,
	const struct reconcile_side *theirs, struct strbuf *why)
{
	enum reconcile_finding finding = reconcile_judge(ours, theirs);

	if (finding != RECONCILE_UNRECEIVED || ours == NULL || !ours->is_asking) {
		tell(reconcile, finding, exchange, ours, theirs);
		return STATUS_OK;
	}
	memcpy(reconcile->unreceived[reconcile->unreceived_count++], exchange, EXCHANGE_ID_TEXT_SIZE);
	return reconcile->unreceived_count == UNRECEIVED_MAX ? look_up_receipts(reconcile, why) : STATUS_OK;
}

static enum status merge(struct reconcile *reconcile, struct strbuf *why)
{
	struct source *ours = &reconcile->ours, *theirs = &reconcile->theirs;
	enum status status = source_next(ours, why);

	if (status == STATUS_OK)
		status = source_next(theirs, why);
	while (status == STATUS_OK && (ours->exchange[0] != '\0' || theirs->exchange[0] != '\0')) {
		int order = ours->exchange[0] == '\0'     ? 1
			    : theirs->exchange[0] == '\0' ? -1
							  : strcmp(ours->exchange, theirs->exchange);

		status = judge(reconcile, order <= 0 ? ours->exchange : theirs->exchange,
			order <= 0 ? &ours->side : NULL, order >= 0 ? &theirs->side : NULL, why);
		if (order <= 0 && status == STATUS_OK)
			status = source_next(ours, why);
		if (order >= 0 && status == STATUS_OK)
			status = source_next(theirs, why);
	}
	return status == STATUS_OK ? look_up_receipts(reconcile, why) : status;
}

static void tell_counts(const struct reconcile *reconcile, FILE *stream)
{
	fprintf(stream, "%" PRIu64 " crossings with %s: %" PRIu64 " paired", reconcile->crossings, reconcile->peer,
		reconcile->counts[RECONCILE_PAIRED]);
	for (int i = RECONCILE_PAIRED + 1; i < RECONCILE_FINDINGS; i++) {
		if (reconcile->counts[i] > 0 && i != RECONCILE_NOT_ASKED)
			fprintf(stream, ", %" PRIu64 " %s", reconcile->counts[i], reconcile_finding_name(i));
	}
	fprintf(stream, "; %" PRIu64 " fault%s.\n", reconcile->faults, reconcile->faults == 1 ? "" : "s");
}

static int reconcile_with(
	const struct command_line *line, const char *peer, const struct audit_filter *filter, bool shows_all)
{
	struct reconcile reconcile = { .peer = peer, .shows_all = shows_all };
	struct source *ours = &reconcile.ours, *theirs = &reconcile.theirs;
	int64_t settled_us = clock_wall_us(clock_system()) - SETTLED_US;
	struct database_session *session = NULL;
	struct peer_client *client = NULL;
	struct settings *settings = NULL;
	struct strbuf why = STRBUF_INIT;
	int exit_code = command_database(line, &settings, &session);
	enum status status;

	if (exit_code != EXIT_CODE_OK)
		goto out;
	status = peer_client_open(settings, peer, &client, &why);
	reconcile.unreceived = calloc(UNRECEIVED_MAX, sizeof(reconcile.unreceived[0]));
	if (status == STATUS_OK && reconcile.unreceived == NULL)
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK) {
		reconcile_exchange_at(filter->from_us < 0 ? 0 : filter->from_us, ours->after);
		reconcile_exchange_at(filter->to_us == INT64_MAX ? settled_us : filter->to_us, ours->before);
		ours->peer = peer;
		ours->has_more = true; /* so that the first page is read */
		*theirs = *ours;
		ours->session = session;
		theirs->client = client;
		reconcile.me = settings->region;
		reconcile.output = output_create(stdout, line->format, columns, sizeof(columns) / sizeof(columns[0]));
		status = merge(&reconcile, &why);
		exit_code = output_finish(reconcile.output);
	}
	if (status != STATUS_OK)
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
	else
		tell_counts(&reconcile, line->format == OUTPUT_TABLE ? stdout : stderr);
	if (exit_code == EXIT_CODE_OK && reconcile.faults > 0)
		exit_code = EXIT_CODE_FAILED;
out:
	source_release(ours);
	source_release(theirs);
	free(reconcile.unreceived);
	peer_client_close(client);
	database_session_close(session);
	settings_destroy(settings);
	strbuf_release(&why);
	return exit_code;
}

int audit_reconcile(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_WITH, "with", "REGION", "the peer" },
		AUDIT_OPTION_TIMES,
		{ OPTION_ALL, "all", NULL, "list also what is in order" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward audit reconcile",
		"--with REGION [--from TIME] [--to TIME] [--all]",
		"Pairs this region's entries with a peer's, by exchange, and lists what one side has and\n"
		"the other has not, or has otherwise.  Without --to, crossings of the last minute are left\n"
		"out: they may be under way.  Exit code 1: there was a fault.",
		options, "homeward audit reconcile --with na --from 2026-11-01 --to 2026-12-01\n" };
	struct audit_filter filter;
	struct command_line line;
	const char *peer = NULL;
	bool shows_all = false;

	audit_filter_init(&filter);
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id >= AUDIT_OPTION && !audit_filter_take(&filter, &line, id))
			return line.exit_code;
		peer = id == OPTION_WITH ? line.value : peer;
		shows_all |= id == OPTION_ALL;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (peer == NULL)
		return command_line_wrong(&line, "--with is needed");
	return reconcile_with(&line, peer, &filter, shows_all);
}
