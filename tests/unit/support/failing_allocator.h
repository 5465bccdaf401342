/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test that runs out of memory at every place in turn: the linker sends the
 * allocations of the tested libraries (not of shared ones) here, and jansson's
 * come through its own seam.  Only for programs called test_no_memory, which the
 * Makefile links with --wrap.
 */
#ifndef SUPPORT_FAILING_ALLOCATOR_H
#define SUPPORT_FAILING_ALLOCATOR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define ALLOCATIONS_MAX 20000 /* in one run: a run that needs more does not end */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);

static struct {
	bool is_armed, stays_failing, has_failed;
	long left; /* allocations that still succeed */
} allocator;

static bool fails_now(void)
{
	if (!allocator.is_armed || allocator.left-- > 0)
		return false;
	if (allocator.has_failed && !allocator.stays_failing)
		return false;
	allocator.has_failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
	return fails_now() ? NULL : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text)
{
	return fails_now() ? NULL : __real_strdup(text);
}

/*
 * Calls run() with the first, then the second … allocation failing, alone and together with all after it, until
 * nothing failed.  run() says whether it succeeded; it must when nothing failed, and must clean up after itself.
 */
static inline void fail_each_allocation(bool (*run)(void *arg), void *arg)
{
	for (int stays = 0; stays < 2; stays++) {
		long number = 0;

		json_set_alloc_funcs(__wrap_malloc, free);
		do {
			bool succeeded;

			assert_true(number < ALLOCATIONS_MAX);
			allocator.stays_failing = stays > 0;
			allocator.has_failed = false;
			allocator.left = number++;
			allocator.is_armed = true;
			succeeded = run(arg);
			allocator.is_armed = false;
			assert_true(succeeded || allocator.has_failed);
		} while (allocator.has_failed);
		assert_true(number > 1); /* else nothing was wrapped */
	}
}

#endif
