/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events, wired: the running part is started where there is a broker, and what the
 * other parts notice is said as system events.  The hooks run on any thread and
 * never wait; what must be looked at (certificates, routes, the access log's
 * writer and its disk) is looked at once a second on the control loop.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "service_subject.h"

#define LAPSE_WARN_MS 60000      /* between reminders of a certificate or list that is out of date */
#define SLOW_LOOK_MS 60000       /* between looks at certificates and the disk */
#define CHECKPOINT_LATE_MS 60000 /* entries without a checkpoint for so long */
#define NAME_BYTES 320           /* spiffe://<trust domain>/region/<region> */

/* ---- hooks ---- */

static void peer_changed(void *arg, const char *region, bool is_up, const char *reason, int64_t down_ms)
{
	system_say_peer(((struct service *)arg)->system, region, is_up, reason, down_ms / 1000);
}

static void gate_denied(void *arg, const char *region, const char *caller, int64_t denied)
{
	system_say_denials(((struct service *)arg)->system, region[0] != '\0' ? region : NULL,
		caller[0] != '\0' ? caller : NULL, denied, DENIALS_WINDOW_S);
}

void service_budget_alarmed(void *arg, const struct budget_alarm *alarm)
{
	static const char *const kinds[BUDGET_VERDICTS] = { [BUDGET_LOOKUPS] = "budget_lookups",
		[BUDGET_SUBJECTS] = "budget_subjects",
		[BUDGET_MISSES] = "budget_misses" };
	struct system_log_alarm said = {
		.kind = kinds[alarm->verdict], .peer = alarm->region, .caller = alarm->caller, .durable = -1
	};

	if (said.kind != NULL)
		system_say_log_alarm(((struct service *)arg)->system, &said);
}

void service_peer_log_alarmed(void *arg, const char *region, enum witness_result result)
{
	struct system_log_alarm said = { .kind = result == WITNESS_ROLLBACK ? "peer_rollback"
						 : result == WITNESS_FORK   ? "peer_fork"
									    : "peer_inconsistent",
		.peer = region,
		.detail = "its new checkpoint was not cosigned",
		.durable = -1 };

	system_say_log_alarm(((struct service *)arg)->system, &said);
}

/* ---- looked at ---- */

static bool is_lapsed(const char *setting, int64_t expires_s, const char *meaning)
{
	if (expires_s == 0 || clock_wall_us(clock_system()) / 1000000 < expires_s)
		return false;
	LOG_ERROR("certificate_lapsed", "setting", setting, "meaning", meaning);
	return true;
}

/* Said again and again while it lasts: nothing else explains why the other regions are refused. */
static void warn_of_lapses(struct service *service, int64_t now_ms)
{
	int64_t leaf_s = 0, ca_s = 0, crl_s = 0;
	bool is_any;

	if (now_ms < service->warn_lapse_ms)
		return;
	tls_store_expiry(service->tls, &leaf_s, &ca_s, &crl_s);
	is_any = is_lapsed("tls.certificate", leaf_s, "other regions refuse this one");
	is_any |= is_lapsed("tls.ca", ca_s, "whom this authority signed is refused");
	is_any |= is_lapsed("tls.crl", crl_s, "every other region is refused until there is a newer list");
	if (is_any)
		service->warn_lapse_ms = now_ms + LAPSE_WARN_MS;
}

static void look_at_expiry(struct service *service, const char *kind, const char *region, int64_t expires_s)
{
	int64_t now_s = clock_wall_us(clock_system()) / 1000000;
	char subject[NAME_BYTES];

	(void)snprintf(subject, sizeof(subject), "spiffe://%s/region/%s", service->settings->trust_domain, region);
	subject[256] = '\0'; /* the schema's bound */
	if (expires_s != 0 && system_expiry_is_due(&service->expiries, kind, subject, expires_s, now_s))
		system_say_certificate(service->system, kind, subject, expires_s, now_s);
}

static void look_at_peer_certificate(void *arg, const char *region, int64_t expires_s)
{
	look_at_expiry(arg, "peer", region, expires_s);
}

static void look_at_certificates(struct service *service)
{
	const char *region = service->settings->region;
	int64_t leaf_s = 0, ca_s = 0, crl_s = 0;

	tls_store_expiry(service->tls, &leaf_s, &ca_s, &crl_s);
	look_at_expiry(service, "peer", region, leaf_s);
	look_at_expiry(service, "authority", region, ca_s);
	look_at_expiry(service, "revocation_list", region, crl_s);
	tls_peers_each(look_at_peer_certificate, service);
}

static void look_at_routes(struct service *service)
{
	uint64_t generation = routes_generation(service->routes), before = service->seen.generation;

	service->seen.generation = generation;
	/* The first table is news to nobody. */
	if (generation != before && before != 0)
		system_say_routes(service->system, routes_count(service->routes), generation);
}

static void say_log(struct service *service, const char *kind, const char *detail)
{
	struct system_log_alarm said = {
		.kind = kind, .detail = detail, .durable = (int64_t)log_writer_durable(service->log_writer)
	};

	system_say_log_alarm(service->system, &said);
}

static void look_at_writer(struct service *service, int64_t now_ms)
{
	const struct log_writer *writer = service->log_writer;
	enum log_writer_state state = log_writer_state(writer);
	uint64_t durable = log_writer_durable(writer), published = log_writer_published(writer);

	if (state != service->seen.log_state)
		say_log(service, state == LOG_WRITER_OK ? "recovered" : "write_failed",
			state == LOG_WRITER_FULL     ? "no space left"
			: state == LOG_WRITER_BROKEN ? "cannot be written; see the log and restart"
						     : "written again");
	service->seen.log_state = state;
	if (published != service->seen.published || published == durable) {
		service->seen.published = published;
		service->seen.published_ms = now_ms;
		service->seen.is_late = false;
	} else if (!service->seen.is_late && now_ms - service->seen.published_ms >= CHECKPOINT_LATE_MS) {
		service->seen.is_late = true;
		say_log(service, "checkpoint_late", "entries are durable and no checkpoint covers them");
	}
}

/* Told once on the way up; again only after it was below. */
static void look_at_space(struct service *service)
{
	struct statvfs disk;
	int level = 0;

	if (statvfs(log_writer_directory(service->log_writer), &disk) != 0 || disk.f_blocks == 0)
		return;
	if (disk.f_bavail * 10 < disk.f_blocks)
		level = 90;
	else if (disk.f_bavail * 5 < disk.f_blocks)
		level = 80;
	if (level > service->seen.space)
		say_log(service, level == 90 ? "space_90" : "space_80", "the access log's disk fills up");
	service->seen.space = level;
}

void service_events_look(struct service *service)
{
	LOG_INFO("certificates_reloaded");
	service->seen.next_look_ms = 0;
}

void service_events_tend(struct service *service)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());

	warn_of_lapses(service, now_ms);
	look_at_routes(service);
	if (service->log_writer != NULL)
		look_at_writer(service, now_ms);
	if (now_ms >= service->seen.next_look_ms) {
		service->seen.next_look_ms = now_ms + SLOW_LOOK_MS;
		look_at_certificates(service);
		if (service->log_writer != NULL)
			look_at_space(service);
	}
	system_events_tend(service->system);
}

/* ---- the life of it ---- */

enum status service_system_start(struct service *service)
{
	const struct settings *settings = service->settings;

	service->system = system_events_create(
		settings->region, settings->events.broker[0] != '\0', clock_system(), random_system());
	service->denials = denials_create(settings->alarms.denials_per_minute, clock_system(), gate_denied, service);
	return service->system != NULL && service->denials != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void service_system_follow(struct service *service)
{
	const struct peers_hook hook = { peer_changed, service };

	peers_tell(service->peers, &hook);
	system_events_follow(service->system, service->control);
	service->seen.generation = routes_generation(service->routes);
}

void service_system_stop(struct service *service)
{
	denials_destroy(service->denials);
	system_events_destroy(service->system);
	system_expiries_release(&service->expiries);
}

static void forget_object(void *arg, const struct object_id *object)
{
	struct service *service = arg;

	(void)locator_forget(service->locator, object);
}

enum status service_events_start(struct service *service, struct strbuf *why)
{
	const struct engine *engine = &service->engines[0];
	struct events_settings events = { service->settings, service->dsn.data, engine->loop, engine->database,
		service->gate, service->tls, engine->log,
		{ forget_object, service_forget_told, service_forget_acknowledged, service }, service->system };
	struct events *started = NULL;
	enum status status;

	if (service->settings->events.broker[0] == '\0')
		return STATUS_OK;
	status = events_start(&events, &started, why);
	pthread_mutex_lock(&service->reload_lock);
	service->events = started;
	pthread_mutex_unlock(&service->reload_lock);
	if (status == STATUS_OK)
		locator_take_events(service->locator, &(struct locator_events){ events_submit, service->events });
	return status;
}

void service_events_stop(struct service *service)
{
	struct events *events;

	/* The control loop follows the mesh file; it must find none. */
	pthread_mutex_lock(&service->reload_lock);
	events = service->events;
	service->events = NULL;
	pthread_mutex_unlock(&service->reload_lock);
	events_stop(events);
}
