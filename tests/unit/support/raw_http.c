/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw bytes to a server under test.  Blocking sockets and poll: a test has one
 * thread and nothing else to do.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/support/raw_http.h"

int64_t raw_http_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int raw_http_dial(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) }, .sin_port = htons((uint16_t)port)
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

void raw_http_say(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		bytes += sent;
		size -= (size_t)sent;
	}
}

void raw_http_says(int fd, const char *text)
{
	raw_http_say(fd, text, strlen(text));
}

bool raw_http_hear(int fd, char *text, size_t size, const char *wanted)
{
	size_t length = 0;
	int64_t until_ms = raw_http_now_ms() + RAW_HTTP_PATIENCE_MS;
	text[0] = '\0';
	while (raw_http_now_ms() < until_ms) {
		if (wanted != NULL && strstr(text, wanted) != NULL)
			return false;
		struct pollfd poller = { .fd = fd, .events = POLLIN };
		if (poll(&poller, 1, 100) <= 0)
			continue;
		ssize_t got = recv(fd, text + length, size - 1 - length, 0);
		if (got <= 0)
			return true;
		length += (size_t)got;
		text[length] = '\0';
	}
	fail_msg("nothing more came after: %s", text);
	return false;
}

void raw_http_expect(int port, const char *request, const char *first_line, const char *part)
{
	char answer[8192];
	int fd = raw_http_dial(port);
	raw_http_says(fd, request);
	raw_http_hear(fd, answer, sizeof answer, NULL);
	close(fd);
	if (strncmp(answer, first_line, strlen(first_line)) != 0 || strstr(answer, part) == NULL)
		fail_msg("%s\n---- gave ----\n%s\n---- not ----\n%s … %s", request, answer, first_line, part);
}
