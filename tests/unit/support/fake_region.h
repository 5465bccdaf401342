/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region "eu" for tests of the client API: the real locator, gate, route table
 * and HTTP server over loopback, one real engine loop, and in place of handlers,
 * access log and delegate functions of this file that answer by the object's id.
 * The clock is the real one plus what the test adds.
 */
#ifndef SUPPORT_FAKE_REGION_H
#define SUPPORT_FAKE_REGION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/http_server.h"
#include "base/json.h"
#include "locator/locator.h"
#include "tests/unit/support/scratch.h"

/* ---- the clock ---- */

static atomic_llong clock_added_ms;

static inline int64_t moved_monotonic_ms(void *arg)
{
	(void)arg;
	return clock_monotonic_ms(clock_system()) + clock_added_ms;
}

static inline int64_t moved_wall_us(void *arg)
{
	(void)arg;
	return clock_wall_us(clock_system()) + clock_added_ms * 1000;
}

static const struct clock_source moved_clock = { moved_monotonic_ms, moved_wall_us, NULL };

/* ---- handlers, access log and delegate ---- */

static struct loop *engine_loop;
static atomic_int fetches, delegations, gots;
static atomic_bool home_is_down;

struct completion {
	struct loop_task task;
	handlers_fetch_done *fetched;
	handlers_write_done *written;
	policy_release_done *released;
	delegate_done *delegated;
	access_log_done *logged;
	void *arg;
	enum status status;
	char id[OBJECT_ID_SIZE];
	struct policy_release *release;
};

struct policy_release {
	struct gate_decision decision;
};

#define RECORD "{\"uid\":\"A\",\"valid\":true,\"driver\":\"Ann\"}"

static inline void complete_delegate(struct completion *done)
{
	struct lookup_answer answer = { .status = STATUS_OK, .version = 7, .ttl_s = 300, .policy_version = "1:aa" };
	enum http_client_error failure = HTTP_CLIENT_OK;
	const char *record = RECORD;
	if (home_is_down || strstr(done->id, "DOWN")) {
		answer.status = STATUS_UNREACHABLE;
		failure = HTTP_CLIENT_CONNECTION_REFUSED;
		record = NULL;
	} else if (strstr(done->id, "NONE")) {
		answer.status = STATUS_NOT_AVAILABLE;
		answer.ttl_s = 30;
		record = NULL;
	} else if (strstr(done->id, "BLOCKED")) {
		record = "{\"uid\":\"A\",\"valid\":false}";
	}
	answer.record = record ? strdup(record) : NULL;
	answer.record_length = record ? strlen(record) : 0;
	done->delegated(done->arg, &answer, failure);
	lookup_answer_release(&answer);
}

static inline void complete_fetch(struct completion *done)
{
	bool is_here = strstr(done->id, "HERE") != NULL;
	json_t *content = is_here ? json_loads(RECORD, 0, NULL) : NULL;
	enum status status = strstr(done->id, "BROKEN") ? STATUS_UNREACHABLE
			     : is_here                  ? STATUS_OK
							: STATUS_NOT_AVAILABLE;
	done->fetched(done->arg, status, 4, content);
	json_decref(content);
}

static inline void complete(struct loop_task *task)
{
	struct completion *done = (struct completion *)task;
	if (done->fetched)
		complete_fetch(done);
	else if (done->written)
		done->written(done->arg, done->status, 5, done->status == STATUS_OK && strstr(done->id, "NEW"));
	else if (done->released)
		done->released(done->arg, done->status, done->release);
	else if (done->delegated)
		complete_delegate(done);
	else
		done->logged(done->arg, STATUS_OK);
	free(done);
}

static inline void later(const struct completion *completion)
{
	struct completion *copy = malloc(sizeof(*copy));
	assert_non_null(copy);
	*copy = *completion;
	copy->task.run = complete;
	loop_post(engine_loop, &copy->task);
}

static inline struct completion completion_for(const struct object_id *object, void *arg)
{
	struct completion completion = { .arg = arg };
	if (object)
		memcpy(completion.id, object->id, sizeof(completion.id));
	return completion;
}

void handlers_fetch(struct handlers *handlers, const struct object_id *object, int64_t deadline_ms,
	handlers_fetch_done *done, void *arg)
{
	(void)handlers;
	(void)deadline_ms;
	struct completion completion = completion_for(object, arg);
	completion.fetched = done;
	fetches++;
	later(&completion);
}

/* Version 4 is there, except for ids with NEW. */
void handlers_write(struct handlers *handlers, const struct object_id *object, const json_t *content,
	enum write_condition condition, uint64_t version, int64_t deadline_ms, handlers_write_done *done, void *arg)
{
	(void)handlers;
	(void)content;
	(void)deadline_ms;
	struct completion completion = completion_for(object, arg);
	bool is_new = strstr(object->id, "NEW") != NULL;
	completion.written = done;
	if (condition == WRITE_IF_ABSENT ? !is_new : version != 4 || is_new)
		completion.status = STATUS_PRECONDITION_FAILED;
	later(&completion);
}

void policy_release_request(struct access_log *log, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *arg)
{
	(void)log;
	(void)peer;
	struct completion completion = completion_for(&question->object, arg);
	completion.released = done;
	completion.release = calloc(1, sizeof(*completion.release));
	policy_decide(policy, request, &completion.release->decision);
	if (!completion.release->decision.permitted) {
		free(completion.release);
		completion.release = NULL;
		completion.status = STATUS_NOT_AVAILABLE;
	}
	later(&completion);
}

const struct gate_decision *policy_release_decision(const struct policy_release *release)
{
	return &release->decision;
}

/* There is no HTTP client here, only the names of its failures. */
const char *http_client_error_name(enum http_client_error error)
{
	return error == HTTP_CLIENT_CONNECTION_REFUSED ? "connection_refused" : "http_response_timeout";
}

static atomic_bool is_held; /* delegations wait until the test lets them go */
static struct completion held;

void delegate_lookup(struct delegate *delegate, const char *region, const struct lookup_question *question,
	struct policy_release *release, delegate_done *done, void *arg)
{
	(void)delegate;
	assert_string_equal(region, "na");
	free(release);
	struct completion completion = completion_for(&question->object, arg);
	completion.delegated = done;
	delegations++;
	if (strstr(question->object.id, "SLOW")) {
		held = completion;
		is_held = true;
		return;
	}
	later(&completion);
}

void access_log_got(struct access_log *log, const struct access_got *got, access_log_done *done, void *arg)
{
	(void)log;
	struct completion completion = completion_for(NULL, arg);
	completion.logged = done;
	gots++;
	assert_non_null(got->fields);
	later(&completion);
}

/* ---- the region ---- */

struct region {
	struct settings settings;
	struct settings_type types[2];
	char state_dir[40];
	struct gate *gate;
	struct routes *routes;
	struct locator *locator;
	struct http_server *server;
	int port;
};

static inline struct policy *make_policy(int version, const char *fields)
{
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	struct policy *policy = NULL;
	strbuf_addf(&text,
		"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":%d,"
		"\"not_after\":\"2090-01-01T00:00:00Z\",\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\","
		"\"valid\",\"driver\"],\"personal\":true},\"station\":{\"fields\":[\"name\"],\"personal\":false}},"
		"\"rules\":[{\"id\":\"R1\",\"effect\":\"permit\",\"operation\":[\"local\"],\"type\":[\"token\"],"
		"\"purpose\":[\"charge.authorize\"],\"fields\":[\"uid\",\"valid\"]},{\"id\":\"R2\",\"effect\":"
		"\"permit\",\"operation\":[\"ask\"],\"type\":[\"token\"],\"purpose\":[\"charge.authorize\"],\"when\":[["
		"\"evidence.station_region\",\"eq\",\"$requester\"]],\"fields\":[%s]}]}",
		version, fields);
	if (policy_parse("test", text.data, text.length, &policy, &why))
		fail_msg("%s", why.data);
	strbuf_release(&text);
	strbuf_release(&why);
	return policy;
}

static inline void add_route(
	struct route_builder *builder, const char *type, enum route_kind kind, const char *key, const char *region)
{
	struct route route = { .kind = kind };
	snprintf(route.type, sizeof(route.type), "%s", type);
	snprintf(route.key, sizeof(route.key), "%s", key);
	snprintf(route.region, sizeof(route.region), "%s", region);
	assert_int_equal(route_builder_add(builder, &route), STATUS_OK);
}

static inline void write_callers(const struct region *region)
{
	static const char *const tokens[] = { "charge", "insights", "operator" };
	static const char *const purposes[] = { "\"charge.authorize\"", "\"analytics\"", "\"*\"" };
	struct strbuf text = STRBUF_INIT, path = STRBUF_INIT;
	strbuf_addc(&text, '[');
	for (int i = 0; i < 3; i++) {
		uint8_t hash[SHA256_SIZE];
		hash_sha256(tokens[i], strlen(tokens[i]), hash);
		strbuf_addf(&text, "%s{\"name\":\"%s\",\"token_hash\":\"", i ? "," : "", tokens[i]);
		strbuf_add_hex(&text, hash, sizeof(hash));
		strbuf_addf(&text, "\",\"purposes\":[%s],\"may_write\":%s}", purposes[i], i == 2 ? "true" : "false");
	}
	strbuf_addc(&text, ']');
	strbuf_addf(&path, "%s/callers.json", region->state_dir);
	assert_int_equal(file_replace(path.data, text.data, text.length, 0600, NULL), STATUS_OK);
	strbuf_release(&text);
	strbuf_release(&path);
}

static inline void start_locator(struct region *region)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/routes", region->state_dir);
	struct routes_settings routes = { .snapshot_path = path, .dsn = "" };
	assert_int_equal(routes_create(&routes, &region->routes), STATUS_OK);
	struct route_builder *builder = route_builder_create();
	add_route(builder, "token", ROUTE_PREFIX, "NA", "na");
	add_route(builder, "token", ROUTE_EXACT, "EU-HERE", "eu");
	add_route(builder, "station", ROUTE_PREFIX, "EU", "eu");
	add_route(builder, "station", ROUTE_PREFIX, "NA", "na");
	routes_swap(region->routes, route_builder_finish(builder, 3));
	region->gate = gate_create(make_policy(1, "\"uid\",\"valid\""), &moved_clock);
	struct locator_engine engine = { .loop = engine_loop };
	struct locator_settings settings = { .engines = &engine,
		.engine_count = 1,
		.gate = region->gate,
		.routes = region->routes,
		.clock = &moved_clock,
		.random = random_system(),
		.settings = &region->settings };
	assert_int_equal(locator_create(&settings, &region->locator), STATUS_OK);
}

static inline int start_region(void **state)
{
	struct region *region = calloc(1, sizeof(*region));
	assert_non_null(region);
	static char name[] = "eu";
	snprintf(region->state_dir, sizeof(region->state_dir), "%s/hw-api-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(region->state_dir));
	snprintf(region->types[0].name, OBJECT_TYPE_SIZE, "token");
	snprintf(region->types[1].name, OBJECT_TYPE_SIZE, "station");
	region->settings = (struct settings){ .region = name,
		.state_dir = region->state_dir,
		.types = region->types,
		.type_count = 2,
		.cache = { .bytes_max = 4 << 20,
			.negative_bytes_max = 1 << 20,
			.negative_ttl_s = 10,
			.ttl_max_s = 900 },
		.lookup = { .timeout_ms = 5000, .timeout_ms_max = 10000, .in_flight_max = 2000 } };
	write_callers(region);
	clock_added_ms = 0;
	fetches = delegations = gots = 0;
	home_is_down = is_held = false;
	assert_int_equal(loop_create("engine", &engine_loop), STATUS_OK);
	start_locator(region);
	assert_int_equal(loop_start(engine_loop), STATUS_OK);
	struct http_server_settings server = { .name = "api",
		.address = "127.0.0.1:0",
		.threads = 1,
		.connections_max = 50,
		.body_bytes_max = 2 << 20,
		.request_deadline_ms = 20000,
		.idle_timeout_ms = 20000,
		.arg = region->locator };
	server.routes = locator_routes(&server.route_count);
	struct strbuf why = STRBUF_INIT;
	if (http_server_start(&server, &region->server, &why))
		fail_msg("%s", why.data);
	strbuf_release(&why);
	region->port = http_server_port(region->server);
	*state = region;
	return 0;
}

static inline int stop_region(void **state)
{
	struct region *region = *state;
	http_server_stop(region->server);
	while (locator_in_flight(region->locator) > 0)
		usleep(1000);
	loop_stop(engine_loop);
	locator_destroy(region->locator);
	loop_destroy(engine_loop);
	routes_destroy(region->routes);
	gate_destroy(region->gate);
	char path[64];
	snprintf(path, sizeof(path), "%s/callers.json", region->state_dir);
	unlink(path);
	assert_int_equal(rmdir(region->state_dir), 0);
	free(region);
	return 0;
}

/* ---- a client ---- */

struct reply {
	int status;
	char *text; /* the whole answer */
	const char *body;
};

/* headers: whole lines with CRLF, or "".  One request a connection, so that the end is the end. */
static inline struct reply ask(const struct region *region, const char *method, const char *path, const char *token,
	const char *headers, const char *body)
{
	struct strbuf text = STRBUF_INIT;
	strbuf_addf(&text, "%s %s HTTP/1.1\r\nHost: eu\r\nConnection: close\r\n%s", method, path, headers);
	if (token)
		strbuf_addf(&text, "Authorization: Bearer %s\r\n", token);
	if (body)
		strbuf_addf(&text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	strbuf_adds(&text, "\r\n");
	strbuf_adds(&text, body ? body : "");
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)region->port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	for (size_t sent = 0; sent < text.length;) {
		ssize_t count = send(fd, text.data + sent, text.length - sent, MSG_NOSIGNAL);
		if (count <= 0)
			break;
		sent += (size_t)count;
	}
	strbuf_reset(&text);
	char chunk[4096];
	for (ssize_t count; (count = recv(fd, chunk, sizeof(chunk), 0)) > 0;)
		strbuf_add(&text, chunk, (size_t)count);
	close(fd);
	struct reply reply = { .text = strbuf_take(&text, NULL) };
	assert_non_null(reply.text);
	assert_int_equal(sscanf(reply.text, "HTTP/1.1 %d", &reply.status), 1);
	reply.body = strstr(reply.text, "\r\n\r\n");
	assert_non_null(reply.body);
	reply.body += 4;
	return reply;
}

static inline struct reply get(const struct region *region, const char *path, const char *token, const char *headers)
{
	return ask(region, "GET", path, token, headers, NULL);
}

/* Checks the status and that the text has every needle; frees the reply. */
static inline void expect(struct reply reply, int status, const char *needle, ...)
{
	va_list needles;
	if (reply.status != status)
		fail_msg("%d expected, but:\n%s", status, reply.text);
	va_start(needles, needle);
	for (; needle; needle = va_arg(needles, const char *)) {
		if (!strstr(reply.text, needle))
			fail_msg("\"%s\" expected in:\n%s", needle, reply.text);
	}
	va_end(needles);
	free(reply.text);
}

#define EXPECT(...) expect(__VA_ARGS__, (const char *)NULL)
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_region, stop_region)

#endif
