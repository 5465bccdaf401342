/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers: who may use the client API, and for which purposes.  An immutable
 * snapshot with counted references; the directory swaps it whole when the table
 * changes, and keeps the last good one on disk.
 */
#ifndef LOCATOR_CALLERS_H
#define LOCATOR_CALLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/database.h"
#include "base/hash.h"
#include "base/lookup.h"
#include "base/loop.h"
#include "base/status.h"
#include "base/strbuf.h"

struct caller {
	char name[CALLER_SIZE];
	uint8_t token_hash[SHA256_SIZE];
	char (*purposes)[PURPOSE_SIZE];
	size_t purpose_count;
	bool may_name_any_purpose, may_write;
};

struct callers;

/* [{"name":"…","token_hash":"<64 hex>","purposes":["…"],"may_write":false}, …] */
MUST_CHECK enum status callers_parse(
	const char *text, size_t size, uint64_t seed, struct callers **callers_out, struct strbuf *why);
struct callers *callers_acquire(struct callers *callers);
void callers_release(struct callers *callers); /* accepts NULL */
size_t callers_count(const struct callers *callers);
/* The caller of an Authorization header ("Bearer …"); NULL when there is none.  Borrowed from the snapshot. */
const struct caller *callers_identify(struct callers *callers, const char *authorization);
bool caller_may_name(const struct caller *caller, const char *purpose);

struct caller_directory;

/* Starts with the copy on disk, if there is one; path is copied. */
MUST_CHECK enum status caller_directory_create(
	const char *path, uint64_t seed, struct caller_directory **directory_out);
/* After the loop it follows on has stopped. */
void caller_directory_destroy(struct caller_directory *directory);
MUST_CHECK enum status caller_directory_follow(
	struct caller_directory *directory, struct loop *loop, struct database *database);
/* A reference to the current snapshot, or NULL when none was ever loaded.  Any thread. */
struct callers *caller_directory_current(struct caller_directory *directory);
/* Takes the snapshot. */
void caller_directory_swap(struct caller_directory *directory, struct callers *callers);

#endif
