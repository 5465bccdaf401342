/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests.  Everything is P-256 and SHA-256, like what the program
 * itself issues, and written with plain stdio, so that no code under test makes its
 * own evidence.  Not for use from more than one thread.
 */
#include "tests/unit/support/certificates.h"
#include "tests/unit/support/scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

const char *certificates_path(const char *folder, const char *name, const char *suffix)
{
	static char ring[8][TEST_PATH_SIZE * 2];
	static unsigned next;
	char *path = ring[next++ % 8];
	snprintf(path, sizeof ring[0], "%s/%s%s", folder, name, suffix);
	return path;
}

void certificates_make_folder(char folder[TEST_PATH_SIZE])
{
	snprintf(folder, TEST_PATH_SIZE, "%s/homeward-test-XXXXXX", scratch_place());
	CHECK(mkdtemp(folder) != NULL);
}

void certificates_remove_folder(const char *folder)
{
	DIR *listing = opendir(folder);
	CHECK(listing != NULL);
	for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
		if (entry->d_name[0] != '.')
			unlink(certificates_path(folder, entry->d_name, ""));
	}
	closedir(listing);
	rmdir(folder);
}

static void write_file(const char *path, const gnutls_datum_t *content)
{
	char temporary[TEST_PATH_SIZE * 2 + 8];
	snprintf(temporary, sizeof temporary, "%s.new", path);
	FILE *file = fopen(temporary, "w");
	CHECK(file != NULL);
	CHECK(fchmod(fileno(file), 0600) == 0);
	CHECK(fwrite(content->data, 1, content->size, file) == content->size);
	CHECK(fclose(file) == 0);
	CHECK(rename(temporary, path) == 0);
}

static gnutls_x509_privkey_t make_key(void)
{
	gnutls_x509_privkey_t key;
	CHECK(gnutls_x509_privkey_init(&key) == 0);
	CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) ==
		0);
	return key;
}

static gnutls_x509_crt_t begin_certificate(
	gnutls_x509_privkey_t key, const char *name, unsigned serial, long expires_in_s)
{
	unsigned char serial_byte = (unsigned char)serial;
	gnutls_x509_crt_t certificate;
	time_t now = time(NULL);
	CHECK(gnutls_x509_crt_init(&certificate) == 0);
	CHECK(gnutls_x509_crt_set_version(certificate, 3) == 0);
	CHECK(gnutls_x509_crt_set_serial(certificate, &serial_byte, 1) == 0);
	CHECK(gnutls_x509_crt_set_activation_time(certificate, now - 86400) == 0);
	CHECK(gnutls_x509_crt_set_expiration_time(certificate, now + expires_in_s) == 0);
	CHECK(gnutls_x509_crt_set_dn_by_oid(
		      certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)) == 0);
	CHECK(gnutls_x509_crt_set_key(certificate, key) == 0);
	return certificate;
}

static void write_certificate(gnutls_x509_crt_t certificate, const char *path)
{
	gnutls_datum_t text;
	CHECK(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text) == 0);
	write_file(path, &text);
	gnutls_free(text.data);
}

void certificates_make_authority(const char *folder, const char *name, struct test_authority *authority)
{
	authority->key = make_key();
	authority->certificate = begin_certificate(authority->key, name, 1, 86400 * 2);
	CHECK(gnutls_x509_crt_set_basic_constraints(authority->certificate, 1, 1) == 0);
	CHECK(gnutls_x509_crt_set_key_usage(authority->certificate, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN) ==
		0);
	CHECK(gnutls_x509_crt_sign2(
		      authority->certificate, authority->certificate, authority->key, GNUTLS_DIG_SHA256, 0) == 0);
	snprintf(authority->path, sizeof authority->path, "%s", certificates_path(folder, name, ".pem"));
	write_certificate(authority->certificate, authority->path);
}

void certificates_release_authority(struct test_authority *authority)
{
	gnutls_x509_crt_deinit(authority->certificate);
	gnutls_x509_privkey_deinit(authority->key);
}

void certificates_make_leaf(
	const struct test_authority *authority, const char *folder, const char *name, const struct test_leaf *leaf)
{
	gnutls_x509_privkey_t key = make_key();
	gnutls_x509_crt_t certificate = begin_certificate(
		key, name, leaf->serial, leaf->expires_in_s == 0 ? 86400 : leaf->expires_in_s);
	unsigned usage = GNUTLS_KEY_DIGITAL_SIGNATURE;
	if (leaf->signs_certificates)
		usage |= GNUTLS_KEY_KEY_CERT_SIGN;
	CHECK(gnutls_x509_crt_set_basic_constraints(certificate, leaf->is_ca, -1) == 0);
	CHECK(gnutls_x509_crt_set_key_usage(certificate, usage) == 0);
	for (int i = 0; i < 3 && leaf->uris[i] != NULL; i++)
		CHECK(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_URI, leaf->uris[i],
			      (unsigned)strlen(leaf->uris[i]), i == 0 ? GNUTLS_FSAN_SET : GNUTLS_FSAN_APPEND) == 0);
	/* An address for clients that check the name of the host. */
	unsigned char loopback[4] = { 127, 0, 0, 1 };
	CHECK(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, loopback, sizeof loopback,
		      leaf->uris[0] == NULL ? GNUTLS_FSAN_SET : GNUTLS_FSAN_APPEND) == 0);
	if (leaf->purpose != NULL) {
		CHECK(gnutls_x509_crt_set_key_purpose_oid(certificate, leaf->purpose, 0) == 0);
	} else {
		CHECK(gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_SERVER, 0) == 0);
		CHECK(gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0) == 0);
	}
	CHECK(gnutls_x509_crt_sign2(certificate, authority->certificate, authority->key, GNUTLS_DIG_SHA256, 0) == 0);
	write_certificate(certificate, certificates_path(folder, name, ".pem"));
	gnutls_datum_t text;
	CHECK(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &text) == 0);
	write_file(certificates_path(folder, name, ".key"), &text);
	gnutls_free(text.data);
	gnutls_x509_crt_deinit(certificate);
	gnutls_x509_privkey_deinit(key);
}

void certificates_make_crl(
	const struct test_authority *authority, const char *folder, const char *name, const unsigned *serials)
{
	gnutls_x509_crl_t list;
	time_t now = time(NULL);
	unsigned char number = 1;
	CHECK(gnutls_x509_crl_init(&list) == 0);
	CHECK(gnutls_x509_crl_set_version(list, 2) == 0);
	CHECK(gnutls_x509_crl_set_number(list, &number, 1) == 0);
	for (const unsigned *serial = serials; *serial != 0; serial++) {
		unsigned char byte = (unsigned char)*serial;
		CHECK(gnutls_x509_crl_set_crt_serial(list, &byte, 1, now - 60) == 0);
	}
	CHECK(gnutls_x509_crl_set_this_update(list, now - 60) == 0);
	CHECK(gnutls_x509_crl_set_next_update(list, now + 86400) == 0);
	CHECK(gnutls_x509_crl_sign2(list, authority->certificate, authority->key, GNUTLS_DIG_SHA256, 0) == 0);
	gnutls_datum_t text;
	CHECK(gnutls_x509_crl_export2(list, GNUTLS_X509_FMT_PEM, &text) == 0);
	write_file(certificates_path(folder, name, ""), &text);
	gnutls_free(text.data);
	gnutls_x509_crl_deinit(list);
}
