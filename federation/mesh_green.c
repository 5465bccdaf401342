/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a link is green: not by its own word alone, but when the sending
 * broker's binding, the buffer's consumer, the canary and the receipts agree with
 * it.  What is not known is not green.  Pure.
 */
#include <string.h>

#include "base/json.h"
#include "federation/mesh_parts.h"

static const json_t *find_row(
	const json_t *rows, const char *first, const char *first_value, const char *second, const char *second_value)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		const char *one = json_get_string(row, first),
			   *other = second != NULL ? json_get_string(row, second) : NULL;

		if (one != NULL && strcmp(one, first_value) == 0 &&
			(second == NULL || (other != NULL && strcmp(other, second_value) == 0)))
			return row;
	}
	return NULL;
}

static int64_t number(const json_t *row, const char *name)
{
	int64_t value = -1;

	return json_get_integer(row, name, &value) && value >= 0 ? value : -1;
}

static int64_t smaller_known(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

struct mesh_link_word mesh_link_word(const json_t *matrix, const char *from, const char *to)
{
	const json_t *links = json_object_get(matrix, "links"), *regions = json_object_get(matrix, "regions");
	const json_t *link = find_row(links, "from", from, "to", to);
	const json_t *ends[2] = { find_row(regions, "region", from, NULL, NULL),
		find_row(regions, "region", to, NULL, NULL) };
	int64_t alarms[2] = { number(ends[0], "alarms"), number(ends[1], "alarms") };

	return (struct mesh_link_word){
		.told_age_ms = number(ends[1], "told_age_ms"),
		.canary_age_ms = number(link, "canary_age_ms"),
		.round_trip_p50_ms = number(link, "round_trip_p50_ms"),
		.round_trip_p99_ms = number(link, "round_trip_p99_ms"),
		.duplicates = number(link, "duplicates"),
		.gaps = number(link, "gaps"),
		.unreceipted = number(link, "unreceipted"),
		.certificate_days = smaller_known(
			number(ends[0], "certificate_days"), number(ends[1], "certificate_days")),
		.alarms = alarms[0] < 0 || alarms[1] < 0 ? smaller_known(alarms[0], alarms[1]) : alarms[0] + alarms[1],
	};
}

/* What the brokers say of it. */
static void judge_links(const struct mesh *mesh, const struct mesh_link_status *link, struct strbuf *reason)
{
	if (strcmp(link->state, "unknown") == 0)
		strbuf_addf(reason, "the broker of %s does not answer", mesh->regions[link->to].name);
	else if (strcmp(link->state, "running") != 0)
		strbuf_addf(reason, "the link is %s%s%.120s", link->state, link->error != NULL ? ": " : "",
			link->error != NULL ? link->error : "");
	else if (!link->has_binding)
		strbuf_addf(reason, "%s has no binding for it", mesh->regions[link->from].name);
	else if (!link->has_consumer)
		strbuf_adds(reason, "nobody consumes its buffer");
}

bool mesh_link_is_silent(const struct mesh_link_word *word)
{
	return word->canary_age_ms - (word->told_age_ms > 0 ? word->told_age_ms : 0) > MESH_CANARY_AGE_MAX_MS;
}

void mesh_link_reason(const struct mesh *mesh, const struct mesh_link_status *link, const struct mesh_link_word *word,
	struct strbuf *reason)
{
	judge_links(mesh, link, reason);
	if (reason->length > 0 || word == NULL)
		return;
	if (word->canary_age_ms < 0)
		strbuf_adds(reason, "no canary is known");
	else if (word->canary_age_ms > MESH_CANARY_AGE_MAX_MS && !mesh_link_is_silent(word))
		strbuf_addf(reason, "%s was not heard for %lld s, which would know", mesh->regions[link->to].name,
			(long long)word->told_age_ms / 1000);
	else if (word->canary_age_ms > MESH_CANARY_AGE_MAX_MS)
		strbuf_addf(reason, "no canary for %lld s", (long long)word->canary_age_ms / 1000);
	else if (word->unreceipted < 0)
		strbuf_adds(reason, "nothing is known of its receipts");
	else if (word->unreceipted > 0)
		strbuf_addf(reason, "%lld events without a receipt", (long long)word->unreceipted);
}
