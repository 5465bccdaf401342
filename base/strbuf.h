/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing string.  Running out of memory (or passing `max`) is remembered in
 * `failed` and every later append does nothing, so a caller builds the whole
 * text and checks once with strbuf_ok().  Always NUL terminated, may hold NULs.
 *
 *	struct strbuf text = STRBUF_INIT;
 *	strbuf_addf(&text, "%s=%d", name, value);
 *	if (!strbuf_ok(&text)) …
 *	strbuf_release(&text);
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf {
	char *data; /* never NULL: "" until something is added */
	size_t length;
	size_t capacity; /* 0 while data is the shared empty string */
	size_t max;      /* 0: no bound */
	bool failed;
};

extern char strbuf_empty[1];
#define STRBUF_INIT                                                                                                    \
	{                                                                                                              \
		strbuf_empty, 0, 0, 0, false                                                                           \
	}

void strbuf_init(struct strbuf *text);
void strbuf_release(struct strbuf *text);
/* Releases it, and nothing of what it held stays in memory: for keys and tokens. */
void strbuf_wipe(struct strbuf *text);
/* Empties it, keeps the memory, clears `failed`. */
void strbuf_reset(struct strbuf *text);
/* Cuts what is behind the first `length` bytes, if anything. */
void strbuf_truncate(struct strbuf *text, size_t length);
/* Cuts all of these characters, and NULs, off its end. */
void strbuf_trim_end(struct strbuf *text, const char *characters);
bool strbuf_ok(const struct strbuf *text);
/* Hands the heap string to the caller (free()); NULL when failed.  The buffer is empty after. */
char *strbuf_take(struct strbuf *text, size_t *length_out);
/* Room for at least `extra` more bytes and the NUL; false when failed. */
bool strbuf_reserve(struct strbuf *text, size_t extra);

void strbuf_add(struct strbuf *text, const void *bytes, size_t size);
void strbuf_adds(struct strbuf *text, const char *string);
void strbuf_addc(struct strbuf *text, char c);
void strbuf_addf(struct strbuf *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *text, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void strbuf_add_unsigned(struct strbuf *text, uint64_t number);
/* As a JSON string with its quotes (RFC 8259); bytes that are not UTF-8 become U+FFFD. */
void strbuf_add_json(struct strbuf *text, const char *string, size_t size);
/* In lower case. */
void strbuf_add_hex(struct strbuf *text, const void *bytes, size_t size);
/* The same into `text`, without a NUL; returns its end. */
char *hex_format(const void *bytes, size_t size, char *text);
/* What a hex digit of either case stands for; -1 for any other character. */
int hex_digit(char c);
#define UNSIGNED_TEXT_SIZE 21 /* the largest uint64_t and the NUL */
/* In decimal, NUL terminated; returns the length.  Many times faster than a printf. */
size_t unsigned_format(uint64_t number, char text[UNSIGNED_TEXT_SIZE]);
/* Percent-encodes everything but RFC 3986 unreserved characters. */
void strbuf_add_percent(struct strbuf *text, const char *string, size_t size);

#endif
