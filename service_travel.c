/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Impossible travel, wired: taps at home come from the locator, taps abroad from
 * the peer service, and both are told of in one place.  Never an id: the regions
 * and the times are what an operator can act on, the keyed hash tells one card from
 * another, and the access log has the rest.
 */
#include "service.h"

#include "base/log.h"
#include "base/metrics.h"

enum status service_start_travel(struct service *service)
{
	const struct settings *settings = service->settings;
	struct travel_limits limits = { settings->travel.kmh, settings->travel.unknown_s };
	struct position position;

	service->travel = travel_create(&limits, clock_system());
	if (service->travel == NULL)
		return STATUS_NO_MEMORY;
	if (position_parse(settings->location, &position))
		travel_place(service->travel, settings->region, &position);
	for (size_t i = 0; i < settings->peer_count; i++) {
		if (position_parse(settings->peers[i].location, &position))
			travel_place(service->travel, settings->peers[i].region, &position);
	}
	return STATUS_OK;
}

void service_found_travel(void *arg, const struct object_id *object, const struct travel_finding *finding)
{
	struct service *service = arg;
	char subject[SUBJECT_HASH_SIZE];

	metric_add(
		metric_series(metric_register(METRIC_COUNTER, "homeward_impossible_travel_total",
				      "Cards shown in two regions sooner than anyone travels, by the two.", "from,to"),
			finding->from, finding->to, (const char *)NULL),
		1);
	LOG_WARN("impossible_travel", "type", object->type, "from", finding->from, "to", finding->to, "apart_s",
		log_number(finding->apart_s), "possible_s", log_number(finding->possible_s));
	access_log_subject(service->subject_key, object, subject);
	system_say_travel(service->system, subject, finding->from, finding->to, finding->apart_s, finding->possible_s);
}

unsigned int service_note_tap(void *arg, const struct object_id *object, const char *station_region)
{
	struct service *service = arg;
	struct travel_finding finding;

	if (!travel_is_impossible(service->travel, object, station_region, NULL, &finding))
		return 0;
	service_found_travel(service, object, &finding);
	return LOOKUP_IMPOSSIBLE_TRAVEL;
}
