/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an event stopped: first by what the outbox knows, which is certain, then
 * by what the brokers show, in the order of the way.  Judging is pure; brokers
 * that do not answer are part of the evidence.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "federation/mesh_parts.h"

const char *mesh_hop_name(size_t hop)
{
	static const char *const names[] = { "outbox", "confirmed", "crossed", "taken", "receipted" };

	return names[hop];
}

/* What is known of a crossing is that it was taken behind it. */
int64_t mesh_trace_at(const struct mesh_trace_facts *facts, size_t hop)
{
	const int64_t times[MESH_HOP_COUNT] = { facts->created_ms, facts->sent_ms, facts->taken_ms, facts->taken_ms,
		facts->receipted_ms };

	return times[hop];
}

/* The event has crossed when it is past the link, its buffer and what feeds it. */
static bool has_crossed(const struct mesh_trace_facts *facts)
{
	return facts->is_looked_at && facts->forth.is_green && facts->forth.message_count == 0;
}

enum mesh_hop mesh_trace_stopped(const struct mesh_trace_facts *facts)
{
	if (facts->receipted_ms >= 0)
		return MESH_HOP_COUNT;
	if (facts->sent_ms < 0)
		return facts->is_refused ? MESH_HOP_OUTBOX : MESH_HOP_CONFIRMED;
	if (!has_crossed(facts))
		return MESH_HOP_CROSSED;
	if (facts->inbox_consumers <= 0 || facts->inbox_depth != 0 || facts->back.is_green)
		return MESH_HOP_TAKEN;
	return MESH_HOP_RECEIPTED;
}

static void read_queue(const struct mesh *mesh, const struct mesh_api *api, size_t at, const char *name, int64_t *depth,
	int64_t *consumers)
{
	struct strbuf path = STRBUF_INIT, ignored = STRBUF_INIT;
	json_t *queue = NULL;

	*depth = *consumers = -1;
	mesh_path(mesh, at, "queues", "/", &path);
	strbuf_adds(&path, name);
	if (mesh_get(mesh, at, api, path.data, &queue, &ignored) == STATUS_OK) {
		(void)json_get_integer(queue, "messages", depth);
		(void)json_get_integer(queue, "consumers", consumers);
	}
	json_decref(queue);
	strbuf_release(&path);
	strbuf_release(&ignored);
}

static void copy_link(const struct mesh_health *health, size_t from, size_t to, struct mesh_link_status *link)
{
	for (size_t i = 0; i < health->link_count; i++) {
		if (health->links[i].from != from || health->links[i].to != to)
			continue;
		*link = health->links[i];
		link->error = link->error != NULL ? strdup(link->error) : NULL;
	}
}

void mesh_trace_look(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct mesh_trace_facts *facts)
{
	struct mesh_health health;
	int64_t ignored;

	if (mesh_health_read(mesh, api, &health) != STATUS_OK)
		return;
	facts->is_looked_at = true;
	copy_link(&health, from, to, &facts->forth);
	copy_link(&health, to, from, &facts->back);
	read_queue(mesh, api, to, MESH_INBOX, &facts->inbox_depth, &facts->inbox_consumers);
	read_queue(mesh, api, to, MESH_DEAD, &facts->dead, &ignored);
	read_queue(mesh, api, from, MESH_UNROUTABLE, &facts->unroutable, &ignored);
	mesh_health_release(&health);
}

void mesh_trace_facts_release(struct mesh_trace_facts *facts)
{
	free(facts->forth.error);
	free(facts->back.error);
	facts->forth.error = facts->back.error = NULL;
}

static void explain_outbox(const char *from, const struct mesh_trace_facts *facts, struct strbuf *evidence)
{
	if (facts->is_refused)
		strbuf_addf(evidence, "%s may not send it", from);
	else if (facts->attempts > 0)
		strbuf_addf(evidence,
			"tried %lld times, and the broker of %s did not take it: an alarm, a full buffer, or no link "
			"at all",
			(long long)facts->attempts, from);
	else
		strbuf_addf(evidence, "nobody took it out of the outbox: homeward does not run in %s, or has no broker",
			from);
}

static void explain_link(const struct mesh *mesh, const struct mesh_link_status *link, struct strbuf *evidence)
{
	mesh_link_reason(mesh, link, NULL, evidence);
	if (evidence->length == 0)
		strbuf_adds(evidence, "the brokers call the link good");
	if (link->has_buffer)
		strbuf_addf(evidence, "; %lld events wait in its buffer at %s", (long long)link->message_count,
			mesh->regions[link->from].name);
}

void mesh_trace_explain(
	const struct mesh *mesh, size_t from, size_t to, const struct mesh_trace_facts *facts, struct strbuf *evidence)
{
	const char *sender = mesh->regions[from].name, *receiver = mesh->regions[to].name;

	switch (mesh_trace_stopped(facts)) {
	case MESH_HOP_OUTBOX:
	case MESH_HOP_CONFIRMED:
		explain_outbox(sender, facts, evidence);
		break;
	case MESH_HOP_CROSSED:
		if (!facts->is_looked_at) {
			strbuf_adds(evidence, "the brokers could not be looked at");
			break;
		}
		explain_link(mesh, &facts->forth, evidence);
		if (facts->unroutable > 0)
			strbuf_addf(evidence, "; %lld events in %s at %s", (long long)facts->unroutable,
				MESH_UNROUTABLE, sender);
		break;
	case MESH_HOP_TAKEN:
		if (facts->inbox_consumers < 0)
			strbuf_addf(evidence, "the broker of %s does not tell of its inbox", receiver);
		else if (facts->inbox_consumers == 0)
			strbuf_addf(evidence,
				"nobody consumes the inbox of %s: homeward does not run there; %lld events wait",
				receiver, (long long)facts->inbox_depth);
		else
			strbuf_addf(evidence, "%s has it, and did not say what became of it: %lld events in its inbox",
				receiver, (long long)facts->inbox_depth);
		if (facts->dead > 0)
			strbuf_addf(evidence, "; %lld in %s there", (long long)facts->dead, MESH_DEAD);
		break;
	case MESH_HOP_RECEIPTED:
		strbuf_addf(evidence, "its receipt does not come over the link %s -> %s: ", receiver, sender);
		mesh_link_reason(mesh, &facts->back, NULL, evidence);
		break;
	case MESH_HOP_COUNT:
		break;
	}
}
