/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private RabbitMQ for each region of the development mesh, and one name server
 * (epmd) for them all: own node names, cookies, folders and ports, so that two
 * meshes and the system's broker never meet.  They speak mutual TLS with the
 * mesh's own certificates, and `homeward mesh apply` joins them as it would real
 * ones.
 *
 * RabbitMQ cannot be told to choose its ports, so free ones are looked for just
 * before, below those that the kernel gives to outgoing connections.  Half a minute
 * may pass until the broker listens: until then an abstract socket of the port's name
 * keeps it from other meshes' `dev up` and from the scenarios' brokers, who ask for it
 * as well.  A broker that lost its port to a stranger says so in its log and `dev up`
 * fails.
 * The server is a shell script with children: it is ended as a group.
 */
#include "cli/dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"

#define SERVER "/usr/lib/rabbitmq/bin/rabbitmq-server"
#define NAME_SERVER "/usr/bin/epmd"
#define VIRTUAL_HOST "homeward"
#define PLUGINS                                                                                                        \
	"[rabbitmq_management,rabbitmq_federation,rabbitmq_federation_management,rabbitmq_auth_mechanism_ssl].\n"

enum { CONNECT_STEP_MS = 1000, APPLY_MS = 60000, VARIABLES_MAX = 24 };
enum { PORT_FIRST = 10000, PORT_COUNT = 22000, PORT_TRIES = 100 };

bool dev_broker_is_installed(void)
{
	return access(SERVER, X_OK) == 0 && access(NAME_SERVER, X_OK) == 0;
}

static struct sockaddr_in loopback(int64_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/*
 * A port's abstract socket: who has it may have the port.  It is not closed here; it
 * goes with this command, and by then the broker listens, or has failed.
 */
static bool claim(int64_t port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(
		address.sun_path + 1, sizeof(address.sun_path) - 1, "homeward-port-%lld", (long long)port);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (file >= 0 && bind(file, (struct sockaddr *)&address, size) == 0)
		return true;
	if (file >= 0)
		close(file);
	return false;
}

/* A port nobody listens on, and nobody else who asks the same way will be given. */
static enum status find_port(int64_t *port_out, struct strbuf *why)
{
	for (int tries = 0; tries < PORT_TRIES; tries++) {
		int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct sockaddr_in address;
		uint16_t number;
		bool is_free;

		random_fill(random_system(), &number, sizeof(number));
		*port_out = PORT_FIRST + number % PORT_COUNT;
		address = loopback(*port_out);
		is_free = file >= 0 && bind(file, (struct sockaddr *)&address, sizeof(address)) == 0;
		if (file >= 0)
			close(file);
		if (is_free && claim(*port_out))
			return STATUS_OK;
	}
	strbuf_addf(why, "no free port: %s", strerror(errno));
	return STATUS_IO;
}

static bool is_listening(int64_t port)
{
	struct sockaddr_in address = loopback(port);
	int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_open = file >= 0 && connect(file, (struct sockaddr *)&address, sizeof(address)) == 0;

	if (file >= 0)
		close(file);
	return is_open;
}

/* ---- what a broker is told ---- */

static void write_settings(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *text)
{
	const char *folder = mesh->folder, *name = region->name;

	strbuf_addf(text,
		"listeners.tcp = none\n"
		"listeners.ssl.1 = 127.0.0.1:%lld\n"
		"ssl_options.cacertfile = %s/pki/ca.pem\n"
		"ssl_options.certfile = %s/pki/%s.pem\n"
		"ssl_options.keyfile = %s/pki/%s.key\n"
		"ssl_options.verify = verify_peer\n"
		"ssl_options.fail_if_no_peer_cert = true\n"
		"auth_mechanisms.1 = EXTERNAL\n"
		"ssl_cert_login_from = common_name\n",
		(long long)region->broker_port, folder, folder, name, folder, name);
	strbuf_addf(text,
		"management.ssl.ip = 127.0.0.1\n"
		"management.ssl.port = %lld\n"
		"management.ssl.cacertfile = %s/pki/ca.pem\n"
		"management.ssl.certfile = %s/pki/%s.pem\n"
		"management.ssl.keyfile = %s/pki/%s.key\n"
		"cluster_name = %s\n"
		"default_user = operator\n"
		"default_pass = %s\n"
		"vm_memory_high_watermark.absolute = 512MB\n"
		"log.console = true\n"
		"log.file = false\n",
		(long long)region->management_port, folder, folder, name, folder, name, name, mesh->broker_password);
}

static enum status replace(const struct dev_mesh *mesh, const struct dev_region *region, const char *name,
	const struct strbuf *text, mode_t mode, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	enum status status = strbuf_ok(text) ? file_replace(dev_path(mesh, region, name, &path), text->data,
						       text->length, mode, why)
					     : STATUS_NO_MEMORY;

	strbuf_release(&path);
	return status;
}

static json_t *region_json(const struct dev_mesh *mesh, const struct dev_region *region)
{
	struct strbuf peer = STRBUF_INIT, broker = STRBUF_INIT, management = STRBUF_INIT, password = STRBUF_INIT,
		      ca = STRBUF_INIT, certificate = STRBUF_INIT, key = STRBUF_INIT;
	json_t *json;

	strbuf_addf(&peer, "https://127.0.0.1:%lld", (long long)(region->peer_port > 0 ? region->peer_port : 7443));
	strbuf_addf(&broker, "amqps://localhost:%lld", (long long)region->broker_port);
	strbuf_addf(&management, "https://localhost:%lld", (long long)region->management_port);
	strbuf_addf(&ca, "%s/pki/ca.pem", mesh->folder);
	strbuf_addf(&certificate, "%s/pki/%s.pem", mesh->folder, region->name);
	strbuf_addf(&key, "%s/pki/%s.key", mesh->folder, region->name);
	json = json_pack("{s:[s],s:[s],s:{s:s,s:s,s:s,s:s},s:{s:s,s:s,s:s}}", "peer_urls", peer.data, "broker_urls",
		broker.data, "management", "url", management.data, "user", "operator", "password_file",
		dev_path(mesh, NULL, "brokers.password", &password), "ca_file", ca.data, "link", "ca_file", ca.data,
		"certificate_file", certificate.data, "key_file", key.data);
	strbuf_release(&peer);
	strbuf_release(&broker);
	strbuf_release(&management);
	strbuf_release(&password);
	strbuf_release(&ca);
	strbuf_release(&certificate);
	strbuf_release(&key);
	return json;
}

enum status dev_broker_write_mesh(const struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	json_t *regions = json_object(), *json;
	enum status status = STATUS_NO_MEMORY;
	char *printed;

	for (size_t i = 0; i < mesh->region_count; i++)
		json_object_set_new(regions, mesh->regions[i].name, region_json(mesh, &mesh->regions[i]));
	json = json_pack("{s:s,s:s,s:[s,s,s],s:o}", "trust_domain", mesh->trust_domain, "topology", "mesh",
		"object_types", "token", "driver", "station", "regions", regions);
	printed = json != NULL ? json_dumps(json, JSON_INDENT(2)) : NULL;
	if (printed != NULL) {
		strbuf_adds(&text, printed);
		strbuf_addc(&text, '\n');
		status = replace(mesh, NULL, DEV_BROKERS_FILE, &text, 0644, why);
	}
	free(printed);
	json_decref(json);
	strbuf_release(&text);
	return status;
}

/* ---- starting ---- */

/* Ports, folder and settings: everything but the process. */
static enum status prepare(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	enum status status = find_port(&region->broker_port, why);

	if (status == STATUS_OK)
		status = find_port(&region->management_port, why);
	if (status == STATUS_OK)
		status = find_port(&region->distribution_port, why);
	if (status == STATUS_OK && mkdir(dev_path(mesh, region, "broker", &path), 0700) != 0) {
		strbuf_addf(why, "%s: %s", path.data, strerror(errno));
		status = STATUS_IO;
	}
	write_settings(mesh, region, &text);
	if (status == STATUS_OK)
		status = replace(mesh, region, "broker/rabbitmq.conf", &text, 0600, why);
	strbuf_reset(&text);
	strbuf_adds(&text, PLUGINS);
	if (status == STATUS_OK)
		status = replace(mesh, region, "broker/plugins", &text, 0600, why);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

static enum status start_names(struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf log = STRBUF_INIT;
	enum status status = find_port(&mesh->names_port, why);
	char port[16];

	snprintf(port, sizeof(port), "%lld", (long long)mesh->names_port);
	const char *const arguments[] = { NAME_SERVER, "-address", "127.0.0.1", "-port", port, NULL };
	struct dev_spawn spawn = { arguments, dev_path(mesh, NULL, "names.log", &log), geteuid(), getegid() };
	if (status == STATUS_OK)
		status = dev_process_start(&spawn, &mesh->names, why);
	strbuf_release(&log);
	return status;
}

static enum status write_password(struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	unsigned char bytes[16];
	enum status status;

	random_fill(random_system(), bytes, sizeof(bytes));
	strbuf_add_hex(&text, bytes, sizeof(bytes));
	if (strbuf_ok(&text))
		snprintf(mesh->broker_password, sizeof(mesh->broker_password), "%s", text.data);
	strbuf_addc(&text, '\n');
	status = replace(mesh, NULL, "brokers.password", &text, 0600, why);
	strbuf_release(&text);
	return status;
}

enum status dev_brokers_begin(struct dev_mesh *mesh, struct strbuf *why)
{
	enum status status = write_password(mesh, why);

	if (status == STATUS_OK)
		status = start_names(mesh, why);
	if (status == STATUS_OK)
		status = dev_mesh_save(mesh, why);
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		status = prepare(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_broker_start(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_mesh_save(mesh, why);
	}
	return status;
}

enum status dev_broker_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	struct strbuf log = STRBUF_INIT, text = STRBUF_INIT;
	const char *arguments[VARIABLES_MAX + 1] = { "/usr/bin/env", "-i" };
	size_t count = 2;
	enum status status;

	strbuf_addf(&text,
		"PATH=/usr/bin:/bin\nLC_ALL=C.UTF-8\nHOME=%s/%s/broker\nRABBITMQ_NODENAME=%s@localhost\n"
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1\nRABBITMQ_DIST_PORT=%lld\nRABBITMQ_MNESIA_BASE=%s/%s/broker/"
		"mnesia\n"
		"RABBITMQ_LOG_BASE=%s/%s/broker\nRABBITMQ_ENABLED_PLUGINS_FILE=%s/%s/broker/plugins\n"
		"RABBITMQ_CONFIG_FILE=%s/%s/broker/rabbitmq.conf\nRABBITMQ_PID_FILE=%s/%s/broker/pid\n"
		"RABBITMQ_CONF_ENV_FILE=%s/%s/broker/none\nRABBITMQ_SERVER_START_ARGS=+S 2:1\n"
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-setcookie %s -kernel inet_dist_use_interface {127,0,0,1}\n"
		"ERL_EPMD_ADDRESS=127.0.0.1\nERL_EPMD_PORT=%lld\n" SERVER "\n",
		mesh->folder, region->name, region->name, (long long)region->distribution_port, mesh->folder,
		region->name, mesh->folder, region->name, mesh->folder, region->name, mesh->folder, region->name,
		mesh->folder, region->name, mesh->folder, region->name, mesh->broker_password,
		(long long)mesh->names_port);
	if (!strbuf_ok(&text)) {
		strbuf_release(&text);
		return STATUS_NO_MEMORY;
	}
	/* Each line is an argument: what `env` sets, and last the program. */
	for (char *line = text.data, *end; *line != '\0' && count < VARIABLES_MAX; line = end + 1) {
		end = line + strcspn(line, "\n");
		*end = '\0';
		arguments[count++] = line;
	}
	struct dev_spawn spawn = { arguments, dev_path(mesh, region, "broker.log", &log), geteuid(), getegid() };
	status = dev_process_start(&spawn, &region->broker, why);
	strbuf_release(&log);
	strbuf_release(&text);
	return status;
}

/* The listener for events is the last thing a broker opens. */
enum status dev_broker_wait(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + DEV_BROKER_MS;
	struct strbuf log = STRBUF_INIT;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && !(is_listening(region->broker_port) && is_listening(region->management_port))) {
		status = dev_pause();
		if (status == STATUS_OK && !dev_process_is_alive(&region->broker))
			status = STATUS_INTERNAL;
		else if (status == STATUS_OK && clock_monotonic_ms(clock_system()) >= end_ms)
			status = STATUS_DEADLINE;
	}
	if (status == STATUS_INTERNAL || status == STATUS_DEADLINE) {
		strbuf_addf(why, "the broker of %s %s\n", region->name,
			status == STATUS_INTERNAL ? "ended before it was up" : "is not up in time");
		dev_log_tail(dev_path(mesh, region, "broker.log", &log), why);
	}
	strbuf_release(&log);
	return status;
}

static enum status run_mesh(const struct dev_mesh *mesh, const char *what, const char *option, struct strbuf *why)
{
	struct strbuf file = STRBUF_INIT, log = STRBUF_INIT;
	char program[DEV_PROGRAM_SIZE];
	enum status status = dev_own_program(program, why);

	if (status != STATUS_OK)
		return status;
	const char *const arguments[] = { program, "mesh", what, "--mesh",
		dev_path(mesh, NULL, DEV_BROKERS_FILE, &file), option, NULL };
	struct dev_spawn spawn = { arguments, dev_path(mesh, NULL, "brokers.log", &log), geteuid(), getegid() };
	status = dev_process_run(&spawn, APPLY_MS, why);
	strbuf_release(&file);
	strbuf_release(&log);
	return status;
}

enum status dev_brokers_join(const struct dev_mesh *mesh, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + DEV_BROKER_MS;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++)
		status = dev_broker_wait(mesh, &mesh->regions[i], why);
	if (status == STATUS_OK)
		status = dev_broker_write_mesh(mesh, why);
	if (status == STATUS_OK)
		status = run_mesh(mesh, "apply", "--yes", why);
	/* Links need a moment until they carry events; `mesh status` fails until all are green. */
	while (status == STATUS_OK && mesh->region_count > 1) {
		strbuf_reset(why);
		status = run_mesh(mesh, "status", "--links-only", why);
		if (status != STATUS_INTERNAL)
			break;
		status = clock_monotonic_ms(clock_system()) < end_ms ? dev_pause() : STATUS_DEADLINE;
	}
	return status;
}

/* ---- stopping ---- */

void dev_broker_tell(const struct dev_region *region, int signal_number)
{
	if (dev_process_is_alive(&region->broker))
		(void)kill(-region->broker.pid, signal_number);
}

void dev_broker_end(struct dev_region *region, int64_t timeout_ms)
{
	pid_t group = region->broker.pid;

	dev_process_end(&region->broker, timeout_ms);
	if (group > 0)
		(void)kill(-group, SIGKILL); /* helpers that outlive the virtual machine */
}
