/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wiring of one region: every part is made here, in the order of its needs, and
 * taken down in reverse.  No decisions live here.
 *
 * Threads: this file runs on the main thread.  Each engine is a loop with its own
 * database connection, HTTP client, handlers, access log and delegate, so that
 * nothing on the path of a lookup is shared but immutable snapshots and the cache.
 */
#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/schema.h"

#define UPKEEP_MS 1000                /* certificate files are looked at, and a late migration tried, this often */
#define DELEGATE_WAITING_MAX 20000    /* lookups queued for one peer on one engine before new ones are refused */
#define PEER_CONNECTION_AGE_MS 300000 /* so that a revoked or rotated certificate does not live on in a connection */
#define MIGRATE_TIMEOUT_MS 2000

/* ---- start: identity, policy, routes, peers ---- */

static enum status start_identity(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	struct tls_files files = { settings->tls.certificate, settings->tls.key, settings->tls.ca,
		settings->tls.crl[0] != '\0' ? settings->tls.crl : NULL };
	struct policy_load load;
	struct policy *policy = NULL;
	enum status status;

	status = file_make_folder(settings->state_dir, 0700, why);
	if (status == STATUS_OK)
		status = service_log_open(service, why);
	if (status != STATUS_OK)
		return status;
	status = settings_dsn(settings, &service->dsn, why);
	if (status != STATUS_OK)
		return status;
	status = tls_store_create(&files, settings->trust_domain, settings->region, &service->tls, why);
	if (status != STATUS_OK)
		return status;
	status = service_read_policy(service, settings, &policy, &load, why);
	if (status == STATUS_OK && service_attach_shadow(settings, policy, why) != STATUS_OK) {
		/* It is enforced nowhere, so a region starts without it. */
		LOG_ERROR("policy_shadow_refused", "reason", why->data);
		strbuf_reset(why);
	}
	if (status == STATUS_OK)
		status = service_accept_policy(service, settings, &load, why);
	if (status != STATUS_OK) {
		policy_release_reference(policy);
		return status;
	}
	service->gate = gate_create(policy, clock_system());
	return service->gate != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status start_routing(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	struct peers_settings peers = { settings->delegate.suspect_after, settings->delegate.down_after,
		settings->delegate.up_after, settings->delegate.probe_interval_ms, settings->delegate.retry_percent };
	struct strbuf snapshot = STRBUF_INIT;
	struct routes_settings routes;
	enum status status = STATUS_NO_MEMORY;

	strbuf_addf(&snapshot, "%s/routes.snapshot", settings->state_dir);
	if (!strbuf_ok(&snapshot))
		goto out;
	routes = (struct routes_settings){ snapshot.data, service->dsn.data };
	status = routes_create(&routes, &service->routes);
	if (status != STATUS_OK)
		goto out;
	service->peers = peers_create(&peers, clock_system(), random_system());
	status = service->peers != NULL ? service_define_peers(service, settings, why) : STATUS_NO_MEMORY;
out:
	if (status != STATUS_OK && why->length == 0)
		strbuf_addf(why, "route and peer tables: %s", status_name(status));
	strbuf_release(&snapshot);
	return status;
}

/* ---- start: the database's schema ---- */

/* STATUS_UNREACHABLE is not fatal: the last good tables on disk serve until the database is back. */
static enum status migrate(struct service *service, struct strbuf *why)
{
	struct database_session *session = NULL;
	int applied = 0, version = 0;
	enum status status;

	status = database_session_open(service->dsn.data, MIGRATE_TIMEOUT_MS, &session, why);
	if (status != STATUS_OK)
		return status;
	if (service->settings->database.migrate)
		status = schema_migrate(session, &applied, why);
	else
		status = schema_version_read(session, &version, why);
	if (status == STATUS_OK && !service->settings->database.migrate && version != schema_version_known()) {
		strbuf_addf(why, "the database has schema version %d, this program needs %d: run `homeward db migrate`",
			version, schema_version_known());
		status = STATUS_CONFLICT;
	}
	if (status == STATUS_OK && applied > 0)
		LOG_INFO("schema_migrated", "applied", log_number(applied), "version",
			log_number(schema_version_known()));
	database_session_close(session);
	return status;
}

static enum status start_schema(struct service *service, struct strbuf *why)
{
	enum status status = migrate(service, why);

	service->is_migrated = status == STATUS_OK;
	if (status == STATUS_UNREACHABLE || status == STATUS_DEADLINE) {
		LOG_WARN("database_unreachable_at_start", "reason", why->data);
		strbuf_reset(why);
		return STATUS_OK;
	}
	return status;
}

/* ---- start: engines and the control loop ---- */

static enum status start_engine(struct service *service, struct engine *engine, int number, const uint8_t key[32])
{
	const struct settings *settings = service->settings;
	struct database_settings database = { service->dsn.data, "homeward", (int)settings->database.queue_max,
		settings->database.timeout_ms };
	struct http_client_settings client = { service->tls, (int)settings->delegate.connections_max };
	struct access_log_settings log = { settings->region, key, settings->grant.ttl_s, service->log_writer,
		service->keyring, &service->unrecorded,
		settings->access_log.mode == ACCESS_LOG_GRACE ? settings->access_log.grace_s : 0,
		settings->access_log.mode == ACCESS_LOG_OFF, service->denials };
	struct delegate_settings delegate = { settings->delegate.batch_max, settings->delegate.connections_max,
		settings->delegate.linger_ms, DELEGATE_WAITING_MAX };
	enum status status;
	char name[16];

	snprintf(name, sizeof(name), "engine-%d", number);
	status = loop_create(name, &engine->loop);
	if (status == STATUS_OK)
		status = database_create(engine->loop, &database, &engine->database);
	if (status == STATUS_OK)
		status = database_create(engine->loop, &database, &engine->log_database);
	if (status == STATUS_OK)
		status = http_client_create(engine->loop, &client, &engine->client);
	if (status == STATUS_OK)
		status = handlers_create(
			engine->loop, engine->database, engine->client, settings, service->gate, &engine->handlers);
	if (status == STATUS_OK)
		status = access_log_create(engine->loop, engine->log_database, &log, clock_system(), &engine->log);
	if (status == STATUS_OK)
		status = delegate_create(engine->loop, engine->client, service->peers, &delegate, &engine->delegate);
	return status;
}

static enum status start_engines(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t wanted = settings->engines > 0 ? settings->engines : cores;
	enum status status;
	uint8_t key[32];

	service->engine_count = (size_t)(wanted < 1 ? 1 : wanted > ENGINES_MAX ? ENGINES_MAX : wanted);
	status = access_key_load(settings->access_log.key_file, key, why);
	for (size_t i = 0; i < service->engine_count && status == STATUS_OK; i++)
		status = start_engine(service, &service->engines[i], (int)i, key);
	memcpy(service->subject_key, key, sizeof(key));
	explicit_bzero(key, sizeof(key));
	if (status != STATUS_OK && why->length == 0)
		strbuf_addf(why, "engines: %s", status_name(status));
	return status;
}

/* Once a second on the control loop. */
static void do_upkeep(void *arg)
{
	struct service *service = arg;
	struct strbuf why = STRBUF_INIT;
	bool was_refused;

	if (tls_store_has_changed(service->tls, &was_refused)) {
		/* Tried each second, for a certificate may only be early; said once for each change. */
		if (tls_store_reload(service->tls, &why) == STATUS_OK)
			service_events_look(service);
		else if (!was_refused)
			LOG_ERROR("certificates_reload_refused", "reason", why.data);
		strbuf_reset(&why);
	}
	service_events_tend(service);
	service_reload_tend(service);
	service_changes_tend(service);
	service_log_tend(service);
	service_forget_tend(service);
	service_keys_tend(service);
	if (!service->is_migrated) {
		enum status status = migrate(service, &why);
		service->is_migrated = status == STATUS_OK;
		if (service->is_migrated) {
			LOG_INFO("database_reached");
			service_changes_migrated(service);
		} else if (status != STATUS_UNREACHABLE && status != STATUS_DEADLINE)
			LOG_ERROR("schema_refused", "reason", why.data);
	}
	strbuf_release(&why);
	loop_timer_start(&service->upkeep, UPKEEP_MS);
}

static enum status start_control(struct service *service, struct strbuf *why)
{
	struct database_settings database = { service->dsn.data, "homeward control", 0, 0 };
	struct database_settings records = { service->dsn.data, "homeward records", 0, 0 };
	struct http_client_settings client = { service->tls, 0 };
	enum status status;

	status = database_create(service->control, &database, &service->control_database);
	if (status == STATUS_OK)
		status = database_create(service->control, &records, &service->records_database);
	if (status == STATUS_OK)
		status = http_client_create(service->control, &client, &service->control_client);
	if (status == STATUS_OK)
		status = loop_timer_init(service->control, &service->upkeep, do_upkeep, service);
	if (status == STATUS_OK)
		status = routes_follow(service->routes, service->control, service->control_database);
	if (status == STATUS_OK)
		status = locator_follow_callers(service->locator, service->control, service->control_database);
	if (status == STATUS_OK)
		status = service_changes_follow(service);
	if (status == STATUS_OK)
		status = peers_probe(service->peers, service->control, service->control_client);
	if (status == STATUS_OK)
		status = service_cosigning_start(service);
	service_system_follow(service);
	if (status != STATUS_OK)
		strbuf_addf(why, "control loop: %s", status_name(status));
	else
		loop_timer_start(&service->upkeep, UPKEEP_MS);
	peer_service_read_records(service->peer_service, service->control, service->records_database);
	return status;
}

/* ---- start: locator, peer service, listeners ---- */

static enum status start_services(struct service *service, struct strbuf *why)
{
	struct locator_engine locator_engines[ENGINES_MAX];
	struct serve_engine serve_engines[ENGINES_MAX];
	struct locator_settings locator = { locator_engines, service->engine_count, service->gate, service->routes,
		service->peers, clock_system(), random_system(), service->settings, { service_note_tap, service } };
	struct peer_service_settings peer = { serve_engines, service->engine_count, service->gate, { NULL, NULL },
		clock_system(), service->settings, { service_budget_alarmed, service }, NULL,
		{ service_found_travel, service }, { service_forget, service }, NULL };
	enum status status = service_start_travel(service);

	for (size_t i = 0; i < service->engine_count; i++) {
		const struct engine *engine = &service->engines[i];
		locator_engines[i] = (struct locator_engine){ engine->loop, engine->handlers, engine->log,
			engine->delegate };
		serve_engines[i] = (struct serve_engine){ engine->loop, engine->handlers, engine->log };
	}
	peer.travel = service->travel;
	if (status == STATUS_OK)
		status = loop_create("control", &service->control);
	if (status == STATUS_OK)
		status = service_witness_open(service, why);
	if (status == STATUS_OK)
		status = locator_create(&locator, &service->locator);
	if (status == STATUS_OK) {
		peer.log = service->log_service;
		peer.place_station = (struct place_station){ locator_place_station, service->locator };
		status = peer_service_create(&peer, &service->peer_service);
	}
	if (status != STATUS_OK && why->length == 0)
		strbuf_addf(why, "locator: %s", status_name(status));
	return status;
}

struct listener {
	const char *name;
	const struct settings_listener *settings;
	const struct http_route *routes;
	size_t route_count;
	void *arg;
	bool is_peer;
	struct http_server **tcp, **unix_socket;
};

static enum status start_listener(struct service *service, const struct listener *listener, struct strbuf *why)
{
	const struct settings_listener *from = listener->settings;
	struct http_server_settings server = {
		.name = listener->name,
		.threads = (int)from->threads,
		.connections_max = (int)from->connections_max,
		.connections_per_ip_max = (int)from->connections_per_ip_max,
		.body_bytes_max = (size_t)from->body_bytes_max,
		.request_deadline_ms = from->request_deadline_ms,
		.idle_timeout_ms = from->idle_timeout_ms,
		.routes = listener->routes,
		.route_count = listener->route_count,
		.arg = listener->arg,
	};
	enum status status = STATUS_OK;

	if (from->listen[0] != '\0') {
		server.address = from->listen;
		if (listener->is_peer) {
			server.tls = service->tls;
			server.strict_path = true;
			server.connections_per_peer_max = (int)service->settings->peer_connections_max;
			server.connection_age_ms_max = PEER_CONNECTION_AGE_MS;
		}
		status = http_server_start(&server, listener->tcp, why);
	}
	if (status == STATUS_OK && listener->unix_socket != NULL && from->unix_path[0] != '\0') {
		server.address = NULL;
		server.unix_path = from->unix_path;
		server.threads = 1;
		server.connections_per_ip_max = 0;
		status = http_server_start(&server, listener->unix_socket, why);
	}
	return status;
}

static enum status start_listeners(struct service *service, struct strbuf *why)
{
	struct listener listeners[3] = {
		{ .name = "admin",
			.settings = &service->settings->admin,
			.arg = service,
			.tcp = &service->admin,
			.unix_socket = &service->admin_unix },
		{ .name = "peer",
			.settings = &service->settings->peer,
			.arg = service->peer_service,
			.is_peer = true,
			.tcp = &service->peer },
		{ .name = "api",
			.settings = &service->settings->api,
			.arg = service->locator,
			.tcp = &service->api,
			.unix_socket = &service->api_unix },
	};
	enum status status = STATUS_OK;

	listeners[0].routes = admin_routes(&listeners[0].route_count);
	listeners[1].routes = peer_service_routes(&listeners[1].route_count);
	listeners[2].routes = locator_routes(&listeners[2].route_count);
	for (size_t i = 0; i < 3 && status == STATUS_OK; i++)
		status = start_listener(service, &listeners[i], why);
	return status;
}

/* ---- health ---- */

static bool check_database(void *arg, struct strbuf *why)
{
	struct service *service = arg;

	for (size_t i = 0; i < service->engine_count; i++) {
		const struct engine *engine = &service->engines[i];
		if (!database_is_up(engine->database) || !database_is_up(engine->log_database)) {
			strbuf_adds(why, "not connected; personal data is not served");
			return false;
		}
	}
	return true;
}

static bool check_routes(void *arg, struct strbuf *why)
{
	if (routes_is_ready(((struct service *)arg)->routes))
		return true;
	strbuf_adds(why, "no route table yet");
	return false;
}

static bool check_policy(void *arg, struct strbuf *why)
{
	struct policy *policy = gate_acquire(((struct service *)arg)->gate);

	if (policy == NULL) {
		strbuf_adds(why, "none loaded: everything is denied");
		return false;
	}
	policy_release_reference(policy);
	return true;
}

static bool check_draining(void *arg, struct strbuf *why)
{
	if (!atomic_load(&((struct service *)arg)->is_draining))
		return true;
	strbuf_adds(why, "shutting down");
	return false;
}

static enum status start_health(struct service *service)
{
	service->health = health_create();
	if (service->health == NULL)
		return STATUS_NO_MEMORY;
	health_add(service->health, "database", check_database, service);
	health_add(service->health, "access_log", service_log_check, service);
	health_add(service->health, "routes", check_routes, service);
	health_add(service->health, "policy", check_policy, service);
	health_add(service->health, "draining", check_draining, service);
	return STATUS_OK;
}

/* ---- the whole ---- */

static enum status start_loops(struct service *service, struct strbuf *why)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < service->engine_count && status == STATUS_OK; i++)
		status = loop_start(service->engines[i].loop);
	if (status == STATUS_OK)
		status = loop_start(service->control);
	if (status != STATUS_OK)
		strbuf_addf(why, "threads: %s", status_name(status));
	return status;
}

enum status service_start(struct settings *settings, struct service **service_out, struct strbuf *why)
{
	struct service *service = calloc(1, sizeof(*service));
	enum status status;

	*service_out = NULL;
	if (service == NULL) {
		settings_destroy(settings);
		return STATUS_NO_MEMORY;
	}
	service->settings = settings;
	strbuf_init(&service->dsn);
	pthread_mutex_init(&service->reload_lock, NULL);
	metrics_add_collector(admin_collect_metrics, service);

	status = start_health(service);
	if (status == STATUS_OK)
		status = service_system_start(service);
	if (status == STATUS_OK)
		status = start_identity(service, why);
	if (status == STATUS_OK)
		status = start_schema(service, why);
	if (status == STATUS_OK)
		status = service_log_follow(service, why);
	if (status == STATUS_OK)
		status = start_routing(service, why);
	if (status == STATUS_OK)
		status = start_engines(service, why);
	if (status == STATUS_OK)
		status = start_services(service, why);
	if (status == STATUS_OK)
		status = start_control(service, why);
	if (status == STATUS_OK)
		status = start_loops(service, why);
	if (status == STATUS_OK)
		status = service_events_start(service, why);
	if (status == STATUS_OK)
		status = start_listeners(service, why);
	if (status != STATUS_OK) {
		service_stop(service);
		return status;
	}
	health_started(service->health);
	*service_out = service;
	return STATUS_OK;
}

static void each_data_listener(const struct service *service, void (*act)(struct http_server *server))
{
	struct http_server *servers[] = { service->api, service->api_unix, service->peer };

	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		if (servers[i] != NULL)
			act(servers[i]);
	}
}

void service_drain(struct service *service)
{
	atomic_store(&service->is_draining, true);
	each_data_listener(service, http_server_drain);
	service_log_note(service, ENTRY_ADMIN, NULL, "drain");
}

void service_refuse(struct service *service)
{
	each_data_listener(service, http_server_refuse);
}

int service_in_flight(const struct service *service)
{
	int count = locator_in_flight(service->locator);

	count += service->api != NULL ? http_server_in_flight(service->api) : 0;
	count += service->api_unix != NULL ? http_server_in_flight(service->api_unix) : 0;
	count += service->peer != NULL ? http_server_in_flight(service->peer) : 0;
	return count;
}

static void stop_engine(struct engine *engine)
{
	delegate_destroy(engine->delegate);
	access_log_destroy(engine->log);
	handlers_destroy(engine->handlers);
	http_client_destroy(engine->client);
	database_destroy(engine->log_database);
	database_destroy(engine->database);
	loop_destroy(engine->loop);
}

void service_stop(struct service *service)
{
	/* Listeners first: nothing new comes in.  Then the loops: nothing runs.  Then what lived on them. */
	system_events_refuse(service->system);
	http_server_stop(service->api);
	http_server_stop(service->api_unix);
	http_server_stop(service->peer);
	http_server_stop(service->admin);
	http_server_stop(service->admin_unix);
	service_events_stop(service);
	loop_stop(service->control);
	for (size_t i = 0; i < service->engine_count; i++)
		loop_stop(service->engines[i].loop);
	peers_probe_stop(service->peers);
	loop_timer_release(&service->upkeep);
	locator_destroy(service->locator);
	for (size_t i = 0; i < service->engine_count; i++)
		stop_engine(&service->engines[i]);
	/* After the engines: lookups of a batch that was answered at its deadline end only with what they wait for. */
	peer_service_destroy(service->peer_service);
	travel_destroy(service->travel);
	service_witness_close(service);
	service_log_close(service);
	routes_destroy(service->routes);
	http_client_destroy(service->control_client);
	database_destroy(service->control_database);
	database_destroy(service->records_database);
	loop_destroy(service->control);
	peers_destroy(service->peers);
	service_system_stop(service);
	gate_destroy(service->gate);
	tls_store_destroy(service->tls);
	health_destroy(service->health);
	strbuf_release(&service->dsn);
	pthread_mutex_destroy(&service->reload_lock);
	settings_destroy(service->current);
	settings_destroy(service->settings);
	explicit_bzero(service->subject_key, sizeof(service->subject_key));
	free(service);
}
