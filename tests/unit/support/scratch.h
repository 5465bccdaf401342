/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where test programs that write much make their folders: tests/run_unit.sh names a
 * place in memory when there is one.  What a lost disk does is tested by faulty_disk.h.
 */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline const char *scratch_place(void)
{
	const char *place = getenv("HOMEWARD_TEST_SCRATCH");

	return place != NULL ? place : "/tmp";
}

static inline int scratch_remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

/* rm -r; false when something of it stays. */
static inline bool scratch_remove(const char *folder)
{
	return nftw(folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0;
}

#endif
