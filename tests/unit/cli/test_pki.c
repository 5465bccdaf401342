/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/pki_*.c: what the authority issues is judged by OpenSSL and by GnuTLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/must.h"
#include "cli/pki.h"

static struct pki_authority made_authority(const char *trust_domain)
{
	struct pki_authority authority;
	struct strbuf why = STRBUF_INIT;

	must(pki_authority_make(trust_domain, 10, &authority, &why) == STATUS_OK);
	strbuf_release(&why);
	return authority;
}

static X509 *made_certificate(const struct pki_authority *authority, const char *region)
{
	struct pki_request request = { .region = region, .days = 5, .ip = { "127.0.0.1" }, .ip_count = 1 };
	struct strbuf why = STRBUF_INIT;
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;

	must(pki_certificate_make(authority, &request, &certificate, &key, &why) == STATUS_OK);
	EVP_PKEY_free(key);
	strbuf_release(&why);
	return certificate;
}

static X509_CRL *made_crl(const struct pki_authority *authority, const X509 *revoked)
{
	struct strbuf serial = STRBUF_INIT, why = STRBUF_INIT;
	X509_CRL *crl = NULL;
	json_t *index = json_pack("{s:i,s:[]}", "crl_number", 3, "certificates");

	if (revoked != NULL) {
		pki_serial(revoked, &serial);
		json_array_append_new(json_object_get(index, "certificates"),
			json_pack("{s:s,s:I}", "serial", serial.data, "revoked_at", (json_int_t)1700000000));
	}
	must(pki_crl_make(authority, index, &crl, &why) == STATUS_OK);
	json_decref(index);
	strbuf_release(&serial);
	strbuf_release(&why);
	return crl;
}

static gnutls_x509_crt_t to_gnutls(X509 *certificate)
{
	gnutls_x509_crt_t converted;
	unsigned char *der = NULL;
	int size = i2d_X509(certificate, &der);

	must(size > 0 && gnutls_x509_crt_init(&converted) == 0);
	must(gnutls_x509_crt_import(converted, &(gnutls_datum_t){ der, (unsigned)size }, GNUTLS_X509_FMT_DER) == 0);
	OPENSSL_free(der);
	return converted;
}

/* 0, or the reasons GnuTLS gives (a mask of gnutls_certificate_status_t). */
static unsigned gnutls_says(X509 *certificate, X509 *authority, X509_CRL *crl)
{
	gnutls_x509_trust_list_t trusted;
	gnutls_x509_crt_t leaf = to_gnutls(certificate), ca = to_gnutls(authority);
	gnutls_x509_crl_t list;
	unsigned char *der = NULL;
	int size = i2d_X509_CRL(crl, &der);
	unsigned reasons = 0;

	must(size > 0 && gnutls_x509_crl_init(&list) == 0);
	must(gnutls_x509_crl_import(list, &(gnutls_datum_t){ der, (unsigned)size }, GNUTLS_X509_FMT_DER) == 0);
	OPENSSL_free(der);
	must(gnutls_x509_trust_list_init(&trusted, 0) == 0);
	must(gnutls_x509_trust_list_add_cas(trusted, &ca, 1, 0) == 1);
	must(gnutls_x509_trust_list_add_crls(trusted, &list, 1, GNUTLS_TL_VERIFY_CRL, 0) == 1);
	must(gnutls_x509_trust_list_verify_crt(trusted, &leaf, 1, 0, &reasons, NULL) == 0);
	gnutls_x509_crt_deinit(leaf);
	gnutls_x509_trust_list_deinit(trusted, 1);
	return reasons;
}

static void issued_certificate_is_accepted_by_both(void **state)
{
	(void)state;
	struct pki_authority authority = made_authority("lab.example");
	X509 *certificate = made_certificate(&authority, "eu");
	X509_CRL *crl = made_crl(&authority, NULL);
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct strbuf why = STRBUF_INIT;

	enum status status = pki_judge(certificate, authority.certificate, crl, region, trust_domain, &why);
	assert_string_equal(why.data, "");
	assert_int_equal(status, STATUS_OK);
	assert_string_equal(region, "eu");
	assert_string_equal(trust_domain, "lab.example");
	assert_int_equal(gnutls_says(certificate, authority.certificate, crl), 0);
	strbuf_release(&why);
	X509_CRL_free(crl);
	X509_free(certificate);
	pki_authority_release(&authority);
}

static void an_application_is_no_region(void **state)
{
	(void)state;
	struct pki_authority authority = made_authority("lab.example");
	struct pki_request request = { .application = "cs_1", .days = 5 };
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct strbuf why = STRBUF_INIT;
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;

	assert_int_equal(pki_certificate_make(&authority, &request, &certificate, &key, &why), STATUS_OK);
	assert_int_equal(X509_check_purpose(certificate, X509_PURPOSE_SSL_CLIENT, 0), 1);
	assert_int_equal(X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0), 0);
	assert_int_equal(
		pki_judge(certificate, authority.certificate, NULL, region, trust_domain, &why), STATUS_FORBIDDEN);
	assert_non_null(strstr(why.data, "its URI is not spiffe://<trust-domain>/region/<name>"));
	EVP_PKEY_free(key);
	X509_free(certificate);
	request.application = "a.b";
	assert_int_equal(pki_certificate_make(&authority, &request, &certificate, &key, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "not an application's name"));
	strbuf_release(&why);
	pki_authority_release(&authority);
}

static void revoked_certificate_is_refused_by_both(void **state)
{
	(void)state;
	struct pki_authority authority = made_authority("lab.example");
	X509 *certificate = made_certificate(&authority, "eu"), *other = made_certificate(&authority, "na");
	X509_CRL *crl = made_crl(&authority, certificate);
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct strbuf why = STRBUF_INIT;

	assert_int_equal(
		pki_judge(certificate, authority.certificate, crl, region, trust_domain, &why), STATUS_FORBIDDEN);
	assert_non_null(strstr(why.data, "revoked"));
	assert_true((gnutls_says(certificate, authority.certificate, crl) & GNUTLS_CERT_REVOKED) != 0);
	assert_int_equal(gnutls_says(other, authority.certificate, crl), 0);
	strbuf_release(&why);
	X509_CRL_free(crl);
	X509_free(certificate);
	X509_free(other);
	pki_authority_release(&authority);
}

/* The same authority key signing for another trust domain: its name constraint must stop it.
 * (GnuTLS passes over URI constraints; the listener's own trust domain check stands there.) */
static void another_trust_domain_is_refused(void **state)
{
	(void)state;
	struct pki_authority authority = made_authority("lab.example");
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct strbuf why = STRBUF_INIT;

	snprintf(authority.trust_domain, sizeof(authority.trust_domain), "live.example");
	X509 *certificate = made_certificate(&authority, "eu");
	X509_CRL *crl = made_crl(&authority, NULL);
	assert_int_equal(
		pki_judge(certificate, authority.certificate, crl, region, trust_domain, &why), STATUS_FORBIDDEN);
	assert_non_null(strstr(why.data, "permitted subtree violation"));
	strbuf_release(&why);
	X509_CRL_free(crl);
	X509_free(certificate);
	pki_authority_release(&authority);
}

static void authority_is_not_a_region(void **state)
{
	(void)state;
	struct pki_authority authority = made_authority("lab.example");
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct strbuf why = STRBUF_INIT;

	assert_int_equal(pki_judge(authority.certificate, NULL, NULL, region, trust_domain, &why), STATUS_FORBIDDEN);
	assert_non_null(strstr(why.data, "0 URI names"));
	assert_non_null(strstr(why.data, "authority's certificate"));
	strbuf_release(&why);
	pki_authority_release(&authority);
}

static void names_cannot_smuggle_others_in(void **state)
{
	(void)state;
	static const struct pki_request requests[] = {
		{ .region = "eu,URI:spiffe://lab.example/region/na", .days = 1 },
		{ .region = "EU", .days = 1 },
		{ .region = "eu", .days = 1, .dns = { "a,URI:spiffe://lab.example/region/na" }, .dns_count = 1 },
		{ .region = "eu", .days = 1, .ip = { "127.0.0.1,URI:x" }, .ip_count = 1 },
	};
	struct pki_authority authority = made_authority("lab.example");

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct strbuf why = STRBUF_INIT;
		X509 *certificate = NULL;
		EVP_PKEY *key = NULL;

		assert_int_equal(
			pki_certificate_make(&authority, &requests[i], &certificate, &key, &why), STATUS_INVALID);
		assert_null(certificate);
		assert_true(why.length > 0);
		strbuf_release(&why);
	}
	pki_authority_release(&authority);
}

static void folder_keeps_what_it_has(void **state)
{
	(void)state;
	char folder[] = "/tmp/homeward-pki-XXXXXX", path[128];
	struct pki_request request = { .region = "eu", .days = 1 };
	struct strbuf why = STRBUF_INIT, serial = STRBUF_INIT;
	X509 *certificate = NULL, *authority = NULL;
	X509_CRL *crl = NULL;
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];
	struct stat found;

	must(mkdtemp(folder) != NULL);
	assert_int_equal(pki_folder_init(folder, "lab.example", 10, &why), STATUS_OK);
	assert_int_equal(pki_folder_init(folder, "lab.example", 10, &why), STATUS_CONFLICT);
	assert_int_equal(pki_folder_issue(folder, &request, &why), STATUS_OK);
	assert_int_equal(pki_folder_issue(folder, &request, &why), STATUS_CONFLICT);
	request.region = "ca";
	assert_int_equal(pki_folder_issue(folder, &request, &why), STATUS_INVALID);

	snprintf(path, sizeof(path), "%s/eu.key", folder);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/ca.key", folder);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0600);

	snprintf(path, sizeof(path), "%s/eu.pem", folder);
	assert_int_equal(pki_read_certificate(path, &certificate, &why), STATUS_OK);
	pki_serial(certificate, &serial);
	assert_int_equal(pki_folder_revoke(folder, "00", &why), STATUS_NOT_FOUND);
	assert_int_equal(pki_folder_revoke(folder, "zz", &why), STATUS_NOT_FOUND);
	assert_int_equal(pki_folder_revoke(folder, serial.data, &why), STATUS_OK);
	assert_int_equal(pki_folder_revoke(folder, serial.data, &why), STATUS_CONFLICT);
	snprintf(path, sizeof(path), "%s/ca.pem", folder);
	assert_int_equal(pki_read_certificate(path, &authority, &why), STATUS_OK);
	snprintf(path, sizeof(path), "%s/crl.pem", folder);
	assert_int_equal(pki_read_crl(path, &crl, &why), STATUS_OK);
	assert_int_equal(pki_judge(certificate, authority, crl, region, trust_domain, &why), STATUS_FORBIDDEN);

	static const char *const names[] = { "ca.pem", "ca.key", "crl.pem", "index.json", "eu.pem", "eu.key" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
	X509_free(certificate);
	X509_free(authority);
	X509_CRL_free(crl);
	strbuf_release(&serial);
	strbuf_release(&why);
}

static void trust_domains_are_checked(void **state)
{
	(void)state;
	assert_true(pki_trust_domain_is_valid("lab.example"));
	assert_false(pki_trust_domain_is_valid(""));
	assert_false(pki_trust_domain_is_valid("Lab.example"));
	assert_false(pki_trust_domain_is_valid("lab..example"));
	assert_false(pki_trust_domain_is_valid(".lab"));
	assert_false(pki_trust_domain_is_valid("lab/region"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(issued_certificate_is_accepted_by_both),
		cmocka_unit_test(an_application_is_no_region),
		cmocka_unit_test(revoked_certificate_is_refused_by_both),
		cmocka_unit_test(another_trust_domain_is_refused),
		cmocka_unit_test(authority_is_not_a_region),
		cmocka_unit_test(names_cannot_smuggle_others_in),
		cmocka_unit_test(folder_keeps_what_it_has),
		cmocka_unit_test(trust_domains_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
