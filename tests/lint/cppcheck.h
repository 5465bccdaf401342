/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Macros of system headers that hold statements, which cppcheck cannot read past
 * without knowing them (it does not read system headers; see cppcheck.txt).
 */
#ifndef LINT_CPPCHECK_H
#define LINT_CPPCHECK_H

#define json_object_foreach(object, key, value) for (; (key = next_key(object)) && (value = next_value(object));)
#define json_array_foreach(array, index, value) for (index = 0; (value = json_array_get(array, index)); index++)

#endif
