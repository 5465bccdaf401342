/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reload: build everything new beside the old, check it, then swap.  Nothing is
 * swapped before the last thing that can fail has succeeded, so a reload leaves
 * either all of the new state or all of the old.
 *
 * Runs on the thread that asks (a signal on the main thread, or an admin HTTP
 * thread), one at a time.  The mesh file alone is also followed without being
 * asked, on the control loop.
 */
#include "service.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"

enum status service_define_peers(struct service *service, const struct settings *settings, struct strbuf *why)
{
	struct peer_definition *definitions = calloc(settings->peer_count + 1, sizeof(*definitions));
	enum status status = STATUS_NO_MEMORY;

	if (definitions == NULL)
		return status;
	for (size_t i = 0; i < settings->peer_count; i++) {
		definitions[i].region = settings->peers[i].region;
		definitions[i].urls = (const char *const *)settings->peers[i].urls;
		definitions[i].url_count = settings->peers[i].url_count;
	}
	status = service_define_log_peers(service, settings, why);
	if (status == STATUS_OK)
		status = peers_define(service->peers, definitions, settings->peer_count);
	free(definitions);
	return status;
}

static void count_reload(bool has_succeeded)
{
	metric_set(metric_series(metric_register(METRIC_GAUGE, "homeward_config_last_reload_successful",
					 "Whether the last reload of the settings was applied.", NULL),
			   (const char *)NULL),
		has_succeeded ? 1 : 0);
}

/* What was applied is told against the last reload; what needs a restart, against how the process started. */
static void describe_change(const struct service *service, const struct settings *fresh, struct strbuf *applied,
	struct strbuf *restart_needed)
{
	struct strbuf ignored = STRBUF_INIT;

	settings_compare(service->current != NULL ? service->current : service->settings, fresh, applied, &ignored);
	strbuf_reset(&ignored);
	settings_compare(service->settings, fresh, &ignored, restart_needed);
	strbuf_release(&ignored);
}

enum status service_reload(
	struct service *service, struct strbuf *applied, struct strbuf *restart_needed, struct strbuf *why)
{
	struct settings *fresh = NULL;
	struct policy_load load;
	struct policy *policy = NULL;
	struct events_change *change = NULL;
	enum status status;

	pthread_mutex_lock(&service->reload_lock);
	status = settings_read(service->settings->path, &fresh, why);
	if (status != STATUS_OK)
		goto out;
	status = events_read_mesh(service->events, &change, why);
	if (status != STATUS_OK)
		goto out;
	status = service_read_policy(service, fresh, &policy, &load, why);
	if (status != STATUS_OK)
		goto out;
	status = service_attach_shadow(fresh, policy, why);
	if (status != STATUS_OK)
		goto out;
	status = tls_store_reload(service->tls, why); /* keeps the old set if it fails */
	if (status != STATUS_OK)
		goto out;
	status = service_accept_policy(service, fresh, &load, why); /* the last that can fail */
	if (status != STATUS_OK)
		goto out;

	status = service_define_peers(service, fresh, why);
	if (status != STATUS_OK)
		goto out;
	gate_swap(service->gate, policy);
	policy = NULL;
	events_follow(service->events, change);
	change = NULL;
	log_configure(fresh->log.level, fresh->log.format);
	describe_change(service, fresh, applied, restart_needed);
	if (service->current != NULL)
		settings_destroy(service->current);
	service->current = fresh;
	fresh = NULL;
	LOG_INFO("settings_reloaded", "applied", applied->data, "restart_needed", restart_needed->data);
out:
	count_reload(status == STATUS_OK);
	service_log_note(service, ENTRY_ADMIN, NULL, status == STATUS_OK ? "reload applied" : "reload refused");
	if (status != STATUS_OK)
		LOG_ERROR("settings_reload_refused", "reason", why->data);
	if (policy != NULL)
		policy_release_reference(policy);
	events_change_drop(change);
	settings_destroy(fresh);
	pthread_mutex_unlock(&service->reload_lock);
	return status;
}

void service_reload_tend(struct service *service)
{
	struct strbuf why = STRBUF_INIT;
	struct events_change *change = NULL;
	bool was_refused;

	if (pthread_mutex_trylock(&service->reload_lock) != 0)
		return; /* a reload is under way, and reads it too */
	if (events_mesh_has_changed(service->events, &was_refused) && !was_refused) {
		if (events_read_mesh(service->events, &change, &why) == STATUS_OK)
			events_follow(service->events, change);
		else
			LOG_ERROR("mesh_file_refused", "reason", why.data);
	}
	pthread_mutex_unlock(&service->reload_lock);
	strbuf_release(&why);
}
