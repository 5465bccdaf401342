/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener: health, metrics, status and reload.  Bound to loopback and
 * a unix socket by default; it carries no personal data.  Runs on HTTP threads.
 */
#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/problem.h"

static void live(void *arg, struct http_request *request)
{
	health_reply_live(((struct service *)arg)->health, request);
}

static void ready(void *arg, struct http_request *request)
{
	health_reply_ready(((struct service *)arg)->health, request);
}

static void started(void *arg, struct http_request *request)
{
	health_reply_started(((struct service *)arg)->health, request);
}

void admin_reply(struct http_request *request, const char *content_type, struct strbuf *text)
{
	struct http_response *response = NULL;

	if (strbuf_ok(text))
		response = http_response_create(200, content_type, text->data, text->length);
	strbuf_release(text);
	if (response == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	http_response_header(response, "Cache-Control", "no-store");
	http_request_reply(request, response);
}

static void metrics(void *arg, struct http_request *request)
{
	struct strbuf text = STRBUF_INIT;

	(void)arg;
	metrics_write(&text);
	admin_reply(request, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static void add_list(struct strbuf *text, const char *name, const char *commas)
{
	strbuf_addf(text, "\"%s\":[", name);
	while (*commas != '\0') {
		size_t length = strcspn(commas, ",");
		strbuf_add_json(text, commas, length);
		commas += length;
		commas += strspn(commas, ", ");
		if (*commas != '\0')
			strbuf_addc(text, ',');
	}
	strbuf_addc(text, ']');
}

static void reload(void *arg, struct http_request *request)
{
	struct service *service = arg;
	struct strbuf applied = STRBUF_INIT, restart = STRBUF_INIT, why = STRBUF_INIT, text = STRBUF_INIT;

	if (service_reload(service, &applied, &restart, &why) != STATUS_OK) {
		problem_reply(request, STATUS_INVALID, why.data);
	} else {
		strbuf_addc(&text, '{');
		add_list(&text, "applied", applied.data);
		strbuf_addc(&text, ',');
		add_list(&text, "restart_needed", restart.data);
		strbuf_adds(&text, "}\n");
		admin_reply(request, "application/json", &text);
	}
	strbuf_release(&applied);
	strbuf_release(&restart);
	strbuf_release(&why);
}

static void mesh(void *arg, struct http_request *request)
{
	struct service *service = arg;
	json_t *matrix = service->events != NULL ? events_mesh(service->events) : NULL;
	struct strbuf text = STRBUF_INIT;

	if (matrix == NULL)
		problem_reply(request, STATUS_NOT_FOUND, "There is no mesh here: see events.mesh.");
	else if (json_write(matrix, &text) != STATUS_OK)
		problem_reply(request, STATUS_NO_MEMORY, NULL);
	else
		admin_reply(request, "application/json", &text);
	strbuf_release(&text);
	json_decref(matrix);
}

static void shadow(void *arg, struct http_request *request)
{
	struct policy *policy = gate_acquire(((struct service *)arg)->gate);
	json_t *report = policy_shadow_report(policy);
	struct strbuf text = STRBUF_INIT;

	if (report == NULL || json_write(report, &text) != STATUS_OK)
		problem_reply(request, STATUS_NO_MEMORY, NULL);
	else
		admin_reply(request, "application/json", &text);
	strbuf_release(&text);
	json_decref(report);
	policy_release_reference(policy);
}

static void events(void *arg, struct http_request *request)
{
	system_events_answer(((struct service *)arg)->system, request);
}

/* The whole of a text is `size_min` to `size_max` of these characters. */
static bool is_made_of(const char *text, const char *letters, size_t size_min, size_t size_max)
{
	size_t size = text != NULL ? strspn(text, letters) : 0;

	return text != NULL && text[size] == '\0' && size >= size_min && size <= size_max;
}

/* What a command has made: the daemon only puts it on record, for it alone writes the log. */
static void put_on_record(void *arg, struct http_request *request, const struct strbuf *text)
{
	struct strbuf answer = STRBUF_INIT;
	enum status status = strbuf_ok(text) ? service_log_admin(arg, text->data) : STATUS_NO_MEMORY;

	if (status == STATUS_OK) {
		strbuf_adds(&answer, "{\"logged\":true}\n");
		admin_reply(request, "application/json", &answer);
	} else {
		problem_reply(request, status, NULL);
	}
	strbuf_release(&answer);
}

/* What a person asked for: how much it was, not whose. */
static void subject_report(void *arg, struct http_request *request)
{
	const char *count = http_request_query(request, "count"), *sha256 = http_request_query(request, "sha256");
	struct strbuf text = STRBUF_INIT;

	if (!is_made_of(count, "0123456789", 1, 19) || !is_made_of(sha256, "0123456789abcdef", 64, 64)) {
		problem_reply(request, STATUS_INVALID, "count and sha256 say what was reported.");
		return;
	}
	strbuf_addf(&text, "access report of %s exchanges, sha256 %s", count, sha256);
	put_on_record(arg, request, &text);
	strbuf_release(&text);
}

/* An auditor's. */
static void audit_export(void *arg, struct http_request *request)
{
	const char *first = http_request_query(request, "first"), *count = http_request_query(request, "count");
	const char *sha256 = http_request_query(request, "sha256");
	struct strbuf text = STRBUF_INIT;

	if (!is_made_of(first, "0123456789", 1, 19) || !is_made_of(count, "0123456789", 1, 19) ||
		!is_made_of(sha256, "0123456789abcdef", 64, 64)) {
		problem_reply(request, STATUS_INVALID, "first, count and sha256 say what was exported.");
		return;
	}
	strbuf_addf(&text, "export of %s entries from %s on, sha256 %s", count, first, sha256);
	put_on_record(arg, request, &text);
	strbuf_release(&text);
}

static const struct http_route routes[] = {
	{ "GET", "/admin/v1/policy/shadow", shadow },
	{ "GET", "/livez", live },
	{ "GET", "/readyz", ready },
	{ "GET", "/startupz", started },
	{ "GET", "/metrics", metrics },
	{ "GET", "/admin/v1/status", admin_status },
	{ "GET", "/admin/v1/events", events },
	{ "GET", "/admin/v1/mesh", mesh },
	{ "POST", "/admin/v1/audit/export", audit_export },
	{ "POST", "/admin/v1/reload", reload },
	{ "POST", "/admin/v1/subjects/erase", service_erase },
	{ "GET", "/admin/v1/subjects/erasures", service_erasures },
	{ "POST", "/admin/v1/subjects/flag", service_flag },
	{ "POST", "/admin/v1/subjects/report", subject_report },
	{ "GET", "/admin/v1/subjects/master-key", service_master_key },
	{ "POST", "/admin/v1/subjects/master-key", service_change_master_key },
};

const struct http_route *admin_routes(size_t *count_out)
{
	*count_out = sizeof(routes) / sizeof(routes[0]);
	return routes;
}

static void set_gauge(const char *name, const char *help, double value)
{
	metric_set(metric_series(metric_register(METRIC_GAUGE, name, help, NULL), (const char *)NULL), value);
}

void admin_collect_metrics(void *arg)
{
	struct service *service = arg;
	struct metric *expiry = metric_register(METRIC_GAUGE, "homeward_tls_certificate_expiry_timestamp_seconds",
		"When the certificate or revocation list in use ends.", "role");
	int64_t leaf = 0, ca = 0, crl = 0;

	if (service->tls != NULL) {
		tls_store_expiry(service->tls, &leaf, &ca, &crl);
		metric_set(metric_series(expiry, "leaf", (const char *)NULL), (double)leaf);
		metric_set(metric_series(expiry, "ca", (const char *)NULL), (double)ca);
		metric_set(metric_series(expiry, "crl", (const char *)NULL), (double)crl);
	}
	if (service->routes != NULL) {
		set_gauge("homeward_route_table_generation", "Generation of the route table in use.",
			(double)routes_generation(service->routes));
		set_gauge("homeward_route_table_routes", "Routes in the table in use.",
			(double)routes_count(service->routes));
	}
	if (service->gate != NULL) {
		struct policy *policy = gate_acquire(service->gate);

		set_gauge("homeward_policy_generation", "How many times the policy was swapped.",
			(double)gate_generation(service->gate));
		if (policy != NULL)
			set_gauge("homeward_policy_not_after_timestamp_seconds",
				"When the policy in force expires: personal types are denied from then on.",
				(double)(policy_not_after_us(policy) / 1000000));
		policy_release_reference(policy);
	}
}
