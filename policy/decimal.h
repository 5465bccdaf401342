/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as the log's texts write them: ASCII digits, no sign, no leading
 * zero but for 0 itself, so that a number has one spelling.
 */
#ifndef POLICY_DECIMAL_H
#define POLICY_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool decimal_parse(const char *text, size_t size, uint64_t *number_out)
{
	uint64_t number = 0;

	*number_out = 0;
	if (size == 0 || size > 19 || (size > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	*number_out = number;
	return true;
}

#endif
