/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every point of a policy as a line of CSV, with its decision.  Each point is
 * made into the request a caller would make, with a record that carries the
 * flags, and goes through policy_decide(): what is listed is what the daemon
 * does, all steps of it.  So another program can check the decisions one by one.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/enumerate.h"
#include "policy/tools.h"

struct listing {
	const struct policy *policy;
	struct enumeration *points;
	json_t *record;
	struct strbuf line;
	int64_t now_us;
	policy_line *write;
	void *arg;
};

static const struct axis *axis_of(const struct enumeration *points, int attribute)
{
	for (int i = 1; i < points->axis_count; i++) {
		if (points->axes[i].attribute[0] == attribute)
			return &points->axes[i];
	}
	return NULL;
}

/* NULL: unknown. */
static const char *value_of(const struct enumeration *points, int attribute)
{
	const struct axis *axis = axis_of(points, attribute);

	return axis != NULL ? axis->values[axis->at].text : NULL;
}

static bool fill_record(struct listing *listing)
{
	const struct policy *policy = listing->policy;
	const struct facts *facts = &listing->points->facts[0];

	json_object_clear(listing->record);
	for (int flag = 0; flag < policy->flags.count; flag++) {
		const char *field = policy->type[facts->type].flag_fields[flag];
		const char *value = value_of(listing->points, ATTRIBUTE_FLAGS + flag);

		/* A member that is no string and no boolean is unknown. */
		if (field != NULL && json_object_set_new(listing->record, field,
					     value != NULL ? json_string(value) : json_null()) != 0)
			return false;
	}
	return true;
}

static void add_cell(struct strbuf *line, const char *text)
{
	strbuf_adds(line, text != NULL ? text : "unknown");
	strbuf_addc(line, ',');
}

static void add_decision(const struct listing *listing, const struct gate_decision *decision, struct strbuf *line)
{
	add_cell(line, decision->permitted ? "permit" : "deny");
	strbuf_addc(line, '"');
	for (size_t i = 0; i < decision->rule_count; i++)
		strbuf_addf(line, "%s%s", i > 0 ? " " : "", decision->rules[i]);
	strbuf_adds(line, "\",\"");
	policy_field_names(listing->policy, listing->points->type, decision->fields, line);
	strbuf_addf(line, "\",%lld,%s\n", (long long)decision->ttl_max_s, decision->onward ? "yes" : "no");
}

static bool write_point(struct listing *listing)
{
	const struct policy *policy = listing->policy;
	const struct enumeration *points = listing->points;
	const struct facts *facts = &points->facts[0];
	const char *roaming = value_of(points, ATTRIBUTE_ROAMING);
	struct gate_request request = {
		.operation = points->operation,
		.requester = facts->region[ATTRIBUTE_REQUESTER],
		.to = facts->region[ATTRIBUTE_TO],
		.type = points->type,
		.purpose = value_of(points, ATTRIBUTE_PURPOSE),
		.caller = value_of(points, ATTRIBUTE_CALLER),
		.station_region = facts->region[ATTRIBUTE_STATION_REGION],
		.roaming = roaming == NULL ? ROAMING_UNKNOWN
					   : (strcmp(roaming, "active") == 0 ? ROAMING_ACTIVE : ROAMING_NONE),
		.record = (OPERATION_BIT(points->operation) & OPERATIONS_RECORD) != 0 ? listing->record : NULL,
		.classification = policy_type_classification(policy, points->type) != NULL ? NULL : "public",
		.now_wall_us = listing->now_us,
	};
	struct strbuf *line = &listing->line;
	struct gate_decision decision;

	if (!fill_record(listing))
		return false;
	policy_decide(policy, &request, &decision);
	strbuf_reset(line);
	add_cell(line, operation_name(points->operation));
	add_cell(line, request.type);
	add_cell(line, request.requester);
	add_cell(line, request.to);
	add_cell(line, request.station_region);
	add_cell(line, request.purpose);
	add_cell(line, request.caller);
	add_cell(line, roaming);
	for (int flag = 0; flag < policy->flags.count; flag++)
		add_cell(line, value_of(points, ATTRIBUTE_FLAGS + flag));
	add_decision(listing, &decision, line);
	if (!strbuf_ok(line))
		return false;
	listing->write(listing->arg, line->data, line->length);
	return true;
}

static void write_header(struct listing *listing)
{
	struct strbuf *line = &listing->line;

	strbuf_adds(line, "operation,type,requester,to,evidence.station_region,purpose,caller,subject.roaming,");
	for (int flag = 0; flag < listing->policy->flags.count; flag++)
		add_cell(line, listing->policy->flags.text[flag + 1]);
	strbuf_adds(line, "decision,rules,fields,ttl,onward\n");
	if (strbuf_ok(line))
		listing->write(listing->arg, line->data, line->length);
}

static bool write_points(struct listing *listing)
{
	const struct policy *policy = listing->policy;

	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		for (int type = 1; type <= policy->types.count; type++) {
			if (!policy_may_permit(policy, (enum gate_operation)operation, type))
				continue;
			enumeration_begin(listing->points, &policy, 1, (enum gate_operation)operation,
				policy->types.text[type], NULL);
			do {
				if (!write_point(listing))
					return false;
			} while (enumeration_step(listing->points));
		}
	}
	return true;
}

enum status policy_enumerate(
	const struct policy *policy, bool has_expired, policy_line *line, void *arg, struct strbuf *why)
{
	struct listing listing = { .policy = policy,
		.line = STRBUF_INIT,
		.now_us = has_expired ? policy->not_after_us : policy->not_after_us - 1,
		.write = line,
		.arg = arg };
	enum status status;

	status = enumeration_count(&policy, 1, NULL, why) <= POLICY_POINTS_MAX ? STATUS_NO_MEMORY : STATUS_TOO_LARGE;
	if (status == STATUS_TOO_LARGE)
		return status;
	listing.points = calloc(1, sizeof(*listing.points));
	listing.record = json_object();
	if (listing.points != NULL && listing.record != NULL) {
		write_header(&listing);
		status = write_points(&listing) ? STATUS_OK : STATUS_NO_MEMORY;
	}
	if (status != STATUS_OK)
		strbuf_adds(why, "out of memory");
	strbuf_release(&listing.line);
	json_decref(listing.record);
	free(listing.points);
	return status;
}
