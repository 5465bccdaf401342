/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing the development mesh up and down, in order.  Whatever can go on at the
 * same time does: every server is started before the first is waited for, and
 * every one is told to stop before the first is waited for.
 */
#include "cli/dev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/pki.h"

static enum status make_pki(const struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf folder = STRBUF_INIT;
	enum status status;

	dev_path(mesh, NULL, "pki", &folder);
	status = pki_folder_init(folder.data, mesh->trust_domain, PKI_AUTHORITY_DAYS, why);
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		struct pki_request request = { .region = mesh->regions[i].name,
			.days = PKI_REGION_DAYS,
			.dns = { "localhost" },
			.dns_count = 1,
			.ip = { "127.0.0.1" },
			.ip_count = 1 };

		status = pki_folder_issue(folder.data, &request, why);
	}
	strbuf_release(&folder);
	return status;
}

static enum status write_policy(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	json_t *policy = dev_policy_json(mesh, region);
	char *text = policy != NULL ? json_dumps(policy, JSON_INDENT(2)) : NULL;
	enum status status = STATUS_NO_MEMORY;

	if (text != NULL)
		status = file_replace(dev_path(mesh, region, "policy.json", &path), text, strlen(text), 0644, why);
	free(text);
	json_decref(policy);
	strbuf_release(&path);
	return status;
}

static enum status start_databases(struct dev_mesh *mesh, struct strbuf *why)
{
	enum status status = dev_postgres_make(mesh, why);

	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		status = dev_postgres_start(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_mesh_save(mesh, why);
	}
	/* The certificates are made while the servers start; brokers need them, and longest of all. */
	if (status == STATUS_OK)
		status = make_pki(mesh, why);
	if (status == STATUS_OK && mesh->has_brokers)
		status = dev_brokers_begin(mesh, why);
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		status = dev_postgres_wait(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_postgres_fill(mesh, &mesh->regions[i], why);
	}
	return status;
}

static enum status start_daemons(struct dev_mesh *mesh, struct strbuf *why)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		status = write_policy(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_settings_write(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_daemon_start(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_mesh_save(mesh, why);
	}
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++)
		status = dev_daemon_wait_ports(mesh, &mesh->regions[i], why);
	if (status == STATUS_OK)
		status = dev_mesh_save(mesh, why);
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		status = dev_settings_write(mesh, &mesh->regions[i], why);
		if (status == STATUS_OK)
			status = dev_daemon_reload(&mesh->regions[i], why);
	}
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++)
		status = dev_daemon_wait_ready(mesh, &mesh->regions[i], why);
	return status;
}

enum status dev_up(struct dev_mesh *mesh, struct strbuf *why)
{
	enum status status = dev_mesh_save(mesh, why);

	if (status == STATUS_OK) {
		dev_mesh_remember(mesh);
		status = start_databases(mesh, why);
	}
	/* The daemons' settings name the mesh file. */
	if (status == STATUS_OK && mesh->has_brokers)
		status = dev_brokers_join(mesh, why);
	if (status == STATUS_OK)
		status = start_daemons(mesh, why);
	if (status == STATUS_OK && mesh->has_brokers)
		status = dev_broker_write_mesh(mesh, why); /* with the peers' ports */
	/* A Ctrl-C that came after the last wait is heard here. */
	return status == STATUS_OK ? dev_pause() : status;
}

enum status dev_start(struct dev_mesh *mesh, struct dev_region *region, int parts, struct strbuf *why)
{
	enum status status = STATUS_OK;

	if ((parts & DEV_DATABASE) != 0) {
		if (!dev_process_is_alive(&region->postgres))
			status = dev_postgres_start(mesh, region, why);
		if (status == STATUS_OK)
			status = dev_postgres_wait(mesh, region, why);
		if (status == STATUS_OK)
			status = dev_mesh_save(mesh, why);
	}
	if (status == STATUS_OK && (parts & DEV_BROKER) != 0 && mesh->has_brokers) {
		if (!dev_process_is_alive(&region->broker))
			status = dev_broker_start(mesh, region, why);
		if (status == STATUS_OK)
			status = dev_mesh_save(mesh, why);
		if (status == STATUS_OK)
			status = dev_broker_wait(mesh, region, why);
	}
	if (status != STATUS_OK || (parts & DEV_DAEMON) == 0)
		return status;
	if (!dev_process_is_alive(&region->daemon))
		status = dev_daemon_start(mesh, region, why);
	if (status == STATUS_OK)
		status = dev_mesh_save(mesh, why);
	if (status == STATUS_OK)
		status = dev_daemon_wait_ports(mesh, region, why);
	if (status == STATUS_OK && (parts & DEV_DATABASE) != 0)
		status = dev_daemon_wait_ready(mesh, region, why);
	return status;
}

/* SIGCONT too: a stopped process would never hear of the end. */
static void tell(const struct dev_process *process, int signal_number)
{
	dev_process_signal(process, signal_number);
	dev_process_signal(process, SIGCONT);
}

/* At the end of all nothing of theirs is kept, so they are not asked to put it in order first. */
static void stop_brokers(struct dev_mesh *mesh, struct dev_region *only)
{
	for (size_t i = 0; i < mesh->region_count; i++) {
		if (only != NULL && only != &mesh->regions[i])
			continue;
		dev_broker_tell(&mesh->regions[i], only == NULL ? SIGKILL : SIGTERM);
		dev_broker_end(&mesh->regions[i], DEV_STOP_MS);
	}
	if (only == NULL) {
		tell(&mesh->names, SIGTERM);
		dev_process_end(&mesh->names, DEV_STOP_MS);
	}
}

void dev_stop(struct dev_mesh *mesh, struct dev_region *only, int parts)
{
	bool stops_daemon = (parts & DEV_DAEMON) != 0, stops_database = (parts & DEV_DATABASE) != 0;

	for (size_t i = 0; i < mesh->region_count && stops_daemon; i++)
		if (only == NULL || only == &mesh->regions[i])
			tell(&mesh->regions[i].daemon, SIGTERM);
	for (size_t i = 0; i < mesh->region_count; i++) {
		struct dev_region *region = &mesh->regions[i];

		if (only != NULL && only != region)
			continue;
		if (stops_daemon)
			dev_process_end(&region->daemon, DEV_STOP_MS);
		if (stops_database)
			tell(&region->postgres, SIGINT); /* PostgreSQL's fast shutdown */
	}
	if ((parts & DEV_BROKER) != 0 && mesh->has_brokers)
		stop_brokers(mesh, only);
	for (size_t i = 0; i < mesh->region_count && stops_database; i++)
		if (only == NULL || only == &mesh->regions[i])
			dev_process_end(&mesh->regions[i].postgres, DEV_STOP_MS);
}

static void print_curl(const struct dev_mesh *mesh, const struct dev_region *at, const char *caller, const char *path)
{
	printf("  curl -s -H \"Authorization: Bearer $(cat %s/%s/tokens/%s)\" \\\n"
	       "    'http://127.0.0.1:%lld%s'\n",
		mesh->folder, at->name, caller, (long long)at->api_port, path);
}

void dev_print_story(const struct dev_mesh *mesh)
{
	const struct dev_region *here = &mesh->regions[mesh->region_count > 1 ? 1 : 0], *away = &mesh->regions[0];
	struct strbuf card = STRBUF_INIT, station = STRBUF_INIT, path = STRBUF_INIT;

	dev_token_id(mesh, away, 0, &card);
	dev_station_id(mesh, here, 0, &station);
	printf("%zu region%s up in %s\n\n", mesh->region_count, mesh->region_count == 1 ? " is" : "s are",
		mesh->folder);
	printf("A driver from %s taps in %s:\n", away->name, here->name);
	printf("  curl -s -H \"Authorization: Bearer $(cat %s/%s/tokens/cs-auth)\" \\\n"
	       "    -d '{\"type\":\"token\",\"id\":\"%s\",\"station\":\"%s\",\"purpose\":\"charge.authorize\"}' \\\n"
	       "    http://127.0.0.1:%lld/v1/authorize\n",
		mesh->folder, here->name, card.data, station.data, (long long)here->api_port);
	printf("The record behind it, and the same for a purpose the driver did not agree to:\n");
	strbuf_addf(&path, "/v1/objects/token/%s?purpose=charge.authorize&station=%s", card.data, station.data);
	print_curl(mesh, here, "cs-auth", path.data);
	strbuf_reset(&path);
	strbuf_addf(&path, "/v1/objects/token/%s?purpose=analytics", card.data);
	print_curl(mesh, here, "insights", path.data);
	printf("Both sides' record of it:\n");
	for (size_t i = 0; i < mesh->region_count && i < 2; i++)
		printf("  psql -h %s/%s/sock -U homeward homeward -c 'SELECT at, kind, peer, purpose, decision, rules, "
		       "fields FROM homeward.exchanges'\n",
			mesh->folder, mesh->regions[i].name);
	if (mesh->has_brokers)
		printf("What the brokers carry between the regions:\n  homeward mesh status --mesh %s/" DEV_BROKERS_FILE
		       " --config %s/%s/homeward.conf\n",
			mesh->folder, mesh->folder, here->name);
	printf("How it is doing, and the end of it:\n"
	       "  homeward dev status --dir %s\n"
	       "  homeward dev down --dir %s\n",
		mesh->folder, mesh->folder);
	strbuf_release(&card);
	strbuf_release(&station);
	strbuf_release(&path);
}
