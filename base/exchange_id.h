/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchange id: names one crossing, the same in both regions' access logs.  A
 * UUIDv7 (RFC 9562): 48 bits of milliseconds, so that indexes stay in order of
 * arrival, and 74 random bits.
 */
#ifndef BASE_EXCHANGE_ID_H
#define BASE_EXCHANGE_ID_H

#include <stdint.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"

#define EXCHANGE_ID_TEXT_SIZE 37

struct exchange_id {
	uint8_t bytes[16];
};

struct exchange_id exchange_id_make(const struct clock_source *clock, const struct random_source *random);
void exchange_id_format(const struct exchange_id *id, char text[EXCHANGE_ID_TEXT_SIZE]);
MUST_CHECK enum status exchange_id_parse(const char *text, struct exchange_id *id_out);

#endif
