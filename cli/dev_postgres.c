/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private PostgreSQL for each region of the development mesh: reached by a unix
 * socket in the mesh's folder and by nothing else, so two meshes never meet.
 *
 * initdb takes most of a mesh's time, so it runs once; the other regions get a
 * copy of the cluster, made before it first starts.  PostgreSQL refuses to run as
 * root: then it runs as the user `postgres`.
 */
#include "cli/dev.h"

#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/schema.h"
#include "cli/command.h"

static enum status find_programs(struct dev_mesh *mesh, struct strbuf *why)
{
	glob_t found = { 0 };
	enum status status = STATUS_NOT_FOUND;
	int best = -1;

	/* The newest version: names are like /usr/lib/postgresql/15/bin/initdb. */
	if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++) {
			int version = 0;
			const char *path = found.gl_pathv[i];
			size_t length = strlen(path) - strlen("/initdb");

			if (sscanf(path, "/usr/lib/postgresql/%d/", &version) == 1 && version > best &&
				length < sizeof(mesh->postgres_folder)) {
				best = version;
				memcpy(mesh->postgres_folder, path, length);
				mesh->postgres_folder[length] = '\0';
				status = STATUS_OK;
			}
		}
	globfree(&found);
	if (status != STATUS_OK)
		strbuf_adds(why, "no PostgreSQL under /usr/lib/postgresql: `apt-get install postgresql`");
	return status;
}

enum status dev_postgres_find(struct dev_mesh *mesh, struct strbuf *why)
{
	const struct passwd *user;
	enum status status = find_programs(mesh, why);

	mesh->user = geteuid();
	mesh->group = getegid();
	if (status != STATUS_OK || mesh->user != 0)
		return status;
	user = getpwnam("postgres");
	if (user == NULL) {
		strbuf_adds(why, "PostgreSQL does not run as root, and there is no user `postgres`");
		return STATUS_NOT_FOUND;
	}
	mesh->user = user->pw_uid;
	mesh->group = user->pw_gid;
	return STATUS_OK;
}

static enum status make_folders(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why)
{
	static const struct {
		const char *name;
		mode_t mode;
		bool is_postgres;
	} folders[] = {
		{ NULL, 0711, false },
		{ "state", 0700, false },
		{ "tokens", 0700, false },
		{ "sock", 0711, true },
		{ "pg", 0700, true },
	};
	struct strbuf path = STRBUF_INIT;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && status == STATUS_OK; i++) {
		dev_path(mesh, region, folders[i].name, &path);
		if (mkdir(path.data, folders[i].mode) != 0 || chmod(path.data, folders[i].mode) != 0 ||
			(folders[i].is_postgres && mesh->user != geteuid() &&
				chown(path.data, mesh->user, mesh->group) != 0)) {
			strbuf_addf(why, "%s: %s", path.data, strerror(errno));
			status = STATUS_IO;
		}
	}
	strbuf_release(&path);
	return status;
}

static enum status run(
	const struct dev_mesh *mesh, const struct dev_region *region, const char *const *arguments, struct strbuf *why)
{
	struct strbuf log = STRBUF_INIT;
	struct dev_spawn spawn = { arguments, dev_path(mesh, region, "postgres.log", &log), mesh->user, mesh->group };
	enum status status = dev_process_run(&spawn, DEV_POSTGRES_MS, why);

	strbuf_release(&log);
	return status;
}

enum status dev_postgres_make(const struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf program = STRBUF_INIT, first = STRBUF_INIT, copy = STRBUF_INIT;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++)
		status = make_folders(mesh, &mesh->regions[i], why);
	if (status != STATUS_OK)
		goto out;
	strbuf_addf(&program, "%s/initdb", mesh->postgres_folder);
	dev_path(mesh, &mesh->regions[0], "pg", &first);
	/* Nobody but those who can reach the socket's folder gets as far as trust. */
	const char *const arguments[] = { program.data, "-D", first.data, "-U", "homeward", "--auth=trust", "-E",
		"UTF8", "--locale=C", "--no-sync", "--no-instructions", NULL };
	status = run(mesh, &mesh->regions[0], arguments, why);
	for (size_t i = 1; i < mesh->region_count && status == STATUS_OK; i++) {
		dev_path(mesh, &mesh->regions[i], "pg", &copy);
		strbuf_addc(&first, '/');
		strbuf_addc(&first, '.');
		const char *const copying[] = { "/bin/cp", "-a", first.data, copy.data, NULL };
		status = run(mesh, &mesh->regions[i], copying, why);
		strbuf_truncate(&first, first.length - 2);
	}
out:
	strbuf_release(&program);
	strbuf_release(&first);
	strbuf_release(&copy);
	return status;
}

enum status dev_postgres_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	struct strbuf program = STRBUF_INIT, data = STRBUF_INIT, sockets = STRBUF_INIT, log = STRBUF_INIT;
	enum status status;

	strbuf_addf(&program, "%s/postgres", mesh->postgres_folder);
	dev_path(mesh, region, "pg", &data);
	dev_path(mesh, region, "sock", &sockets);
	dev_path(mesh, region, "postgres.log", &log);
	/* Shared memory in its own folder goes with it, also after a kill -9. */
	const char *const arguments[] = { program.data, "-D", data.data, "-k", sockets.data, "-c",
		"listen_addresses=", "-c", "shared_buffers=32MB", "-c", "max_wal_size=256MB", "-c", "wal_recycle=off",
		"-c", "fsync=on", "-c", "dynamic_shared_memory_type=mmap", NULL };
	struct dev_spawn spawn = { arguments, log.data, mesh->user, mesh->group };
	status = dev_process_start(&spawn, &region->postgres, why);
	strbuf_release(&program);
	strbuf_release(&data);
	strbuf_release(&sockets);
	strbuf_release(&log);
	return status;
}

static bool accepts(const struct dev_mesh *mesh, const struct dev_region *region)
{
	struct strbuf dsn = STRBUF_INIT;
	bool is_up;

	strbuf_addf(
		&dsn, "host=%s/%s/sock user=homeward dbname=postgres connect_timeout=2", mesh->folder, region->name);
	is_up = PQping(dsn.data) == PQPING_OK;
	strbuf_release(&dsn);
	return is_up;
}

/* After a kill -9 a new server may find leftovers of the old one for a moment and give up: then it is started again. */
enum status dev_postgres_wait(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + DEV_POSTGRES_MS;
	struct strbuf log = STRBUF_INIT;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && !(dev_process_is_alive(&region->postgres) && accepts(mesh, region))) {
		status = dev_pause();
		if (status == STATUS_OK && clock_monotonic_ms(clock_system()) >= end_ms)
			status = STATUS_DEADLINE;
		if (status == STATUS_OK && !dev_process_is_alive(&region->postgres))
			status = dev_postgres_start(mesh, region, why);
	}
	if (status == STATUS_DEADLINE) {
		strbuf_addf(why, "PostgreSQL of %s is not up after %d ms\n", region->name, DEV_POSTGRES_MS);
		dev_log_tail(dev_path(mesh, region, "postgres.log", &log), why);
	}
	strbuf_release(&log);
	return status;
}

enum status dev_postgres_fill(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why)
{
	struct database_session *session = NULL;
	struct strbuf dsn = STRBUF_INIT;
	enum status status;
	int applied;

	strbuf_addf(&dsn, "host=%s/%s/sock user=homeward dbname=postgres", mesh->folder, region->name);
	status = database_session_open(dsn.data, COMMAND_DATABASE_OPEN_MS, &session, why);
	if (status == STATUS_OK)
		status = database_session_script(
			session, "CREATE DATABASE homeward STRATEGY file_copy", COMMAND_STATEMENT_MS, why);
	database_session_close(session);
	session = NULL;
	strbuf_reset(&dsn);
	dev_dsn(mesh, region, &dsn);
	if (status == STATUS_OK)
		status = database_session_open(dsn.data, COMMAND_DATABASE_OPEN_MS, &session, why);
	if (status == STATUS_OK)
		status = schema_migrate(session, &applied, why);
	if (status == STATUS_OK)
		status = dev_seed(mesh, region, session, why);
	database_session_close(session);
	strbuf_release(&dsn);
	return status;
}
