/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy of a development region.  It shows what a real one looks like: a tap
 * at a station in the requester's region lets the few fields through that the
 * power needs; analytics wants the driver's consent; support wants an open visit;
 * stations are no secret.  Its own tests travel with it.
 */
#include "cli/dev.h"

#include <string.h>

#define TAP_FIELDS "[\"uid\",\"type\",\"valid\",\"contract_ref\",\"valid_until\"]"
#define STATION_FIELDS "[\"station_id\",\"name\",\"operator\",\"status\",\"power_kw\",\"plugs\"]"

#define SESSION_FIELDS                                                                                                 \
	"[\"session_id\",\"token_uid\",\"contract_ref\",\"station_id\",\"evse_id\",\"started_at\",\"ended_at\",\"end_" \
	"reason\",\"energy_wh\",\"cost\"]"
#define BLOCKED_FIELDS "[\"driver_id\",\"token_uids\",\"reason\",\"blocked_at\"]"
#define CHANGED_FIELDS "[\"object_type\",\"object_id\",\"change\",\"version\",\"changed_at\"]"
#define ROUTE_FIELDS "[\"change\",\"object_type\",\"prefix\",\"home\",\"count\",\"at\"]"
#define STATUS_FIELDS "[\"station_id\",\"evse_id\",\"status\",\"since\"]"

#define ERASED_FIELDS "[\"request_id\",\"object_type\",\"object_id\",\"erased_at\"]"
#define ACKNOWLEDGED_FIELDS "[\"request_id\",\"purged\",\"at\"]"

static const char document[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"\",\"version\":1,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{"
	"\"token\":{\"fields\":[\"uid\",\"type\",\"valid\",\"contract_ref\",\"valid_until\",\"driver_id\",\"operator\"]"
	","
	"\"flags\":{\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"},"
	"\"subject.consent_analytics\":{\"field\":\"consent_analytics\",\"absent\":\"unknown\"}},\"personal\":true},"
	"\"driver\":{\"fields\":[\"driver_id\",\"contract_ref\",\"valid\",\"lang\",\"name\",\"email\",\"phone\"],"
	"\"flags\":{\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"},"
	"\"subject.consent_analytics\":{\"field\":\"consent_analytics\",\"absent\":\"unknown\"}},\"personal\":true},"
	"\"station\":{\"fields\":" STATION_FIELDS ",\"personal\":false},"
	"\"session.completed\":{\"fields\":" SESSION_FIELDS ",\"personal\":true},"
	"\"driver.blocked\":{\"fields\":" BLOCKED_FIELDS ",\"personal\":true},"
	"\"object.changed\":{\"fields\":" CHANGED_FIELDS ",\"personal\":true},"
	"\"route.changed\":{\"fields\":" ROUTE_FIELDS ",\"personal\":false},"
	"\"subject.erased\":{\"fields\":" ERASED_FIELDS ",\"personal\":true},"
	"\"subject.erasure.acknowledged\":{\"fields\":" ACKNOWLEDGED_FIELDS ",\"personal\":false},"
	"\"station.status.changed\":{\"fields\":" STATUS_FIELDS ",\"personal\":false}},"
	"\"rules\":["
	"{\"id\":\"HOME\",\"effect\":\"permit\",\"operation\":[\"local\"],\"fields\":[\"*\"],"
	"\"basis\":{\"note\":\"at home the caller's credential limits the purposes\"}},"
	"{\"id\":\"RESTRICTED\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"token\",\"driver\"],"
	"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]],\"basis\":{\"art\":\"18\"}},"
	"{\"id\":\"NO-CONSENT\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"token\",\"driver\"],"
	"\"purpose\":[\"analytics\"],\"when\":[[\"subject.consent_analytics\",\"ne\",\"granted\"]],"
	"\"basis\":{\"art6\":\"6(1)(a)\"}},"
	"{\"id\":\"TAP-ASK\",\"effect\":\"permit\",\"operation\":[\"ask\"],\"type\":[\"token\"],"
	"\"purpose\":[\"charge.authorize\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$home\"]],"
	"\"fields\":" TAP_FIELDS ",\"basis\":{\"note\":\"someone stands at one of our stations\"}},"
	"{\"id\":\"TAP-SERVE\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\"],"
	"\"purpose\":[\"charge.authorize\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]],"
	"\"fields\":" TAP_FIELDS ",\"obligations\":{\"cache_ttl_max_s\":900,\"onward\":\"no\"},"
	"\"basis\":{\"art6\":\"6(1)(b)\",\"ch5\":\"46(2)(c)\"}},"
	"{\"id\":\"ANALYTICS-ASK\",\"effect\":\"permit\",\"operation\":[\"ask\"],\"type\":[\"token\"],"
	"\"purpose\":[\"analytics\"],\"fields\":[\"operator\",\"valid\"],"
	"\"basis\":{\"note\":\"its home decides\"}},"
	"{\"id\":\"ANALYTICS-SERVE\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\"],"
	"\"purpose\":[\"analytics\"],\"when\":[[\"subject.consent_analytics\",\"eq\",\"granted\"]],"
	"\"fields\":[\"operator\",\"valid\"],\"obligations\":{\"cache_ttl_max_s\":3600,\"onward\":\"no\"},"
	"\"basis\":{\"art6\":\"6(1)(a)\"}},"
	"{\"id\":\"SUPPORT-ASK\",\"effect\":\"permit\",\"operation\":[\"ask\"],\"type\":[\"token\",\"driver\"],"
	"\"purpose\":[\"support.roaming\"],\"fields\":[\"driver_id\",\"contract_ref\"],"
	"\"basis\":{\"art6\":\"6(1)(b)\"}},"
	"{\"id\":\"SUPPORT-SERVE\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\",\"driver\"],"
	"\"purpose\":[\"support.roaming\"],\"when\":[[\"subject.roaming\",\"eq\",\"active\"]],"
	"\"fields\":[\"driver_id\",\"contract_ref\"],\"obligations\":{\"cache_ttl_max_s\":60,\"onward\":\"no\"},"
	"\"basis\":{\"art6\":\"6(1)(b)\",\"ch5\":\"49(1)(b)\"}},"
	"{\"id\":\"STATION\",\"effect\":\"permit\",\"operation\":[\"ask\",\"serve\"],\"type\":[\"station\"],"
	"\"fields\":" STATION_FIELDS ",\"obligations\":{\"cache_ttl_max_s\":86400,\"onward\":\"yes\"},"
	"\"basis\":{\"note\":\"no personal data\"}},"
	"{\"id\":\"EVENT-SESSION\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"session.completed\"],\"purpose\":[\"event\"],\"fields\":" SESSION_FIELDS ","
	"\"basis\":{\"art6\":\"6(1)(b)\",\"note\":\"the driver's home bills it\"}},"
	"{\"id\":\"EVENT-BLOCKED\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"driver.blocked\"],\"purpose\":[\"event\"],\"fields\":" BLOCKED_FIELDS ","
	"\"basis\":{\"art6\":\"6(1)(f)\"}},"
	"{\"id\":\"EVENT-CHANGED\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"object.changed\"],\"purpose\":[\"event\"],\"fields\":" CHANGED_FIELDS ","
	"\"basis\":{\"note\":\"who holds a copy must forget it\"}},"
	"{\"id\":\"EVENT-ROUTE\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"route.changed\"],\"purpose\":[\"event\"],\"fields\":" ROUTE_FIELDS ","
	"\"basis\":{\"note\":\"no personal data: prefixes only\"}},"
	"{\"id\":\"EVENT-ERASED\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"subject.erased\"],\"purpose\":[\"event\"],\"fields\":" ERASED_FIELDS ","
	"\"basis\":{\"art\":\"17, 19\"}},"
	"{\"id\":\"EVENT-ACKNOWLEDGED\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"subject.erasure.acknowledged\"],\"purpose\":[\"event\"],\"fields\":" ACKNOWLEDGED_FIELDS ","
	"\"basis\":{\"art\":\"19\"}},"
	"{\"id\":\"EVENT-STATUS\",\"effect\":\"permit\",\"operation\":[\"send\",\"receive\"],"
	"\"type\":[\"station.status.changed\"],\"purpose\":[\"event\"],\"fields\":" STATUS_FIELDS ","
	"\"basis\":{\"note\":\"no personal data\"}}],"
	"\"tests\":["
	"{\"name\":\"a driver of ours taps abroad\",\"in\":{\"operation\":\"serve\",\"requester\":\"@other\","
	"\"type\":\"token\",\"purpose\":\"charge.authorize\",\"evidence.station_region\":\"@other\","
	"\"subject.restricted\":\"no\"},\"expect\":{\"decision\":\"permit\",\"rules\":[\"TAP-SERVE\"],"
	"\"fields\":" TAP_FIELDS ",\"ttl\":900,\"onward\":\"no\"}},"
	"{\"name\":\"without a tap\",\"in\":{\"operation\":\"serve\",\"requester\":\"@other\",\"type\":\"token\","
	"\"purpose\":\"charge.authorize\",\"subject.restricted\":\"no\"},\"expect\":{\"decision\":\"deny\","
	"\"rules\":[]}},"
	"{\"name\":\"analytics without consent\",\"in\":{\"operation\":\"serve\",\"requester\":\"@other\","
	"\"type\":\"token\",\"purpose\":\"analytics\",\"subject.restricted\":\"no\"},"
	"\"expect\":{\"decision\":\"deny\",\"rules\":[\"NO-CONSENT\"]}},"
	"{\"name\":\"a restricted driver\",\"in\":{\"operation\":\"serve\",\"requester\":\"@other\",\"type\":\"token\","
	"\"purpose\":\"charge.authorize\",\"evidence.station_region\":\"@other\",\"subject.restricted\":\"yes\"},"
	"\"expect\":{\"decision\":\"deny\",\"rules\":[\"RESTRICTED\"]}},"
	"{\"name\":\"we ask for a tap at ours\",\"in\":{\"operation\":\"ask\",\"to\":\"@other\",\"type\":\"token\","
	"\"purpose\":\"charge.authorize\",\"evidence.station_region\":\"@home\"},"
	"\"expect\":{\"decision\":\"permit\",\"rules\":[\"TAP-ASK\"]}}],"
	"\"invariants\":["
	"{\"note\":\"how to reach a driver never crosses\",\"never\":{\"operation\":[\"ask\",\"serve\"],"
	"\"type\":[\"driver\"],\"fields\":[\"name\",\"email\",\"phone\"]}}]}";

static void name_regions(json_t *facts, const char *home, const char *other)
{
	void *next;

	for (void *at = json_object_iter(facts); at != NULL; at = next) {
		const char *text = json_string_value(json_object_iter_value(at));

		next = json_object_iter_next(facts, at);
		if (text != NULL && strcmp(text, "@other") == 0)
			json_object_iter_set_new(facts, at, json_string(other));
		else if (text != NULL && strcmp(text, "@home") == 0)
			json_object_iter_set_new(facts, at, json_string(home));
	}
}

json_t *dev_policy_json(const struct dev_mesh *mesh, const struct dev_region *home)
{
	const char *other = "elsewhere";
	json_t *policy = json_loads(document, 0, NULL), *test;
	size_t i;

	if (policy == NULL)
		return NULL;
	for (i = 0; i < mesh->region_count; i++)
		if (&mesh->regions[i] != home)
			other = mesh->regions[i].name;
	json_object_set_new(policy, "home", json_string(home->name));
	json_array_foreach(json_object_get(policy, "tests"), i, test)
		name_regions(json_object_get(test, "in"), home->name, other);
	return policy;
}
