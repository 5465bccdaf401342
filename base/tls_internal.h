/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tls.c and tls_verify.c share: the set itself.  Immutable once built, but
 * for its count.
 */
#ifndef BASE_TLS_INTERNAL_H
#define BASE_TLS_INTERNAL_H

#include <gnutls/x509.h>
#include <stdatomic.h>

#include "base/tls_session.h"

#define TLS_CHAIN_MAX 8 /* leaf and intermediates of one certificate */
#define TLS_PURPOSE_CLIENT 1u
#define TLS_PURPOSE_SERVER 2u

struct tls_set {
	atomic_int references;
	uint64_t generation;
	gnutls_x509_trust_list_t trust;
	gnutls_pcert_st chain[TLS_CHAIN_MAX];
	unsigned chain_length;
	gnutls_privkey_t key;
	char *trust_domain;
	int64_t leaf_expires_s;
	int64_t ca_expires_s;
	int64_t crl_expires_s;
};

MUST_CHECK enum status tls_set_check_leaf(struct tls_set *set, gnutls_x509_crt_t *chain, unsigned length,
	unsigned purposes, struct tls_peer *peer_out, struct strbuf *why);

#endif
