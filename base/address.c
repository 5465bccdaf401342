/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of addresses.  Pure; any thread.
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
