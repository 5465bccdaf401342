/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where test programs that write much make their folders: tests/run_unit.sh names a
 * place in memory when there is one.  What a lost disk does is tested by faulty_disk.h.
 */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <stdlib.h>

static inline const char *scratch_place(void)
{
	const char *place = getenv("HOMEWARD_TEST_SCRATCH");

	return place != NULL ? place : "/tmp";
}

#endif
