/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDv7, RFC 9562 section 5.7. */
#include "base/exchange_id.h"

#include <string.h>

#include "base/strbuf.h"

struct exchange_id exchange_id_make(const struct clock_source *clock, const struct random_source *random)
{
	uint64_t now_ms = (uint64_t)(clock_wall_us(clock) / 1000);
	struct exchange_id id;

	random_fill(random, id.bytes + 6, 10);
	for (int i = 0; i < 6; i++)
		id.bytes[i] = (uint8_t)(now_ms >> (8 * (5 - i)));
	id.bytes[6] = 0x70 | (id.bytes[6] & 0x0F); /* version 7 */
	id.bytes[8] = 0x80 | (id.bytes[8] & 0x3F); /* variant */
	return id;
}

static int is_dash_place(int byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void exchange_id_format(const struct exchange_id *id, char text[EXCHANGE_ID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *to = text;

	for (int i = 0; i < 16; i++) {
		if (is_dash_place(i))
			*to++ = '-';
		*to++ = digits[id->bytes[i] >> 4];
		*to++ = digits[id->bytes[i] & 15];
	}
	*to = '\0';
}

enum status exchange_id_parse(const char *text, struct exchange_id *id_out)
{
	memset(id_out, 0, sizeof(*id_out));
	for (int i = 0; i < 16; i++) {
		int high, low;
		if (is_dash_place(i) && *text++ != '-')
			return STATUS_INVALID;
		high = hex_digit(text[0]);
		low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0)
			return STATUS_INVALID;
		id_out->bytes[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return *text == '\0' ? STATUS_OK : STATUS_INVALID;
}
