/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health endpoints, in the manner Kubernetes expects.  The list of checks is
 * fixed before the first request, so that reading it needs no lock.
 */
#include "base/health.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/must.h"

#define CHECKS_MAX 16 /* a region has half a dozen */

struct health {
	struct {
		const char *name;
		health_check *check;
		void *arg;
	} checks[CHECKS_MAX];
	int count;
	atomic_bool has_started;
};

struct health *health_create(void)
{
	return calloc(1, sizeof(struct health));
}

void health_destroy(struct health *health)
{
	free(health);
}

void health_add(struct health *health, const char *name, health_check *check, void *arg)
{
	must(health->count < CHECKS_MAX);
	health->checks[health->count].name = name;
	health->checks[health->count].check = check;
	health->checks[health->count].arg = arg;
	health->count++;
}

void health_started(struct health *health)
{
	atomic_store(&health->has_started, true);
}

static void reply(struct http_request *request, bool is_good, struct strbuf *text)
{
	struct http_response *response;

	strbuf_adds(text, is_good ? "ok\n" : "failed\n");
	response = http_response_create(is_good ? 200 : 503, "text/plain; charset=utf-8", text->data, text->length);
	must(response != NULL);
	http_response_header(response, "Cache-Control", "no-store");
	http_request_reply(request, response);
	strbuf_release(text);
}

void health_reply_live(struct health *health, struct http_request *request)
{
	struct strbuf text = STRBUF_INIT;

	(void)health;
	reply(request, true, &text);
}

void health_reply_ready(struct health *health, struct http_request *request)
{
	bool is_verbose = http_request_query(request, "verbose") != NULL;
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	bool is_good = true;

	for (int i = 0; i < health->count; i++) {
		bool passed;
		strbuf_reset(&why);
		passed = health->checks[i].check(health->checks[i].arg, &why);
		is_good = is_good && passed;
		if (is_verbose)
			strbuf_addf(&text, "[%c]%s %s\n", passed ? '+' : '-', health->checks[i].name,
				passed ? "ok" : why.data);
	}
	strbuf_release(&why);
	reply(request, is_good, &text);
}

void health_reply_started(struct health *health, struct http_request *request)
{
	struct strbuf text = STRBUF_INIT;

	reply(request, atomic_load(&health->has_started), &text);
}
