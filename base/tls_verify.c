/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes a certificate a region's: a chain to our CAs that no CRL breaks, a
 * leaf that signs nothing but handshakes, and exactly one URI name, which says
 * which region of which trust domain it is.  Used for a peer in its handshake and
 * for our own certificate at load, so that we never present what we would refuse.
 * Read only over an immutable set; safe from any thread.
 */
#include <string.h>
#include <time.h>

#include "base/tls_internal.h"

#define URI_NAME_SIZE 512    /* scheme, a trust domain of 255, and a region */
#define SUBJECT_NAMES_MAX 64 /* alternative names looked at in one leaf */
#define KEY_PURPOSES_MAX 32  /* extended key usages looked at in one leaf */
#define PURPOSE_OID_SIZE 128

enum status tls_region_of_uri(const char *uri, const char *trust_domain, char region_out[REGION_SIZE])
{
	static const char scheme[] = "spiffe://";
	static const char folder[] = "/region/";
	memset(region_out, 0, REGION_SIZE);
	size_t domain_length = strlen(trust_domain);
	if (strncmp(uri, scheme, sizeof scheme - 1) != 0)
		return STATUS_INVALID;
	const char *rest = uri + sizeof scheme - 1;
	if (domain_length == 0 || strncmp(rest, trust_domain, domain_length) != 0)
		return STATUS_INVALID;
	rest += domain_length;
	if (strncmp(rest, folder, sizeof folder - 1) != 0)
		return STATUS_INVALID;
	rest += sizeof folder - 1;
	if (strlen(rest) >= REGION_SIZE || !region_is_valid(rest))
		return STATUS_INVALID;
	memcpy(region_out, rest, strlen(rest));
	return STATUS_OK;
}

/* Exactly one URI among the names; a name that cannot be read counts against it. */
static enum status one_uri(gnutls_x509_crt_t leaf, char uri[URI_NAME_SIZE], const char **rule)
{
	int uris = 0;
	for (unsigned i = 0; i < SUBJECT_NAMES_MAX; i++) {
		char name[URI_NAME_SIZE];
		size_t size = sizeof name - 1;
		int kind = gnutls_x509_crt_get_subject_alt_name(leaf, i, name, &size, NULL);
		if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
			*rule = uris == 0 ? "no URI name" : "more than one URI name";
			return uris == 1 ? STATUS_OK : STATUS_INVALID;
		}
		if (kind < 0)
			break;
		if (kind != GNUTLS_SAN_URI)
			continue;
		name[size] = '\0';
		if (++uris == 1 && strlen(name) == size)
			memcpy(uri, name, size + 1);
		else if (strlen(name) != size)
			break;
	}
	*rule = "a subject alternative name that cannot be read";
	return STATUS_INVALID;
}

static bool has_purpose(gnutls_x509_crt_t leaf, const char *wanted)
{
	for (unsigned i = 0; i < KEY_PURPOSES_MAX; i++) {
		char oid[PURPOSE_OID_SIZE];
		size_t size = sizeof oid;
		int result = gnutls_x509_crt_get_key_purpose_oid(leaf, i, oid, &size, NULL);
		if (result == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return i == 0; /* without the extension, any purpose */
		if (result < 0)
			return false;
		if (strcmp(oid, wanted) == 0)
			return true;
	}
	return false;
}

static const char *check_usage(gnutls_x509_crt_t leaf, unsigned purposes)
{
	unsigned critical = 0;
	unsigned is_ca = 0;
	unsigned usage = 0;
	int path_length = 0;
	int result = gnutls_x509_crt_get_basic_constraints(leaf, &critical, &is_ca, &path_length);
	if (result < 0 && result != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return "basic constraints that cannot be read";
	if (is_ca)
		return "a CA certificate used as a leaf";
	result = gnutls_x509_crt_get_key_usage(leaf, &usage, &critical);
	if (result < 0)
		return "no key usage";
	if ((usage & (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)) != 0)
		return "a key that may sign certificates or CRLs";
	if ((usage & GNUTLS_KEY_DIGITAL_SIGNATURE) == 0)
		return "a key that may not sign a handshake";
	if ((purposes & TLS_PURPOSE_CLIENT) != 0 && !has_purpose(leaf, GNUTLS_KP_TLS_WWW_CLIENT))
		return "extended key usage without clientAuth";
	if ((purposes & TLS_PURPOSE_SERVER) != 0 && !has_purpose(leaf, GNUTLS_KP_TLS_WWW_SERVER))
		return "extended key usage without serverAuth";
	return NULL;
}

static const char *check_chain(struct tls_set *set, gnutls_x509_crt_t *chain, unsigned length)
{
	unsigned problems = 0;
	if (set->crl_expires_s != 0 && time(NULL) >= set->crl_expires_s)
		return "our own CRL is past its next update";
	int result = gnutls_x509_trust_list_verify_crt(set->trust, chain, length, 0, &problems, NULL);
	if (result < 0)
		return "a chain that cannot be verified";
	if ((problems & GNUTLS_CERT_REVOKED) != 0)
		return "revoked";
	if ((problems & GNUTLS_CERT_EXPIRED) != 0)
		return "expired";
	if ((problems & GNUTLS_CERT_NOT_ACTIVATED) != 0)
		return "not valid yet";
	if ((problems & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0)
		return "signed by an unknown CA";
	return problems == 0 ? NULL : "a chain that does not verify";
}

/* What an operator needs to find the certificate: serial, fingerprint and names; never key material. */
static void describe(gnutls_x509_crt_t leaf, struct strbuf *why)
{
	unsigned char bytes[64];
	size_t size = sizeof bytes;
	strbuf_adds(why, " serial=");
	if (gnutls_x509_crt_get_serial(leaf, bytes, &size) == 0)
		strbuf_add_hex(why, bytes, size);
	size = sizeof bytes;
	strbuf_adds(why, " sha256=");
	if (gnutls_x509_crt_get_fingerprint(leaf, GNUTLS_DIG_SHA256, bytes, &size) == 0)
		strbuf_add_hex(why, bytes, size);
	for (unsigned i = 0; i < 4; i++) {
		char name[URI_NAME_SIZE];
		size = sizeof name - 1;
		int kind = gnutls_x509_crt_get_subject_alt_name(leaf, i, name, &size, NULL);
		if (kind != GNUTLS_SAN_URI && kind != GNUTLS_SAN_DNSNAME)
			continue;
		strbuf_adds(why, " name=");
		strbuf_add_json(why, name, size);
	}
}

enum status tls_set_check_leaf(struct tls_set *set, gnutls_x509_crt_t *chain, unsigned length, unsigned purposes,
	struct tls_peer *peer_out, struct strbuf *why)
{
	char uri[URI_NAME_SIZE] = "";
	memset(peer_out, 0, sizeof *peer_out);
	const char *rule = check_chain(set, chain, length);
	if (rule == NULL)
		rule = check_usage(chain[0], purposes);
	if (rule == NULL && one_uri(chain[0], uri, &rule) == STATUS_OK)
		rule = tls_region_of_uri(uri, set->trust_domain, peer_out->region) == STATUS_OK
			       ? NULL
			       : "a URI name that is not a region of this trust domain";
	if (rule != NULL) {
		memset(peer_out, 0, sizeof *peer_out);
		strbuf_adds(why, rule);
		describe(chain[0], why);
		return STATUS_INVALID;
	}
	peer_out->expires_s = (int64_t)gnutls_x509_crt_get_expiration_time(chain[0]);
	return STATUS_OK;
}

enum status tls_set_verify_client(struct tls_set *set, const gnutls_datum_t *chain, unsigned length,
	struct tls_peer *peer_out, struct strbuf *why)
{
	gnutls_x509_crt_t certificates[TLS_CHAIN_MAX];
	unsigned imported = 0;
	enum status status = STATUS_INVALID;
	memset(peer_out, 0, sizeof *peer_out);
	if (length == 0 || length > TLS_CHAIN_MAX) {
		strbuf_adds(why, "a chain of no sensible length");
		return STATUS_INVALID;
	}
	for (; imported < length; imported++) {
		if (gnutls_x509_crt_init(&certificates[imported]) != 0)
			goto out;
		if (gnutls_x509_crt_import(certificates[imported], &chain[imported], GNUTLS_X509_FMT_DER) != 0) {
			strbuf_adds(why, "a certificate that cannot be read");
			imported++;
			goto out;
		}
	}
	status = tls_set_check_leaf(set, certificates, length, TLS_PURPOSE_CLIENT, peer_out, why);
	/* Whether it is revoked is known no longer than the list is in date. */
	if (status == STATUS_OK && set->crl_expires_s != 0 && set->crl_expires_s < peer_out->expires_s)
		peer_out->expires_s = set->crl_expires_s;
out:
	while (imported > 0)
		gnutls_x509_crt_deinit(certificates[--imported]);
	return status;
}
