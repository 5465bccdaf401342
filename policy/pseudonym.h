/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pseudonyms: what stands for an object in the access log.
 *
 *   p1.<hash>           under the subject's own random key, which can be destroyed
 *                       (homeward.subject_keys, wrapped): then nothing tells any
 *                       more whom the entries were about
 *   u1.<epoch>.<hash>   under the epoch's key, for ids that have no key of their
 *                       own: nobody can make us store keys by guessing ids
 *
 * One set an engine.  Those used lately are at hand; the others are fetched by one
 * array query a round.  When the database cannot say in time, an epoch's pseudonym
 * is used: right, only not for as long.
 */
#ifndef POLICY_PSEUDONYM_H
#define POLICY_PSEUDONYM_H

#include "base/database.h"
#include "base/loop.h"
#include "base/object_id.h"
#include "policy/entry.h"
#include "policy/keyring.h"
#include "policy/subject.h"

#define PSEUDONYM_WAIT_MS 500 /* the longest an entry waits for its subject's key */

/* What may be done for an object without a key. */
enum pseudonym_wish {
	PSEUDONYM_AS_IS,  /* nothing */
	PSEUDONYM_CREATE, /* make one: the object is known to exist */
};

struct pseudonym_question {
	void (*done)(struct pseudonym_question *question, enum status status, const char *subject);
	struct pseudonym_question *next;
	struct pseudonym_fetch *fetch; /* NULL: not waiting */
};

struct pseudonyms;

struct pseudonyms_settings {
	struct loop *loop;
	struct database *database;
	struct keyring *keyring;
	const uint8_t *key;        /* the region's, 32 bytes, for the names of rows */
	size_t remembered;         /* subjects at hand, about 40 bytes each */
	void (*idle)(void *owner); /* nothing is under way any more; after pseudonyms_stop() */
	void *owner;
};

MUST_CHECK enum status pseudonyms_create(const struct pseudonyms_settings *settings, struct pseudonyms **out);
/* Ends questions with STATUS_DRAINING.  Free it when it is idle. */
void pseudonyms_stop(struct pseudonyms *pseudonyms);
bool pseudonyms_are_idle(const struct pseudonyms *pseudonyms);
void pseudonyms_free(struct pseudonyms *pseudonyms);

/* The epoch's pseudonym, which needs nobody. */
void pseudonym_of_epoch(
	struct pseudonyms *pseudonyms, const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE]);
/* True when it is at hand. */
bool pseudonym_find(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish,
	char subject[ENTRY_SUBJECT_SIZE]);
/* done is called once, with STATUS_OK or STATUS_DRAINING, and never from inside this call. */
void pseudonym_ask(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish,
	struct pseudonym_question *question);
/* The same for nobody yet: so that it is at hand later. */
void pseudonym_prepare(struct pseudonyms *pseudonyms, const struct object_id *object, enum pseudonym_wish wish);

#endif
