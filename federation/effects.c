/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of each was checked: its texts are there, and may only be too long to be any object's.
 * On the consumer's thread.
 */
#include "federation/effects.h"

#include <string.h>

#include "base/json.h"

void effects_forget(const struct events_hooks *hooks, const struct event *event)
{
	const json_t *data = json_object_get(event->envelope, "data");
	const char *type = json_get_string(data, "object_type"), *id = json_get_string(data, "object_id");
	struct object_id object = { .type = "" };

	if (hooks->forget == NULL || strcmp(event->type, "object.changed") != 0 || type == NULL || id == NULL ||
		strlen(type) >= sizeof(object.type) || strlen(id) >= sizeof(object.id))
		return;
	memcpy(object.type, type, strlen(type));
	memcpy(object.id, id, strlen(id));
	hooks->forget(hooks->arg, &object);
}

void effects_erasure(const struct events_hooks *hooks, const struct event *event)
{
	const json_t *data = json_object_get(event->envelope, "data");
	const char *request = json_get_string(data, "request_id");

	if (request == NULL)
		return;
	if (strcmp(event->type, "subject.erased") == 0 && hooks->erased != NULL)
		hooks->erased(hooks->arg, event->origin, request, json_get_string(data, "object_type"),
			json_get_string(data, "object_id"));
	else if (strcmp(event->type, "subject.erasure.acknowledged") == 0 && hooks->acknowledged != NULL)
		hooks->acknowledged(hooks->arg, event->origin, request);
}
