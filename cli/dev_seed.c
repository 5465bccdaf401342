/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a development region starts with: stations, drivers with valid eMAIDs and
 * cards with RFID UIDs of its own, routes to everyone's, and callers whose tokens
 * are in files.  The ids are the same in every mesh, so that examples can be kept.
 * One statement inserts each kind, from one JSON array.
 */
#include "cli/dev.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/must.h"
#include "cli/callers.h"
#include "cli/command.h"

#define OPERATOR "HWD"

static size_t region_index(const struct dev_mesh *mesh, const struct dev_region *region)
{
	return (size_t)(region - mesh->regions);
}

void dev_country(const struct dev_mesh *mesh, const struct dev_region *region, char country_out[3])
{
	static const struct {
		const char *region, *country;
	} known[] = { { "na", "US" }, { "eu", "DE" }, { "ap", "JP" } };

	country_out[0] = 'X'; /* ISO 3166 leaves XA to XZ to its users */
	country_out[1] = (char)('A' + region_index(mesh, region));
	country_out[2] = '\0';
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].region, region->name) == 0)
			memcpy(country_out, known[i].country, 3);
}

void dev_token_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id)
{
	strbuf_reset(id);
	strbuf_addf(id, "04A2%02X%02XB3C480", (unsigned)region_index(mesh, region) + 1, (unsigned)i + 1);
}

void dev_station_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id)
{
	char country[3];

	dev_country(mesh, region, country);
	strbuf_reset(id);
	strbuf_addf(id, "%s*" OPERATOR "*E%04d", country, i + 1);
}

void dev_driver_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id)
{
	struct strbuf bare = STRBUF_INIT;
	char country[3];

	dev_country(mesh, region, country);
	strbuf_addf(&bare, "%s" OPERATOR "C%08d", country, i + 1);
	strbuf_reset(id);
	strbuf_addf(id, "%s-" OPERATOR "-C%08d-%c", country, i + 1, emaid_check_digit(bare.data));
	strbuf_release(&bare);
}

static void add_object(json_t *list, const char *type, enum id_format format, const struct strbuf *id, json_t *record)
{
	struct object_id object;

	must(object_id_make(type, id->data, id->length, format, &object, NULL) == STATUS_OK);
	json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "type", object.type, "id", object.id, "record", record));
}

static void add_person(json_t *list, const struct dev_mesh *mesh, const struct dev_region *region, int i)
{
	struct strbuf uid = STRBUF_INIT, driver = STRBUF_INIT, text = STRBUF_INIT;
	const char *restricted = i == DEV_SEED_RESTRICTED ? "yes" : "no";
	const char *consent = i == DEV_SEED_CONSENTED ? "granted" : "refused";
	bool is_valid = i != DEV_SEED_BLOCKED;
	const char *until = i == DEV_SEED_EXPIRED ? "2024-12-31T23:59:59Z" : "2099-12-31T23:59:59Z";

	dev_token_id(mesh, region, i, &uid);
	dev_driver_id(mesh, region, i, &driver);
	add_object(list, "token", ID_FORMAT_OPAQUE, &uid,
		json_pack("{s:s,s:s,s:b,s:s,s:s,s:s,s:s,s:s,s:s}", "uid", uid.data, "type", "RFID", "valid", is_valid,
			"contract_ref", driver.data, "valid_until", until, "driver_id", driver.data, "operator",
			OPERATOR, "restricted", restricted, "consent_analytics", consent));
	strbuf_addf(&text, "driver%d@%s.example", i + 1, region->name);
	add_object(list, "driver", ID_FORMAT_EMAID, &driver,
		json_pack("{s:s,s:s,s:b,s:s,s:s,s:s,s:s,s:s,s:s}", "driver_id", driver.data, "contract_ref",
			driver.data, "valid", is_valid, "lang", "en", "name", "A Driver", "email", text.data, "phone",
			"+000000000", "restricted", restricted, "consent_analytics", consent));
	strbuf_release(&uid);
	strbuf_release(&driver);
	strbuf_release(&text);
}

static json_t *objects_json(const struct dev_mesh *mesh, const struct dev_region *region)
{
	struct strbuf id = STRBUF_INIT, name = STRBUF_INIT;
	json_t *list = json_array();

	for (int i = 0; i < DEV_SEEDS; i++) {
		add_person(list, mesh, region, i);
		dev_station_id(mesh, region, i, &id);
		strbuf_reset(&name);
		strbuf_addf(&name, "Station %d of %s", i + 1, region->name);
		add_object(list, "station", ID_FORMAT_OPAQUE, &id,
			json_pack("{s:s,s:s,s:s,s:s,s:i,s:i}", "station_id", id.data, "name", name.data, "operator",
				OPERATOR, "status", "AVAILABLE", "power_kw", 150, "plugs", 2));
	}
	strbuf_release(&id);
	strbuf_release(&name);
	return list;
}

static json_t *routes_json(const struct dev_mesh *mesh)
{
	struct strbuf id = STRBUF_INIT;
	json_t *list = json_array();

	for (size_t r = 0; r < mesh->region_count; r++) {
		const struct dev_region *region = &mesh->regions[r];
		char country[3];

		for (int i = 0; i < DEV_SEEDS; i++) {
			dev_token_id(mesh, region, i, &id);
			json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "type", "token", "kind", "exact",
							    "key", id.data, "region", region->name));
		}
		dev_country(mesh, region, country);
		strbuf_reset(&id);
		strbuf_addf(&id, "%s" OPERATOR, country);
		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "type", "driver", "kind", "prefix", "key",
						    id.data, "region", region->name));
		strbuf_reset(&id);
		strbuf_addf(&id, "%s*" OPERATOR "*", country);
		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "type", "station", "kind", "prefix", "key",
						    id.data, "region", region->name));
	}
	strbuf_release(&id);
	return list;
}

/* Takes the list. */
static enum status insert(struct database_session *session, const char *sql, json_t *list, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = list != NULL ? json_write(list, &text) : STATUS_NO_MEMORY;
	const char *const parameters[] = { text.data };

	if (status == STATUS_OK)
		status = database_session_query(session, sql, parameters, 1, COMMAND_STATEMENT_MS, NULL, why);
	json_decref(list);
	strbuf_release(&text);
	return status;
}

static enum status add_callers(const struct dev_mesh *mesh, const struct dev_region *region,
	struct database_session *session, struct strbuf *why)
{
	static const struct caller callers[] = {
		{ "cs-auth", "charge.authorize,support.roaming,session.view", false },
		{ "insights", "analytics", false },
		{ "operator", "*", true },
	};
	struct strbuf path = STRBUF_INIT, name = STRBUF_INIT;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]) && status == STATUS_OK; i++) {
		char token[CALLER_TOKEN_SIZE];

		status = caller_add(session, &callers[i], token, why);
		strbuf_reset(&name);
		strbuf_addf(&name, "tokens/%s", callers[i].name);
		if (status == STATUS_OK)
			status = file_replace(
				dev_path(mesh, region, name.data, &path), token, strlen(token), 0600, why);
		explicit_bzero(token, sizeof(token));
	}
	strbuf_release(&path);
	strbuf_release(&name);
	return status;
}

enum status dev_seed(const struct dev_mesh *mesh, const struct dev_region *region, struct database_session *session,
	struct strbuf *why)
{
	enum status status = insert(session,
		"INSERT INTO homeward.objects (type, id, record) SELECT type, id, record"
		" FROM jsonb_to_recordset($1::jsonb) AS row(type text, id text, record jsonb)",
		objects_json(mesh, region), why);

	if (status == STATUS_OK)
		status = insert(session,
			"INSERT INTO homeward.routes (type, kind, key, region) SELECT type, kind, key, region"
			" FROM jsonb_to_recordset($1::jsonb) AS row(type text, kind text, key text, region text)",
			routes_json(mesh), why);
	if (status == STATUS_OK)
		status = add_callers(mesh, region, session, why);
	return status;
}
