/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Percentiles are nearest-rank over every answer, not a sketch of them: a replay
 * is at most some million numbers.
 */
#include "cli/replay_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli/cli.h"

#define NUMBER_TEXT_SIZE 32

void tally_add(struct tally *tally, const char *name)
{
	int at = 0;

	while (at < tally->count && at < TALLY_NAMES_MAX && strncmp(tally->names[at], name, TALLY_NAME_SIZE - 1) != 0)
		at++;
	if (at == TALLY_NAMES_MAX)
		name = "other"; /* the last place is kept for it */
	if (at == tally->count) {
		tally->count++;
		(void)snprintf(tally->names[at], TALLY_NAME_SIZE, "%s", name);
	}
	tally->counts[at]++;
}

int64_t tally_of(const struct tally *tally, const char *name)
{
	for (int i = 0; i < tally->count; i++) {
		if (strcmp(tally->names[i], name) == 0)
			return tally->counts[i];
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

int64_t report_percentile(const int64_t *sorted_us, int64_t count, int percent)
{
	int64_t rank = (count * percent + 99) / 100;

	if (count == 0)
		return 0;
	return sorted_us[rank > 0 ? rank - 1 : 0];
}

static void add_tally_json(struct strbuf *text, const char *name, const struct tally *tally)
{
	strbuf_addf(text, ",\"%s\":{", name);
	for (int i = 0; i < tally->count; i++) {
		if (i > 0)
			strbuf_addc(text, ',');
		strbuf_add_json(text, tally->names[i], strlen(tally->names[i]));
		strbuf_addf(text, ":%" PRId64, tally->counts[i]);
	}
	strbuf_addc(text, '}');
}

static double latency_ms(const struct replay_report *report, int percent)
{
	return (double)report_percentile(report->latencies_us, report->latency_count, percent) / 1000;
}

static int write_json(const struct replay_report *report)
{
	struct strbuf text = STRBUF_INIT;
	int exit_code;

	strbuf_addf(&text, "{\"taps\":%" PRId64 ",\"skipped\":%" PRId64, report->latency_count, report->skipped);
	add_tally_json(&text, "answers", &report->answers);
	add_tally_json(&text, "sources", &report->sources);
	add_tally_json(&text, "errors", &report->errors);
	strbuf_addf(&text, ",\"latency_ms\":{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f},\"seconds\":%.3f}",
		latency_ms(report, 50), latency_ms(report, 95), latency_ms(report, 99), latency_ms(report, 100),
		(double)report->duration_us / 1e6);
	exit_code = strbuf_ok(&text) && puts(text.data) >= 0 && fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
	strbuf_release(&text);
	return exit_code;
}

static void add_tally_rows(struct output *output, const char *measure, const struct tally *tally)
{
	char number[NUMBER_TEXT_SIZE];

	for (int i = 0; i < tally->count; i++) {
		(void)snprintf(number, sizeof(number), "%" PRId64, tally->counts[i]);
		output_row(output, (const char *const[]){ measure, tally->names[i], number });
	}
}

static void add_row(struct output *output, const char *measure, const char *name, int decimals, double value)
{
	char number[NUMBER_TEXT_SIZE];

	(void)snprintf(number, sizeof(number), "%.*f", decimals, value);
	output_row(output, (const char *const[]){ measure, name, number });
}

int report_write(struct replay_report *report, enum output_format format)
{
	static const struct output_column columns[] = {
		{ "measure", OUTPUT_TEXT },
		{ "name", OUTPUT_TEXT },
		{ "value", OUTPUT_NUMBER },
	};
	struct output *output;

	qsort(report->latencies_us, (size_t)report->latency_count, sizeof(*report->latencies_us), compare);
	if (format == OUTPUT_JSON)
		return write_json(report);

	output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	add_row(output, "taps", "all", 0, (double)report->latency_count);
	if (report->skipped > 0)
		add_row(output, "taps", "skipped", 0, (double)report->skipped);
	add_tally_rows(output, "answers", &report->answers);
	add_tally_rows(output, "sources", &report->sources);
	add_tally_rows(output, "errors", &report->errors);
	add_row(output, "latency_ms", "p50", 3, latency_ms(report, 50));
	add_row(output, "latency_ms", "p95", 3, latency_ms(report, 95));
	add_row(output, "latency_ms", "p99", 3, latency_ms(report, 99));
	add_row(output, "latency_ms", "max", 3, latency_ms(report, 100));
	add_row(output, "seconds", "all", 3, (double)report->duration_us / 1e6);
	return output_finish(output);
}
