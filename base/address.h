/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internet addresses: which of them stay within one's own network, so that plain
 * http may go there.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Loopback or private (RFC 1918, RFC 4193), also when written as IPv6; not link-local, where clouds keep secrets. */
bool address_is_private(const struct sockaddr *address);
/* A literal that is none of those; a name is not known to be one. */
bool address_text_is_public(const char *host);

#endif
