/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that sends any bytes and reads what comes, over loopback.  A wait of
 * RAW_HTTP_PATIENCE_MS fails the test.
 */
#ifndef TESTS_SUPPORT_RAW_HTTP_H
#define TESTS_SUPPORT_RAW_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_HTTP_PATIENCE_MS 10000

int64_t raw_http_now_ms(void);
/* To 127.0.0.1. */
int raw_http_dial(int port);
/* Sends all it can; the server may refuse before everything is sent. */
void raw_http_say(int fd, const char *bytes, size_t size);
void raw_http_says(int fd, const char *text);
/* Reads until `wanted` is in the text, or the end when NULL.  Returns whether the connection ended. */
bool raw_http_hear(int fd, char *text, size_t size, const char *wanted);
/* One exchange on a connection of its own: the request must say Connection: close. */
void raw_http_expect(int port, const char *request, const char *first_line, const char *part);

#endif
