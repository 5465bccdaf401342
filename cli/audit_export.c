/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit export`: a run of entries as they were logged, one a line, and
 * a manifest.  The run has no holes, so that line n is entry first + n - 1 and can
 * be proved by a receipt; `search` is for picking.  The export is itself an entry
 * of the log: when the daemon does not log it, there is none.
 */
#include "cli/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/admin_client.h"
#include "cli/audit_query.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST };

#define SHA256_TEXT_SIZE 65

struct export
{
	const struct audit_filter *filter;
	const char *path, *admin;
	struct strbuf part, why;
	FILE *file;
	EVP_MD_CTX *hash;
	uint64_t first, count, kinds[ENTRY_KIND_COUNT];
	char sha256[SHA256_TEXT_SIZE];
	bool has_failed;
};

static bool write_entry(void *arg, uint64_t index, const char *text, size_t size)
{
	struct export *export = arg;
	struct entry entry;
	const char *what;

	if (entry_read(text, size, &entry, &what) != STATUS_OK) {
		strbuf_addf(&export->why, "entry %" PRIu64 ": %s", index, what);
		export->has_failed = true;
		return false;
	}
	/* Entries are in the order of their times but for milliseconds; the first one late enough begins the run. */
	if (export->count == 0 && entry.at_us < export->filter->from_us)
		return true;
	if (entry.at_us >= export->filter->to_us)
		return export->count == 0;
	if (export->count++ == 0)
		export->first = index;
	export->kinds[entry.kind]++;
	export->has_failed = fwrite(text, 1, size, export->file) != size || putc('\n', export->file) == EOF ||
			     EVP_DigestUpdate(export->hash, text, size) != 1 ||
			     EVP_DigestUpdate(export->hash, "\n", 1) != 1;
	return !export->has_failed;
}

static enum status write_entries(struct export *export, struct log_reader *reader)
{
	uint8_t digest[32];
	unsigned size;
	int fd = open(export->part.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	enum status status;

	export->file = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (export->file == NULL) {
		strbuf_addf(&export->why, "%s: %s", export->part.data, strerror(errno));
		return STATUS_IO;
	}
	export->hash = EVP_MD_CTX_new();
	if (export->hash == NULL || EVP_DigestInit_ex(export->hash, EVP_sha256(), NULL) != 1)
		return STATUS_NO_MEMORY;
	status = log_reader_each(reader, 0, log_reader_checkpoint(reader)->size, write_entry, export, &export->why);
	if (status == STATUS_OK && (fflush(export->file) != 0 || fsync(fd) != 0 || export->has_failed)) {
		if (export->why.length == 0)
			strbuf_addf(&export->why, "%s cannot be written", export->part.data);
		status = STATUS_IO;
	}
	if (status != STATUS_OK || EVP_DigestFinal_ex(export->hash, digest, &size) != 1)
		return status != STATUS_OK ? status : STATUS_INTERNAL;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(export->sha256 + 2 * i, 3, "%02x", digest[i]);
	return STATUS_OK;
}

/* The daemon's word that the export is on record. */
static enum status have_it_logged(struct export *export)
{
	struct strbuf path = STRBUF_INIT, body = STRBUF_INIT;
	int http_status = 0;
	enum status status;

	strbuf_addf(&path, "/admin/v1/audit/export?first=%" PRIu64 "&count=%" PRIu64 "&sha256=%s", export->first,
		export->count, export->sha256);
	status = admin_call(export->admin, "POST", path.data, ADMIN_CALL_MS, &http_status, &body, &export->why);
	if (status == STATUS_OK && http_status != 200) {
		strbuf_addf(&export->why, "the daemon did not log the export (%d), so there is none", http_status);
		status = STATUS_UNREACHABLE;
	}
	strbuf_release(&path);
	strbuf_release(&body);
	return status;
}

static enum status write_manifest(struct export *export, const struct log_reader *reader)
{
	const struct checkpoint *checkpoint = log_reader_checkpoint(reader);
	struct strbuf path = STRBUF_INIT, content = STRBUF_INIT;
	json_t *kinds = json_object(), *manifest;
	enum status status = STATUS_NO_MEMORY;
	char *text;

	for (int i = 0; i < ENTRY_KIND_COUNT; i++) {
		if (export->kinds[i] > 0)
			json_object_set_new(kinds, entry_kind_name((enum entry_kind)i),
				json_integer((json_int_t) export->kinds[i]));
	}
	manifest = json_pack("{s:s, s:s?, s:s?, s:I, s:I, s:o, s:s, s:I, s:s}", "origin", checkpoint->origin, "from",
		export->filter->values[AUDIT_FROM], "to", export->filter->values[AUDIT_TO], "first",
		(json_int_t) export->first, "count", (json_int_t) export->count, "kinds", kinds, "sha256",
		export->sha256, "log_size", (json_int_t)checkpoint->size, "checkpoint", log_reader_note(reader)->data);
	text = manifest != NULL ? json_dumps(manifest, JSON_INDENT(4)) : NULL;
	if (text != NULL)
		strbuf_addf(&content, "%s\n", text);
	strbuf_addf(&path, "%s.manifest.json", export->path);
	if (text != NULL && strbuf_ok(&path) && strbuf_ok(&content))
		status = file_replace(path.data, content.data, content.length, 0600, &export->why);
	free(text);
	strbuf_release(&content);
	json_decref(manifest);
	strbuf_release(&path);
	return status;
}

static enum status export_to(struct export *export, struct log_reader *reader)
{
	enum status status = write_entries(export, reader);

	if (status == STATUS_OK && export->count == 0) {
		strbuf_adds(&export->why, "no entry is of that time");
		status = STATUS_NOT_FOUND;
	}
	if (status == STATUS_OK)
		status = have_it_logged(export);
	if (status == STATUS_OK)
		status = write_manifest(export, reader);
	if (status == STATUS_OK && rename(export->part.data, export->path) != 0) {
		strbuf_addf(&export->why, "%s: %s", export->path, strerror(errno));
		status = STATUS_IO;
	}
	if (export->file != NULL)
		fclose(export->file);
	if (status != STATUS_OK)
		unlink(export->part.data);
	EVP_MD_CTX_free(export->hash);
	return status;
}

static int run(const struct command_line *line, struct export *export)
{
	struct settings *settings = NULL;
	struct log_reader *reader = NULL;
	struct strbuf where = STRBUF_INIT;
	int exit_code = command_settings(line->config, &settings);
	enum status status = STATUS_OK;

	strbuf_init(&export->part);
	strbuf_init(&export->why);
	if (exit_code == EXIT_CODE_OK)
		exit_code = audit_open(settings->access_log.directory, NULL, &reader);
	if (exit_code != EXIT_CODE_OK)
		goto out;
	if (export->admin == NULL) {
		status = admin_where(line->config, &where);
		export->admin = where.data;
	}
	strbuf_addf(&export->part, "%s.part", export->path);
	if (status != STATUS_OK)
		strbuf_adds(&export->why, "where the daemon's admin listener is must be said by --admin");
	else
		status = strbuf_ok(&export->part) ? export_to(export, reader) : STATUS_NO_MEMORY;
	if (status != STATUS_OK)
		exit_code = command_fail(command_exit_code(status), "%s",
			export->why.length > 0 ? export->why.data : status_name(status));
	else
		printf("%" PRIu64 " entries from %" PRIu64 " on, sha256 %s\n", export->count, export->first,
			export->sha256);
out:
	log_reader_close(reader);
	settings_destroy(settings);
	strbuf_release(&where);
	strbuf_release(&export->part);
	strbuf_release(&export->why);
	return exit_code;
}

int audit_export(int argc, char **argv)
{
	static const struct command_option options[] = {
		AUDIT_OPTION_TIMES,
		{ OPTION_ADMIN, "admin", "ADDRESS", "the daemon's admin listener (default: the settings')" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward audit export", "FILE [--from TIME] [--to TIME]",
		"Writes the entries of a time as they were logged, one a line, to FILE, and FILE.manifest.json\n"
		"with their numbers, counts, SHA-256 and the log's signed checkpoint.  The export is logged.",
		options, "homeward audit export november.ndjson --from 2026-11-01 --to 2026-12-01\n" };
	struct audit_filter filter;
	struct export export = { .filter = &filter };
	struct command_line line;

	audit_filter_init(&filter);
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id >= AUDIT_OPTION && !audit_filter_take(&filter, &line, id))
			return line.exit_code;
		export.admin = id == OPTION_ADMIN ? line.value : export.admin;
	}
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	export.path = line.arguments[0];
	return run(&line, &export);
}
