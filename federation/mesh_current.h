/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh file of a running region: what it says now, and whether it has changed
 * since.  Any thread may ask; answers are copies, so that nobody holds a mesh that
 * is replaced meanwhile.
 */
#ifndef FEDERATION_MESH_CURRENT_H
#define FEDERATION_MESH_CURRENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "federation/federation.h"

struct mesh_current;

/* Reads it; on failure `why` has the file's errors. */
MUST_CHECK enum status mesh_current_open(const char *path, struct mesh_current **current_out, struct strbuf *why);
void mesh_current_close(struct mesh_current *current); /* accepts NULL */

/* ---- asking ---- */

/* mesh_link_origin(). */
void mesh_current_origin(struct mesh_current *current, const char *uri, char region_out[REGION_SIZE]);
/* The regions that `own` has a link with; none when the file does not name it.  The array is the caller's to free. */
MUST_CHECK enum status mesh_current_linked(
	struct mesh_current *current, const char *own, char (**regions_out)[REGION_SIZE], size_t *count_out);

/* ---- following: one thread at a time ---- */

/* Whether the file is another than the one in force; *was_refused_out: it is the one that was refused last. */
bool mesh_current_has_changed(struct mesh_current *current, bool *was_refused_out);
/* Reads the file again.  Nothing changes yet; what is refused is remembered. */
MUST_CHECK enum status mesh_current_read(struct mesh_current *current, struct mesh **mesh_out, struct strbuf *why);
/* The one in force, until the next swap. */
const struct mesh *mesh_current_mesh(const struct mesh_current *current);
/* What was read last comes into force; takes it.  The old one is the caller's. */
struct mesh *mesh_current_swap(struct mesh_current *current, struct mesh *mesh);
/* Names, with commas: whom `own` has a link with only in the one, or only in the other. */
void mesh_difference(const struct mesh *before, const struct mesh *after, const char *own, struct strbuf *added,
	struct strbuf *removed);

#endif
