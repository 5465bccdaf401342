/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What erasing a subject at home, telling other regions, and forgetting what another
 * region says share.  Only the service's own files see this.
 */
#ifndef SERVICE_SUBJECT_H
#define SERVICE_SUBJECT_H

#include "service.h"

#define DATABASE_NOW DATABASE_TIME_US("now()")

/* The name of the object's row. */
MUST_CHECK enum status subject_ref(
	struct service *service, const struct object_id *object, char ref[SUBJECT_HASH_SIZE], struct strbuf *why);
/* Its pseudonym, from the key in its row; false when that cannot be opened. */
bool subject_of_row(struct service *service, const char *ref, const char *wrapped_hex, const struct object_id *object,
	char subject[ENTRY_SUBJECT_SIZE]);
/* What a request of the admin listener is about.  One HTTP thread. */
struct subject {
	struct service *service;
	struct object_id object;
	/* The rest is there after subject_find(). */
	struct database_session *session;
	char ref[SUBJECT_HASH_SIZE];
	char pseudonyms[KEYRING_EPOCHS_MAX + 1]
		       [ENTRY_SUBJECT_SIZE]; /* its own first, when it has one; then the epochs' */
	size_t pseudonym_count;
	struct exchange_id id; /* of what is done now */
	char id_text[EXCHANGE_ID_TEXT_SIZE];
	struct strbuf names, regions; /* array literals: the pseudonyms; who was sent something */
	int64_t region_count;
	char last_peer[REGION_SIZE];
};
/* Reads {"type", "id", …}; *asked_out is the caller's to release, and subject_end() to call, whatever comes back. */
MUST_CHECK enum status subject_begin(struct subject *subject, struct service *service, struct http_request *request,
	json_t **asked_out, struct strbuf *why);
MUST_CHECK enum status subject_find(struct subject *subject, struct strbuf *why);
/* The object's id under the master key, in hex, bound to the subject's `id`. */
bool subject_seal(struct subject *subject, struct strbuf *hex);
void subject_reply(
	struct http_request *request, enum status status, const struct strbuf *text, const struct strbuf *why);
void subject_end(struct subject *subject);
/* How many bytes there were; 0 when too many. */
size_t subject_unhex(const char *hex, uint8_t *bytes, size_t size_max);

/*
 * An erasure that came as an event, and an acknowledgement that did: as if it had come over the peer API.  On any thread;
 * what cannot be done is logged, and comes over the peer API later.
 */
void service_forget_told(void *arg, const char *region, const char *erasure, const char *type, const char *id);
void service_forget_acknowledged(void *arg, const char *region, const char *erasure);

#endif
