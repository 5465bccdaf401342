/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Randomness as an argument.  random_system() is the kernel's and is the only
 * one used outside tests; random_seeded() is a small deterministic generator
 * for simulations and never for keys.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random_source {
	void (*fill)(void *arg, void *bytes, size_t size);
	void *arg;
};

/* getrandom(2); aborts when the kernel has no randomness.  Safe from any thread. */
const struct random_source *random_system(void);

struct random_seeded {
	struct random_source source;
	uint64_t state;
};
void random_seeded_init(struct random_seeded *random, uint64_t seed);

void random_fill(const struct random_source *random, void *bytes, size_t size);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(const struct random_source *random, uint64_t bound);

#endif
