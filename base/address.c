/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of addresses, and the address in a URL.  Pure; any thread.
 */
#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

static bool is_private_v4(uint32_t address)
{
	return address >> 24 == 127 || address >> 24 == 10 || address >> 20 == 0xac1 || address >> 16 == 0xc0a8;
}

static bool is_private_v6(const struct in6_addr *address)
{
	uint32_t last;

	memcpy(&last, &address->s6_addr[12], sizeof(last));
	if (IN6_IS_ADDR_V4MAPPED(address))
		return is_private_v4(ntohl(last));
	return IN6_IS_ADDR_LOOPBACK(address) || (address->s6_addr[0] & 0xfe) == 0xfc;
}

bool address_is_private(const struct sockaddr *address)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	switch (address->sa_family) {
	case AF_INET:
		memcpy(&v4, address, sizeof(v4));
		return is_private_v4(ntohl(v4.sin_addr.s_addr));
	case AF_INET6:
		memcpy(&v6, address, sizeof(v6));
		return is_private_v6(&v6.sin6_addr);
	default:
		return false;
	}
}

bool address_text_is_public(const char *host)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		return !address_is_private((const struct sockaddr *)&v4);
	return inet_pton(AF_INET6, host, &v6.sin6_addr) == 1 && !address_is_private((const struct sockaddr *)&v6);
}

/* What follows the host: nothing, or a port that there can be. */
static bool read_port(const char *at, const char *end, int *port_out)
{
	int port = 0;

	if (at == end)
		return true;
	if (*at++ != ':')
		return false;
	for (; at < end && *at >= '0' && *at <= '9' && port <= 65535; at++)
		port = port * 10 + (*at - '0');
	*port_out = port;
	return at == end && port >= 1 && port <= 65535;
}

bool address_of_url(const char *url, struct address_url *address_out)
{
	const char *host = strstr(url, "://"), *end;
	size_t length;

	memset(address_out, 0, sizeof(*address_out));
	if (host == NULL)
		return false;
	host += strlen("://");
	end = address_out->rest = host + strcspn(host, "/?#");
	for (const char *c = host; c < end; c++) {
		if (*c == '@') {
			address_out->has_user = true;
			host = c + 1;
		}
	}
	address_out->is_bracketed = *host == '[';
	if (address_out->is_bracketed)
		host++;
	length = strcspn(host, address_out->is_bracketed ? "]/?#" : ":/?#");
	if (length == 0 || length >= sizeof(address_out->host) || (address_out->is_bracketed && host[length] != ']'))
		return false;
	memcpy(address_out->host, host, length);
	return read_port(host + length + address_out->is_bracketed, end, &address_out->port);
}

bool address_of_origin(const char *url, const char *scheme, struct address_url *address_out)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	static const char literal[] = "0123456789abcdefABCDEF:.";
	size_t length = strlen(scheme);
	bool is_one = address_of_url(url, address_out);
	const char *host = address_out->host;

	return is_one && strncmp(url, scheme, length) == 0 && strncmp(url + length, "://", 3) == 0 &&
	       !address_out->has_user && address_out->rest[0] == '\0' &&
	       host[strspn(host, address_out->is_bracketed ? literal : name)] == '\0';
}
