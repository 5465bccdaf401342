/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two halves of the mesh file's reader, private to federation/mesh_file*.c:
 * the sections, and what they must say together (topology, links, no two
 * regions in one place).
 */
#ifndef FEDERATION_MESH_FILE_H
#define FEDERATION_MESH_FILE_H

#include "base/settings_table.h"
#include "federation/federation.h"

/* "applications" of one region.  mesh_applications.c */
void mesh_file_read_applications(
	struct settings_reader *reader, const char *pointer, const json_t *array, struct mesh_region *region);
/* That no certificate is good for two users. */
void mesh_file_check_applications(struct settings_reader *reader, const struct mesh *mesh);
/* Topology, hub and links; clashes between regions. */
void mesh_file_link(struct settings_reader *reader, const json_t *root, struct mesh *mesh);

#endif
