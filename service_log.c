/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log's place in the service: its writer and keyring are opened before
 * anything can cross, its own words are written (start, stop, policy, what an
 * operator asked for, what went by unrecorded), and it is closed last.
 *
 * A note waits for the disk, so these run on the main thread, on HTTP threads of
 * the admin listener, and on the control loop; never on an engine.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

#define NOTE_WAIT_MS 1000 /* what the writer promises to say at the latest */
#define DAY_S 86400
#define DEVELOPMENT "HOMEWARD_DEVELOPMENT"

enum status service_log_write(struct service *service, const struct access_note *note)
{
	enum status status;

	if (service->log_writer == NULL)
		return STATUS_OK;
	status = access_log_note(service->log_writer, service->settings->region, note,
		clock_monotonic_ms(clock_system()) + NOTE_WAIT_MS);
	if (status != STATUS_OK)
		LOG_WARN("access_note_failed", "kind", entry_kind_name(note->kind), "status", status_name(status));
	return status;
}

void service_log_note(struct service *service, enum entry_kind kind, const char *policy_version_text, const char *text)
{
	const struct access_note note = {
		.kind = kind, .policy_version = policy_version_text, .text = text, .count = -1
	};

	(void)service_log_write(service, &note);
}

enum status service_log_admin(struct service *service, const char *text)
{
	const struct access_note note = { .kind = ENTRY_ADMIN, .text = text, .count = -1 };

	return service->log_writer != NULL ? service_log_write(service, &note) : STATUS_UNREACHABLE;
}

enum status service_log_open(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	const struct log_writer_settings writer = { .directory = settings->access_log.directory,
		.origin = settings->access_log.origin,
		.key_file = settings->access_log.signing_key_file,
		.queue_bytes_max = settings->access_log.queue_bytes_max,
		.checkpoint_interval_ms = settings->access_log.checkpoint_interval_ms,
		.segment_bytes = settings->access_log.segment_bytes,
		.reserve_bytes = settings->access_log.reserve_bytes };
	const struct keyring_settings keyring = { settings->access_log.subject_key_file,
		settings->access_log.epoch_days * DAY_S, settings->access_log.epoch_keep_days * DAY_S };
	enum status status;

	if (settings->access_log.mode == ACCESS_LOG_OFF && getenv(DEVELOPMENT) == NULL) {
		strbuf_adds(why, "access_log.mode is off: that is for measuring, with " DEVELOPMENT
				 " in the environment; nothing may cross unrecorded");
		return STATUS_INVALID;
	}
	if (settings->access_log.mode == ACCESS_LOG_OFF)
		LOG_WARN("access_log_off", "reason", "access_log.mode");
	status = keyring_open(&keyring, clock_system(), &service->keyring, why);
	if (status == STATUS_OK)
		status = log_writer_open(&writer, clock_system(), &service->log_writer, why);
	if (status != STATUS_OK)
		return status;
	service_log_note(service, ENTRY_BOOT, NULL, "homeward " HOMEWARD_VERSION);
	return STATUS_OK;
}

enum status service_log_follow(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	const struct log_index_settings index = { settings->access_log.directory, service->dsn.data,
		settings->access_log.index_entries_per_s, settings->grant.ttl_s };
	enum status status = log_index_start(&index, &service->log_index);

	if (status != STATUS_OK)
		strbuf_addf(why, "index of the access log: %s", status_name(status));
	return status;
}

void service_log_tend(struct service *service)
{
	struct strbuf why = STRBUF_INIT;
	struct access_note gap = { .kind = ENTRY_GAP, .text = "crossings without an entry while the log had failed" };

	if (keyring_tend(service->keyring, &why) != STATUS_OK)
		LOG_ERROR("subject_epoch_refused", "reason", why.data);
	strbuf_release(&why);
	if (atomic_load(&service->unrecorded) == 0 || log_writer_is_failed(service->log_writer))
		return;
	gap.count = (int64_t)atomic_exchange(&service->unrecorded, 0);
	if (service_log_write(service, &gap) != STATUS_OK)
		atomic_fetch_add(&service->unrecorded, (uint64_t)gap.count);
}

bool service_log_check(void *arg, struct strbuf *why)
{
	const struct service *service = arg;
	const struct log_writer *writer = service->log_writer;

	if (writer == NULL || !log_writer_is_failed(writer))
		return true;
	strbuf_addf(why, "%s: %s; personal data is not served", log_writer_directory(writer),
		log_writer_state(writer) == LOG_WRITER_FULL ? "no space left"
							    : "cannot be written, see the log and restart");
	return false;
}

void service_log_close(struct service *service)
{
	log_index_stop(service->log_index);
	service->log_index = NULL;
	service_log_note(service, ENTRY_ADMIN, NULL, "stop");
	log_writer_close(service->log_writer);
	service->log_writer = NULL;
	keyring_destroy(service->keyring);
	service->keyring = NULL;
}
