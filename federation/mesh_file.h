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

/* Takes what was added to a pointer off again. */
void mesh_file_cut(struct strbuf *pointer, size_t length);
/* Topology, hub and links; clashes between regions. */
void mesh_file_link(struct settings_reader *reader, const json_t *root, struct mesh *mesh);

#endif
