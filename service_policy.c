/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy file's way into force: read, believed, and told of.  Each attempt
 * ends in service_record_policy(), whether it was accepted or refused, with the
 * file's whole hash: the one place that says which policy was in force when.
 *
 * Runs where a start or a reload runs.
 */
#include "service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"

#define ACCEPTED_FILE "policy.accepted"

static void accepted_path(const struct service *service, struct strbuf *path)
{
	strbuf_addf(path, "%s/" ACCEPTED_FILE, service->settings->state_dir);
}

void service_record_policy(
	struct service *service, const struct policy_load *load, bool is_accepted, const char *reason)
{
	const char *result = is_accepted ? "accepted" : "refused";

	struct strbuf text = STRBUF_INIT;
	char version[24];

	snprintf(version, sizeof(version), "%lld", (long long)load->version);
	strbuf_addf(&text, "%s sha256=%s", result, load->hash[0] != '\0' ? load->hash : "unreadable");
	service_log_note(service, ENTRY_POLICY, load->version > 0 ? version : NULL, text.data);
	strbuf_release(&text);
	metric_add(metric_series(metric_register(METRIC_COUNTER, "homeward_policy_loads_total",
					 "Policy files read, by whether they came into force.", "result"),
			   result, (const char *)NULL),
		1);
	if (is_accepted)
		LOG_INFO("policy_accepted", "version", log_number(load->version), "sha256", load->hash, "signed_by",
			load->signer);
	else
		LOG_ERROR(
			"policy_refused", "version", log_number(load->version), "sha256", load->hash, "reason", reason);
}

enum status service_read_policy(struct service *service, const struct settings *settings, struct policy **policy_out,
	struct policy_load *load_out, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	enum status status;

	accepted_path(service, &path);
	status = policy_load(settings->policy.file, settings->policy.keys, path.data, policy_out, load_out, why);
	if (status == STATUS_OK && strcmp(policy_home(*policy_out), service->settings->region) != 0) {
		strbuf_addf(why, "%s: speaks for region %s, this is %s", settings->policy.file,
			policy_home(*policy_out), service->settings->region);
		policy_release_reference(*policy_out);
		*policy_out = NULL;
		status = STATUS_INVALID;
	}
	if (status != STATUS_OK)
		service_record_policy(service, load_out, false, why->data);
	strbuf_release(&path);
	return status;
}

enum status service_accept_policy(
	struct service *service, const struct settings *settings, const struct policy_load *load, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	enum status status = STATUS_OK;

	accepted_path(service, &path);
	if (settings->policy.keys[0] != '\0')
		status = policy_accept(path.data, load, why);
	service_record_policy(service, load, status == STATUS_OK, why->data);
	strbuf_release(&path);
	return status;
}

enum status service_attach_shadow(const struct settings *settings, struct policy *policy, struct strbuf *why)
{
	struct policy *shadow = NULL;
	enum status status;

	if (settings->policy.shadow_file[0] == '\0')
		return STATUS_OK;
	status = policy_read(settings->policy.shadow_file, &shadow, why);
	if (status == STATUS_OK)
		status = policy_attach_shadow(policy, shadow, why);
	if (status == STATUS_OK)
		LOG_INFO("policy_shadow_attached", "file", settings->policy.shadow_file);
	return status;
}
