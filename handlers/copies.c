/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy is noted for twice its time, and a small memory of what was noted lately
 * saves the statement for most answers.
 *
 * The object's row is locked while the note is written: a change that came before
 * shows in the version, one that is under way is seen by the lock, and one that
 * comes later waits and then finds the note.  So either the change tells the
 * region, or the region may not keep the answer.  Nobody waits for the lock: an
 * object that is being changed is just not to be kept.
 */
#include "handlers/copies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/random.h"

#define REMEMBERED 8192 /* notes; a lost one costs a statement */

/* $1 type, $2 id, $3 region, $4 seconds. */
#define NOTE                                                                                                           \
	"INSERT INTO homeward.copies AS c (type, id, region, until) SELECT $1::text, $2::text, $3::text, "             \
	"now() + $4::bigint * interval '1 second'"
#define AGAIN " ON CONFLICT (type, id, region) DO UPDATE SET until = greatest(c.until, excluded.until)"

static const char note_stored[] =
	"WITH held AS (SELECT version FROM homeward.objects WHERE type = $1 AND id = $2 FOR SHARE SKIP LOCKED),"
	" noted AS (" NOTE " FROM held" AGAIN ") SELECT version FROM held";
static const char note_other[] = "WITH noted AS (" NOTE AGAIN ") SELECT -1";

struct copies {
	struct loop *loop;
	struct database *database;
	uint64_t seed;
	struct {
		uint64_t hash;
		int64_t until_ms;
	} remembered[REMEMBERED];
};

struct pending_note {
	struct copies *copies;
	copies_done *done;
	void *arg;
	uint64_t hash, version;
	int64_t until_ms;
	bool is_stored;
};

enum status copies_create(struct loop *loop, struct database *database, struct copies **copies_out)
{
	*copies_out = calloc(1, sizeof(**copies_out));
	if (*copies_out == NULL)
		return STATUS_NO_MEMORY;
	(*copies_out)->loop = loop;
	(*copies_out)->database = database;
	(*copies_out)->seed = random_below(random_system(), UINT64_MAX);
	return STATUS_OK;
}

void copies_destroy(struct copies *copies)
{
	free(copies);
}

static uint64_t hash_of(const struct copies *copies, const struct copy *copy)
{
	char text[OBJECT_TYPE_SIZE + OBJECT_ID_SIZE + REGION_SIZE + 3];
	int length = snprintf(text, sizeof(text), "%s\n%s\n%s", copy->region, copy->object->type, copy->object->id);

	return hash_key64(text, (size_t)length, copies->seed);
}

bool copies_has(const struct copies *copies, const struct copy *copy)
{
	uint64_t hash = hash_of(copies, copy);

	return copies->remembered[hash % REMEMBERED].hash == hash &&
	       copies->remembered[hash % REMEMBERED].until_ms >= loop_now_ms(copies->loop) + copy->ttl_s * 1000;
}

static void noted(void *arg, enum status status, const PGresult *result)
{
	struct pending_note *pending = arg;
	struct copies *copies = pending->copies;
	bool may_keep = status == STATUS_OK && PQntuples(result) == 1;

	if (may_keep) {
		copies->remembered[pending->hash % REMEMBERED].hash = pending->hash;
		copies->remembered[pending->hash % REMEMBERED].until_ms = pending->until_ms;
	}
	if (may_keep && pending->is_stored)
		may_keep = strtoull(PQgetvalue(result, 0, 0), NULL, 10) == pending->version;
	pending->done(pending->arg, may_keep);
	free(pending);
}

void copies_note(struct copies *copies, const struct copy *copy, copies_done *done, void *arg)
{
	struct pending_note *pending = calloc(1, sizeof(*pending));
	char seconds[24];
	const struct database_parameter parameters[] = { { copy->object->type }, { copy->object->id }, { copy->region },
		{ seconds } };

	/* Without these few bytes the promise to end every note cannot be kept. */
	must(pending != NULL);
	pending->copies = copies;
	pending->done = done;
	pending->arg = arg;
	pending->hash = hash_of(copies, copy);
	pending->version = copy->version;
	pending->is_stored = copy->is_stored;
	/* The row says a second more: the other region counts from when the answer has come. */
	pending->until_ms = loop_now_ms(copies->loop) + copy->ttl_s * 2000;
	snprintf(seconds, sizeof(seconds), "%" PRId64, copy->ttl_s * 2 + 1);
	database_query(copies->database, copy->is_stored ? note_stored : note_other, parameters, 4, copy->deadline_ms,
		noted, pending);
}
