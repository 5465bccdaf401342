/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates in memory: an authority, a region's certificate, a CRL.  All keys
 * are EC P-256 with SHA-256, which every TLS 1.3 stack speaks.
 *
 * The authority may sign leaves only (path length 0), and only for its trust domain:
 * OpenSSL enforces its URI name constraint; GnuTLS accepts it but passes over it, which
 * is why the listener compares the trust domain itself.  A region's certificate has
 * exactly one URI, spiffe://<trust-domain>/region/<name>, which is its identity;
 * DNS names and addresses may stand beside it for tools that check them.
 */
#include "cli/pki.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

enum { SERIAL_SIZE = 16, VERSION_3 = 2, CRL_VERSION_2 = 1, DAY_S = 86400 };

bool pki_trust_domain_is_valid(const char *trust_domain)
{
	size_t length = strlen(trust_domain);

	return length > 0 && length < PKI_TRUST_DOMAIN_SIZE &&
	       strspn(trust_domain, "abcdefghijklmnopqrstuvwxyz0123456789.-") == length && trust_domain[0] != '.' &&
	       trust_domain[0] != '-' && trust_domain[length - 1] != '.' && strstr(trust_domain, "..") == NULL;
}

static enum status openssl_failed(const char *what, struct strbuf *why)
{
	char text[256] = "";

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	strbuf_addf(why, "%s: %s", what, text);
	return STATUS_INTERNAL;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool is_added;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&context);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	is_added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return is_added;
}

static bool set_serial(X509 *certificate)
{
	unsigned char bytes[SERIAL_SIZE];
	BIGNUM *number = NULL;
	bool is_set = false;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (unsigned char)((bytes[0] & 0x3F) | 0x40); /* positive, and always of full length */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_set = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return is_set;
}

static bool set_common(X509 *certificate, const char *name, EVP_PKEY *key, int days)
{
	X509_NAME *subject = X509_get_subject_name(certificate);

	return X509_set_version(certificate, VERSION_3) == 1 && set_serial(certificate) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -PKI_SKEW_S) != NULL &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, NULL) != NULL &&
	       X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"homeward", -1, -1, 0) ==
		       1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1 &&
	       X509_set_pubkey(certificate, key) == 1;
}

void pki_authority_release(struct pki_authority *authority)
{
	EVP_PKEY_free(authority->key);
	X509_free(authority->certificate);
	*authority = (struct pki_authority){ .key = NULL };
}

enum status pki_authority_make(
	const char *trust_domain, int days, struct pki_authority *authority_out, struct strbuf *why)
{
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	enum status status = STATUS_OK;
	struct strbuf constraint = STRBUF_INIT;

	*authority_out = (struct pki_authority){ .key = NULL };
	if (!pki_trust_domain_is_valid(trust_domain)) {
		strbuf_addf(why,
			"\"%s\" is not a trust domain: lower-case letters, digits, '-' and '.', as in \"live.example\"",
			trust_domain);
		return STATUS_INVALID;
	}
	strbuf_addf(&constraint, "critical,permitted;URI:%s", trust_domain);
	key = EVP_EC_gen("P-256");
	certificate = X509_new();
	if (key == NULL || certificate == NULL || !set_common(certificate, "homeward lab authority", key, days) ||
		X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
		!add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
		!add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
		!add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
		!add_extension(certificate, certificate, NID_authority_key_identifier, "keyid:always") ||
		!add_extension(certificate, certificate, NID_name_constraints, constraint.data) ||
		X509_sign(certificate, key, EVP_sha256()) == 0) {
		status = openssl_failed("the authority could not be made", why);
		goto out;
	}
	memcpy(authority_out->trust_domain, trust_domain, strlen(trust_domain) + 1);
	authority_out->key = key;
	authority_out->certificate = certificate;
	key = NULL;
	certificate = NULL;
out:
	EVP_PKEY_free(key);
	X509_free(certificate);
	strbuf_release(&constraint);
	return status;
}

static bool dns_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > 253)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("-._*", name[i]) == NULL)
			return false;
	return true;
}

const char *pki_name(const struct pki_request *request)
{
	return request->application != NULL ? request->application : request->region;
}

/* The values go through OpenSSL's small language for extensions, so nothing but names may get into it. */
static enum status alternative_names(const struct pki_authority *authority, const struct pki_request *request,
	struct strbuf *names, struct strbuf *why)
{
	unsigned char address[16];

	if (request->application != NULL && !application_is_valid(request->application)) {
		strbuf_addf(why, "\"%s\" is not an application's name: letters, digits, '-' and '_', %d at most",
			request->application, APPLICATION_SIZE - 1);
		return STATUS_INVALID;
	}
	if (request->application == NULL && !region_is_valid(request->region)) {
		strbuf_addf(why, "\"%s\" is not a region's name: a letter, then lower-case letters, digits and '-'",
			request->region);
		return STATUS_INVALID;
	}
	strbuf_addf(names, "URI:spiffe://%s/%s/%s", authority->trust_domain,
		request->application != NULL ? "application" : "region", pki_name(request));
	for (size_t i = 0; i < request->dns_count; i++) {
		if (!dns_is_valid(request->dns[i])) {
			strbuf_addf(why, "\"%s\" is not a DNS name", request->dns[i]);
			return STATUS_INVALID;
		}
		strbuf_addf(names, ",DNS:%s", request->dns[i]);
	}
	for (size_t i = 0; i < request->ip_count; i++) {
		if (inet_pton(AF_INET, request->ip[i], address) != 1 &&
			inet_pton(AF_INET6, request->ip[i], address) != 1) {
			strbuf_addf(why, "\"%s\" is not an IP address", request->ip[i]);
			return STATUS_INVALID;
		}
		strbuf_addf(names, ",IP:%s", request->ip[i]);
	}
	return STATUS_OK;
}

enum status pki_certificate_make(const struct pki_authority *authority, const struct pki_request *request,
	X509 **certificate_out, EVP_PKEY **key_out, struct strbuf *why)
{
	struct strbuf names = STRBUF_INIT;
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	enum status status = alternative_names(authority, request, &names, why);

	*certificate_out = NULL;
	*key_out = NULL;
	if (status != STATUS_OK)
		goto out;
	key = EVP_EC_gen("P-256");
	certificate = X509_new();
	if (key == NULL || certificate == NULL || !set_common(certificate, pki_name(request), key, request->days) ||
		X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate)) != 1 ||
		!add_extension(certificate, authority->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
		!add_extension(certificate, authority->certificate, NID_key_usage, "critical,digitalSignature") ||
		!add_extension(certificate, authority->certificate, NID_ext_key_usage,
			request->application != NULL ? "clientAuth" : "serverAuth,clientAuth") ||
		!add_extension(certificate, authority->certificate, NID_subject_key_identifier, "hash") ||
		!add_extension(certificate, authority->certificate, NID_authority_key_identifier, "keyid:always") ||
		!add_extension(certificate, authority->certificate, NID_subject_alt_name, names.data) ||
		X509_sign(certificate, authority->key, EVP_sha256()) == 0) {
		status = openssl_failed("the certificate could not be made", why);
		goto out;
	}
	*certificate_out = certificate;
	*key_out = key;
	certificate = NULL;
	key = NULL;
out:
	X509_free(certificate);
	EVP_PKEY_free(key);
	strbuf_release(&names);
	return status;
}

static bool add_revoked(X509_CRL *crl, const char *serial, int64_t revoked_at_s)
{
	X509_REVOKED *revoked = X509_REVOKED_new();
	ASN1_INTEGER *number = NULL;
	ASN1_TIME *at = NULL;
	BIGNUM *value = NULL;
	bool is_added = false;

	if (revoked != NULL && BN_hex2bn(&value, serial) > 0 && (number = BN_to_ASN1_INTEGER(value, NULL)) != NULL &&
		(at = ASN1_TIME_set(NULL, (time_t)revoked_at_s)) != NULL &&
		X509_REVOKED_set_serialNumber(revoked, number) == 1 &&
		X509_REVOKED_set_revocationDate(revoked, at) == 1 && X509_CRL_add0_revoked(crl, revoked) == 1) {
		is_added = true;
		revoked = NULL;
	}
	X509_REVOKED_free(revoked);
	ASN1_INTEGER_free(number);
	ASN1_TIME_free(at);
	BN_free(value);
	return is_added;
}

static bool add_crl_extensions(X509_CRL *crl, X509 *issuer, int64_t crl_number)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	bool is_added;

	X509V3_set_ctx(&context, issuer, NULL, NULL, crl, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
	is_added = extension != NULL && X509_CRL_add_ext(crl, extension, -1) == 1 && number != NULL &&
		   ASN1_INTEGER_set_int64(number, crl_number) == 1 &&
		   X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1;
	X509_EXTENSION_free(extension);
	ASN1_INTEGER_free(number);
	return is_added;
}

enum status pki_crl_make(
	const struct pki_authority *authority, const json_t *index, X509_CRL **crl_out, struct strbuf *why)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *now = ASN1_TIME_adj(NULL, time(NULL), 0, -PKI_SKEW_S);
	ASN1_TIME *next = ASN1_TIME_adj(NULL, time(NULL), PKI_CRL_DAYS, 0);
	enum status status = STATUS_OK;
	int64_t crl_number = 1;
	size_t i;
	json_t *entry;

	*crl_out = NULL;
	(void)json_get_integer(index, "crl_number", &crl_number);
	if (crl == NULL || now == NULL || next == NULL || X509_CRL_set_version(crl, CRL_VERSION_2) != 1 ||
		X509_CRL_set_issuer_name(crl, X509_get_subject_name(authority->certificate)) != 1 ||
		X509_CRL_set1_lastUpdate(crl, now) != 1 || X509_CRL_set1_nextUpdate(crl, next) != 1 ||
		!add_crl_extensions(crl, authority->certificate, crl_number)) {
		status = openssl_failed("the CRL could not be made", why);
		goto out;
	}
	json_array_foreach(json_object_get(index, "certificates"), i, entry)
	{
		int64_t revoked_at_s = 0;
		const char *serial = json_get_string(entry, "serial");

		if (serial == NULL || !json_get_integer(entry, "revoked_at", &revoked_at_s))
			continue;
		if (!add_revoked(crl, serial, revoked_at_s)) {
			status = openssl_failed("a serial number could not be put in the CRL", why);
			goto out;
		}
	}
	if (X509_CRL_sort(crl) != 1 || X509_CRL_sign(crl, authority->key, EVP_sha256()) == 0) {
		status = openssl_failed("the CRL could not be signed", why);
		goto out;
	}
	*crl_out = crl;
	crl = NULL;
out:
	X509_CRL_free(crl);
	ASN1_TIME_free(now);
	ASN1_TIME_free(next);
	return status;
}
