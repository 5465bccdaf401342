/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a mesh file must say as a whole: which regions have a link with each
 * other, and that no two of them share a place.  A broker's own name is part of
 * the names of its buffers and stops events from going in circles, so two
 * brokers under one name would quietly eat each other's events.
 */
#include <stdlib.h>
#include <string.h>

#include "federation/mesh_file.h"

static const char *const topology_names[] = { "mesh", "hub", "links", NULL };

size_t mesh_region_find(const struct mesh *mesh, const char *name)
{
	size_t low = 0, high = mesh->region_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(mesh->regions[middle].name, name);
		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return mesh->region_count;
}

bool mesh_has_link(const struct mesh *mesh, size_t a, size_t b)
{
	return mesh->links[a * mesh->region_count + b];
}

static void set_link(struct mesh *mesh, size_t a, size_t b)
{
	if (a == b)
		return;
	mesh->links[a * mesh->region_count + b] = true;
	mesh->links[b * mesh->region_count + a] = true;
}

static void read_topology(struct settings_reader *reader, const json_t *root, struct mesh *mesh)
{
	const json_t *value = json_object_get(root, "topology");
	const char *name = json_string_value(value);
	size_t i = 0;

	while (value != NULL && topology_names[i] != NULL && (name == NULL || strcmp(topology_names[i], name) != 0))
		i++;
	if (topology_names[i] == NULL)
		settings_complain(reader, "/topology", false, "not a topology, allowed: mesh, hub, links");
	else
		mesh->topology = (enum mesh_topology)i;
	if (mesh->hub != NULL && mesh->topology != MESH_TOPOLOGY_HUB)
		settings_complain(reader, "/hub", true, "only with topology \"hub\"");
	if (json_object_get(root, "links") != NULL && mesh->topology != MESH_TOPOLOGY_LINKS)
		settings_complain(reader, "/links", true, "only with topology \"links\"");
}

static void link_hub(struct settings_reader *reader, struct mesh *mesh)
{
	size_t hub = mesh->hub != NULL ? mesh_region_find(mesh, mesh->hub) : mesh->region_count;

	if (hub == mesh->region_count) {
		settings_complain(reader, mesh->hub != NULL ? "/hub" : "/topology", false,
			"topology \"hub\" needs \"hub\", the name of one of the regions");
		return;
	}
	for (size_t i = 0; i < mesh->region_count; i++)
		set_link(mesh, hub, i);
}

static void link_pairs(struct settings_reader *reader, const json_t *pairs, struct mesh *mesh)
{
	struct strbuf pointer = STRBUF_INIT;

	if (!json_is_array(pairs) || json_array_size(pairs) == 0)
		settings_complain(reader, pairs != NULL ? "/links" : "/topology", false,
			"topology \"links\" needs \"links\", pairs as [[\"na\", \"eu\"]]");
	for (size_t i = 0; i < json_array_size(pairs); i++) {
		const json_t *pair = json_array_get(pairs, i);
		const char *a = json_string_value(json_array_get(pair, 0)),
			   *b = json_string_value(json_array_get(pair, 1));
		size_t at_a = a != NULL ? mesh_region_find(mesh, a) : mesh->region_count,
		       at_b = b != NULL ? mesh_region_find(mesh, b) : mesh->region_count;
		strbuf_reset(&pointer);
		strbuf_addf(&pointer, "/links/%zu", i);
		if (json_array_size(pair) != 2 || at_a == mesh->region_count || at_b == mesh->region_count ||
			at_a == at_b)
			settings_complain(reader, pointer.data, false, "not a pair of two of the regions");
		else
			set_link(mesh, at_a, at_b);
	}
	strbuf_release(&pointer);
}

static const char *text_of(const char *text)
{
	return text != NULL ? text : "";
}

static void check_clashes(struct settings_reader *reader, const struct mesh *mesh)
{
	struct strbuf pointer = STRBUF_INIT;

	for (size_t b = 1; b < mesh->region_count; b++) {
		for (size_t a = 0; a < b; a++) {
			const struct mesh_region *first = &mesh->regions[a], *second = &mesh->regions[b];
			bool is_one_broker = strcmp(text_of(first->management.url), text_of(second->management.url)) ==
					     0;
			bool is_one_cluster = strcmp(text_of(first->cluster), text_of(second->cluster)) == 0;
			if (first->management.url == NULL || second->management.url == NULL)
				continue;
			strbuf_reset(&pointer);
			strbuf_addf(&pointer, "/regions/%s", second->name);
			if (is_one_broker && strcmp(text_of(first->vhost), text_of(second->vhost)) == 0)
				settings_complain(reader, pointer.data, true, "the same broker and virtual host as %s",
					first->name);
			else if (is_one_broker != is_one_cluster)
				settings_complain(reader, pointer.data, true,
					is_one_broker ? "the same broker as %s, so \"cluster\" must be the same"
						      : "the same \"cluster\" as %s, which is another broker",
					first->name);
		}
	}
	strbuf_release(&pointer);
}

void mesh_file_link(struct settings_reader *reader, const json_t *root, struct mesh *mesh)
{
	read_topology(reader, root, mesh);
	mesh->links = calloc(mesh->region_count * mesh->region_count + 1, sizeof(*mesh->links));
	if (mesh->links == NULL) {
		reader->has_failed = true;
		return;
	}
	if (mesh->topology == MESH_TOPOLOGY_HUB)
		link_hub(reader, mesh);
	else if (mesh->topology == MESH_TOPOLOGY_LINKS)
		link_pairs(reader, json_object_get(root, "links"), mesh);
	for (size_t a = 0; mesh->topology == MESH_TOPOLOGY_MESH && a < mesh->region_count; a++)
		for (size_t b = 0; b < a; b++)
			set_link(mesh, a, b);
	check_clashes(reader, mesh);
	mesh_file_check_applications(reader, mesh);
}

static void release_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
}

void mesh_destroy(struct mesh *mesh)
{
	if (mesh == NULL)
		return;
	for (size_t i = 0; i < mesh->region_count; i++) {
		struct mesh_region *region = &mesh->regions[i];
		release_texts(region->peer_urls, region->peer_url_count);
		release_texts(region->broker_urls, region->broker_url_count);
		free(region->vhost);
		free(region->cluster);
		free(region->management.url);
		free(region->management.user);
		free(region->management.password_file);
		free(region->management.ca_file);
		free(region->link.ca_file);
		free(region->link.certificate_file);
		free(region->link.key_file);
		free(region->applications);
	}
	release_texts(mesh->object_types, mesh->object_type_count);
	free(mesh->regions);
	free(mesh->links);
	free(mesh->trust_domain);
	free(mesh->vhost);
	free(mesh->hub);
	free(mesh);
}
