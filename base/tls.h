/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer identity: the region's certificate, key, CA and CRL, loaded as one set
 * and replaced as one set.  tls_store_reload() builds the new set beside the old
 * and swaps only when everything fits (key matches certificate, own certificate
 * is valid under the CA and names this region); on failure the old one stays.
 *
 * A peer is its certificate's one URI SAN, spiffe://<trust-domain>/region/<name>.
 * Used by http_server (GnuTLS) and http_client (OpenSSL, from the same files).
 * Safe from any thread.
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

struct tls_store;

struct tls_files {
	const char *certificate; /* PEM, leaf first; all paths are copied */
	const char *key;         /* PEM */
	const char *ca;          /* PEM, one or more */
	const char *crl;         /* PEM, one per CA, or NULL */
};

MUST_CHECK enum status tls_store_create(const struct tls_files *files, const char *trust_domain, const char *region,
	struct tls_store **store_out, struct strbuf *why);
void tls_store_destroy(struct tls_store *store);
MUST_CHECK enum status tls_store_reload(struct tls_store *store, struct strbuf *why);
/* True when a file's mtime, size or inode differs from what is loaded.  was_refused_out: a reload of just these files
 * has failed before. */
bool tls_store_has_changed(const struct tls_store *store, bool *was_refused_out);
/* Puts the end of a verified peer's certificate among the metrics; wall seconds.  Any thread. */
void tls_peer_seen(const char *region, int64_t expires_s);
/* The ends seen last, one for each region.  Any thread; `each` is called under no lock. */
void tls_peers_each(void (*each)(void *arg, const char *region, int64_t expires_s), void *arg);
/* Rises with every successful reload, so that clients know to make new connections. */
uint64_t tls_store_generation(const struct tls_store *store);
const struct tls_files *tls_store_files(const struct tls_store *store);
const char *tls_store_trust_domain(const struct tls_store *store);
/* notAfter of the own leaf, of the soonest CA, and nextUpdate of the CRL; wall seconds, 0 when none. */
void tls_store_expiry(const struct tls_store *store, int64_t *leaf_out, int64_t *ca_out, int64_t *crl_out);

/* Takes "<region>" out of spiffe://<trust_domain>/region/<region>; STATUS_INVALID for anything else. */
MUST_CHECK enum status tls_region_of_uri(const char *uri, const char *trust_domain, char region_out[REGION_SIZE]);

#endif
