/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lab's certificate authority in a folder, private to cli: ca.pem, ca.key,
 * crl.pem, index.json, and <region>.pem with <region>.key for each certificate.
 * Nothing that exists is written over, but crl.pem and index.json, which are
 * replaced whole.  Errors are sentences in `why`.
 */
#ifndef CLI_PKI_H
#define CLI_PKI_H

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

#define PKI_TRUST_DOMAIN_SIZE 256
#define PKI_NAMES_MAX 16 /* DNS names, and IP addresses, of one certificate */
enum {
	PKI_AUTHORITY_DAYS = 3650,
	PKI_REGION_DAYS = 90,
	PKI_CRL_DAYS = 365, /* signed anew by every issue and revoke */
	PKI_SKEW_S = 300,   /* valid from so long ago, for clocks that lag */
	PKI_FILE_MAX = 1 << 20
};

struct pki_authority {
	char trust_domain[PKI_TRUST_DOMAIN_SIZE];
	EVP_PKEY *key;
	X509 *certificate;
};

struct pki_request {
	const char *region;       /* or */
	const char *application;  /* local, of a region: it is nobody to peers */
	const char *trust_domain; /* refused unless it is the authority's; NULL: whatever that is */
	int days;
	const char *dns[PKI_NAMES_MAX];
	size_t dns_count;
	const char *ip[PKI_NAMES_MAX];
	size_t ip_count;
};

/* The region's or the application's. */
const char *pki_name(const struct pki_request *request);
/* Lower-case letters, digits, '-' and '.', as SPIFFE says. */
bool pki_trust_domain_is_valid(const char *trust_domain);

/* ---- in memory ---- */

MUST_CHECK enum status pki_authority_make(
	const char *trust_domain, int days, struct pki_authority *authority_out, struct strbuf *why);
void pki_authority_release(struct pki_authority *authority);
MUST_CHECK enum status pki_certificate_make(const struct pki_authority *authority, const struct pki_request *request,
	X509 **certificate_out, EVP_PKEY **key_out, struct strbuf *why);
/* index: as in index.json; its revoked certificates go into the CRL. */
MUST_CHECK enum status pki_crl_make(
	const struct pki_authority *authority, const json_t *index, X509_CRL **crl_out, struct strbuf *why);
/* Lower-case hex. */
void pki_serial(const X509 *certificate, struct strbuf *text);
void pki_fingerprint(const X509 *certificate, struct strbuf *text);
void pki_time(const ASN1_TIME *time, struct strbuf *text);

/*
 * What homeward would say of this certificate as a peer's: STATUS_OK and the region, or STATUS_FORBIDDEN with
 * every reason in `why`, one a line.  authority and crl may be NULL: then the chain is not looked at.
 */
MUST_CHECK enum status pki_judge(X509 *certificate, X509 *authority, X509_CRL *crl, char region_out[REGION_SIZE],
	char trust_domain_out[PKI_TRUST_DOMAIN_SIZE], struct strbuf *why);

/* ---- in a folder ---- */

/* STATUS_CONFLICT when there is an authority already. */
MUST_CHECK enum status pki_folder_init(const char *folder, const char *trust_domain, int days, struct strbuf *why);
/* STATUS_CONFLICT when the region has a certificate or key there already. */
MUST_CHECK enum status pki_folder_issue(const char *folder, const struct pki_request *request, struct strbuf *why);
/* serial in hex, any case, colons allowed.  STATUS_NOT_FOUND: never issued here; STATUS_CONFLICT: revoked already. */
MUST_CHECK enum status pki_folder_revoke(const char *folder, const char *serial, struct strbuf *why);
/* The same for a certificate itself, which the authority may have signed elsewhere. */
MUST_CHECK enum status pki_folder_revoke_certificate(const char *folder, X509 *certificate, struct strbuf *why);
MUST_CHECK enum status pki_read_certificate(const char *path, X509 **certificate_out, struct strbuf *why);
MUST_CHECK enum status pki_read_crl(const char *path, X509_CRL **crl_out, struct strbuf *why);

#endif
