/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets: "127.0.0.1:7400", "[::1]:0", or a unix path.  A socket file
 * left by a process that is gone is replaced; one that still answers, or a file that
 * is no socket, is an error and stays.  Start-up only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/http_server_internal.h"

#define LISTEN_BACKLOG 1024 /* connections that may wait while every HTTP thread is busy */

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static enum status parse_address(
	const char *text, union any_address *address_out, socklen_t *length_out, struct strbuf *why)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	memset(address_out, 0, sizeof *address_out);
	*length_out = 0;
	if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host)
		goto bad;
	char *end = NULL;
	errno = 0;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || errno != 0 || port > 65535)
		goto bad;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		address_out->v6.sin6_family = AF_INET6;
		address_out->v6.sin6_port = htons((uint16_t)port);
		*length_out = sizeof address_out->v6;
		if (inet_pton(AF_INET6, host + 1, &address_out->v6.sin6_addr) == 1)
			return STATUS_OK;
	} else {
		address_out->v4.sin_family = AF_INET;
		address_out->v4.sin_port = htons((uint16_t)port);
		*length_out = sizeof address_out->v4;
		if (inet_pton(AF_INET, host, &address_out->v4.sin_addr) == 1)
			return STATUS_OK;
	}
bad:
	strbuf_addf(why, "%s: not an address like 127.0.0.1:7400 or [::1]:7400", text);
	return STATUS_INVALID;
}

static enum status make_room(const union any_address *address, socklen_t length, struct strbuf *why)
{
	struct stat found;
	const char *path = address->local.sun_path;
	if (lstat(path, &found) != 0)
		return STATUS_OK;
	if (!S_ISSOCK(found.st_mode)) {
		strbuf_addf(why, "%s: exists and is not a socket", path);
		return STATUS_CONFLICT;
	}
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answers = probe >= 0 && (connect(probe, &address->any, length) == 0 || errno == EAGAIN);
	if (probe >= 0)
		close(probe);
	if (answers) {
		strbuf_addf(why, "%s: another process is listening here", path);
		return STATUS_CONFLICT;
	}
	unlink(path);
	return STATUS_OK;
}

static enum status unix_address(
	const char *path, union any_address *address_out, socklen_t *length_out, struct strbuf *why)
{
	size_t size = strlen(path) + 1;
	memset(address_out, 0, sizeof *address_out);
	*length_out = sizeof address_out->local;
	if (size > sizeof address_out->local.sun_path) {
		strbuf_addf(why, "%s: too long for a unix socket", path);
		return STATUS_INVALID;
	}
	address_out->local.sun_family = AF_UNIX;
	memcpy(address_out->local.sun_path, path, size);
	return make_room(address_out, *length_out, why);
}

static int bound_port(int fd)
{
	union any_address address;
	socklen_t length = sizeof address;
	if (getsockname(fd, &address.any, &length) != 0)
		return 0;
	if (address.any.sa_family == AF_INET)
		return ntohs(address.v4.sin_port);
	return address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port) : 0;
}

enum status http_listen(const struct http_server_settings *settings, int *fd_out, int *port_out, struct strbuf *why)
{
	union any_address address;
	socklen_t length = 0;
	*fd_out = -1;
	*port_out = 0;
	enum status status = settings->unix_path != NULL ? unix_address(settings->unix_path, &address, &length, why)
							 : parse_address(settings->address, &address, &length, why);
	if (status != STATUS_OK)
		return status;
	const char *where = settings->unix_path != NULL ? settings->unix_path : settings->address;
	int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;
	bool listening = false;
	if (fd >= 0 && settings->unix_path != NULL) {
		/* The mode of the socket itself, before bind, decides the file's: no moment with a wider one. */
		listening = fchmod(fd, 0660) == 0 && bind(fd, &address.any, length) == 0 &&
			    chmod(settings->unix_path, 0660) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
	} else if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		/* Accepted sockets inherit it: an answer is one segment and never waits for an acknowledgement. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (address.any.sa_family == AF_INET6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
		listening = bind(fd, &address.any, length) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
	}
	if (!listening) {
		strbuf_addf(why, "%s: cannot listen: %s", where, strerror(errno));
		if (fd >= 0)
			close(fd);
		return STATUS_IO;
	}
	*fd_out = fd;
	*port_out = bound_port(fd);
	return STATUS_OK;
}
