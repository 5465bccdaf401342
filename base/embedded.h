/* SPDX-License-Identifier: Apache-2.0 */
/* Files carried inside the program, written at build time by base/embed.sh. */
#ifndef BASE_EMBEDDED_H
#define BASE_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
	const char *name;
	const unsigned char *bytes; /* followed by a NUL that size does not count */
	size_t size;
};

extern const struct embedded_file embedded_migrations[];
extern const size_t embedded_migrations_count;
extern const struct embedded_file embedded_schemas[];
extern const size_t embedded_schemas_count;
extern const struct embedded_file embedded_openapi[];
extern const size_t embedded_openapi_count;

#endif
