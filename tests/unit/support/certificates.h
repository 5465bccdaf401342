/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, made with GnuTLS into a folder: a CA, leaves as good or
 * as bad as the test wants, and CRLs.  Any failure ends the test program.
 */
#ifndef TESTS_SUPPORT_CERTIFICATES_H
#define TESTS_SUPPORT_CERTIFICATES_H

#include <gnutls/x509.h>
#include <stdbool.h>

#define TEST_PATH_SIZE 256

struct test_authority {
	gnutls_x509_crt_t certificate;
	gnutls_x509_privkey_t key;
	char path[TEST_PATH_SIZE]; /* PEM of the certificate */
};

struct test_leaf {
	const char *uris[3]; /* ends at the first NULL */
	long expires_in_s;   /* 0: a day; negative: it has */
	bool is_ca;
	bool signs_certificates;
	const char *purpose; /* the only extended key usage, or NULL: serverAuth and clientAuth */
	unsigned serial;     /* 1 to 255 */
};

/* mkdtemp under /tmp; remove with certificates_remove_folder. */
void certificates_make_folder(char folder[TEST_PATH_SIZE]);
void certificates_remove_folder(const char *folder);

void certificates_make_authority(const char *folder, const char *name, struct test_authority *authority);
void certificates_release_authority(struct test_authority *authority);
/* Writes folder/name.pem and folder/name.key (mode 0600). */
void certificates_make_leaf(
	const struct test_authority *authority, const char *folder, const char *name, const struct test_leaf *leaf);
/* Writes folder/name with the serials given, ended by 0, valid for a day. */
void certificates_make_crl(
	const struct test_authority *authority, const char *folder, const char *name, const unsigned *serials);
/* folder/name + suffix, in a ring of static buffers for use as an argument. */
const char *certificates_path(const char *folder, const char *name, const char *suffix);

#endif
