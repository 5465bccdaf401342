/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What homeward would say of a certificate, and its particulars as text.  Every
 * reason is told, not the first alone, so that one look is enough to put it right.
 * The rules are those the peer listener applies in the handshake.
 */
#include "cli/pki.h"

#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>

void pki_serial(const X509 *certificate, struct strbuf *text)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);

	strbuf_add_hex(text, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
}

void pki_fingerprint(const X509 *certificate, struct strbuf *text)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;

	if (X509_digest(certificate, EVP_sha256(), digest, &size) == 1)
		strbuf_add_hex(text, digest, size);
}

void pki_time(const ASN1_TIME *time, struct strbuf *text)
{
	struct tm broken;

	if (ASN1_TIME_to_tm(time, &broken) == 1)
		strbuf_addf(text, "%04d-%02d-%02dT%02d:%02d:%02dZ", broken.tm_year + 1900, broken.tm_mon + 1,
			broken.tm_mday, broken.tm_hour, broken.tm_min, broken.tm_sec);
}

static bool read_uri(const ASN1_STRING *uri, char region_out[REGION_SIZE], char trust_domain_out[PKI_TRUST_DOMAIN_SIZE])
{
	static const char scheme[] = "spiffe://", folder[] = "/region/";
	const char *text = (const char *)ASN1_STRING_get0_data(uri);
	const char *host = text + sizeof(scheme) - 1;
	size_t host_length;

	/* A NUL inside would make the text shorter than the name. */
	if (strlen(text) != (size_t)ASN1_STRING_length(uri) || strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return false;
	host_length = strcspn(host, "/");
	if (host_length >= PKI_TRUST_DOMAIN_SIZE || strncmp(host + host_length, folder, sizeof(folder) - 1) != 0)
		return false;
	const char *region = host + host_length + sizeof(folder) - 1;
	if (!region_is_valid(region))
		return false;
	memcpy(trust_domain_out, host, host_length);
	trust_domain_out[host_length] = '\0';
	memcpy(region_out, region, strlen(region) + 1);
	return pki_trust_domain_is_valid(trust_domain_out);
}

static void judge_name(X509 *certificate, char region_out[REGION_SIZE], char trust_domain_out[PKI_TRUST_DOMAIN_SIZE],
	struct strbuf *why)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	const ASN1_STRING *uri = NULL;
	int uri_count = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_URI) {
			uri = name->d.uniformResourceIdentifier;
			uri_count++;
		}
	}
	if (uri_count != 1) {
		strbuf_addf(why, "it has %d URI names; a region has exactly one\n", uri_count);
	} else if (!read_uri(uri, region_out, trust_domain_out)) {
		strbuf_adds(why, "its URI is not spiffe://<trust-domain>/region/<name>\n");
	}
	GENERAL_NAMES_free(names);
}

static void judge_chain(X509 *certificate, X509 *authority, X509_CRL *crl, struct strbuf *why)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();

	if (store == NULL || context == NULL || X509_STORE_add_cert(store, authority) != 1 ||
		(crl != NULL && (X509_STORE_add_crl(store, crl) != 1 ||
					X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1)) ||
		X509_STORE_CTX_init(context, store, certificate, NULL) != 1)
		strbuf_adds(why, "the chain could not be looked at\n");
	else if (X509_verify_cert(context) != 1)
		strbuf_addf(why, "the authority does not vouch for it: %s\n",
			X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
}

enum status pki_judge(X509 *certificate, X509 *authority, X509_CRL *crl, char region_out[REGION_SIZE],
	char trust_domain_out[PKI_TRUST_DOMAIN_SIZE], struct strbuf *why)
{
	uint32_t usage = X509_get_key_usage(certificate), extended = X509_get_extended_key_usage(certificate);
	size_t before = why->length;

	region_out[0] = '\0';
	trust_domain_out[0] = '\0';
	judge_name(certificate, region_out, trust_domain_out, why);
	if (X509_check_ca(certificate) != 0)
		strbuf_adds(why, "it is an authority's certificate, not a region's\n");
	if ((usage & X509v3_KU_DIGITAL_SIGNATURE) == 0)
		strbuf_adds(why, "its key may not be used for digital signatures\n");
	if ((extended & XKU_SSL_SERVER) == 0 || (extended & XKU_SSL_CLIENT) == 0)
		strbuf_adds(why, "it is not for both serverAuth and clientAuth\n");
	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		strbuf_adds(why, "it is not valid yet\n");
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		strbuf_adds(why, "it has expired\n");
	if (authority != NULL)
		judge_chain(certificate, authority, crl, why);
	return why->length == before ? STATUS_OK : STATUS_FORBIDDEN;
}
