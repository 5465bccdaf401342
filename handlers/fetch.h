/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: the ways to get a record, one fetcher a type, private to handlers.  A
 * fetcher belongs to one loop.  Closing one ends what was not sent yet with
 * STATUS_DRAINING; what is under way ends when its database or client does, and
 * the fetcher's memory stays until then, so that the order of destruction does
 * not matter.
 */
#ifndef HANDLERS_FETCH_H
#define HANDLERS_FETCH_H

#include "handlers/handlers.h"

/* ---- store and sql: rows of PostgreSQL ---- */

struct row_fetcher;

struct row_fetcher_settings {
	struct loop *loop;
	struct database *database;
	const char *type;      /* borrowed */
	const char *statement; /* borrowed; kept prepared under its address */
	bool takes_type;       /* $1 is the type and $2 the ids; else $1 is the ids */
};

MUST_CHECK enum status row_fetcher_create(
	const struct row_fetcher_settings *settings, struct row_fetcher **fetcher_out);
void row_fetcher_close(struct row_fetcher *fetcher);
void row_fetcher_get(
	struct row_fetcher *fetcher, const char *id, int64_t deadline_ms, handlers_fetch_done *done, void *arg);

/* ---- http: an internal service ---- */

struct http_fetcher;

MUST_CHECK enum status http_fetcher_create(struct loop *loop, struct http_client *client, const char *type,
	const char *template, struct http_fetcher **fetcher_out);
void http_fetcher_close(struct http_fetcher *fetcher);
void http_fetcher_get(
	struct http_fetcher *fetcher, const char *id, int64_t deadline_ms, handlers_fetch_done *done, void *arg);

/* ---- completions that must not come from inside the call ---- */

void fetch_end_later(struct loop *loop, enum status status, handlers_fetch_done *done, void *arg);

#endif
