/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS store: the region's certificate, key, CAs and CRLs as one immutable, counted
 * set.  A reload reads and checks a whole new set without any lock, then swaps one
 * pointer; handshakes under way keep the set they began with.  A trust list is
 * built once per reload, never per handshake.  The mutex covers the pointer and the
 * files' stamps only.  Safe from any thread.
 */
#include "base/tls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/tls_internal.h"

#define PEM_BYTES_MAX 1048576 /* a CRL of some 10,000 revoked certificates */
#define CA_MAX 32             /* several roots while one is being replaced */
#define CRL_MAX 32            /* one for each CA */
#define FILE_COUNT 4

struct tls_store {
	pthread_mutex_t mutex;
	struct tls_set *current;
	struct file_stamp stamps[FILE_COUNT];
	struct file_stamp refused[FILE_COUNT]; /* the files of the last reload that failed */
	bool has_refused;
	_Atomic uint64_t generation;
	struct tls_files files;
	char *paths[FILE_COUNT]; /* certificate, key, CA, CRL: what `files` points to */
	char *trust_domain;
	char region[REGION_SIZE];
};

/* ---- building a set ---- */

static void set_free(struct tls_set *set)
{
	if (set->trust != NULL)
		gnutls_x509_trust_list_deinit(set->trust, 1);
	for (unsigned i = 0; i < set->chain_length; i++)
		gnutls_pcert_deinit(&set->chain[i]);
	if (set->key != NULL)
		gnutls_privkey_deinit(set->key);
	free(set->trust_domain);
	free(set);
}

static gnutls_datum_t datum_of(const struct strbuf *text)
{
	return (gnutls_datum_t){ (unsigned char *)text->data, (unsigned)text->length };
}

static enum status reject(struct strbuf *why, const char *path, const char *reason)
{
	strbuf_addf(why, "%s: %s", path, reason);
	return STATUS_INVALID;
}

static void lower_to(int64_t *expiry, int64_t candidate)
{
	if (*expiry == 0 || candidate < *expiry)
		*expiry = candidate;
}

static enum status load_authorities(struct tls_set *set, const char *path, struct strbuf *why)
{
	gnutls_x509_crt_t authorities[CA_MAX];
	unsigned count = CA_MAX;
	struct strbuf text = STRBUF_INIT;
	enum status status = file_read(path, PEM_BYTES_MAX, &text, why);
	if (status != STATUS_OK)
		goto out;
	gnutls_datum_t datum = datum_of(&text);
	if (gnutls_x509_crt_list_import(
		    authorities, &count, &datum, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED) < 1) {
		status = reject(why, path, "holds no CA certificates, or too many");
		goto out;
	}
	for (unsigned i = 0; i < count; i++)
		lower_to(&set->ca_expires_s, (int64_t)gnutls_x509_crt_get_expiration_time(authorities[i]));
	/* The list takes those it adds; NO_DUPLICATES also frees the ones it leaves out. */
	if (gnutls_x509_trust_list_add_cas(set->trust, authorities, count, GNUTLS_TL_NO_DUPLICATES) < 1)
		status = reject(why, path, "the CA certificates cannot be used");
out:
	strbuf_release(&text);
	return status;
}

static enum status load_revocations(struct tls_set *set, const char *path, struct strbuf *why)
{
	gnutls_x509_crl_t *lists = NULL;
	unsigned count = 0;
	struct strbuf text = STRBUF_INIT;
	enum status status = file_read(path, PEM_BYTES_MAX, &text, why);
	if (status != STATUS_OK)
		goto out;
	gnutls_datum_t datum = datum_of(&text);
	if (gnutls_x509_crl_list_import2(&lists, &count, &datum, GNUTLS_X509_FMT_PEM, 0) < 0 || count == 0) {
		status = reject(why, path, "holds no CRL");
		goto out;
	}
	/* One at a time: with these flags the list takes or frees what it is given, but stops at the first bad one. */
	for (unsigned i = 0; i < count; i++) {
		time_t next = gnutls_x509_crl_get_next_update(lists[i]);
		if (next != (time_t)-1)
			lower_to(&set->crl_expires_s, (int64_t)next);
		if (status != STATUS_OK)
			gnutls_x509_crl_deinit(lists[i]);
		else if (gnutls_x509_trust_list_add_crls(set->trust, &lists[i], 1,
				 GNUTLS_TL_VERIFY_CRL | GNUTLS_TL_NO_DUPLICATES | GNUTLS_TL_FAIL_ON_INVALID_CRL, 0) < 0)
			status = reject(why, path, "a CRL is not signed by one of our CAs");
	}
out:
	gnutls_free(lists);
	strbuf_release(&text);
	return status;
}

static bool key_fits(gnutls_privkey_t key, gnutls_x509_crt_t leaf)
{
	unsigned char of_key[64];
	unsigned char of_leaf[64];
	size_t key_size = sizeof of_key;
	size_t leaf_size = sizeof of_leaf;
	gnutls_pubkey_t public_key = NULL;
	bool fits = gnutls_pubkey_init(&public_key) == 0 && gnutls_pubkey_import_privkey(public_key, key, 0, 0) == 0 &&
		    gnutls_pubkey_get_key_id(public_key, GNUTLS_KEYID_USE_SHA256, of_key, &key_size) == 0 &&
		    gnutls_x509_crt_get_key_id(leaf, GNUTLS_KEYID_USE_SHA256, of_leaf, &leaf_size) == 0 &&
		    key_size == leaf_size && memcmp(of_key, of_leaf, key_size) == 0;
	if (public_key != NULL)
		gnutls_pubkey_deinit(public_key);
	return fits;
}

static enum status check_own(const struct tls_store *store, struct tls_set *set, gnutls_x509_crt_t *chain,
	unsigned length, struct strbuf *why)
{
	struct tls_peer self = { .expires_s = 0 };
	struct strbuf rule = STRBUF_INIT;
	enum status status = STATUS_OK;
	if (!key_fits(set->key, chain[0])) {
		strbuf_addf(why, "%s: not the key of %s", store->files.key, store->files.certificate);
		status = STATUS_INVALID;
	} else if (tls_set_check_leaf(set, chain, length, TLS_PURPOSE_CLIENT | TLS_PURPOSE_SERVER, &self, &rule) !=
		   STATUS_OK) {
		status = reject(why, store->files.certificate, rule.data);
	} else if (strcmp(self.region, store->region) != 0) {
		strbuf_addf(why, "%s: names region %s, but this is %s", store->files.certificate, self.region,
			store->region);
		status = STATUS_INVALID;
	}
	set->leaf_expires_s = self.expires_s;
	strbuf_release(&rule);
	return status;
}

static enum status load_own(const struct tls_store *store, struct tls_set *set, struct strbuf *why)
{
	gnutls_x509_crt_t chain[TLS_CHAIN_MAX];
	unsigned length = 0;
	struct strbuf certificate = STRBUF_INIT;
	struct strbuf key = STRBUF_INIT;
	enum status status = file_read(store->files.certificate, PEM_BYTES_MAX, &certificate, why);
	if (status == STATUS_OK)
		status = file_read_secret(store->files.key, &key, why);
	if (status != STATUS_OK)
		goto out;
	gnutls_datum_t datum = datum_of(&key);
	if (gnutls_privkey_init(&set->key) != 0 ||
		gnutls_privkey_import_x509_raw(set->key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0) != 0) {
		status = reject(why, store->files.key, "holds no private key");
		goto out;
	}
	datum = datum_of(&certificate);
	length = TLS_CHAIN_MAX;
	if (gnutls_x509_crt_list_import(
		    chain, &length, &datum, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED) < 1) {
		length = 0;
		status = reject(why, store->files.certificate, "holds no certificate, or too long a chain");
		goto out;
	}
	for (; set->chain_length < length; set->chain_length++) {
		if (gnutls_pcert_import_x509(&set->chain[set->chain_length], chain[set->chain_length], 0) != 0) {
			status = reject(why, store->files.certificate, "cannot be used");
			goto out;
		}
	}
	status = check_own(store, set, chain, length, why);
out:
	for (unsigned i = 0; i < length; i++)
		gnutls_x509_crt_deinit(chain[i]);
	strbuf_wipe(&key);
	strbuf_release(&certificate);
	return status;
}

static enum status build_set(const struct tls_store *store, struct tls_set **set_out, struct strbuf *why)
{
	*set_out = NULL;
	struct tls_set *set = calloc(1, sizeof *set);
	if (set == NULL)
		return STATUS_NO_MEMORY;
	atomic_init(&set->references, 1);
	set->trust_domain = strdup(store->trust_domain);
	if (set->trust_domain == NULL || gnutls_x509_trust_list_init(&set->trust, 0) != 0) {
		set_free(set);
		return STATUS_NO_MEMORY;
	}
	enum status status = load_authorities(set, store->files.ca, why);
	if (status == STATUS_OK && store->files.crl != NULL)
		status = load_revocations(set, store->files.crl, why);
	if (status == STATUS_OK)
		status = load_own(store, set, why);
	if (status != STATUS_OK) {
		set_free(set);
		return status;
	}
	*set_out = set;
	return STATUS_OK;
}

/* ---- the set in use ---- */

static void read_stamps(const struct tls_store *store, struct file_stamp stamps[FILE_COUNT])
{
	memset(stamps, 0, FILE_COUNT * sizeof stamps[0]);
	for (size_t i = 0; i < FILE_COUNT; i++)
		if (store->paths[i] != NULL)
			stamps[i] = file_stamp(store->paths[i]);
}

struct tls_set *tls_store_acquire(struct tls_store *store)
{
	pthread_mutex_lock(&store->mutex);
	struct tls_set *set = store->current;
	atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
	pthread_mutex_unlock(&store->mutex);
	return set;
}

void tls_set_release(struct tls_set *set)
{
	if (set != NULL && atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) == 1)
		set_free(set);
}

uint64_t tls_set_generation(const struct tls_set *set)
{
	return set->generation;
}

void tls_set_credential(
	struct tls_set *set, gnutls_pcert_st **chain_out, unsigned *length_out, gnutls_privkey_t *key_out)
{
	*chain_out = set->chain;
	*length_out = set->chain_length;
	*key_out = set->key;
}

enum status tls_store_reload(struct tls_store *store, struct strbuf *why)
{
	struct tls_set *set = NULL;
	struct file_stamp stamps[FILE_COUNT];
	/* Stamped before reading: a file that changes while being read is seen as changed afterwards. */
	read_stamps(store, stamps);
	enum status status = build_set(store, &set, why);
	pthread_mutex_lock(&store->mutex);
	if (status != STATUS_OK) {
		memcpy(store->refused, stamps, sizeof stamps);
		store->has_refused = true;
		pthread_mutex_unlock(&store->mutex);
		return status;
	}
	struct tls_set *old = store->current;
	set->generation = atomic_load_explicit(&store->generation, memory_order_relaxed) + 1;
	store->current = set;
	memcpy(store->stamps, stamps, sizeof stamps);
	atomic_store_explicit(&store->generation, set->generation, memory_order_release);
	pthread_mutex_unlock(&store->mutex);
	tls_set_release(old);
	return STATUS_OK;
}

bool tls_store_has_changed(const struct tls_store *store, bool *was_refused_out)
{
	struct file_stamp stamps[FILE_COUNT];
	struct tls_store *locked = (struct tls_store *)(uintptr_t)store;
	read_stamps(store, stamps);
	pthread_mutex_lock(&locked->mutex);
	bool has_changed = memcmp(stamps, store->stamps, sizeof stamps) != 0;
	*was_refused_out = store->has_refused && memcmp(stamps, store->refused, sizeof stamps) == 0;
	pthread_mutex_unlock(&locked->mutex);
	return has_changed;
}

#define PEERS_SEEN_MAX 256 /* regions of one mesh */

struct peer_seen {
	char region[REGION_SIZE];
	int64_t expires_s;
};

/* Of the process, as the metric is. */
static struct {
	pthread_mutex_t mutex; /* guards both */
	struct peer_seen peers[PEERS_SEEN_MAX];
	size_t count;
} seen = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void remember_peer(const char *region, int64_t expires_s)
{
	size_t i = 0;

	pthread_mutex_lock(&seen.mutex);
	while (i < seen.count && strcmp(seen.peers[i].region, region) != 0)
		i++;
	if (i == seen.count && i < PEERS_SEEN_MAX && strlen(region) < REGION_SIZE) {
		memcpy(seen.peers[i].region, region, strlen(region) + 1);
		seen.count++;
	}
	if (i < seen.count)
		seen.peers[i].expires_s = expires_s;
	pthread_mutex_unlock(&seen.mutex);
}

void tls_peers_each(void (*each)(void *arg, const char *region, int64_t expires_s), void *arg)
{
	struct peer_seen peer = { .region = "" };
	bool is_there = true;

	for (size_t i = 0; is_there; i++) {
		pthread_mutex_lock(&seen.mutex);
		is_there = i < seen.count;
		if (is_there)
			peer = seen.peers[i];
		pthread_mutex_unlock(&seen.mutex);
		if (is_there)
			each(arg, peer.region, peer.expires_s);
	}
}

void tls_peer_seen(const char *region, int64_t expires_s)
{
	struct metric *metric = metric_register(METRIC_GAUGE, "homeward_peer_certificate_not_after_seconds",
		"End of the certificate a region showed in the last handshake with it, as Unix time.", "peer");
	metric_set(metric_series(metric, region, (const char *)NULL), (double)expires_s);
	remember_peer(region, expires_s);
}

uint64_t tls_store_generation(const struct tls_store *store)
{
	return atomic_load_explicit(&store->generation, memory_order_acquire);
}

const struct tls_files *tls_store_files(const struct tls_store *store)
{
	return &store->files;
}

const char *tls_store_trust_domain(const struct tls_store *store)
{
	return store->trust_domain;
}

void tls_store_expiry(const struct tls_store *store, int64_t *leaf_out, int64_t *ca_out, int64_t *crl_out)
{
	struct tls_set *set = tls_store_acquire((struct tls_store *)(uintptr_t)store);
	*leaf_out = set->leaf_expires_s;
	*ca_out = set->ca_expires_s;
	*crl_out = set->crl_expires_s;
	tls_set_release(set);
}

enum status tls_store_create(const struct tls_files *files, const char *trust_domain, const char *region,
	struct tls_store **store_out, struct strbuf *why)
{
	*store_out = NULL;
	must(strlen(region) < REGION_SIZE);
	struct tls_store *store = calloc(1, sizeof *store);
	if (store == NULL)
		return STATUS_NO_MEMORY;
	pthread_mutex_init(&store->mutex, NULL);
	memcpy(store->region, region, strlen(region) + 1);
	const char *paths[FILE_COUNT] = { files->certificate, files->key, files->ca, files->crl };
	enum status status = STATUS_OK;
	store->trust_domain = strdup(trust_domain);
	for (size_t i = 0; i < FILE_COUNT; i++) {
		store->paths[i] = paths[i] == NULL ? NULL : strdup(paths[i]);
		if (paths[i] != NULL && store->paths[i] == NULL)
			status = STATUS_NO_MEMORY;
	}
	store->files = (struct tls_files){ store->paths[0], store->paths[1], store->paths[2], store->paths[3] };
	if (store->trust_domain == NULL)
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = tls_store_reload(store, why);
	if (status != STATUS_OK) {
		tls_store_destroy(store);
		return status;
	}
	*store_out = store;
	return STATUS_OK;
}

void tls_store_destroy(struct tls_store *store)
{
	if (store == NULL)
		return;
	tls_set_release(store->current);
	pthread_mutex_destroy(&store->mutex);
	for (size_t i = 0; i < FILE_COUNT; i++)
		free(store->paths[i]);
	free(store->trust_domain);
	free(store);
}
