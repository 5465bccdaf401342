/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mutex guards what is in force; it is held for a look-up or a swap, and never
 * while the file is read.  The file is stamped before it is read: one that changes
 * meanwhile is seen as changed afterwards.
 */
#include "federation/mesh_current.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

struct mesh_current {
	char *path;
	pthread_mutex_t lock; /* of `mesh` */
	struct mesh *mesh;
	struct file_stamp in_force, read, refused; /* of whoever follows the file */
	bool has_refused;
};

enum status mesh_current_open(const char *path, struct mesh_current **current_out, struct strbuf *why)
{
	struct mesh_current *current = calloc(1, sizeof(*current));
	enum status status = STATUS_NO_MEMORY;

	*current_out = NULL;
	if (current == NULL)
		return status;
	pthread_mutex_init(&current->lock, NULL);
	current->path = strdup(path);
	if (current->path != NULL)
		status = mesh_current_read(current, &current->mesh, why);
	if (status != STATUS_OK) {
		mesh_current_close(current);
		return status;
	}
	current->in_force = current->read;
	*current_out = current;
	return STATUS_OK;
}

void mesh_current_close(struct mesh_current *current)
{
	if (current == NULL)
		return;
	pthread_mutex_destroy(&current->lock);
	mesh_destroy(current->mesh);
	free(current->path);
	free(current);
}

void mesh_current_origin(struct mesh_current *current, const char *uri, char region_out[REGION_SIZE])
{
	pthread_mutex_lock(&current->lock);
	memset(region_out, 0, REGION_SIZE);
	memccpy(region_out, mesh_link_origin(current->mesh, uri), '\0', REGION_SIZE - 1);
	pthread_mutex_unlock(&current->lock);
}

static bool is_linked(const struct mesh *mesh, size_t own, size_t region)
{
	return own < mesh->region_count && region < mesh->region_count && region != own &&
	       mesh_has_link(mesh, own, region);
}

enum status mesh_current_linked(
	struct mesh_current *current, const char *own, char (**regions_out)[REGION_SIZE], size_t *count_out)
{
	size_t count = 0, place;
	char(*regions)[REGION_SIZE];

	pthread_mutex_lock(&current->lock);
	place = mesh_region_find(current->mesh, own);
	regions = calloc(current->mesh->region_count + 1, sizeof(*regions));
	for (size_t i = 0; regions != NULL && i < current->mesh->region_count; i++)
		if (is_linked(current->mesh, place, i))
			memcpy(regions[count++], current->mesh->regions[i].name, REGION_SIZE);
	pthread_mutex_unlock(&current->lock);
	*regions_out = regions;
	*count_out = count;
	return regions != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

bool mesh_current_has_changed(struct mesh_current *current, bool *was_refused_out)
{
	struct file_stamp now = file_stamp(current->path);

	*was_refused_out = current->has_refused && memcmp(&now, &current->refused, sizeof(now)) == 0;
	return memcmp(&now, &current->in_force, sizeof(now)) != 0;
}

enum status mesh_current_read(struct mesh_current *current, struct mesh **mesh_out, struct strbuf *why)
{
	struct file_stamp stamp = file_stamp(current->path);
	enum status status = mesh_load(current->path, mesh_out, why);

	current->has_refused = status != STATUS_OK;
	*(status == STATUS_OK ? &current->read : &current->refused) = stamp;
	return status;
}

const struct mesh *mesh_current_mesh(const struct mesh_current *current)
{
	return current->mesh;
}

struct mesh *mesh_current_swap(struct mesh_current *current, struct mesh *mesh)
{
	struct mesh *before;

	pthread_mutex_lock(&current->lock);
	before = current->mesh;
	current->mesh = mesh;
	pthread_mutex_unlock(&current->lock);
	current->in_force = current->read;
	return before;
}

static void list_missing(const struct mesh *of, const struct mesh *in, const char *own, struct strbuf *names)
{
	size_t own_of = mesh_region_find(of, own), own_in = mesh_region_find(in, own);

	for (size_t i = 0; i < of->region_count; i++)
		if (is_linked(of, own_of, i) && !is_linked(in, own_in, mesh_region_find(in, of->regions[i].name)))
			strbuf_addf(names, "%s%s", names->length > 0 ? "," : "", of->regions[i].name);
}

void mesh_difference(const struct mesh *before, const struct mesh *after, const char *own, struct strbuf *added,
	struct strbuf *removed)
{
	list_missing(after, before, own, added);
	list_missing(before, after, own, removed);
}
