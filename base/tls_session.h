/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server side's view of a tls_store, for http_server only: one immutable,
 * counted set of certificate, key, CAs and CRLs.  A handshake keeps the set it
 * acquired; a later request may check its peer against a newer one.
 */
#ifndef BASE_TLS_SESSION_H
#define BASE_TLS_SESSION_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "base/tls.h"

/* TLS 1.3 only; the ciphers with hardware help first; no tickets, so every session is a verified handshake. */
#define TLS_PRIORITIES                                                                                                 \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"                      \
	"-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%NO_TICKETS"

struct tls_set;

struct tls_set *tls_store_acquire(struct tls_store *store);
void tls_set_release(struct tls_set *set);
uint64_t tls_set_generation(const struct tls_set *set);
/* Borrowed: valid while the set is held. */
void tls_set_credential(
	struct tls_set *set, gnutls_pcert_st **chain_out, unsigned *length_out, gnutls_privkey_t *key_out);

struct tls_peer {
	char region[REGION_SIZE];
	int64_t expires_s; /* until when this is known: notAfter of the leaf, or the list's next update if that is sooner */
};

/* Checks the client's chain as the peer listener must; `why` gets the rule broken and which certificate it was. */
MUST_CHECK enum status tls_set_verify_client(struct tls_set *set, const gnutls_datum_t *chain, unsigned length,
	struct tls_peer *peer_out, struct strbuf *why);

#endif
