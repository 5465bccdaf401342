/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh trace`: sends one event the whole way that events go, and shows
 * each hop with its time; where it does not arrive, the hop at which it stopped,
 * and what the brokers show of it.
 *
 * The event is a canary with a trace context: the outbox takes it as it takes
 * others, and the other end sends a receipt for it, but keeps nothing and passes
 * nothing on.  One that did not arrive is withdrawn, so that nobody sends it again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/exchange_id.h"
#include "base/json.h"
#include "base/random.h"
#include "cli/mesh.h"

enum { OPTION_FROM = MESH_OPTION_FIRST, OPTION_TO, OPTION_WAIT };
enum { WAIT_S = 30, WAIT_S_MAX = 600, LOOK_EVERY_US = 20000 };

#define TRACE_SOURCE "/homeward/mesh/trace"

static const char insert_row[] =
	"WITH added AS (INSERT INTO homeward.outbox (id, type, payload, destination, source, attributes)"
	" VALUES ($1, 'homeward.canary', $2::jsonb, $3, '" TRACE_SOURCE "', $4::jsonb) RETURNING seq)"
	" SELECT seq, pg_notify('homeward_outbox', '') FROM added";
#define MILLISECONDS(column) "(extract(epoch FROM " column ") * 1000)::bigint"
#define CREATED_AT DATABASE_TIME_MS("created_at")
#define CREATED_MS MILLISECONDS("created_at")
#define SENT_MS MILLISECONDS("sent_at")
#define RECEIPTED_MS MILLISECONDS("receipted_at")
#define TAKEN_MS MILLISECONDS("(attributes->>'takenat')::timestamptz")
static const char read_row[] = "SELECT " CREATED_MS ", " SENT_MS ", " RECEIPTED_MS ", " TAKEN_MS
			       ", attempts, receipt, refused_at IS NOT NULL, reason, " CREATED_AT
			       " FROM homeward.outbox"
			       " WHERE source = '" TRACE_SOURCE "' AND id = $1";
static const char withdraw_row[] =
	"UPDATE homeward.outbox SET refused_at = now(), reason = 'the trace is over' WHERE source = '" TRACE_SOURCE
	"' AND id = $1 AND receipted_at IS NULL AND refused_at IS NULL";

struct trace {
	const char *mesh_file, *config, *from_name, *to_name;
	int64_t wait_s;
	enum output_format format;
	struct mesh_session session;
	struct settings *settings;
	struct database_session *database;
	size_t from, to;
	char id[EXCHANGE_ID_TEXT_SIZE], traceparent[64];
	struct mesh_trace_facts facts;
	char created_at[64], receipt[32], reason[256];
};

/* ---- sending ---- */

static json_t *make_data(const struct trace *trace)
{
	char now[CLOCK_TEXT_SIZE];

	clock_format(clock_wall_us(clock_system()), now);
	return json_pack("{s:s,s:s,s:i,s:s,s:s}", "from", trace->from_name, "to", trace->to_name, "number", 1,
		"sent_at", now, "kind", "canary");
}

static void make_names(struct trace *trace)
{
	struct exchange_id exchange = exchange_id_make(clock_system(), random_system());
	uint8_t random[24];
	struct strbuf text = STRBUF_INIT;

	exchange_id_format(&exchange, trace->id);
	random_fill(random_system(), random, sizeof(random));
	random[0] |= 1; /* neither id may be zero */
	random[16] |= 1;
	strbuf_adds(&text, "00-");
	strbuf_add_hex(&text, random, 16);
	strbuf_addc(&text, '-');
	strbuf_add_hex(&text, random + 16, 8);
	strbuf_adds(&text, "-01");
	(void)snprintf(trace->traceparent, sizeof(trace->traceparent), "%s", text.data);
	strbuf_release(&text);
}

static enum status send_event(struct trace *trace, struct strbuf *why)
{
	json_t *data = make_data(trace), *attributes;
	struct strbuf data_text = STRBUF_INIT, attributes_text = STRBUF_INIT;
	enum status status;

	make_names(trace);
	attributes = json_pack("{s:s,s:s}", "traceparent", trace->traceparent, "exchangeid", trace->id);
	status = data != NULL ? json_write(data, &data_text) : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = attributes != NULL ? json_write(attributes, &attributes_text) : STATUS_NO_MEMORY;
	const char *parameters[] = { trace->id, data_text.data, trace->to_name, attributes_text.data };
	if (status == STATUS_OK)
		status = database_session_query(
			trace->database, insert_row, parameters, 4, COMMAND_STATEMENT_MS, NULL, why);
	json_decref(data);
	json_decref(attributes);
	strbuf_release(&data_text);
	strbuf_release(&attributes_text);
	return status;
}

/* ---- following ---- */

static int64_t number_at(const PGresult *rows, int column)
{
	return PQgetisnull(rows, 0, column) ? -1 : strtoll(PQgetvalue(rows, 0, column), NULL, 10);
}

static enum status read_facts(struct trace *trace, struct strbuf *why)
{
	const char *parameters[] = { trace->id };
	PGresult *rows = NULL;
	enum status status = database_session_query(
		trace->database, read_row, parameters, 1, COMMAND_STATEMENT_MS, &rows, why);

	if (status == STATUS_OK && PQntuples(rows) == 0) {
		strbuf_adds(why, "the event is no longer in the outbox");
		status = STATUS_NOT_FOUND;
	}
	if (status == STATUS_OK) {
		trace->facts.created_ms = number_at(rows, 0);
		trace->facts.sent_ms = number_at(rows, 1);
		trace->facts.receipted_ms = number_at(rows, 2);
		trace->facts.taken_ms = number_at(rows, 3);
		trace->facts.attempts = number_at(rows, 4);
		(void)snprintf(trace->receipt, sizeof(trace->receipt), "%s", PQgetvalue(rows, 0, 5));
		trace->facts.is_refused = PQgetvalue(rows, 0, 6)[0] == 't';
		(void)snprintf(trace->reason, sizeof(trace->reason), "%s", PQgetvalue(rows, 0, 7));
		(void)snprintf(trace->created_at, sizeof(trace->created_at), "%s", PQgetvalue(rows, 0, 8));
	}
	PQclear(rows);
	return status;
}

static enum status follow(struct trace *trace, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + trace->wait_s * 1000;
	enum status status;

	for (;;) {
		status = read_facts(trace, why);
		if (status != STATUS_OK || trace->facts.receipted_ms >= 0 || trace->facts.is_refused ||
			clock_monotonic_ms(clock_system()) >= end_ms)
			return status;
		usleep(LOOK_EVERY_US);
	}
}

static void withdraw(const struct trace *trace)
{
	const char *parameters[] = { trace->id };
	struct strbuf why = STRBUF_INIT;

	if (database_session_query(trace->database, withdraw_row, parameters, 1, COMMAND_STATEMENT_MS, NULL, &why) !=
		STATUS_OK)
		fprintf(stderr, "homeward: the event %s could not be withdrawn: %s\n", trace->id, why.data);
	strbuf_release(&why);
}

/* ---- showing ---- */

static void show_hop(struct output *output, const struct trace *trace, const char *hop, int64_t at_ms, const char *what)
{
	struct strbuf ms = STRBUF_INIT;

	if (at_ms >= 0)
		strbuf_addf(&ms, "%lld", (long long)(at_ms - trace->facts.created_ms));
	output_row(
		output, (const char *const[]){ hop, at_ms >= 0 ? "true" : "false", at_ms >= 0 ? ms.data : NULL, what });
	strbuf_release(&ms);
}

static int show(const struct trace *trace, const struct strbuf *evidence)
{
	static const struct output_column columns[] = { { "hop", OUTPUT_TEXT }, { "is_passed", OUTPUT_BOOLEAN },
		{ "ms", OUTPUT_NUMBER }, { "evidence", OUTPUT_TEXT } };
	const struct mesh_trace_facts *facts = &trace->facts;
	struct output *output = output_create(stdout, trace->format, columns, 4);
	enum mesh_hop stopped = mesh_trace_stopped(facts);
	struct strbuf texts[MESH_HOP_COUNT];

	for (size_t i = 0; i < MESH_HOP_COUNT; i++)
		strbuf_init(&texts[i]);
	strbuf_addf(&texts[MESH_HOP_OUTBOX], "event %s at %s, trace %.32s", trace->id, trace->created_at,
		trace->traceparent + 3);
	strbuf_addf(&texts[MESH_HOP_CONFIRMED], "the broker of %s has it", trace->from_name);
	strbuf_addf(&texts[MESH_HOP_CROSSED], "it came over the link %s -> %s", trace->from_name, trace->to_name);
	strbuf_addf(&texts[MESH_HOP_TAKEN], "by %s, by its clock", trace->to_name);
	strbuf_addf(&texts[MESH_HOP_RECEIPTED], "%s says: %s", trace->to_name, trace->receipt);
	for (size_t i = 0; i < MESH_HOP_COUNT; i++) {
		bool is_past = i > (size_t)stopped;

		if (i == (size_t)stopped) {
			strbuf_reset(&texts[i]);
			strbuf_addf(&texts[i], "stopped: %s", evidence->data);
		}
		show_hop(output, trace, mesh_hop_name(i),
			is_past || i == (size_t)stopped ? -1 : mesh_trace_at(facts, i), is_past ? NULL : texts[i].data);
		strbuf_release(&texts[i]);
	}
	return output_finish(output);
}

/* ---- the whole ---- */

static int open_all(struct trace *trace, const struct command_line *line)
{
	struct mesh_session *session = &trace->session;
	int exit_code = mesh_session_begin(session, trace->mesh_file);

	if (exit_code == EXIT_CODE_OK)
		exit_code = command_database(line, &trace->settings, &trace->database);
	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	if (trace->from_name == NULL)
		trace->from_name = trace->settings->region;
	trace->from = mesh_region_find(session->mesh, trace->from_name);
	trace->to = mesh_region_find(session->mesh, trace->to_name);
	if (trace->from == session->mesh->region_count || trace->to == session->mesh->region_count)
		return command_fail(EXIT_CODE_USAGE, "the mesh file has no region \"%s\"",
			trace->from == session->mesh->region_count ? trace->from_name : trace->to_name);
	if (strcmp(trace->from_name, trace->settings->region) != 0)
		return command_fail(EXIT_CODE_USAGE, "%s is the region %s: trace from %s with its own settings",
			line->config, trace->settings->region, trace->from_name);
	if (!mesh_has_link(session->mesh, trace->from, trace->to))
		return command_fail(
			EXIT_CODE_USAGE, "the mesh file has no link from %s to %s", trace->from_name, trace->to_name);
	return EXIT_CODE_OK;
}

static int run(struct trace *trace)
{
	struct strbuf *why = &trace->session.why, evidence = STRBUF_INIT;
	enum status status = send_event(trace, why);
	bool has_arrived;
	int exit_code;

	if (status == STATUS_OK)
		status = follow(trace, why);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", why->data);
	has_arrived = mesh_trace_stopped(&trace->facts) == MESH_HOP_COUNT;
	if (!has_arrived) {
		mesh_trace_look(trace->session.mesh, &trace->session.api, trace->from, trace->to, &trace->facts);
		mesh_trace_explain(trace->session.mesh, trace->from, trace->to, &trace->facts, &evidence);
		if (trace->facts.is_refused)
			strbuf_addf(&evidence, ": %s", trace->reason);
		withdraw(trace);
	}
	exit_code = show(trace, &evidence);
	mesh_trace_facts_release(&trace->facts);
	strbuf_release(&evidence);
	return exit_code == EXIT_CODE_OK && !has_arrived ? EXIT_CODE_FAILED : exit_code;
}

int mesh_run_trace(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		{ OPTION_FROM, "from", "REGION", "where it begins (default: the settings' region)" },
		{ OPTION_TO, "to", "REGION", "where it goes" },
		{ OPTION_WAIT, "wait", "SECONDS", "for its receipt, 1 to 600 (default: 30)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh trace",
		"--to REGION [--from REGION] [--mesh FILE] [--config FILE] [--wait SECONDS] [-o FORMAT]",
		"Sends one event the whole way, by the outbox, and shows each hop with its time in milliseconds.  "
		"Where it\n"
		"does not arrive, shows where it stopped and what the brokers show of it, withdraws it and exits with "
		"1.\n"
		"The event is a canary with a W3C trace context, of which homeward logs each step at both ends; the "
		"other\n"
		"end keeps nothing and passes nothing on.  Run it where the region's database is.",
		options, "homeward mesh trace --from na --to eu --mesh mesh.json\n" };
	struct trace trace = { .mesh_file = MESH_FILE_DEFAULT, .wait_s = WAIT_S };
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		trace.mesh_file = id == MESH_OPTION ? line.value : trace.mesh_file;
		trace.from_name = id == OPTION_FROM ? line.value : trace.from_name;
		trace.to_name = id == OPTION_TO ? line.value : trace.to_name;
		if (id == OPTION_WAIT && !command_line_number(&line, 1, WAIT_S_MAX, &trace.wait_s))
			return line.exit_code;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (trace.to_name == NULL)
		return command_line_wrong(&line, "--to is needed");
	trace.format = line.format;
	exit_code = open_all(&trace, &line);
	if (exit_code == EXIT_CODE_OK)
		exit_code = run(&trace);
	database_session_close(trace.database);
	settings_destroy(trace.settings);
	return mesh_session_end(&trace.session, exit_code);
}
