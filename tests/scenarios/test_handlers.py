"""Records that are not in homeward's own table: an operator's query, and an internal service, asked across a border."""
import http.server
import json
import threading

import pytest

from mesh import Mesh, a_station, add_tokens, assert_records_pair, eventually, homeward


class Sessions:
    """An internal service of na: GET /sessions/ID, with an ETag that counts."""

    def __init__(self):
        self.records, self.asked, self.broken = {}, [], None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append(self.path)
                identifier = self.path.rsplit("/", 1)[1]
                version, record = outer.records.get(identifier, (0, None))
                body = json.dumps(record).encode() if record is not None else b"{}"
                self.send_response(outer.broken or (200 if record is not None else 404))
                if version:
                    self.send_header("ETag", f'"{version}"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/sessions/{{id}}"


def permit_sessions(region):
    """The policy learns the type and lets two of its fields cross."""
    path = region.folder / "policy.json"
    policy = json.loads(path.read_text())
    policy["types"]["session"] = {"fields": ["session_id", "kwh", "plate"], "personal": True, "flags": {
        "subject.restricted": {"field": "restricted", "absent": "no"},
        "subject.consent_analytics": {"field": "consent_analytics", "absent": "unknown"}}}
    policy["rules"].append({"id": "SESSION", "effect": "permit", "operation": ["ask", "serve"], "type": ["session"],
                            "purpose": ["session.view", "analytics"], "fields": ["session_id", "kwh"],
                            "obligations": {"cache_ttl_max_s": 60}, "basis": {"note": "for the test"}})
    for rule in policy["rules"]:
        if rule["id"] in ("RESTRICTED", "NO-CONSENT"):
            rule["type"].append("session")
    path.write_text(json.dumps(policy))


@pytest.fixture(scope="module")
def services():
    sessions = Sessions()
    yield sessions
    sessions.server.shutdown()


@pytest.fixture(scope="module")
def mesh(services):
    with Mesh("na", "eu") as started:
        na, eu = started["na"], started["eu"]
        na.sql("CREATE SCHEMA crm")
        na.sql("CREATE TABLE crm.customers (contract text PRIMARY KEY, revision int, full_name text, language text, barred boolean)")
        na.sql("INSERT INTO crm.customers SELECT id, 40 + row_number() OVER (ORDER BY id), 'A Name', 'fr', false"
               " FROM homeward.objects WHERE type = 'driver'")
        na.sql("DELETE FROM homeward.objects WHERE type = 'driver'")
        settings = na.settings()
        settings["types"]["driver"].update(handler="sql", query=(
            "SELECT contract AS id, revision AS version, json_build_object('driver_id', contract, 'contract_ref', contract,"
            " 'name', full_name, 'lang', language, 'restricted', CASE WHEN barred THEN 'yes' ELSE 'no' END) AS record"
            " FROM crm.customers WHERE contract = ANY($1)"))
        settings["types"]["session"] = {"handler": "http", "url": services.url()}
        na.write_settings(settings)
        settings = eu.settings()
        settings["types"]["session"] = {}
        eu.write_settings(settings)
        for region in (na, eu):
            region.sql("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('session', 'prefix', 'NA-', 'na')")
            permit_sessions(region)
            homeward("policy", "check", region.folder / "policy.json")
            homeward("dev", "stop", "--dir", started.folder, "--region", region.name)
            region.start()
            eventually(region.is_ready, what=f"{region.name} after its restart")
        yield started


def drivers(mesh, count):
    return [row[0] for row in mesh["na"].sql("SELECT contract FROM crm.customers ORDER BY contract LIMIT %s", count)]


def test_an_operators_query_answers_at_home(mesh):
    na = mesh["na"]
    first, second = drivers(mesh, 2)
    answer = na.get("driver", first, purpose="support.roaming")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["version"] == 41 and answer.headers["ETag"].startswith('"41-')
    assert body["record"]["name"] == "A Name" and "full_name" not in body["record"]
    assert na.get("driver", second, purpose="support.roaming").json()["version"] == 42
    na.sql("UPDATE crm.customers SET revision = 99, language = 'de' WHERE contract = %s", first)
    changed = na.get("driver", first, purpose="support.roaming").json()
    assert (changed["version"], changed["record"]["lang"]) == (99, "de")


def test_an_operators_query_is_asked_once_for_many(mesh):
    na = mesh["na"]
    ids = drivers(mesh, 10)
    lookups = [{"type": "driver", "id": identifier, "purpose": "support.roaming"} for identifier in ids]
    before = na.metric("homeward_database_query_duration_seconds_count")
    answers = na.request("POST", "/v1/objects:batch", json={"lookups": lookups}).json()["answers"]
    assert [item["answer"]["id"] for item in answers] == ids
    assert na.metric("homeward_database_query_duration_seconds_count") - before <= 2


def test_what_the_query_says_of_a_driver_is_what_the_gate_reads(mesh):
    """Across the border: denied without a visit, permitted with one, and forbidden when the row says restricted."""
    na, eu = mesh["na"], mesh["eu"]
    driver = drivers(mesh, 3)[2]

    def support():
        return eu.get("driver", driver, purpose="support.roaming", headers={"Cache-Control": "no-cache"})

    assert support().status_code == 404
    subject = [row["subject"] for row in na.exchanges() if row["type"] == "driver"][-1]
    na.sql("INSERT INTO homeward.grants (subject, region, expires_at) VALUES (%s, 'eu', now() + interval '1 hour')", subject)
    seen = support()
    assert seen.status_code == 200, seen.text
    assert seen.json()["record"] == {"driver_id": driver, "contract_ref": driver}
    na.sql("UPDATE crm.customers SET barred = true WHERE contract = %s", driver)
    assert support().status_code == 404
    assert [row["rules"] for row in na.exchanges() if row["type"] == "driver"] == ["", "SUPPORT-SERVE", "RESTRICTED"]
    assert_records_pair(eu, na)


def kept(region, identifier):
    """Which flags homeward keeps; the id is nowhere among them."""
    rows = region.sql("SELECT ref, flag, value FROM homeward.subject_flags ORDER BY ref, flag")
    assert identifier not in str(rows)
    return [(flag, value) for _, flag, value in rows]


def set_flag(region, command, verb, *arguments, check=True):
    region.await_index()
    return homeward(command, verb, *arguments, "--config", region.config, check=check)


def test_a_driver_of_another_system_is_restricted_here(mesh):
    """The operator's table is not touched, the copy elsewhere is forgotten, and the stricter of both words holds."""
    na, eu = mesh["na"], mesh["eu"]
    driver = drivers(mesh, 4)[3]
    na.sql("TRUNCATE homeward.subject_flags")

    def support(**more):
        return eu.get("driver", driver, purpose="support.roaming", **more).status_code

    assert support() == 404
    subject = [row["subject"] for row in na.exchanges() if row["type"] == "driver"][-1]
    na.sql("INSERT INTO homeward.grants (subject, region, expires_at) VALUES (%s, 'eu', now() + interval '1 hour')", subject)
    assert support(headers={"Cache-Control": "no-cache"}) == 200
    assert "hit" in eu.get("driver", driver, purpose="support.roaming").headers["Cache-Status"]

    done = set_flag(na, "subject", "restrict", "driver", driver, "--reason", "ticket-9")
    assert done.stdout.splitlines() == ["subject.restricted = yes, kept beside the record, which another system has",
                                        "1 of 1 regions have acknowledged"]
    assert support() == 404, "the copy is forgotten and the home denies"
    assert [row["rules"] for row in na.exchanges() if row["type"] == "driver"][-1] == "RESTRICTED"
    [entry] = [entry for entry in na.entries() if entry["k"] == "admin" and "ticket-9" in entry["msg"]]
    assert entry["msg"] == "subject.restricted = yes: ticket-9" and entry["n"] == 1 and entry["sub"].startswith("p1.")
    assert kept(na, driver) == [("subject.restricted", "yes")]
    assert na.sql("SELECT barred FROM crm.customers WHERE contract = %s", driver) == [(False,)]

    na.sql("INSERT INTO homeward.grants (subject, region, expires_at) VALUES (%s, 'eu', now() + interval '1 hour')", entry["sub"])
    assert support(headers={"Cache-Control": "no-cache"}) == 404
    set_flag(na, "subject", "unrestrict", "driver", driver)
    assert kept(na, driver) == [("subject.restricted", "no")]
    assert support(headers={"Cache-Control": "no-cache"}) == 200
    na.sql("UPDATE crm.customers SET barred = true WHERE contract = %s", driver)
    assert support(headers={"Cache-Control": "no-cache"}) == 404, "what the other system says stays forbidden"

    missing = set_flag(na, "subject", "restrict", "driver", "NO-SUCH", check=False)
    assert missing.returncode != 0 and "no such driver" in missing.stderr, missing.stderr
    assert len(kept(na, driver)) == 1
    homeward("subject", "erase", "driver", driver, "--config", na.config)
    assert kept(na, driver) == []


def test_a_service_that_says_nothing_is_restricted_and_consented_to_here(mesh, services):
    na, eu = mesh["na"], mesh["eu"]
    services.records["NA-7"] = (1, {"session_id": "NA-7", "kwh": 3})
    na.sql("TRUNCATE homeward.subject_flags")

    def seen(purpose="session.view", caller="cs-auth", **headers):
        return eu.get("session", "NA-7", purpose=purpose, caller=caller, headers=headers).status_code

    assert seen() == 200 and seen("analytics", "insights") == 404
    set_flag(na, "consent", "set", "session", "NA-7", "analytics", "granted", "--reason", "form-12")
    assert seen("analytics", "insights") == 200 and seen("analytics", "insights") == 200
    set_flag(na, "consent", "set", "session", "NA-7", "analytics", "withdrawn")
    assert seen("analytics", "insights") == 404, "also from the cache"
    services.records["NA-7"] = (2, {"session_id": "NA-7", "kwh": 3, "consent_analytics": "granted"})
    assert seen("analytics", "insights") == 404, "what was withdrawn here is withdrawn"
    assert seen() == 200

    services.broken = 503
    try:
        done = set_flag(na, "subject", "restrict", "session", "NA-7")
    finally:
        services.broken = None
    assert "1 of 1 regions have acknowledged" in done.stdout, "nobody waits for a service that fails to be restricted"
    assert seen() == 404
    assert na.get("session", "NA-7", purpose="session.view").status_code == 200, "at home the policy does not forbid it"
    assert kept(na, "NA-7") == [("subject.consent_analytics", "withdrawn"), ("subject.restricted", "yes")]
    homeward("subject", "erase", "session", "NA-7", "--config", na.config)
    assert kept(na, "NA-7") == []
    assert_records_pair(eu, na)


def test_an_internal_service_answers_across_the_border(mesh, services):
    na, eu = mesh["na"], mesh["eu"]
    services.records["NA-1"] = (7, {"session_id": "NA-1", "kwh": 12.5, "plate": "never crosses"})
    answer = eu.get("session", "NA-1", purpose="session.view")
    assert answer.status_code == 200, answer.text
    assert answer.json()["record"] == {"session_id": "NA-1", "kwh": 12.5}
    assert answer.json()["version"] == 7 and answer.headers["ETag"].startswith('"7-')
    asked = len(services.asked)
    assert eu.get("session", "NA-1", purpose="session.view").status_code == 200
    assert len(services.asked) == asked, "the second answer was not from the cache"
    assert eu.get("session", "NA-1", purpose="session.view", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304

    services.records["NA-1"] = (8, {"session_id": "NA-1", "kwh": 13.0})
    fresh = eu.get("session", "NA-1", purpose="session.view", headers={"Cache-Control": "no-cache", "If-None-Match": '"7"'})
    assert fresh.status_code == 200 and fresh.json()["version"] == 8
    assert_records_pair(eu, na)


def test_a_service_that_fails_is_told_apart_from_an_object_that_is_absent(mesh, services):
    eu = mesh["eu"]
    assert eu.get("session", "NA-none", purpose="session.view").status_code == 404
    services.records["NA-2"] = (0, {"session_id": "NA-2", "kwh": 1})
    services.broken = 503
    try:
        failed = eu.get("session", "NA-2", purpose="session.view")
        assert failed.status_code in (502, 503) and failed.json()["code"] in ("bad-peer", "home-unreachable"), failed.text
    finally:
        services.broken = None
    assert eu.get("session", "NA-2", purpose="session.view").status_code == 200, "a failure was remembered"


def test_ids_cannot_leave_their_place_in_the_url(mesh, services):
    na = mesh["na"]
    assert na.get("session", "NA-../admin?x=1", purpose="session.view").status_code == 404
    assert "/sessions/NA-..%2Fadmin%3Fx%3D1" in services.asked


def test_records_of_services_are_not_written_here(mesh):
    na = mesh["na"]
    for kind, identifier in (("driver", drivers(mesh, 1)[0]), ("session", "NA-9")):
        refused = na.request("PUT", f"/v1/objects/{kind}/{identifier}", caller="operator", json={"a": 1}, headers={"If-None-Match": "*"})
        assert refused.status_code == 403, refused.text


def test_a_lookup_costs_what_its_rows_do(mesh):
    """It is found by its key in a table that PostgreSQL has no statistics of, and is not planned each time."""
    na = mesh["na"]
    na.count_statements()
    cards = add_tokens(mesh, "na", 2000, prefix="3A")
    for card in cards[:60]:
        assert na.get("token", card).status_code == 200
    calls, plans, blocks = na.sql("SELECT calls, plans, shared_blks_hit + shared_blks_read FROM pg_stat_statements"
                                  " WHERE query LIKE %s", "%FROM homeward.objects WHERE type = $1 AND id = %")[0]
    assert calls >= 60
    assert plans <= calls / 2, "five for each engine, and then one that stays"
    assert blocks <= 8 * calls
