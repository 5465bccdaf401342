/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TLS handshake with a listener, made to tell what is wrong with it: the
 * certificate is looked at also when it is not trusted.  Blocking, with a
 * deadline; private to cli.
 */
#ifndef CLI_HANDSHAKE_H
#define CLI_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

#define HANDSHAKE_MS 5000

enum handshake_fault {
	HANDSHAKE_FINE,
	HANDSHAKE_FILES,       /* our own certificate, key or authorities cannot be used */
	HANDSHAKE_UNREACHABLE, /* no such name, nothing listens, or no answer in time */
	HANDSHAKE_NO_TLS,      /* it does not speak TLS, or not with us */
	HANDSHAKE_EXPIRED,
	HANDSHAKE_CHAIN, /* not by our authorities */
	HANDSHAKE_NAME,  /* for another host */
	HANDSHAKE_CLIENT /* it does not accept our certificate */
};
const char *handshake_fault_text(enum handshake_fault fault);

struct handshake_wish {
	const char *url; /* scheme://host[:port] */
	int default_port;
	const char *ca;                /* "" for the system's */
	const char *certificate, *key; /* NULL: none is shown */
	const char *request;           /* sent after it; NULL: nothing */
	size_t request_size;
	bool has_host_name; /* the certificate must be for this host */
};

struct handshake {
	enum handshake_fault fault;
	struct strbuf detail; /* in the library's words */
	char common_name[128];
	char uri[256]; /* the first URI among its names, "" for none */
	char protocol[16];
	int64_t expires_s;   /* 0: no certificate was seen */
	struct strbuf reply; /* to the request, at most 4 KiB */
	int64_t sent_us, replied_us;
};
void handshake_try(const struct handshake_wish *wish, struct handshake *handshake_out);
void handshake_release(struct handshake *handshake);

/* By how much a reply's Date differs from this clock at its nearest, in milliseconds; false when it has none. */
bool handshake_clock(const struct handshake *handshake, int64_t *ahead_ms_out);

#endif
