/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region's local applications and devices: what the mesh file says of them, and
 * what they may do at their region's broker, which is no more than that.
 *
 * Their certificate's common name is the user, and authorities are shared, so a
 * name is one user's in the whole mesh: else a certificate of one region would
 * open another's broker.  Queues of their own are called <name>.something, which
 * is why a name has no dot and none is called "homeward".
 *
 * A device that speaks MQTT publishes to an exchange of its own kind, where the
 * topic permission holds it to keys that begin with its name.  So the key says
 * truly who published.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "federation/mesh_file.h"
#include "federation/mesh_parts.h"

/* ---- the mesh file ---- */

static const char *const may_names[] = { "submit", "mqtt", "deliver", "system", NULL };

static bool *may_flag(struct mesh_application *application, size_t which)
{
	bool *const flags[] = { &application->may_submit, &application->may_mqtt, &application->may_deliver,
		&application->may_system };

	return flags[which];
}

static bool is_name(const char *text)
{
	/* Of what brokers have themselves. */
	static const char *const taken[] = { "homeward", "amq", "mqtt-subscription", "guest", MESH_BROADCAST, NULL };

	return text != NULL && application_is_valid(text) && !mesh_is_one_of(text, taken);
}

static void read_may(
	struct settings_reader *reader, const char *pointer, const json_t *may, struct mesh_application *application)
{
	static const char allowed[] = "one or more of \"submit\", \"mqtt\", \"deliver\", \"system\"";
	bool is_fine = json_is_array(may) && json_array_size(may) > 0;

	for (size_t i = 0; i < json_array_size(may) && is_fine; i++) {
		const char *word = json_string_value(json_array_get(may, i));
		size_t which = 0;

		while (may_names[which] != NULL && (word == NULL || strcmp(may_names[which], word) != 0))
			which++;
		is_fine = may_names[which] != NULL;
		if (is_fine)
			*may_flag(application, which) = true;
	}
	if (!is_fine)
		settings_complain(reader, pointer, false, "\"may\" is refused, allowed: %s", allowed);
}

static void read_application(
	struct settings_reader *reader, const char *pointer, const json_t *entry, struct mesh_application *application)
{
	const char *name = json_string_value(json_object_get(entry, "name"));

	if (!json_is_object(entry) || json_object_size(entry) != 2) {
		settings_complain_value(reader, pointer, entry, "refused", "{\"name\": …, \"may\": […]}");
	} else if (!is_name(name)) {
		settings_complain(reader, pointer, false,
			"\"name\" is refused, allowed: a letter or digit, then those, '-' and '_', %d at most, not "
			"what "
			"brokers use themselves",
			APPLICATION_SIZE - 1);
	} else {
		memcpy(application->name, name, strlen(name) + 1);
		read_may(reader, pointer, json_object_get(entry, "may"), application);
	}
}

static int compare_applications(const void *a, const void *b)
{
	return strcmp(((const struct mesh_application *)a)->name, ((const struct mesh_application *)b)->name);
}

void mesh_file_read_applications(
	struct settings_reader *reader, const char *pointer, const json_t *array, struct mesh_region *region)
{
	struct strbuf below = STRBUF_INIT;
	size_t count = json_array_size(array);

	if (array == NULL)
		return;
	if (!json_is_array(array) || count > MESH_APPLICATIONS_MAX) {
		strbuf_addf(&below, "an array of at most %d applications", MESH_APPLICATIONS_MAX);
		settings_complain_value(reader, pointer, array, "refused", below.data);
		strbuf_release(&below);
		return;
	}
	region->applications = calloc(count + 1, sizeof(*region->applications));
	if (region->applications == NULL) {
		reader->has_failed = true;
		return;
	}
	region->application_count = count;
	for (size_t i = 0; i < count; i++) {
		strbuf_reset(&below);
		strbuf_addf(&below, "%s/%zu", pointer, i);
		read_application(reader, below.data, json_array_get(array, i), &region->applications[i]);
	}
	qsort(region->applications, count, sizeof(*region->applications), compare_applications);
	strbuf_release(&below);
}

static const struct mesh_application *find(const struct mesh_region *region, const char *name)
{
	struct mesh_application wanted = { .may_submit = false };

	if (region->application_count == 0 || strlen(name) >= sizeof(wanted.name))
		return NULL;
	memcpy(wanted.name, name, strlen(name) + 1);
	return bsearch(&wanted, region->applications, region->application_count, sizeof(wanted), compare_applications);
}

bool mesh_is_user(const struct mesh *mesh, const char *name)
{
	if (mesh_region_find(mesh, name) < mesh->region_count)
		return true;
	for (size_t i = 0; i < mesh->region_count; i++)
		if (find(&mesh->regions[i], name) != NULL)
			return true;
	return false;
}

/* What else bears the name: NULL when nothing does. */
static const char *clash(const struct mesh *mesh, size_t region, size_t index)
{
	const struct mesh_region *own = &mesh->regions[region];
	const char *name = own->applications[index].name;

	if (mesh_region_find(mesh, name) < mesh->region_count)
		return "a region's name";
	if (index > 0 && strcmp(own->applications[index - 1].name, name) == 0)
		return "there twice";
	for (size_t i = 0; i < mesh->region_count; i++) {
		const char *user = mesh->regions[i].management.user;

		if (user != NULL && strcmp(user, name) == 0)
			return "the management user's name";
		if (i < region && find(&mesh->regions[i], name) != NULL)
			return "an application of another region too: one certificate would open both brokers";
	}
	return NULL;
}

void mesh_file_check_applications(struct settings_reader *reader, const struct mesh *mesh)
{
	struct strbuf pointer = STRBUF_INIT;

	for (size_t r = 0; r < mesh->region_count; r++) {
		for (size_t i = 0; i < mesh->regions[r].application_count; i++) {
			const char *name = mesh->regions[r].applications[i].name, *what = clash(mesh, r, i);

			if (name[0] == '\0' || what == NULL)
				continue;
			strbuf_reset(&pointer);
			strbuf_addf(&pointer, "/regions/%s/applications", mesh->regions[r].name);
			settings_complain(reader, pointer.data, true, "\"%s\" is %s", name, what);
		}
	}
	strbuf_release(&pointer);
}

/* ---- what they have at the broker ---- */

bool mesh_has_devices(const struct mesh_region *region)
{
	for (size_t i = 0; i < region->application_count; i++)
		if (region->applications[i].may_mqtt)
			return true;
	return false;
}

static bool may_consume(const struct mesh_application *application)
{
	return application->may_deliver || application->may_system;
}

void mesh_desire_application_users(const struct mesh_region *region, struct mesh_state *state)
{
	for (size_t i = 0; i < region->application_count; i++)
		mesh_state_add(state, MESH_KIND_USER, region->applications[i].name,
			json_pack("{s:s,s:s}", "password_hash", "", "tags", MESH_OWN_TAG));
}

/* Those of the two exchanges that it may, or nothing that exists. */
static void add_names(struct strbuf *pattern, const char *first, const char *second)
{
	if (first != NULL && second != NULL)
		strbuf_addf(pattern, "^homeward\\.(%s|%s)$", first, second);
	else if (first != NULL || second != NULL)
		strbuf_addf(pattern, "^homeward\\.%s$", first != NULL ? first : second);
	else
		strbuf_adds(pattern, "^$");
}

static void desire_application(const struct mesh_application *application, struct mesh_state *state)
{
	struct strbuf own = STRBUF_INIT, write = STRBUF_INIT, read = STRBUF_INIT, name = STRBUF_INIT,
		      keys = STRBUF_INIT;

	strbuf_addf(&own, may_consume(application) ? "^%s\\." : "^$", application->name);
	add_names(&write, application->may_submit ? "submit" : NULL, application->may_mqtt ? "mqtt" : NULL);
	add_names(&read, application->may_deliver ? "delivered" : NULL, application->may_system ? "system" : NULL);
	if (may_consume(application)) { /* a binding writes to the queue */
		strbuf_addf(&write, "|%s", own.data);
		strbuf_addf(&read, "|%s", own.data);
	}
	mesh_state_add(
		state, MESH_KIND_PERMISSION, application->name, mesh_permission(own.data, write.data, read.data));
	if (application->may_mqtt) {
		strbuf_addf(&name, "%s on %s", application->name, MESH_MQTT);
		strbuf_addf(&keys, "^events\\.%s\\.", application->name);
		mesh_state_add(state, MESH_KIND_TOPIC_PERMISSION, name.data,
			mesh_topic_permission(MESH_MQTT, keys.data, "^$"));
	}
	state->has_failed |= !strbuf_ok(&own) || !strbuf_ok(&write) || !strbuf_ok(&read) || !strbuf_ok(&name) ||
			     !strbuf_ok(&keys);
	strbuf_release(&own);
	strbuf_release(&write);
	strbuf_release(&read);
	strbuf_release(&name);
	strbuf_release(&keys);
}

/* Queues of their own are bounded whatever they declare. */
static void desire_bound(const struct mesh *mesh, const struct mesh_region *region, struct mesh_state *state)
{
	struct strbuf pattern = STRBUF_INIT;

	for (size_t i = 0; i < region->application_count; i++)
		if (may_consume(&region->applications[i]))
			strbuf_addf(&pattern, "%s%s", pattern.length == 0 ? "^(" : "|", region->applications[i].name);
	if (pattern.length > 0) {
		strbuf_adds(&pattern, ")\\.");
		mesh_state_add(state, MESH_KIND_OPERATOR_POLICY, MESH_OWN_PREFIX "applications",
			mesh_policy(pattern.data, "queues",
				json_pack("{s:I}", "max-length-bytes", (json_int_t)mesh->limits.buffer_bytes_max)));
	}
	state->has_failed |= !strbuf_ok(&pattern);
	strbuf_release(&pattern);
}

void mesh_desire_applications(const struct mesh *mesh, size_t region, struct mesh_state *state)
{
	const struct mesh_region *own = &mesh->regions[region];

	for (size_t i = 0; i < own->application_count; i++)
		desire_application(&own->applications[i], state);
	desire_bound(mesh, own, state);
	if (mesh_has_devices(own))
		mesh_desire_binding(state, MESH_MQTT, MESH_SUBMIT, "#");
}
