/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward subject access-report`: what a person may ask under article 15 of the
 * GDPR about crossings of their data.  A folder with report.json, which says of each
 * exchange who, when, why, what and on which ground, and a receipt of each entry that
 * anybody can check without us.
 *
 * The index tells which entries they are and the log's own files make the receipts, so an
 * index that says too much has none to show for it.  The report is put on record by the
 * daemon; when it cannot, there is no report.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/audit.h"
#include "cli/audit_query.h"
#include "cli/audit_subject.h"
#include "cli/policy_command.h"
#include "cli/subject.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST, OPTION_INTO };

struct report {
	struct command_line line;
	const char *admin, *folder;
	struct strbuf subject; /* TYPE/ID */
	struct settings *settings;
	struct log_reader *reader;
	json_t *activities, *exchanges;
	enum status status; /* of the row that failed */
	struct strbuf why;
};

enum column {
	AT,
	KIND,
	EXCHANGE,
	PEER,
	PURPOSE,
	CALLER,
	DECISION,
	RULES,
	FIELDS,
	TTL,
	POLICY,
	SUBJECT,
	INDEX,
	COLUMNS
};
static const char *const names[COLUMNS] = { "at", "kind", "exchange", "region", "purpose", "caller", "decision",
	"rules", "fields", "may_be_kept_s", "policy", "pseudonym", "entry" };
#define AT DATABASE_TIME_US("at")
static const char selected[] = AT ", kind, exchange, peer, purpose, caller, "
				  "decision, rules, fields, nullif(ttl_s, -1), policy, subject, log_index";

static json_t *split(const char *list)
{
	json_t *array = json_array();

	while (*list != '\0') {
		size_t length = strcspn(list, ",");

		(void)json_array_append_new(array, json_stringn(list, length));
		list += length + (list[length] == ',');
	}
	return array;
}

/* On which ground: the basis of each rule that the policy in force has under that name. */
static json_t *grounds(const struct report *report, const json_t *rules)
{
	json_t *bases = json_object(), *activity, *rule;
	size_t i, j;

	json_array_foreach(rules, i, rule)
	{
		json_array_foreach(json_object_get(report->activities, "activities"), j, activity)
		{
			const char *name = json_get_string(activity, "rule");

			if (name != NULL && strcmp(name, json_string_value(rule)) == 0)
				(void)json_object_set(bases, name, json_object_get(activity, "basis"));
		}
	}
	return bases;
}

/* Writes the receipt of an entry; the name of its file goes into the row. */
static enum status write_receipt(struct report *report, const char *index, json_t *row)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	char name[40], digest[2 * SHA256_SIZE + 1];
	uint8_t hash[SHA256_SIZE];
	enum status status = log_reader_receipt(report->reader, strtoull(index, NULL, 10), &text, &report->why);

	snprintf(name, sizeof(name), "%s.tlog-proof", index);
	strbuf_addf(&path, "%s/%s", report->folder, name);
	if (status == STATUS_OK && strbuf_ok(&path) && strbuf_ok(&text))
		status = file_replace(path.data, text.data, text.length, 0600, &report->why);
	if (status == STATUS_OK) {
		hash_sha256(text.data, text.length, hash);
		*hex_format(hash, sizeof(hash), digest) = '\0';
		(void)json_object_set_new(row, "receipt", json_string(name));
		(void)json_object_set_new(row, "receipt_sha256", json_string(digest));
	}
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

static bool add_row(void *arg, const PGresult *rows, int at)
{
	struct report *report = arg;
	json_t *row = json_object();

	for (int i = 0; i < COLUMNS; i++) {
		const char *text = PQgetvalue(rows, at, i);

		if (PQgetisnull(rows, at, i) || text[0] == '\0')
			continue;
		if (i == RULES || i == FIELDS)
			(void)json_object_set_new(row, names[i], split(text));
		else if (i == TTL || i == INDEX)
			(void)json_object_set_new(row, names[i], json_integer(strtoll(text, NULL, 10)));
		else
			(void)json_object_set_new(row, names[i], json_string(text));
	}
	(void)json_object_set_new(row, "basis", grounds(report, json_object_get(row, "rules")));
	/* What was recorded before there was a log has no place in it, and so no receipt. */
	if (!PQgetisnull(rows, at, INDEX))
		report->status = write_receipt(report, PQgetvalue(rows, at, INDEX), row);
	if (report->status == STATUS_OK && json_array_append_new(report->exchanges, row) != 0)
		report->status = STATUS_NO_MEMORY;
	else if (report->status != STATUS_OK)
		json_decref(row);
	return report->status == STATUS_OK;
}

/* An index that is behind would leave out what happened last. */
static enum status await_index(struct report *report, struct database_session *session)
{
	const struct checkpoint *checkpoint = log_reader_checkpoint(report->reader);
	int64_t end_ms = clock_monotonic_ms(clock_system()) + 10000;
	const char *parameters[] = { checkpoint->origin };
	enum status status = STATUS_OK;
	bool is_there = false;

	while (status == STATUS_OK && !is_there) {
		PGresult *rows = NULL;

		status = database_session_query(session,
			"SELECT next_index FROM homeward.log_positions WHERE origin = $1", parameters, 1,
			COMMAND_STATEMENT_MS, &rows, &report->why);
		is_there = status == STATUS_OK && PQntuples(rows) == 1 &&
			   strtoull(PQgetvalue(rows, 0, 0), NULL, 10) >= checkpoint->size;
		PQclear(rows);
		if (status == STATUS_OK && !is_there && clock_monotonic_ms(clock_system()) >= end_ms) {
			strbuf_adds(&report->why, "the search index is behind the log; try again when it is not");
			status = STATUS_OVERLOADED;
		}
		if (!is_there)
			usleep(50000);
	}
	return status;
}

static enum status collect(struct report *report, struct database_session *session)
{
	struct strbuf subjects = STRBUF_INIT;
	struct audit_filter filter;
	enum status status = await_index(report, session);

	audit_filter_init(&filter);
	if (status == STATUS_OK)
		status = audit_subject_array(report->settings, session, report->subject.data, &subjects, &report->why);
	if (status == STATUS_OK && mkdir(report->folder, 0700) != 0) {
		strbuf_addf(&report->why, "%s: %s", report->folder, strerror(errno));
		status = STATUS_IO;
	}
	if (status == STATUS_OK)
		status = audit_query(
			session, selected, "ORDER BY at, seq", &filter, subjects.data, add_row, report, &report->why);
	strbuf_release(&subjects);
	return status == STATUS_OK ? report->status : status;
}

/* The daemon's word that the report is on record, under the digest of report.json. */
static enum status have_it_logged(struct report *report, const char *digest)
{
	struct strbuf where = STRBUF_INIT, path = STRBUF_INIT, body = STRBUF_INIT;
	enum status status = STATUS_OK;
	int http_status = 0;

	if (report->admin != NULL)
		strbuf_adds(&where, report->admin);
	else
		status = admin_where(report->line.config, &where);
	strbuf_addf(&path, "/admin/v1/subjects/report?count=%zu&sha256=%s", json_array_size(report->exchanges), digest);
	if (status == STATUS_OK)
		status = admin_call(where.data, "POST", path.data, ADMIN_CALL_MS, &http_status, &body, &report->why);
	if (status == STATUS_OK && http_status != 200) {
		strbuf_addf(&report->why, "the daemon did not log the report (%d), so there is none", http_status);
		status = STATUS_UNREACHABLE;
	}
	strbuf_release(&where);
	strbuf_release(&path);
	strbuf_release(&body);
	return status;
}

static enum status write_report(struct report *report)
{
	const struct checkpoint *checkpoint = log_reader_checkpoint(report->reader);
	char now[CLOCK_TEXT_SIZE], digest[2 * SHA256_SIZE + 1];
	struct strbuf path = STRBUF_INIT, content = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;
	uint8_t hash[SHA256_SIZE];
	json_t *document;
	char *text;

	clock_format(clock_wall_us(clock_system()), now);
	document = json_pack("{s:s,s:s,s:s,s:s,s:s,s:O}", "subject", report->subject.data, "region",
		report->settings->region, "made_at", now, "log", checkpoint->origin, "checkpoint",
		log_reader_note(report->reader)->data, "exchanges", report->exchanges);
	text = document != NULL ? json_dumps(document, JSON_INDENT(4)) : NULL;
	json_decref(document);
	if (text != NULL)
		strbuf_addf(&content, "%s\n", text);
	strbuf_addf(&path, "%s/report.json", report->folder);
	if (text != NULL && strbuf_ok(&path) && strbuf_ok(&content)) {
		hash_sha256(content.data, content.length, hash);
		*hex_format(hash, sizeof(hash), digest) = '\0';
		status = have_it_logged(report, digest);
		if (status == STATUS_OK)
			status = file_replace(path.data, content.data, content.length, 0600, &report->why);
	}
	free(text);
	strbuf_release(&path);
	strbuf_release(&content);
	return status;
}

/* What there is of a report that failed. */
static void remove_receipts(const struct report *report)
{
	json_t *row;
	size_t i;

	json_array_foreach(report->exchanges, i, row)
	{
		const char *name = json_get_string(row, "receipt");
		struct strbuf path = STRBUF_INIT;

		strbuf_addf(&path, "%s/%s", report->folder, name != NULL ? name : "");
		if (name != NULL && strbuf_ok(&path))
			(void)unlink(path.data);
		strbuf_release(&path);
	}
	(void)rmdir(report->folder);
}

static int make(struct report *report)
{
	struct database_session *session = NULL;
	struct policy *policy = NULL;
	enum status status;
	int exit_code = command_database(&report->line, &report->settings, &session);

	if (exit_code == EXIT_CODE_OK)
		exit_code = policy_command_read(&report->line, NULL, &policy);
	if (exit_code == EXIT_CODE_OK)
		exit_code = audit_open(report->settings->access_log.directory, NULL, &report->reader);
	if (exit_code != EXIT_CODE_OK)
		goto out;
	report->activities = policy_activities(policy);
	report->exchanges = json_array();
	status = report->activities != NULL && report->exchanges != NULL ? collect(report, session) : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = write_report(report);
	if (status == STATUS_OK) {
		printf("%zu exchanges, each with its receipt, in %s\n", json_array_size(report->exchanges),
			report->folder);
	} else {
		remove_receipts(report);
		exit_code = command_fail(command_exit_code(status), "%s",
			report->why.length > 0 ? report->why.data : status_name(status));
	}
out:
	policy_release_reference(policy);
	database_session_close(session);
	return exit_code;
}

int subject_access_report(int argc, char **argv)
{
	static const struct command_option options[] = { { OPTION_INTO, "into", "FOLDER", "a new folder (needed)" },
		{ OPTION_ADMIN, "admin", "WHERE", "the daemon's admin listener (default: the settings')" },
		COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward subject access-report", "TYPE ID --into FOLDER",
		"Writes what crossed about a subject, as article 15 of the GDPR lets people ask: report.json says of\n"
		"each exchange who, when, why, what and on which ground; each has a receipt that can be checked\n"
		"offline (homeward audit verify --receipt).  The report is logged.",
		options, "homeward subject access-report token 04A2B3C4D5E6F7 --into report-1041\n" };
	struct report report = { .subject = STRBUF_INIT, .why = STRBUF_INIT };
	int exit_code;

	command_line_begin(&report.line, &usage, argc, argv);
	for (int id; (id = command_line_next(&report.line)) != COMMAND_LINE_END;) {
		if (id == OPTION_INTO)
			report.folder = report.line.value;
		else if (id == OPTION_ADMIN)
			report.admin = report.line.value;
	}
	if (!command_line_expect(&report.line, 2, 2))
		return report.line.exit_code;
	if (report.folder == NULL)
		return command_line_wrong(&report.line, "--into is needed");
	strbuf_addf(&report.subject, "%s/%s", report.line.arguments[0], report.line.arguments[1]);
	exit_code = make(&report);
	json_decref(report.activities);
	json_decref(report.exchanges);
	log_reader_close(report.reader);
	settings_destroy(report.settings);
	strbuf_release(&report.subject);
	strbuf_release(&report.why);
	return exit_code;
}
