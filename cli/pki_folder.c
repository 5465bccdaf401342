/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority's folder.  Certificates and keys are created with O_EXCL, so that
 * two hands at once cannot write over each other; crl.pem and index.json are
 * replaced atomically.  The index is written before the CRL: should the second
 * write fail, the next issue or revoke makes the CRL right again.
 */
#include "cli/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

enum { MODE_SECRET = 0600, MODE_PUBLIC = 0644, MODE_FOLDER = 0755 };

static void path_in(struct strbuf *path, const char *folder, const char *name, const char *ending)
{
	strbuf_reset(path);
	strbuf_addf(path, "%s/%s%s", folder, name, ending);
}

static enum status write_new(const char *path, BIO *content, mode_t mode, struct strbuf *why)
{
	char *bytes = NULL;
	long size = BIO_get_mem_data(content, &bytes);
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	enum status status = STATUS_OK;

	if (file < 0) {
		if (errno == EEXIST) {
			strbuf_addf(why, "%s is there already and is not written over", path);
			return STATUS_CONFLICT;
		}
		strbuf_addf(why, "%s: %s", path, strerror(errno));
		return STATUS_IO;
	}
	if (write(file, bytes, (size_t)size) != size || fsync(file) != 0) {
		strbuf_addf(why, "%s: %s", path, strerror(errno));
		status = STATUS_IO;
	}
	if (close(file) != 0 && status == STATUS_OK)
		status = STATUS_IO;
	if (status != STATUS_OK)
		(void)unlink(path);
	return status;
}

/* The key first: a key without a certificate is harmless, the other way round is not. */
static enum status write_pair(
	const char *folder, const char *name, EVP_PKEY *key, X509 *certificate, X509 *issuer, struct strbuf *why)
{
	struct strbuf key_path = STRBUF_INIT, path = STRBUF_INIT;
	BIO *key_text = BIO_new(BIO_s_mem()), *text = BIO_new(BIO_s_mem());
	enum status status = STATUS_INTERNAL;

	path_in(&key_path, folder, name, ".key");
	path_in(&path, folder, name, ".pem");
	if (key_text == NULL || text == NULL ||
		PEM_write_bio_PKCS8PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1 ||
		PEM_write_bio_X509(text, certificate) != 1 ||
		(issuer != NULL && PEM_write_bio_X509(text, issuer) != 1)) {
		strbuf_adds(why, "PEM could not be written");
		goto out;
	}
	if (access(path.data, F_OK) == 0) {
		strbuf_addf(why, "%s is there already and is not written over", path.data);
		status = STATUS_CONFLICT;
		goto out;
	}
	status = write_new(key_path.data, key_text, MODE_SECRET, why);
	if (status != STATUS_OK)
		goto out;
	status = write_new(path.data, text, MODE_PUBLIC, why);
	if (status != STATUS_OK)
		(void)unlink(key_path.data);
out:
	BIO_free(key_text);
	BIO_free(text);
	strbuf_release(&key_path);
	strbuf_release(&path);
	return status;
}

static enum status write_index(
	const char *folder, const struct pki_authority *authority, json_t *index, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	int64_t crl_number = 0;
	X509_CRL *crl = NULL;
	BIO *pem = NULL;
	char *bytes = NULL;
	enum status status;

	(void)json_get_integer(index, "crl_number", &crl_number);
	if (json_object_set_new(index, "crl_number", json_integer(crl_number + 1)) != 0) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	status = pki_crl_make(authority, index, &crl, why);
	if (status != STATUS_OK)
		goto out;
	pem = BIO_new(BIO_s_mem());
	if (pem == NULL || PEM_write_bio_X509_CRL(pem, crl) != 1) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	status = json_write(index, &text);
	if (status != STATUS_OK)
		goto out;
	strbuf_addc(&text, '\n');
	path_in(&path, folder, "index", ".json");
	status = file_replace(path.data, text.data, text.length, MODE_PUBLIC, why);
	if (status != STATUS_OK)
		goto out;
	path_in(&path, folder, "crl", ".pem");
	long size = BIO_get_mem_data(pem, &bytes);
	status = file_replace(path.data, bytes, (size_t)size, MODE_PUBLIC, why);
out:
	X509_CRL_free(crl);
	BIO_free(pem);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

enum status pki_folder_init(const char *folder, const char *trust_domain, int days, struct strbuf *why)
{
	struct pki_authority authority = { .key = NULL };
	json_t *index = NULL;
	enum status status = pki_authority_make(trust_domain, days, &authority, why);

	if (status != STATUS_OK)
		goto out;
	status = file_make_folder(folder, MODE_FOLDER, why);
	if (status != STATUS_OK)
		goto out;
	status = write_pair(folder, "ca", authority.key, authority.certificate, NULL, why);
	if (status != STATUS_OK)
		goto out;
	index = json_pack("{s:s,s:i,s:[]}", "trust_domain", trust_domain, "crl_number", 0, "certificates");
	status = index == NULL ? STATUS_NO_MEMORY : write_index(folder, &authority, index, why);
out:
	json_decref(index);
	pki_authority_release(&authority);
	return status;
}

static enum status read_pem(const char *path, struct strbuf *text, BIO **pem_out, struct strbuf *why)
{
	enum status status = file_read(path, PKI_FILE_MAX, text, why);

	*pem_out = NULL;
	if (status != STATUS_OK)
		return status;
	*pem_out = BIO_new_mem_buf(text->data, (int)text->length);
	return *pem_out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status pki_read_certificate(const char *path, X509 **certificate_out, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	BIO *pem = NULL;
	enum status status = read_pem(path, &text, &pem, why);

	*certificate_out = NULL;
	if (status == STATUS_OK) {
		*certificate_out = PEM_read_bio_X509(pem, NULL, NULL, NULL);
		if (*certificate_out == NULL) {
			strbuf_addf(why, "%s: no certificate in PEM", path);
			status = STATUS_INVALID;
		}
	}
	BIO_free(pem);
	strbuf_release(&text);
	return status;
}

enum status pki_read_crl(const char *path, X509_CRL **crl_out, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	BIO *pem = NULL;
	enum status status = read_pem(path, &text, &pem, why);

	*crl_out = NULL;
	if (status == STATUS_OK) {
		*crl_out = PEM_read_bio_X509_CRL(pem, NULL, NULL, NULL);
		if (*crl_out == NULL) {
			strbuf_addf(why, "%s: no CRL in PEM", path);
			status = STATUS_INVALID;
		}
	}
	BIO_free(pem);
	strbuf_release(&text);
	return status;
}

static enum status load(const char *folder, struct pki_authority *authority, json_t **index_out, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	const char *trust_domain;
	BIO *pem = NULL;
	enum status status;

	*index_out = NULL;
	*authority = (struct pki_authority){ .key = NULL };
	path_in(&path, folder, "ca", ".key");
	status = read_pem(path.data, &text, &pem, why);
	if (status != STATUS_OK)
		goto out;
	authority->key = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);
	if (authority->key == NULL) {
		strbuf_addf(why, "%s: no private key in PEM", path.data);
		status = STATUS_INVALID;
		goto out;
	}
	path_in(&path, folder, "ca", ".pem");
	status = pki_read_certificate(path.data, &authority->certificate, why);
	if (status != STATUS_OK)
		goto out;
	path_in(&path, folder, "index", ".json");
	strbuf_reset(&text);
	status = file_read(path.data, PKI_FILE_MAX, &text, why);
	if (status == STATUS_OK)
		status = json_parse(text.data, text.length, index_out, why);
	if (status != STATUS_OK)
		goto out;
	trust_domain = json_get_string(*index_out, "trust_domain");
	if (trust_domain == NULL || !pki_trust_domain_is_valid(trust_domain) ||
		!json_is_array(json_object_get(*index_out, "certificates"))) {
		strbuf_addf(why, "%s: not an index of certificates", path.data);
		status = STATUS_INVALID;
		goto out;
	}
	memcpy(authority->trust_domain, trust_domain, strlen(trust_domain) + 1);
out:
	BIO_free(pem);
	strbuf_release(&path);
	strbuf_release(&text);
	return status;
}

static json_t *index_entry(const X509 *certificate, const char *kind, const char *name)
{
	struct strbuf serial = STRBUF_INIT, fingerprint = STRBUF_INIT, not_after = STRBUF_INIT;
	json_t *entry;

	pki_serial(certificate, &serial);
	pki_fingerprint(certificate, &fingerprint);
	pki_time(X509_get0_notAfter(certificate), &not_after);
	entry = json_pack("{s:s,s:s,s:s,s:s}", "serial", serial.data, kind, name, "sha256", fingerprint.data,
		"not_after", not_after.data);
	strbuf_release(&serial);
	strbuf_release(&fingerprint);
	strbuf_release(&not_after);
	return entry;
}

enum status pki_folder_issue(const char *folder, const struct pki_request *request, struct strbuf *why)
{
	struct pki_authority authority = { .key = NULL };
	json_t *index = NULL;
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	enum status status;

	if (strcmp(pki_name(request), "ca") == 0 || strcmp(pki_name(request), "crl") == 0) {
		strbuf_addf(why, "nobody can be called \"%s\": the authority's own files have that name",
			pki_name(request));
		return STATUS_INVALID;
	}
	status = load(folder, &authority, &index, why);
	if (status != STATUS_OK)
		goto out;
	if (request->trust_domain != NULL && strcmp(request->trust_domain, authority.trust_domain) != 0) {
		strbuf_addf(why, "the authority in %s is that of %s, not of %s", folder, authority.trust_domain,
			request->trust_domain);
		status = STATUS_FORBIDDEN;
		goto out;
	}
	status = pki_certificate_make(&authority, request, &certificate, &key, why);
	if (status != STATUS_OK)
		goto out;
	status = write_pair(folder, pki_name(request), key, certificate, authority.certificate, why);
	if (status != STATUS_OK)
		goto out;
	if (json_array_append_new(json_object_get(index, "certificates"),
		    index_entry(certificate, request->application != NULL ? "application" : "region",
			    pki_name(request))) != 0)
		status = STATUS_NO_MEMORY;
	else
		status = write_index(folder, &authority, index, why);
out:
	X509_free(certificate);
	EVP_PKEY_free(key);
	json_decref(index);
	pki_authority_release(&authority);
	return status;
}

static bool same_serial(const char *known, const char *given)
{
	BIGNUM *a = NULL, *b = NULL;
	struct strbuf bare = STRBUF_INIT;
	bool is_same;

	for (; *given != '\0'; given++)
		if (*given != ':')
			strbuf_addc(&bare, *given);
	is_same = BN_hex2bn(&a, known) == (int)strlen(known) && bare.length > 0 &&
		  BN_hex2bn(&b, bare.data) == (int)bare.length && BN_cmp(a, b) == 0;
	BN_free(a);
	BN_free(b);
	strbuf_release(&bare);
	return is_same;
}

static json_t *find_entry(const json_t *index, const char *serial)
{
	size_t i;
	json_t *entry, *found = NULL;

	json_array_foreach(json_object_get(index, "certificates"), i, entry)
	{
		const char *known = json_get_string(entry, "serial");

		if (known != NULL && same_serial(known, serial))
			found = entry;
	}
	return found;
}

/* found may be NULL: then nothing of that serial is known. */
static enum status revoke_entry(const char *folder, const struct pki_authority *authority, json_t *index, json_t *found,
	const char *serial, struct strbuf *why)
{
	if (found == NULL) {
		strbuf_addf(why, "no certificate with serial %s was issued in %s", serial, folder);
		return STATUS_NOT_FOUND;
	}
	if (json_object_get(found, "revoked_at") != NULL) {
		strbuf_addf(why, "serial %s is revoked already", serial);
		return STATUS_CONFLICT;
	}
	if (json_object_set_new(found, "revoked_at", json_integer((json_int_t)time(NULL))) != 0)
		return STATUS_NO_MEMORY;
	return write_index(folder, authority, index, why);
}

enum status pki_folder_revoke(const char *folder, const char *serial, struct strbuf *why)
{
	struct pki_authority authority = { .key = NULL };
	json_t *index = NULL;
	enum status status = load(folder, &authority, &index, why);

	if (status == STATUS_OK)
		status = revoke_entry(folder, &authority, index, find_entry(index, serial), serial, why);
	json_decref(index);
	pki_authority_release(&authority);
	return status;
}

enum status pki_folder_revoke_certificate(const char *folder, X509 *certificate, struct strbuf *why)
{
	struct pki_authority authority = { .key = NULL };
	struct strbuf serial = STRBUF_INIT;
	json_t *index = NULL, *found;
	enum status status = load(folder, &authority, &index, why);

	pki_serial(certificate, &serial);
	found = find_entry(index, serial.data);
	if (status == STATUS_OK && found == NULL &&
		X509_verify(certificate, X509_get0_pubkey(authority.certificate)) == 1) {
		found = index_entry(certificate, "region", "");
		if (json_array_append_new(json_object_get(index, "certificates"), found) != 0)
			status = STATUS_NO_MEMORY;
	}
	if (status == STATUS_OK)
		status = revoke_entry(folder, &authority, index, found, serial.data, why);
	json_decref(index);
	strbuf_release(&serial);
	pki_authority_release(&authority);
	return status;
}
