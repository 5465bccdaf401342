/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request targets: what is taken apart fits in the bytes it came from, decoded
 * once, without control characters; and a strict listener takes no '%' at all.
 */
#include "base/http_server_internal.h"
#include "base/must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(void *arg, struct http_request *request)
{
	(void)arg;
	(void)request;
}

static const struct http_route routes[] = {
	{ "GET", "/livez", answer },
	{ "GET", "/v1/objects/{type}/{id}", answer },
	{ "PUT", "/v1/objects/{type}/{id}", answer },
	{ "GET", "/v1/objects/station/{id}", answer },
	{ "GET", "/files/{rest*}", answer },
};

static void try_uri(const struct route_table *table, const uint8_t *data, size_t size, bool strict_path)
{
	struct strbuf allowed = STRBUF_INIT;
	struct compiled_route *route = NULL;
	struct parsed_uri parsed;
	const char *why = NULL;
	char *uri = malloc(size + 1);
	bool has_percent;
	enum status status;

	must(uri != NULL);
	memcpy(uri, data, size);
	uri[size] = '\0';
	has_percent = memchr(uri, '%', strcspn(uri, "?")) != NULL;
	if (uri_parse(uri, strict_path, &parsed, &why) == STATUS_OK) {
		must(!strict_path || !has_percent);
		status = route_match(table, "GET", &parsed, &route, &allowed);
		must((status == STATUS_OK) == (route != NULL));
	} else {
		must(why != NULL);
	}
	strbuf_release(&allowed);
	free(uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct route_table table;
	static bool is_ready;
	struct strbuf why = STRBUF_INIT;

	if (!is_ready) {
		must(route_table_build(routes, sizeof(routes) / sizeof(routes[0]), &table, &why) == STATUS_OK);
		is_ready = true;
	}
	try_uri(&table, data, size, false);
	try_uri(&table, data, size, true);
	return 0;
}
