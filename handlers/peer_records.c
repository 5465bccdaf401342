/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /peer/v1/exchanges: what this region's access log says of its crossings
 * with the region that asks, for reconciling.  Whose crossings is said by the
 * certificate alone; there is no way to ask for another region's.  A page holds
 * whole exchanges, some thousand entries at most, in the order of their ids.
 *
 * Read on the control loop over a connection of its own, and a few at a time, so
 * that no lookup ever waits behind an auditor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/problem.h"
#include "handlers/serve.h"

#define PAGE_MS 10000       /* a page of a large index on a busy disk */
#define PAGES_AT_ONCE_MAX 4 /* of all peers together */
#define ENTRY_BYTES_TYPICAL 192

struct page {
	struct loop_task task;
	struct peer_service *service;
	struct http_request *request;
	char requester[REGION_SIZE];
	char after[EXCHANGE_ID_TEXT_SIZE], before[EXCHANGE_ID_TEXT_SIZE];
};

static void page_end(struct page *page)
{
	atomic_fetch_sub(&page->service->pages, 1);
	free(page);
}

static void add_entry(struct strbuf *text, const PGresult *rows, int row)
{
	static const char *const names[RECONCILE_COLUMNS] = { "x", "op", "k", "dec", "out", "fld", "ttl", "rh" };

	for (int column = 0; column < RECONCILE_COLUMNS; column++) {
		const char *value = PQgetvalue(rows, row, column);

		strbuf_addf(text, "%s\"%s\":", column == 0 ? "{" : ",", names[column]);
		strbuf_add_json(text, value, strlen(value));
	}
	strbuf_addc(text, '}');
}

static struct http_response *page_response(const struct page *page, const PGresult *rows)
{
	struct http_response *response = NULL;
	struct strbuf text = STRBUF_INIT;
	bool has_more;
	size_t count = reconcile_page_rows(rows, &has_more), size;
	char *bytes;

	(void)strbuf_reserve(&text, count * ENTRY_BYTES_TYPICAL);
	strbuf_addf(&text, "{\"region\":\"%s\",\"more\":%s,\"entries\":[", page->service->settings->region,
		has_more ? "true" : "false");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strbuf_addc(&text, ',');
		add_entry(&text, rows, (int)i);
	}
	strbuf_adds(&text, "]}\n");
	bytes = strbuf_take(&text, &size);
	if (bytes != NULL)
		response = http_response_create_taking(200, "application/json", bytes, size);
	if (response != NULL)
		http_response_header(response, "Cache-Control", "no-store");
	return response;
}

static void page_read(void *arg, enum status status, const PGresult *rows)
{
	struct page *page = arg;
	struct http_response *response = status == STATUS_OK ? page_response(page, rows) : NULL;

	if (response != NULL)
		http_request_reply(page->request, response);
	else
		problem_reply(page->request, status == STATUS_OK ? STATUS_NO_MEMORY : status, NULL);
	page_end(page);
}

static void page_run(struct loop_task *task)
{
	struct page *page = (struct page *)task;
	struct peer_service *service = page->service;
	const struct database_parameter parameters[] = { { page->requester }, { page->after }, { page->before } };

	database_query(service->records_database, reconcile_page_statement, parameters, 3,
		loop_now_ms(service->records_loop) + PAGE_MS, page_read, page);
}

static bool read_id(const struct http_request *request, const char *name, char text[EXCHANGE_ID_TEXT_SIZE])
{
	const char *given = http_request_query(request, name);
	struct exchange_id id;

	if (given == NULL || exchange_id_parse(given, &id) != STATUS_OK)
		return false;
	exchange_id_format(&id, text);
	return true;
}

void peer_records(void *arg, struct http_request *request)
{
	struct peer_service *service = arg;
	const char *requester = http_request_peer(request);
	struct page *page;

	if (requester == NULL) {
		problem_reply(request, STATUS_UNAUTHENTICATED, "Peers show their region's certificate.");
		return;
	}
	if (service->records_database == NULL || atomic_fetch_add(&service->pages, 1) >= PAGES_AT_ONCE_MAX) {
		if (service->records_database != NULL)
			atomic_fetch_sub(&service->pages, 1);
		problem_reply(request, STATUS_OVERLOADED, NULL);
		return;
	}
	page = calloc(1, sizeof(*page));
	if (page == NULL) {
		atomic_fetch_sub(&service->pages, 1);
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	page->service = service;
	page->request = request;
	page->task.run = page_run;
	(void)snprintf(page->requester, REGION_SIZE, "%s", requester);
	if (!read_id(request, "after", page->after) || !read_id(request, "before", page->before)) {
		problem_reply(request, STATUS_INVALID, "after and before are exchange ids.");
		page_end(page);
		return;
	}
	http_request_suspend(request);
	loop_post(service->records_loop, &page->task);
}

void peer_service_read_records(struct peer_service *service, struct loop *loop, struct database *database)
{
	service->records_loop = loop;
	service->records_database = database;
}
