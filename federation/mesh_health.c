/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the mesh what it should be, and do events flow?  A link's own word is not
 * believed: "running" was seen on links that carry nothing, so a link is green
 * only when the sending broker also has its binding and somebody consumes the
 * buffer.  Brokers that do not answer are findings; the others are still read.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "federation/mesh_parts.h"

struct reading {
	const struct mesh *mesh;
	const struct mesh_api *api;
	struct mesh_health *health;
	bool *is_readable; /* by region */
	const struct mesh_state *observed;
};

void mesh_health_add(
	struct mesh_health *health, const char *code, const char *where, const char *fix, const char *format, ...)
{
	struct strbuf evidence = STRBUF_INIT;
	struct mesh_finding *finding;
	char *copy = strdup(where);
	va_list args;

	va_start(args, format);
	strbuf_vaddf(&evidence, format, args);
	va_end(args);
	if (health->finding_count == health->finding_capacity) {
		size_t capacity = health->finding_capacity > 0 ? health->finding_capacity * 2 : 16;
		struct mesh_finding *grown = realloc(health->findings, capacity * sizeof(*grown));
		if (grown != NULL) {
			health->findings = grown;
			health->finding_capacity = capacity;
		}
	}
	if (copy == NULL || !strbuf_ok(&evidence) || evidence.length == 0 ||
		health->finding_count == health->finding_capacity) {
		health->has_failed = true;
		free(copy);
		strbuf_release(&evidence);
		return;
	}
	finding = &health->findings[health->finding_count++];
	finding->code = code;
	finding->where = copy;
	finding->evidence = strbuf_take(&evidence, NULL);
	finding->fix = fix;
}

static const char *text_of(const json_t *item, const char *member)
{
	const char *text = json_get_string(item, member);

	return text != NULL ? text : "";
}

static json_t *read_list(const struct reading *reading, size_t region, const char *list, const char *rest)
{
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
	json_t *answer = NULL;

	mesh_path(reading->mesh, region, list, rest, &path);
	if (mesh_get(reading->mesh, region, reading->api, path.data, &answer, &why) != STATUS_OK)
		mesh_health_add(reading->health, "MESH_001", reading->mesh->regions[region].name,
			"see that the broker runs and that the user may read it", "%s", why.data);
	strbuf_release(&path);
	strbuf_release(&why);
	return answer;
}

static struct mesh_link_status *link_of(struct mesh_health *health, size_t from, size_t to)
{
	for (size_t i = 0; i < health->link_count; i++)
		if (health->links[i].from == from && health->links[i].to == to)
			return &health->links[i];
	return NULL;
}

/* ---- at the receiving broker: what its links say ---- */

static void read_links(const struct reading *reading, size_t to)
{
	const struct mesh *mesh = reading->mesh;
	json_t *list = read_list(reading, to, "federation-links", "");
	struct strbuf name = STRBUF_INIT;

	for (size_t from = 0; list != NULL && from < mesh->region_count; from++) {
		struct mesh_link_status *link = link_of(reading->health, from, to);
		if (link == NULL)
			continue;
		snprintf(link->state, sizeof(link->state), "%s",
			mesh_is_paused(&reading->observed[to], mesh->regions[from].name) ? MESH_PAUSED : "missing");
		strbuf_reset(&name);
		mesh_upstream_name(mesh, from, &name);
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *item = json_array_get(list, i);
			if (strcmp(text_of(item, "upstream"), name.data) != 0)
				continue;
			snprintf(link->state, sizeof(link->state), "%s", text_of(item, "status"));
			free(link->error);
			link->error = json_get_string(item, "error") != NULL ? strdup(text_of(item, "error")) : NULL;
		}
	}
	strbuf_release(&name);
	json_decref(list);
}

/* ---- at the sending broker: buffer, consumer, binding ---- */

static void read_depths(const struct reading *reading, size_t region, const json_t *queue)
{
	const char *name = text_of(queue, "name"), *where = reading->mesh->regions[region].name;
	int64_t count = 0;

	(void)json_get_integer(queue, "messages", &count);
	if (count == 0)
		return;
	if (strcmp(name, MESH_UNROUTABLE) == 0)
		mesh_health_add(reading->health, "MESH_007", where,
			"a link was missing when they were published, or the destination is no region; mend the link "
			"and"
			" publish them again (canaries leave within half a minute)",
			"%lld events in %s", (long long)count, name);
	if (strcmp(name, MESH_DEAD) == 0)
		mesh_health_add(reading->health, "MESH_008", where, "read why in their x-death headers",
			"%lld events in %s", (long long)count, name);
}

static void read_buffers(const struct reading *reading, size_t from)
{
	const struct mesh *mesh = reading->mesh;
	json_t *queues = read_list(reading, from, "queues", "");
	struct strbuf buffer = STRBUF_INIT;

	for (size_t i = 0; i < json_array_size(queues); i++) {
		const json_t *queue = json_array_get(queues, i);
		int64_t consumers = 0;
		read_depths(reading, from, queue);
		for (size_t to = 0; to < mesh->region_count; to++) {
			struct mesh_link_status *link = link_of(reading->health, from, to);
			if (link == NULL)
				continue;
			strbuf_reset(&buffer);
			mesh_buffer_name(mesh, from, to, &buffer);
			if (strcmp(text_of(queue, "name"), buffer.data) != 0)
				continue;
			link->has_buffer = true;
			(void)json_get_integer(queue, "messages", &link->message_count);
			(void)json_get_integer(queue, "consumers", &consumers);
			link->has_consumer = consumers > 0;
		}
	}
	strbuf_release(&buffer);
	json_decref(queues);
}

static void read_bindings(const struct reading *reading, size_t from)
{
	const struct mesh *mesh = reading->mesh;
	json_t *bindings = read_list(reading, from, "exchanges", "/" MESH_EVENTS "/bindings/source");
	struct strbuf buffer = STRBUF_INIT, key = STRBUF_INIT;

	for (size_t to = 0; to < mesh->region_count; to++) {
		struct mesh_link_status *link = link_of(reading->health, from, to);
		if (link == NULL)
			continue;
		strbuf_reset(&buffer);
		strbuf_reset(&key);
		mesh_buffer_name(mesh, from, to, &buffer);
		strbuf_addf(&key, "%s.#", mesh->regions[to].name);
		for (size_t i = 0; i < json_array_size(bindings); i++) {
			const json_t *binding = json_array_get(bindings, i);
			const char *end = text_of(binding, "destination");
			if (mesh_is_buffer_exchange(end, buffer.data) &&
				strcmp(text_of(binding, "routing_key"), key.data) == 0)
				link->has_binding = true;
		}
	}
	strbuf_release(&buffer);
	strbuf_release(&key);
	json_decref(bindings);
}

static void read_alarms(const struct reading *reading, size_t region)
{
	static const char *const alarms[] = { "mem_alarm", "disk_free_alarm" };
	struct strbuf why = STRBUF_INIT;
	json_t *nodes = NULL;

	if (mesh_get(reading->mesh, region, reading->api, "/api/nodes", &nodes, &why) != STATUS_OK)
		nodes = NULL; /* said by the other reads */
	for (size_t i = 0; i < json_array_size(nodes); i++)
		for (size_t a = 0; a < 2; a++)
			if (json_is_true(json_object_get(json_array_get(nodes, i), alarms[a])))
				mesh_health_add(reading->health, "MESH_009", reading->mesh->regions[region].name,
					"the broker takes no more events until it has room again", "%s at %s",
					alarms[a], text_of(json_array_get(nodes, i), "name"));
	json_decref(nodes);
	strbuf_release(&why);
}

/* ---- judging ---- */

/* The plugin's words, and what they mean. */
static const char *cause_of(const char *error)
{
	static const struct {
		const char *words, *cause;
	} causes[] = {
		{ "hostname_check_failed", "the name in broker_urls is not in that broker's certificate" },
		{ "nknown CA", "that broker's certificate is from another authority than link.ca_file" },
		{ "certificate_required",
			"link.certificate_file or key_file is not there or not readable for the broker" },
		{ "certificate required",
			"link.certificate_file or key_file is not there or not readable for the broker" },
		{ "not_allowed", "that broker has no such virtual host, or not for us: apply the plan" },
		{ "access to queue", "the certificate in link.certificate_file is another region's" },
		{ "access to topic", "a binding of ours asks for events that are not ours: remove it (MESH_006)" },
		{ "econnrefused", "nothing listens there, or a firewall is between" },
		{ "ACCESS_REFUSED", "that broker does not know our certificate's user: apply the plan" },
	};

	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strstr(error, causes[i].words) != NULL)
			return causes[i].cause;
	if (strcmp(error, MESH_PAUSED) == 0)
		return "somebody paused it: homeward mesh resume";
	return "homeward mesh plan, then apply; if there is no difference, restart the link";
}

static void judge_link(const struct reading *reading, struct mesh_link_status *link)
{
	const struct mesh *mesh = reading->mesh;
	struct strbuf where = STRBUF_INIT;
	const char *silence = strcmp(link->state, MESH_PAUSED) == 0 ? MESH_PAUSED : "no error told";
	const char *error = link->error != NULL ? link->error : silence;

	strbuf_addf(&where, "%s -> %s", mesh->regions[link->from].name, mesh->regions[link->to].name);
	if (strcmp(link->state, "running") != 0 && reading->is_readable[link->to])
		mesh_health_add(reading->health, "MESH_003", where.data, cause_of(error), "the link is %s: %.300s",
			link->state, error);
	if (reading->is_readable[link->from] && !link->has_binding)
		mesh_health_add(reading->health, "MESH_004", where.data,
			"restart the link: the buffer stays and the binding is made again",
			"the link is %s, but %s has no binding for it: nothing flows", link->state,
			mesh->regions[link->from].name);
	if (reading->is_readable[link->from] && link->has_buffer && !link->has_consumer)
		mesh_health_add(reading->health, "MESH_005", where.data,
			"the link of the receiving broker is down; the buffer keeps events until its bound",
			"nobody consumes the buffer, %lld events wait", (long long)link->message_count);
	link->is_green = strcmp(link->state, "running") == 0 && link->has_binding && link->has_consumer;
	strbuf_release(&where);
}

static void judge_differences(const struct reading *reading, const struct mesh_state *observed)
{
	struct mesh_plan plan;

	if (mesh_plan_make(reading->mesh, observed, &plan) != STATUS_OK) {
		reading->health->has_failed = true;
		return;
	}
	for (size_t i = 0; i < plan.count && i < 20; i++)
		mesh_health_add(reading->health, "MESH_002", reading->mesh->regions[plan.steps[i].region].name,
			"homeward mesh plan, then apply", "%s %s: to %s", mesh_kind_name(plan.steps[i].kind),
			plan.steps[i].name, mesh_action_name(plan.steps[i].action));
	if (plan.count > 20)
		mesh_health_add(reading->health, "MESH_002", "mesh", "homeward mesh plan, then apply",
			"and %zu differences more", plan.count - 20);
	for (size_t i = 0; i < json_array_size(plan.remarks); i++)
		mesh_health_add(reading->health, "MESH_006", "mesh", "remove it, or take it elsewhere", "%s",
			json_string_value(json_array_get(plan.remarks, i)));
	mesh_plan_release(&plan);
}

static void list_links(const struct mesh *mesh, struct mesh_health *health)
{
	size_t count = 0;

	for (size_t i = 0; i < mesh->region_count * mesh->region_count; i++)
		count += mesh->links[i];
	health->links = calloc(count + 1, sizeof(*health->links));
	health->has_failed |= health->links == NULL;
	for (size_t from = 0; health->links != NULL && from < mesh->region_count; from++)
		for (size_t to = 0; to < mesh->region_count; to++)
			if (mesh_has_link(mesh, from, to))
				health->links[health->link_count++] =
					(struct mesh_link_status){ .from = from, .to = to, .state = "unknown" };
}

static void read_regions(const struct reading *reading, struct mesh_state *observed)
{
	const struct mesh *mesh = reading->mesh;
	bool is_whole = true;

	for (size_t i = 0; i < mesh->region_count; i++) {
		struct strbuf why = STRBUF_INIT;
		reading->is_readable[i] = mesh_observe(mesh, i, reading->api, &observed[i], &why) == STATUS_OK;
		is_whole &= reading->is_readable[i];
		if (!reading->is_readable[i])
			mesh_health_add(reading->health, "MESH_001", mesh->regions[i].name,
				"see that the broker runs, and what it says", "%s", why.data);
		else if (mesh_state_find(&observed[i], MESH_KIND_VHOST, mesh->regions[i].vhost) == NULL)
			reading->is_readable[i] = false; /* the differences say so */
		strbuf_release(&why);
		if (!reading->is_readable[i])
			continue;
		read_links(reading, i);
		read_buffers(reading, i);
		read_bindings(reading, i);
		read_alarms(reading, i);
	}
	if (is_whole)
		judge_differences(reading, observed);
}

enum status mesh_health_read(const struct mesh *mesh, const struct mesh_api *api, struct mesh_health *health_out)
{
	struct mesh_state *observed = calloc(mesh->region_count + 1, sizeof(*observed));
	struct reading reading = { mesh, api, health_out, calloc(mesh->region_count + 1, sizeof(bool)), observed };

	*health_out = (struct mesh_health){ .link_count = 0 };
	list_links(mesh, health_out);
	if (observed == NULL || reading.is_readable == NULL)
		health_out->has_failed = true;
	if (!health_out->has_failed) {
		read_regions(&reading, observed);
		for (size_t i = 0; i < health_out->link_count; i++)
			judge_link(&reading, &health_out->links[i]);
	}
	for (size_t i = 0; observed != NULL && i < mesh->region_count; i++)
		mesh_state_release(&observed[i]);
	free(observed);
	free(reading.is_readable);
	if (!health_out->has_failed)
		return STATUS_OK;
	mesh_health_release(health_out);
	return STATUS_NO_MEMORY;
}

void mesh_health_release(struct mesh_health *health)
{
	for (size_t i = 0; i < health->link_count; i++)
		free(health->links[i].error);
	for (size_t i = 0; i < health->finding_count; i++) {
		free(health->findings[i].where);
		free(health->findings[i].evidence);
	}
	free(health->links);
	free(health->findings);
	*health = (struct mesh_health){ .link_count = 0 };
}
