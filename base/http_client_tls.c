/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutual TLS for http_client: the certificate, key and CRLs are parsed once a
 * generation and handed to each new connection's SSL_CTX; the server must show a
 * certificate under our CA, not revoked, not a CA itself, whose one URI SAN names
 * the region the pool is for.  Host names are not compared: a region's name is its
 * identity, whatever address it answers at.  Sessions are not resumed, as
 * resumption would skip the check of the CRL.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/http_client_pool.h"
#include "base/log.h"

#define PEM_BYTES_MAX (1 << 20) /* a CRL of thousands of revocations fits */
#define LOAD_AGAIN_MS 1000      /* files being replaced one by one are whole again by then */

/* Files in AES order: the peers are our own servers, with AES instructions. */
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CURVES "X25519:P-256"

/* ---- loading ---- */

static void destroy_credentials(struct http_client_credentials *credentials)
{
	X509_free(credentials->leaf);
	sk_X509_pop_free(credentials->chain, X509_free);
	EVP_PKEY_free(credentials->key);
	sk_X509_CRL_pop_free(credentials->crls, X509_CRL_free);
	strbuf_release(&credentials->ca);
	free(credentials);
}

void http_client_credentials_put(struct http_client_credentials *credentials)
{
	if (credentials != NULL && --credentials->references == 0)
		destroy_credentials(credentials);
}

static BIO *open_pem(const char *path, struct strbuf *text, struct strbuf *why)
{
	if (file_read(path, PEM_BYTES_MAX, text, why) != STATUS_OK)
		return NULL;
	return BIO_new_mem_buf(text->data, (int)text->length);
}

static bool load_certificate(struct http_client_credentials *credentials, const char *path, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	BIO *bio = open_pem(path, &text, why);
	X509 *next;

	credentials->chain = sk_X509_new_null();
	if (bio != NULL && credentials->chain != NULL) {
		credentials->leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		while ((next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
			if (sk_X509_push(credentials->chain, next) == 0)
				X509_free(next);
		if (credentials->leaf == NULL)
			strbuf_addf(why, "no certificate in %s", path);
	}
	BIO_free(bio);
	strbuf_release(&text);
	return credentials->leaf != NULL;
}

static bool load_key(struct http_client_credentials *credentials, const char *path, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	BIO *bio = open_pem(path, &text, why);

	if (bio != NULL)
		credentials->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	strbuf_wipe(&text);
	if (credentials->key != NULL && X509_check_private_key(credentials->leaf, credentials->key) == 1)
		return true;
	if (bio != NULL)
		strbuf_addf(why, "%s is not the key of the certificate", path);
	return false;
}

static bool load_crls(struct http_client_credentials *credentials, const char *path, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	X509_CRL *crl;
	BIO *bio;

	credentials->crls = sk_X509_CRL_new_null();
	if (path == NULL)
		return credentials->crls != NULL;
	bio = open_pem(path, &text, why);
	if (bio != NULL && credentials->crls != NULL) {
		while ((crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL)
			if (sk_X509_CRL_push(credentials->crls, crl) == 0)
				X509_CRL_free(crl);
		if (sk_X509_CRL_num(credentials->crls) == 0)
			strbuf_addf(why, "no CRL in %s", path);
	}
	BIO_free(bio);
	strbuf_release(&text);
	return credentials->crls != NULL && sk_X509_CRL_num(credentials->crls) > 0;
}

static enum status load(struct http_client *client, uint64_t generation)
{
	const struct tls_files *files = tls_store_files(client->tls);
	struct http_client_credentials *credentials = calloc(1, sizeof(*credentials));
	struct strbuf why = STRBUF_INIT;
	enum status status = STATUS_OK;

	if (credentials == NULL)
		return STATUS_NO_MEMORY;
	credentials->references = 1;
	credentials->generation = generation;
	strbuf_init(&credentials->ca);
	if (load_certificate(credentials, files->certificate, &why) && load_key(credentials, files->key, &why) &&
		load_crls(credentials, files->crl, &why) &&
		file_read(files->ca, PEM_BYTES_MAX, &credentials->ca, &why) == STATUS_OK) {
		http_client_credentials_put(client->credentials);
		client->credentials = credentials;
	} else {
		LOG_ERROR("client_certificate_load_failed", "reason", why.data);
		destroy_credentials(credentials);
		status = STATUS_IO;
	}
	ERR_clear_error(); /* the end of each PEM file is an error in OpenSSL's eyes */
	strbuf_release(&why);
	return status;
}

enum status http_client_credentials_get(struct http_client *client, struct http_client_credentials **credentials_out)
{
	uint64_t generation = tls_store_generation(client->tls);
	int64_t now_ms = loop_now_ms(client->loop);

	if ((client->credentials == NULL || client->credentials->generation != generation) &&
		now_ms >= client->load_again_ms && load(client, generation) != STATUS_OK)
		client->load_again_ms = now_ms + LOAD_AGAIN_MS;
	*credentials_out = client->credentials;
	return client->credentials != NULL ? STATUS_OK : STATUS_IO;
}

/* ---- verifying ---- */

static bool names_only(X509 *leaf, const char *uri)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	int uris = 0, matches = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *text;

		if (name->type != GEN_URI)
			continue;
		text = name->d.uniformResourceIdentifier;
		uris++;
		if ((size_t)ASN1_STRING_length(text) == strlen(uri) &&
			memcmp(ASN1_STRING_get0_data(text), uri, strlen(uri)) == 0)
			matches++;
	}
	GENERAL_NAMES_free(names);
	return uris == 1 && matches == 1;
}

static void tell_expiry(const struct http_client_pool *pool, const X509 *leaf)
{
	struct tm end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) == 1)
		tls_peer_seen(pool->region, (int64_t)timegm(&end));
}

static int verify(X509_STORE_CTX *context, void *arg)
{
	const struct http_client_pool *pool = arg;
	X509 *leaf;

	if (X509_verify_cert(context) != 1)
		return 0;
	leaf = X509_STORE_CTX_get0_cert(context);
	if ((X509_get_extension_flags(leaf) & EXFLAG_CA) != 0 || !names_only(leaf, pool->uri)) {
		X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
		return 0;
	}
	tell_expiry(pool, leaf);
	return 1;
}

/* curl calls this for each new connection. */
static CURLcode prepare(CURL *easy, void *context, void *arg)
{
	struct http_client_pool *pool = arg;
	struct http_client_credentials *credentials = pool->credentials;
	X509_STORE *store = SSL_CTX_get_cert_store(context);

	(void)easy;
	SSL_CTX_set_cert_verify_callback(context, verify, pool);
	if (SSL_CTX_use_certificate(context, credentials->leaf) != 1 ||
		SSL_CTX_use_PrivateKey(context, credentials->key) != 1 ||
		SSL_CTX_set1_chain(context, credentials->chain) != 1)
		return CURLE_SSL_CERTPROBLEM;
	for (int i = 0; i < sk_X509_CRL_num(credentials->crls); i++)
		if (X509_STORE_add_crl(store, sk_X509_CRL_value(credentials->crls, i)) != 1)
			return CURLE_SSL_CRL_BADFILE;
	if (sk_X509_CRL_num(credentials->crls) > 0)
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return CURLE_OK;
}

bool http_client_tls_configure(CURL *easy, struct http_client_pool *pool)
{
	struct curl_blob ca = {
		.data = pool->credentials->ca.data, .len = pool->credentials->ca.length, .flags = CURL_BLOB_NOCOPY
	};

	return curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TLS13_CIPHERS, CIPHERS) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_EC_CURVES, CURVES) == CURLE_OK &&
	       /* Debian's libcurl would trust every public CA besides ours. */
	       curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_OPTIONS, (long)CURLSSLOPT_NO_PARTIALCHAIN) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, pool) == CURLE_OK;
}
