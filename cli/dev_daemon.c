/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemons of the development mesh.  Each starts on port 0, tells its ports in
 * ports.json, and then gets settings with those ports fixed and the peers' URLs,
 * which it is told to reload.  So no port is ever guessed to be free.
 */
#include "cli/dev.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/admin_client.h"
#include "policy/policy.h"

enum { PORTS_FILE_MAX = 4096, READY_CALL_MS = 1000 };

static json_t *listener_json(int64_t port, const char *socket_name)
{
	struct strbuf address = STRBUF_INIT;
	json_t *json;

	strbuf_addf(&address, "127.0.0.1:%lld", (long long)port);
	json = json_pack("{s:s,s:s*}", "listen", address.data, "unix_path", socket_name);
	strbuf_release(&address);
	return json;
}

static json_t *tls_json(const struct dev_region *region)
{
	struct strbuf certificate = STRBUF_INIT, key = STRBUF_INIT;
	json_t *json;

	strbuf_addf(&certificate, "../pki/%s.pem", region->name);
	strbuf_addf(&key, "../pki/%s.key", region->name);
	json = json_pack("{s:s,s:s,s:s,s:s}", "certificate", certificate.data, "key", key.data, "ca", "../pki/ca.pem",
		"crl", "../pki/crl.pem");
	strbuf_release(&certificate);
	strbuf_release(&key);
	return json;
}

/* A daemon that runs has made its log's key; its public half goes to the others, as operators would carry it. */
static void add_log_key(const struct dev_mesh *mesh, const struct dev_region *peer, json_t *entry)
{
	struct strbuf path = STRBUF_INIT, name = STRBUF_INIT, text = STRBUF_INIT, why = STRBUF_INIT;
	struct note_signer *signer;

	dev_path(mesh, peer, "state/access-log.key", &path);
	strbuf_addf(&name, "%s.%s/access-log", peer->name, mesh->trust_domain);
	if (note_signer_load(path.data, name.data, false, &signer, &why) == STATUS_OK) {
		note_verifier_write(note_signer_verifier(signer), &text);
		json_object_set_new(entry, "log_key", json_string(text.data));
		note_signer_destroy(signer);
	}
	strbuf_release(&path);
	strbuf_release(&name);
	strbuf_release(&text);
	strbuf_release(&why);
}

static json_t *peers_json(const struct dev_mesh *mesh, const struct dev_region *me)
{
	struct strbuf url = STRBUF_INIT;
	json_t *peers = json_object();

	for (size_t i = 0; i < mesh->region_count; i++) {
		const struct dev_region *peer = &mesh->regions[i];

		if (peer == me || peer->peer_port == 0)
			continue;
		strbuf_reset(&url);
		strbuf_addf(&url, "https://127.0.0.1:%lld", (long long)peer->peer_port);
		json_object_set_new(peers, peer->name, json_pack("{s:[s]}", "urls", url.data));
		add_log_key(mesh, peer, json_object_get(peers, peer->name));
	}
	strbuf_release(&url);
	return peers;
}

#define CHECKPOINT_MS 100 /* who tries it out looks at once */

/* NULL when the mesh has no brokers: then the section is left out. */
static json_t *events_json(const struct dev_mesh *mesh, const struct dev_region *region)
{
	struct strbuf broker = STRBUF_INIT, path = STRBUF_INIT;
	json_t *json = NULL;

	if (mesh->has_brokers) {
		strbuf_addf(&broker, "amqps://localhost:%lld/homeward", (long long)region->broker_port);
		json = json_pack(
			"{s:s,s:s}", "broker", broker.data, "mesh", dev_path(mesh, NULL, DEV_BROKERS_FILE, &path));
	}
	strbuf_release(&broker);
	strbuf_release(&path);
	return json;
}

enum status dev_settings_write(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, dsn = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;
	char *text = NULL;
	json_t *json;

	dev_dsn(mesh, region, &dsn);
	/* Tokens and stations may be any text, as in OCPI: cards and EVSEs, but also what real files call them. */
	json = json_pack(
		"{s:s,s:s,s:s,s:I,s:i,s:o,s:o,s:o,s:o,s:{s:s},s:{s:s},s:{s:i},s:{s:{s:s},s:{s:s},s:{s:s}},s:o}",
		"region", region->name, "trust_domain", mesh->trust_domain, "state_dir", "state", "engines",
		(json_int_t)mesh->engines, "drain_timeout_ms", DEV_DRAIN_MS, "api",
		listener_json(region->api_port, "api.sock"), "peer", listener_json(region->peer_port, NULL), "admin",
		listener_json(region->admin_port, "admin.sock"), "tls", tls_json(region), "database", "dsn", dsn.data,
		"policy", "file", "policy.json", "access_log", "checkpoint_interval_ms", CHECKPOINT_MS, "types",
		"token", "id_format", "opaque", "driver", "id_format", "emaid", "station", "id_format", "opaque",
		"peers", peers_json(mesh, region));
	if (json != NULL && mesh->has_brokers)
		json_object_set_new(json, "events", events_json(mesh, region));
	if (json != NULL)
		text = json_dumps(json, JSON_INDENT(2));
	if (text != NULL)
		status = file_replace(dev_path(mesh, region, "homeward.conf", &path), text, strlen(text), 0644, why);
	free(text);
	json_decref(json);
	strbuf_release(&path);
	strbuf_release(&dsn);
	return status;
}

enum status dev_daemon_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	struct strbuf config = STRBUF_INIT, ports = STRBUF_INIT, log = STRBUF_INIT;
	char program[DEV_PROGRAM_SIZE];
	enum status status = dev_own_program(program, why);

	if (status != STATUS_OK)
		return status;
	dev_path(mesh, region, "homeward.conf", &config);
	dev_path(mesh, region, "ports.json", &ports);
	dev_path(mesh, region, "homeward.log", &log);
	(void)unlink(ports.data);
	const char *const arguments[] = { program, "serve", "--config", config.data, "--ports-file", ports.data, NULL };
	struct dev_spawn spawn = { arguments, log.data, geteuid(), getegid() };
	status = dev_process_start(&spawn, &region->daemon, why);
	strbuf_release(&config);
	strbuf_release(&ports);
	strbuf_release(&log);
	return status;
}

static bool read_ports(const struct dev_mesh *mesh, struct dev_region *region)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	json_t *json = NULL;
	bool is_read = file_read(dev_path(mesh, region, "ports.json", &path), PORTS_FILE_MAX, &text, NULL) ==
			       STATUS_OK &&
		       json_parse(text.data, text.length, &json, NULL) == STATUS_OK &&
		       json_get_integer(json, "api", &region->api_port) &&
		       json_get_integer(json, "peer", &region->peer_port) &&
		       json_get_integer(json, "admin", &region->admin_port);

	json_decref(json);
	strbuf_release(&path);
	strbuf_release(&text);
	return is_read;
}

bool dev_daemon_is_ready(const struct dev_region *region)
{
	struct strbuf where = STRBUF_INIT, body = STRBUF_INIT, why = STRBUF_INIT;
	int http_status = 0;
	bool is_ready;

	strbuf_addf(&where, "http://127.0.0.1:%lld", (long long)region->admin_port);
	is_ready = region->admin_port != 0 &&
		   admin_call(where.data, "GET", "/readyz", READY_CALL_MS, &http_status, &body, &why) == STATUS_OK &&
		   http_status == 200;
	strbuf_release(&where);
	strbuf_release(&body);
	strbuf_release(&why);
	return is_ready;
}

/* By its admin listener and not by SIGHUP, because only that brings a refusal back. */
enum status dev_daemon_reload(const struct dev_region *region, struct strbuf *why)
{
	struct strbuf where = STRBUF_INIT, body = STRBUF_INIT;
	int http_status = 0;
	enum status status;

	strbuf_addf(&where, "http://127.0.0.1:%lld", (long long)region->admin_port);
	status = admin_call(where.data, "POST", "/admin/v1/reload", ADMIN_CALL_MS, &http_status, &body, why);
	if (status == STATUS_OK && http_status != 200) {
		strbuf_addf(why, "the daemon of %s refused its settings: %s", region->name, body.data);
		status = STATUS_INVALID;
	}
	strbuf_release(&where);
	strbuf_release(&body);
	return status;
}

/* One more step of waiting for a daemon; says why not when it is gone or the time is. */
static enum status wait_step(const struct dev_mesh *mesh, const struct dev_region *region, int64_t end_ms,
	const char *what, struct strbuf *why)
{
	struct strbuf log = STRBUF_INIT;
	enum status status = dev_pause();

	if (status == STATUS_OK && !dev_process_is_alive(&region->daemon)) {
		strbuf_addf(why, "the daemon of %s ended before it was %s\n", region->name, what);
		status = STATUS_INTERNAL;
	} else if (status == STATUS_OK && clock_monotonic_ms(clock_system()) >= end_ms) {
		strbuf_addf(why, "the daemon of %s is not %s after %d ms\n", region->name, what, DEV_DAEMON_MS);
		status = STATUS_DEADLINE;
	}
	if (status == STATUS_INTERNAL || status == STATUS_DEADLINE)
		dev_log_tail(dev_path(mesh, region, "homeward.log", &log), why);
	strbuf_release(&log);
	return status;
}

enum status dev_daemon_wait_ports(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + DEV_DAEMON_MS;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && !read_ports(mesh, region))
		status = wait_step(mesh, region, end_ms, "listening", why);
	return status;
}

enum status dev_daemon_wait_ready(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + DEV_DAEMON_MS;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && !dev_daemon_is_ready(region))
		status = wait_step(mesh, region, end_ms, "ready", why);
	return status;
}
