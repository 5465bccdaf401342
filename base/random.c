/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Randomness: getrandom(2), and SplitMix64 (Steele, Lea, Flood 2014) for
 * simulations that must replay.
 */
#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/must.h"

#define PIECE_MAX 16 /* bytes; a key is 32 */

static void from_kernel(unsigned char *to, size_t size)
{
	while (size > 0) {
		ssize_t got = getrandom(to, size, 0);
		if (got < 0 && errno == EINTR)
			continue;
		must(got > 0);
		to += got;
		size -= (size_t)got;
	}
}

/* Small pieces, an exchange id for each lookup, come from a store a thread keeps: a system call each would cost more than
 * the id.  What was given out is wiped.  Keys are larger or rare; both go past the store. */
static void system_fill(void *arg, void *bytes, size_t size)
{
	static _Thread_local unsigned char store[512];
	static _Thread_local size_t left;

	(void)arg;
	if (size > PIECE_MAX) {
		from_kernel(bytes, size);
		return;
	}
	if (left < size) {
		from_kernel(store, sizeof(store));
		left = sizeof(store);
	}
	left -= size;
	memcpy(bytes, store + left, size);
	explicit_bzero(store + left, size);
}

const struct random_source *random_system(void)
{
	static const struct random_source source = { system_fill, NULL };

	return &source;
}

static uint64_t seeded_next(struct random_seeded *random)
{
	uint64_t z = (random->state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static void seeded_fill(void *arg, void *bytes, size_t size)
{
	unsigned char *to = bytes;

	while (size > 0) {
		uint64_t word = seeded_next(arg);
		size_t part = size < sizeof(word) ? size : sizeof(word);
		memcpy(to, &word, part);
		to += part;
		size -= part;
	}
}

void random_seeded_init(struct random_seeded *random, uint64_t seed)
{
	random->source = (struct random_source){ seeded_fill, random };
	random->state = seed;
}

void random_fill(const struct random_source *random, void *bytes, size_t size)
{
	random->fill(random->arg, bytes, size);
}

uint64_t random_below(const struct random_source *random, uint64_t bound)
{
	uint64_t limit, word;

	must(bound > 0);
	limit = UINT64_MAX - UINT64_MAX % bound; /* reject the uneven tail */
	do
		random_fill(random, &word, sizeof(word));
	while (word >= limit);
	return word % bound;
}
