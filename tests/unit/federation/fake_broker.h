/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A management API in memory for tests: PUT and POST keep what they are given
 * under their path, GET of a list gives the items below it as the real API does
 * (names and virtual host added), DELETE forgets.  One a test; every region is a
 * broker of its own.
 */
#ifndef TESTS_FAKE_BROKER_H
#define TESTS_FAKE_BROKER_H

#include <string.h>

#include "base/must.h"
#include "federation/federation.h"

struct fake_brokers {
	const struct mesh *mesh;
	json_t *items; /* "<region> <path>": what was put there */
	size_t call_count, change_count;
	size_t fail_at_change; /* 0: never; else that change is answered with 500 */
	bool is_unreachable;
};

static inline json_t *fake_item(const struct fake_brokers *brokers, size_t region, const char *path, const json_t *body)
{
	json_t *item = json_deep_copy(body);
	const char *last = strrchr(path, '/') + 1;
	char source[128], destination[128];

	json_object_set_new(item, "vhost", json_string(brokers->mesh->regions[region].vhost));
	if (sscanf(path, "/api/bindings/%*[^/]/e/%127[^/]/q/%127[^/]", source, destination) == 2) {
		json_object_set_new(item, "source", json_string(source));
		json_object_set_new(item, "destination", json_string(destination));
		json_object_set_new(item, "destination_type", json_string("queue"));
		json_object_set_new(item, "properties_key", json_string(last));
	} else {
		json_object_set_new(item, "name", json_string(last));
		json_object_set_new(item, "user", json_string(last));
	}
	if (strstr(path, "/api/queues/") != NULL)
		json_object_set_new(item, "messages", json_integer(0));
	if (strstr(path, "/api/users/") != NULL)
		json_object_set_new(item, "tags", json_pack("[O]", json_object_get(body, "tags")));
	return item;
}

/* Where the items of a list are kept. */
static inline void fake_list_path(const char *path, struct strbuf *prefix)
{
	char vhost[64], what[32];

	if (sscanf(path, "/api/vhosts/%63[^/]/%31[a-z-]", vhost, what) == 2)
		strbuf_addf(prefix, "/api/%s/%s/", what, vhost);
	else
		strbuf_addf(prefix, "%s/", path);
}

static inline json_t *fake_get(const struct fake_brokers *brokers, size_t region, const char *path, int *http_status)
{
	struct strbuf key = STRBUF_INIT, prefix = STRBUF_INIT;
	json_t *answer = NULL, *item;
	const char *name;

	*http_status = 200;
	strbuf_addf(&key, "%zu %s", region, path);
	item = json_object_get(brokers->items, key.data);
	if (strcmp(path, "/api/overview") == 0) {
		answer = json_pack("{s:s,s:s}", "cluster_name", brokers->mesh->regions[region].cluster,
			"rabbitmq_version", "3.10.8");
	} else if (item != NULL) {
		answer = json_incref(item);
	} else if (strncmp(path, "/api/vhosts/", 12) == 0 && strchr(path + 12, '/') == NULL) {
		*http_status = 404;
	} else {
		answer = json_array();
		strbuf_addf(&prefix, "%zu ", region);
		fake_list_path(path, &prefix);
		json_object_foreach(brokers->items, name, item) if (strncmp(name, prefix.data, prefix.length) == 0)
			json_array_append(answer, item);
	}
	strbuf_release(&key);
	strbuf_release(&prefix);
	return answer;
}

static inline enum status fake_call(void *arg, size_t region, const char *method, const char *path, const json_t *body,
	int *http_status_out, json_t **answer_out, struct strbuf *why)
{
	struct fake_brokers *brokers = arg;
	struct strbuf key = STRBUF_INIT;
	enum status status = STATUS_OK;

	*answer_out = NULL;
	brokers->call_count++;
	if (brokers->is_unreachable) {
		strbuf_adds(why, "nobody there");
		return STATUS_UNREACHABLE;
	}
	if (strcmp(method, "GET") == 0) {
		*answer_out = fake_get(brokers, region, path, http_status_out);
		return STATUS_OK;
	}
	brokers->change_count++;
	*http_status_out = 201;
	strbuf_addf(&key, "%zu %.*s", region, (int)strcspn(path, "?"), path);
	if (brokers->change_count == brokers->fail_at_change) {
		*http_status_out = 500;
	} else if (strcmp(method, "DELETE") == 0) {
		char *exchange = strstr(path, "/api/topic-permissions/") != NULL ? strrchr(key.data, '/') : NULL;
		if (exchange != NULL) /* it is put without, and taken away with */
			*exchange = '\0';
		*http_status_out = json_object_del(brokers->items, key.data) == 0 ? 204 : 404;
	} else {
		if (strcmp(method, "POST") == 0) {
			const char *routing_key = json_string_value(json_object_get(body, "routing_key"));
			strbuf_addf(&key, "/%s", routing_key[0] != '\0' ? routing_key : "~");
		}
		must(json_object_set_new(brokers->items, key.data,
			     fake_item(brokers, region, strchr(key.data, ' ') + 1, body)) == 0);
	}
	strbuf_release(&key);
	return status;
}

static inline struct mesh_api fake_api(struct fake_brokers *brokers)
{
	return (struct mesh_api){ fake_call, brokers };
}

/* A mesh of `count` regions, r000 up; `more` is put into the file's top. */
static inline struct mesh *fake_mesh(size_t count, const char *more)
{
	struct strbuf text = STRBUF_INIT, errors = STRBUF_INIT;
	struct mesh *mesh = NULL;

	strbuf_addf(&text, "{\"trust_domain\": \"lab.example\", %s \"regions\": {", more);
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text,
			"\"r%03zu\": {\"peer_urls\": [\"https://r%03zu.example:7443\"],"
			"\"broker_urls\": [\"amqps://r%03zu.example:5671\"],"
			"\"management\": {\"url\": \"https://r%03zu.example:15671\", \"user\": \"op\","
			" \"password_file\": \"password\"},"
			"\"link\": {\"ca_file\": \"/etc/ca.pem\", \"certificate_file\": \"/etc/r.pem\","
			" \"key_file\": \"/etc/r.key\"}},",
			i, i, i, i);
	strbuf_adds(&text, "}}");
	if (mesh_parse("mesh.json", text.data, text.length, &mesh, &errors) != STATUS_OK)
		fprintf(stderr, "%s", errors.data);
	must(mesh != NULL);
	strbuf_release(&text);
	strbuf_release(&errors);
	return mesh;
}

#endif
