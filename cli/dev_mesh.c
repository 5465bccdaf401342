/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The development mesh's folder.  mesh.json is replaced whole at every change and
 * is also the mark by which `dev down` knows that a folder is its to remove.  The
 * pointer to a user's last mesh is trusted only when that user owns it.
 */
#include "cli/dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"

enum { DEV_FILE_MAX = 65536, OPEN_FOLDERS_MAX = 16 };

const char *dev_path(
	const struct dev_mesh *mesh, const struct dev_region *region, const char *name, struct strbuf *path)
{
	strbuf_reset(path);
	strbuf_adds(path, mesh->folder);
	if (region != NULL)
		strbuf_addf(path, "/%s", region->name);
	if (name != NULL)
		strbuf_addf(path, "/%s", name);
	return path->data;
}

void dev_dsn(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *dsn)
{
	strbuf_addf(dsn, "host=%s/%s/sock user=homeward dbname=homeward", mesh->folder, region->name);
}

struct dev_region *dev_mesh_region(struct dev_mesh *mesh, const char *name)
{
	for (size_t i = 0; i < mesh->region_count; i++)
		if (strcmp(mesh->regions[i].name, name) == 0)
			return &mesh->regions[i];
	return NULL;
}

static bool is_empty(const char *folder)
{
	DIR *opened = opendir(folder);
	const struct dirent *entry;
	int count = 0;

	if (opened == NULL)
		return false;
	while ((entry = readdir(opened)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(opened);
	return count == 0;
}

enum status dev_folder_make(struct dev_mesh *mesh, const char *folder, struct strbuf *why)
{
	char made[] = "/tmp/homeward-XXXXXX", resolved[PATH_MAX];
	uint32_t number;

	if (folder == NULL) {
		folder = mkdtemp(made);
	} else if (mkdir(folder, 0711) != 0 && (errno != EEXIST || !is_empty(folder))) {
		if (errno == EEXIST || errno == 0)
			strbuf_addf(why, "%s is there already and is not empty", folder);
		else
			strbuf_addf(why, "%s: %s", folder, strerror(errno));
		return STATUS_CONFLICT;
	}
	/* PostgreSQL may run as another user and must be able to pass through. */
	if (folder == NULL || chmod(folder, 0711) != 0 || realpath(folder, resolved) == NULL) {
		strbuf_addf(why, "%s: %s", folder != NULL ? folder : made, strerror(errno));
		return STATUS_IO;
	}
	if (strlen(resolved) > DEV_FOLDER_MAX) {
		strbuf_addf(why, "%s is too long: unix sockets below it leave room for %d characters", resolved,
			DEV_FOLDER_MAX);
		(void)rmdir(resolved);
		return STATUS_INVALID;
	}
	memcpy(mesh->folder, resolved, strlen(resolved) + 1);
	random_fill(random_system(), &number, sizeof(number));
	snprintf(mesh->trust_domain, sizeof(mesh->trust_domain), "mesh-%08x.dev.example", number);
	return STATUS_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
	(void)info;
	(void)place;
	return kind == FTW_DP ? rmdir(path) : unlink(path);
}

enum status dev_folder_remove(const struct dev_mesh *mesh, struct strbuf *why)
{
	/* A file of PostgreSQL may go away under the walk when its last process ends: walk again. */
	for (int attempt = 0; attempt < 3; attempt++)
		if (nftw(mesh->folder, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS) == 0)
			return STATUS_OK;
	strbuf_addf(why, "%s could not be removed whole: %s", mesh->folder, strerror(errno));
	return STATUS_IO;
}

json_t *dev_mesh_json(const struct dev_mesh *mesh)
{
	struct strbuf dsn = STRBUF_INIT, config = STRBUF_INIT, tokens = STRBUF_INIT;
	json_t *regions = json_object();

	for (size_t i = 0; i < mesh->region_count; i++) {
		const struct dev_region *region = &mesh->regions[i];

		strbuf_reset(&dsn);
		dev_dsn(mesh, region, &dsn);
		json_object_set_new(regions, region->name,
			json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "broker",
				(json_int_t)region->broker_port, "management", (json_int_t)region->management_port,
				"distribution", (json_int_t)region->distribution_port, "api",
				(json_int_t)region->api_port, "peer", (json_int_t)region->peer_port, "admin",
				(json_int_t)region->admin_port, "dsn", dsn.data, "config",
				dev_path(mesh, region, "homeward.conf", &config), "tokens",
				dev_path(mesh, region, "tokens", &tokens), "pid", (json_int_t)region->daemon.pid,
				"started", (json_int_t)region->daemon.started, "postgres_pid",
				(json_int_t)region->postgres.pid, "postgres_started",
				(json_int_t)region->postgres.started, "broker_pid", (json_int_t)region->broker.pid,
				"broker_started", (json_int_t)region->broker.started));
	}
	strbuf_release(&dsn);
	strbuf_release(&config);
	strbuf_release(&tokens);
	return json_pack("{s:b,s:I,s:I,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:o}", "has_brokers", (int)mesh->has_brokers,
		"names_port", (json_int_t)mesh->names_port, "names_pid", (json_int_t)mesh->names.pid, "names_started",
		(json_int_t)mesh->names.started, "folder", mesh->folder, "trust_domain", mesh->trust_domain,
		"postgres_folder", mesh->postgres_folder, "engines", (json_int_t)mesh->engines, "user",
		(json_int_t)mesh->user, "group", (json_int_t)mesh->group, "regions", regions);
}

enum status dev_mesh_save(const struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	json_t *json = dev_mesh_json(mesh);
	enum status status = json != NULL ? json_write(json, &text) : STATUS_NO_MEMORY;

	strbuf_addc(&text, '\n');
	if (status == STATUS_OK)
		status = file_replace(dev_path(mesh, NULL, "mesh.json", &path), text.data, text.length, 0644, why);
	json_decref(json);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

static bool read_process(const json_t *json, const char *pid_key, const char *started_key, struct dev_process *process)
{
	int64_t pid = 0, started = 0;

	if (!json_get_integer(json, pid_key, &pid) || !json_get_integer(json, started_key, &started))
		return false;
	process->pid = (pid_t)pid;
	process->started = (uint64_t)started;
	return true;
}

static bool read_broker(const json_t *json, struct dev_region *region)
{
	return json_get_integer(json, "broker", &region->broker_port) &&
	       json_get_integer(json, "management", &region->management_port) &&
	       json_get_integer(json, "distribution", &region->distribution_port) &&
	       read_process(json, "broker_pid", "broker_started", &region->broker);
}

static bool read_text(const json_t *json, const char *member, char *text, size_t size)
{
	const char *found = json_get_string(json, member);

	if (found == NULL || strlen(found) >= size)
		return false;
	memcpy(text, found, strlen(found) + 1);
	return true;
}

static bool read_mesh(struct dev_mesh *mesh, const json_t *json)
{
	json_t *regions = json_object_get(json, "regions");
	int64_t user = 0, group = 0;

	if (!read_text(json, "folder", mesh->folder, sizeof(mesh->folder)) ||
		!read_text(json, "trust_domain", mesh->trust_domain, sizeof(mesh->trust_domain)) ||
		!read_text(json, "postgres_folder", mesh->postgres_folder, sizeof(mesh->postgres_folder)) ||
		!json_get_integer(json, "engines", &mesh->engines) || !json_get_integer(json, "user", &user) ||
		!json_get_integer(json, "group", &group) || json_object_size(regions) > DEV_REGIONS_MAX)
		return false;
	mesh->user = (uid_t)user;
	mesh->group = (gid_t)group;
	mesh->has_brokers = json_is_true(json_object_get(json, "has_brokers"));
	if (mesh->has_brokers && (!json_get_integer(json, "names_port", &mesh->names_port) ||
					 !read_process(json, "names_pid", "names_started", &mesh->names)))
		return false;
	for (void *at = json_object_iter(regions); at != NULL; at = json_object_iter_next(regions, at)) {
		struct dev_region *region = &mesh->regions[mesh->region_count];
		const json_t *entry = json_object_iter_value(at);
		const char *name = json_object_iter_key(at);

		if (!region_is_valid(name) || !json_get_integer(entry, "api", &region->api_port) ||
			!json_get_integer(entry, "peer", &region->peer_port) ||
			!json_get_integer(entry, "admin", &region->admin_port) ||
			!read_process(entry, "pid", "started", &region->daemon) ||
			!read_process(entry, "postgres_pid", "postgres_started", &region->postgres) ||
			(mesh->has_brokers && !read_broker(entry, region)))
			return false;
		memcpy(region->name, name, strlen(name) + 1);
		mesh->region_count++;
	}
	return true;
}

static void pointer_path(struct strbuf *path)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime != NULL && runtime[0] == '/')
		strbuf_addf(path, "%s/homeward-dev.json", runtime);
	else
		strbuf_addf(path, "/tmp/homeward-dev-%ld.json", (long)geteuid());
}

/* "" when there is none, or someone else put it there. */
static void read_pointer(struct strbuf *folder)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	struct stat info;
	json_t *json = NULL;

	pointer_path(&path);
	if (lstat(path.data, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
		file_read(path.data, DEV_FILE_MAX, &text, NULL) == STATUS_OK &&
		json_parse(text.data, text.length, &json, NULL) == STATUS_OK) {
		const char *found = json_get_string(json, "folder");

		if (found != NULL)
			strbuf_adds(folder, found);
	}
	json_decref(json);
	strbuf_release(&path);
	strbuf_release(&text);
}

void dev_mesh_remember(const struct dev_mesh *mesh)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT, why = STRBUF_INIT;

	pointer_path(&path);
	strbuf_adds(&text, "{\"folder\":");
	strbuf_add_json(&text, mesh->folder, strlen(mesh->folder));
	strbuf_adds(&text, "}\n");
	/* Only a convenience: without it, --dir says which mesh is meant. */
	if (file_replace(path.data, text.data, text.length, 0600, &why) != STATUS_OK)
		fprintf(stderr, "homeward: %s\n", why.data);
	strbuf_release(&path);
	strbuf_release(&text);
	strbuf_release(&why);
}

void dev_mesh_forget(const struct dev_mesh *mesh)
{
	struct strbuf path = STRBUF_INIT, folder = STRBUF_INIT;

	read_pointer(&folder);
	if (strcmp(folder.data, mesh->folder) == 0) {
		pointer_path(&path);
		(void)unlink(path.data);
	}
	strbuf_release(&path);
	strbuf_release(&folder);
}

static enum status read_broker_password(struct dev_mesh *mesh, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	enum status status = file_read(
		dev_path(mesh, NULL, "brokers.password", &path), sizeof(mesh->broker_password), &text, why);

	if (status == STATUS_OK)
		snprintf(mesh->broker_password, sizeof(mesh->broker_password), "%.*s", (int)strcspn(text.data, "\n"),
			text.data);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

enum status dev_mesh_load(struct dev_mesh *mesh, const char *folder, struct strbuf *why)
{
	struct strbuf found = STRBUF_INIT, path = STRBUF_INIT, text = STRBUF_INIT;
	enum status status = STATUS_NOT_FOUND;
	char resolved[PATH_MAX];
	struct stat info;
	json_t *json = NULL;

	*mesh = (struct dev_mesh){ .region_count = 0 };
	if (folder == NULL)
		read_pointer(&found);
	else
		strbuf_adds(&found, folder);
	strbuf_addf(&path, "%s/mesh.json", found.data);
	if (found.length == 0) {
		strbuf_adds(why, "no mesh is known; `homeward dev up` makes one, --dir names one");
	} else if (lstat(path.data, &info) != 0) {
		strbuf_addf(why, "%s is not a mesh's folder", found.data);
	} else if (info.st_uid != geteuid()) {
		strbuf_addf(why, "%s belongs to another user", path.data);
		status = STATUS_FORBIDDEN;
	} else {
		status = file_read(path.data, DEV_FILE_MAX, &text, why);
		if (status == STATUS_OK)
			status = json_parse(text.data, text.length, &json, why);
		/* A description that was moved or forged must not name another folder to be removed. */
		if (status == STATUS_OK && (!read_mesh(mesh, json) || realpath(found.data, resolved) == NULL ||
						   strcmp(resolved, mesh->folder) != 0)) {
			strbuf_addf(why, "%s does not describe a mesh", path.data);
			status = STATUS_INVALID;
		}
	}
	if (status == STATUS_OK && mesh->has_brokers)
		status = read_broker_password(mesh, why);
	json_decref(json);
	strbuf_release(&found);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}
