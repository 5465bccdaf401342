/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internet addresses: the one in a URL, and which of them stay within one's own
 * network, so that plain http may go there.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Loopback or private (RFC 1918, RFC 4193), also when written as IPv6; not link-local, where clouds keep secrets. */
bool address_is_private(const struct sockaddr *address);
/* A literal that is none of those; a name is not known to be one. */
bool address_text_is_public(const char *host);

#define ADDRESS_HOST_SIZE 256 /* a DNS name has at most 253 */

/* What scheme://[user@]host[:port][rest] says. */
struct address_url {
	char host[ADDRESS_HOST_SIZE]; /* not empty; an IPv6 address without its brackets */
	int port;                     /* 1 to 65535; 0: not said */
	bool is_bracketed, has_user;
	const char *rest; /* of the URL, from its path, query or fragment on; "" for none */
};
/* False when it is not that.  What characters the host is made of is not judged. */
bool address_of_url(const char *url, struct address_url *address_out);
/* scheme://host[:port] and nothing after it, of letters, digits, '.', '-', '_', or an IPv6 address in brackets. */
bool address_of_origin(const char *url, const char *scheme, struct address_url *address_out);

#endif
