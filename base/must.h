/* SPDX-License-Identifier: Apache-2.0 */
/*
 * must(): states what our own code guarantees.  It stays on in production and
 * aborts with file, line and the condition.  Never used on input.
 */
#ifndef BASE_MUST_H
#define BASE_MUST_H

_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function);

#define must(condition) ((condition) ? (void)0 : must_fail(#condition, __FILE__, __LINE__, __func__))

#endif
