/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What regions tell each other of their links, and the matrix that comes of it.
 * Of a link FROM -> TO, TO knows the canary's age, duplicates and gaps; FROM knows
 * the round trip and which events have no receipt.  Ages told by another region
 * grow by the age of its word: what is shown is at most too old, never too young.
 *
 * A view has come from another region: every member is read with its type checked.
 */
#include <string.h>

#include "base/json.h"
#include "federation/canary.h"

static void set(json_t *object, const char *name, int64_t value)
{
	if (value >= 0)
		(void)json_object_set_new(object, name, json_integer(value));
}

static int64_t age(int64_t at_ms, int64_t now_ms)
{
	return at_ms < 0 ? -1 : now_ms - at_ms;
}

static json_t *view_of(const struct canary_peer *peer, int64_t now_ms)
{
	json_t *row = json_pack("{s:s,s:I,s:I,s:I}", "region", peer->region, "duplicates", (json_int_t)peer->duplicates,
		"gaps", (json_int_t)peer->gaps, "unreceipted", (json_int_t)peer->unreceipted);

	if (row == NULL)
		return NULL;
	set(row, "canary_age_ms", age(peer->heard_ms, now_ms));
	set(row, "answer_age_ms", age(peer->answered_ms, now_ms));
	set(row, "round_trip_p50_ms", canary_percentile(peer, 50));
	set(row, "round_trip_p99_ms", canary_percentile(peer, 99));
	return row;
}

/* only: NULL for all. */
static json_t *make_view(const struct canaries *canaries, const struct canary_peer *only, int64_t now_ms)
{
	json_t *view = json_pack("{s:I,s:[]}", "alarms", (json_int_t)canaries->alarms, "peers");

	set(view, "certificate_days", canaries->certificate_days);
	for (size_t i = 0; i < canaries->count; i++)
		if (only == NULL || only == &canaries->peers[i])
			(void)json_array_append_new(
				json_object_get(view, "peers"), view_of(&canaries->peers[i], now_ms));
	return view;
}

json_t *canary_view(const struct canaries *canaries, const struct canary_peer *to, int64_t now_ms)
{
	return make_view(canaries, canaries->count > CANARY_VIEW_PEERS_MAX ? to : NULL, now_ms);
}

void canary_told(struct canary_peer *peer, json_t *view, int64_t now_ms)
{
	json_decref(peer->view);
	peer->view = json_incref(view);
	peer->view_ms = now_ms;
}

/* ---- the matrix ---- */

/* What `teller` says of its link with `region`; NULL nothing. */
static const json_t *word_on(const json_t *view, const char *region)
{
	const json_t *peers = json_object_get(view, "peers");

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const char *name = json_get_string(json_array_get(peers, i), "region");

		if (name != NULL && strcmp(name, region) == 0)
			return json_array_get(peers, i);
	}
	return NULL;
}

static void copy(json_t *to, const json_t *from, const char *name, int64_t more)
{
	int64_t value;

	if (from != NULL && json_get_integer(from, name, &value))
		(void)json_object_set_new(to, name, json_integer(value + more));
	else
		(void)json_object_set_new(to, name, json_null());
}

struct teller {
	const char *region;
	const json_t *view; /* NULL: nothing is known */
	int64_t age_ms;
};

static json_t *make_link(const struct teller *from, const struct teller *to)
{
	const json_t *at_from = word_on(from->view, to->region), *at_to = word_on(to->view, from->region);
	json_t *link;
	int64_t canary_age_ms = -1;

	if (at_from == NULL && at_to == NULL)
		return NULL;
	link = json_pack("{s:s,s:s}", "from", from->region, "to", to->region);
	copy(link, at_to, "canary_age_ms", to->age_ms);
	if (!json_get_integer(link, "canary_age_ms", &canary_age_ms))
		canary_age_ms = -1;
	(void)json_object_set_new(
		link, "is_silent", json_boolean(canary_age_ms < 0 || canary_age_ms > CANARY_SILENT_MS));
	copy(link, at_from, "answer_age_ms", from->age_ms);
	copy(link, at_from, "round_trip_p50_ms", 0);
	copy(link, at_from, "round_trip_p99_ms", 0);
	copy(link, at_to, "duplicates", 0);
	copy(link, at_to, "gaps", 0);
	copy(link, at_from, "unreceipted", 0);
	return link;
}

/* 0 is this region itself, then its peers. */
static struct teller teller_at(const struct canaries *canaries, const json_t *own, size_t place, int64_t now_ms)
{
	const struct canary_peer *peer = place > 0 ? &canaries->peers[place - 1] : NULL;

	if (peer == NULL)
		return (struct teller){ canaries->region, own, 0 };
	return (struct teller){ peer->region, peer->view, peer->view != NULL ? now_ms - peer->view_ms : 0 };
}

static json_t *make_region(const struct teller *teller)
{
	json_t *row = json_pack("{s:s}", "region", teller->region);

	copy(row, teller->view, "certificate_days", 0);
	copy(row, teller->view, "alarms", 0);
	(void)json_object_set_new(
		row, "told_age_ms", teller->view != NULL ? json_integer(teller->age_ms) : json_null());
	return row;
}

json_t *canaries_matrix(const struct canaries *canaries, int64_t now_ms)
{
	json_t *own = make_view(canaries, NULL, now_ms), *links = json_array(), *regions = json_array();

	for (size_t i = 0; i <= canaries->count; i++) {
		struct teller from = teller_at(canaries, own, i, now_ms);

		for (size_t j = 0; j <= canaries->count; j++) {
			struct teller to = teller_at(canaries, own, j, now_ms);
			json_t *link = i != j ? make_link(&from, &to) : NULL;

			if (link != NULL)
				(void)json_array_append_new(links, link);
		}
		(void)json_array_append_new(regions, make_region(&from));
	}
	json_decref(own);
	return json_pack("{s:s,s:I,s:o,s:o}", "region", canaries->region, "canary_interval_ms",
		(json_int_t)canaries->interval_ms, "links", links, "regions", regions);
}
