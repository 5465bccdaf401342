/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where must() ends.  Writes with stdio only: the log may be what is broken.
 */
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function)
{
	fprintf(stderr, "homeward: must(%s) failed in %s, %s:%d\n", condition, function, file, line);
	abort();
}
