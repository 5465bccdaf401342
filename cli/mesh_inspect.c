/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at one region from here: what its broker's management API tells, and a
 * handshake with each of its addresses, as this region where its certificate is
 * known.  A broker greets only whom it trusts, so its greeting shows that our
 * certificate is accepted; a peer's answer has its time.
 */
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/mesh_checks.h"

/* A management API shows no more than its greeting needs; whatever it answers has a Date. */
#define TIME_REQUEST "HEAD / HTTP/1.1\r\nHost: homeward\r\nConnection: close\r\n\r\n"
#define BROKER_GREETING "AMQP\0\0\x09\x01"

static int64_t now_s(void)
{
	return clock_wall_us(clock_system()) / 1000000;
}

static bool read_management(const struct mesh_inspection *inspection, size_t index)
{
	static const char *const paths[] = { "/api/overview", "/api/nodes" };
	const struct mesh_region *region = &inspection->session->mesh->regions[index];
	const struct mesh_api *api = &inspection->session->api;
	struct strbuf why = STRBUF_INIT;
	json_t *answers[2] = { NULL, NULL };
	bool is_read = true;

	for (size_t i = 0; i < 2 && is_read; i++) {
		int http_status = 0;
		enum status status = api->call(api->arg, index, "GET", paths[i], NULL, &http_status, &answers[i], &why);

		if (status == STATUS_OK && http_status != 200)
			strbuf_addf(&why, "%s%s: %d", region->management.url, paths[i], http_status);
		is_read = why.length == 0;
	}
	if (is_read)
		mesh_judge_broker(inspection->checks, region, answers[0], answers[1]);
	else
		mesh_checks_add(inspection->checks, MESH_CRITICAL, "MESH_023", region->name,
			"see that the broker runs, and the management user's name, password and tag administrator",
			NULL, "%s", why.data);
	json_decref(answers[0]);
	json_decref(answers[1]);
	strbuf_release(&why);
	return is_read;
}

static void shake_hands(const struct mesh_inspection *inspection, size_t index, struct handshake_wish *wish,
	const char *uri, struct handshake *handshake)
{
	const char *region = inspection->session->mesh->regions[index].name;

	if (inspection->settings != NULL) {
		wish->certificate = inspection->settings->tls.certificate;
		wish->key = inspection->settings->tls.key;
	} else {
		wish->request = NULL; /* nobody answers whom he does not know */
	}
	handshake_try(wish, handshake);
	mesh_judge_handshake(inspection->checks, region, wish->url, region, uri, handshake, now_s());
}

static void try_brokers(const struct mesh_inspection *inspection, size_t index)
{
	const struct mesh_region *region = &inspection->session->mesh->regions[index];

	for (size_t i = 0; i < region->broker_url_count; i++) {
		struct handshake_wish wish = { .url = region->broker_urls[i],
			.default_port = 5671,
			.ca = inspection->settings != NULL ? inspection->settings->tls.ca : region->management.ca_file,
			.request = BROKER_GREETING,
			.request_size = sizeof(BROKER_GREETING) - 1,
			.has_host_name = true };
		struct handshake handshake;

		shake_hands(inspection, index, &wish, NULL, &handshake);
		handshake_release(&handshake);
	}
}

static void judge_time(const struct mesh_inspection *inspection, const char *where, const struct handshake *handshake)
{
	int64_t ahead_ms;

	if (handshake_clock(handshake, &ahead_ms))
		mesh_judge_clock(inspection->checks, where, ahead_ms);
}

static void try_peers(const struct mesh_inspection *inspection, size_t index)
{
	const struct mesh *mesh = inspection->session->mesh;
	const struct mesh_region *region = &mesh->regions[index];
	struct strbuf uri = STRBUF_INIT;

	strbuf_addf(&uri, "spiffe://%s/region/%s", mesh->trust_domain, region->name);
	for (size_t i = 0; i < region->peer_url_count; i++) {
		struct handshake_wish wish = { .url = region->peer_urls[i],
			.default_port = 443,
			.ca = inspection->settings != NULL ? inspection->settings->tls.ca : region->management.ca_file,
			.request = TIME_REQUEST,
			.request_size = sizeof(TIME_REQUEST) - 1 };
		struct handshake handshake;

		shake_hands(inspection, index, &wish, uri.data, &handshake);
		judge_time(inspection, region->name, &handshake);
		handshake_release(&handshake);
	}
	strbuf_release(&uri);
}

/* On this machine it may be plain HTTP, and then has this machine's clock. */
static void try_management(const struct mesh_inspection *inspection, size_t index)
{
	const struct mesh_region *region = &inspection->session->mesh->regions[index];
	struct handshake_wish wish = { .url = region->management.url,
		.default_port = 443,
		.ca = region->management.ca_file,
		.request = TIME_REQUEST,
		.request_size = sizeof(TIME_REQUEST) - 1,
		.has_host_name = true };
	struct handshake handshake;
	struct strbuf where = STRBUF_INIT;

	if (strncmp(region->management.url, "https://", strlen("https://")) != 0)
		return;
	strbuf_addf(&where, "broker of %s", region->name);
	handshake_try(&wish, &handshake);
	judge_time(inspection, where.data, &handshake);
	handshake_release(&handshake);
	strbuf_release(&where);
}

void mesh_inspect_region(const struct mesh_inspection *inspection, size_t region)
{
	if (read_management(inspection, region))
		try_management(inspection, region);
	try_brokers(inspection, region);
	try_peers(inspection, region);
}
