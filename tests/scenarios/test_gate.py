"""What the gate reads: an open visit, consent, restriction; what a refusal looks like, and when one is forgotten."""
import json
import time

import pytest

from mesh import a_station, add_tokens, assert_records_pair, eventually, homeward

pytestmark = pytest.mark.sanitized

ASK_AGAIN = {"Cache-Control": "no-cache"}


def without_ids(problem):
    return {key: value for key, value in problem.items() if key not in ("exchange", "trace_id", "instance")}


def assert_looks_unknown(region, answer, purpose, caller):
    unknown = region.get("token", "04FFFFFFFFFF00", purpose=purpose, caller=caller)
    assert answer.status_code == unknown.status_code == 404
    assert without_ids(answer.json()) == without_ids(unknown.json())
    assert set(answer.headers) == set(unknown.headers)


def test_support_sees_a_driver_only_while_a_visit_is_open(mesh):
    na, eu, ap = mesh["na"], mesh["eu"], mesh["ap"]
    [card] = add_tokens(mesh, "na", 1, prefix="31")
    na.sql("UPDATE homeward.objects SET record = record || '{\"driver_id\": \"a driver\"}' WHERE id = %s", card)

    def support(region):
        return region.get("token", card, purpose="support.roaming", headers=ASK_AGAIN)

    assert_looks_unknown(eu, support(eu), "support.roaming", "cs-auth")

    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"
    seen = support(eu)
    assert seen.status_code == 200 and seen.json()["record"] == {"driver_id": "a driver"}
    assert support(ap).status_code == 404, "a visit in eu is no visit in ap"

    na.await_index()  # a grant is made good from the log when its entry is indexed, and would be open again
    na.sql("UPDATE homeward.grants SET expires_at = now() - interval '1 second'")
    assert_looks_unknown(eu, support(eu), "support.roaming", "cs-auth")
    assert_records_pair(eu, na)


def test_consent_opens_analytics_and_nothing_else_does(mesh):
    na, eu = mesh["na"], mesh["eu"]
    yes, no, silent = add_tokens(mesh, "na", 3, prefix="32")
    na.sql("UPDATE homeward.objects SET record = record || '{\"consent_analytics\": \"granted\", \"operator\": \"HWD\"}' WHERE id = %s", yes)
    na.sql("UPDATE homeward.objects SET record = record - 'consent_analytics' WHERE id = %s", silent)

    def analytics(card):
        return eu.get("token", card, purpose="analytics", caller="insights", headers=ASK_AGAIN)

    seen = analytics(yes)
    assert seen.status_code == 200 and seen.json()["record"] == {"operator": "HWD", "valid": True}
    assert_looks_unknown(eu, analytics(no), "analytics", "insights")
    assert_looks_unknown(eu, analytics(silent), "analytics", "insights")

    na.sql("UPDATE homeward.objects SET record = record || '{\"restricted\": \"yes\"}' WHERE id = %s", yes)
    assert_looks_unknown(eu, analytics(yes), "analytics", "insights")
    decided = [row["rules"] for row in na.exchanges() if row["purpose"] == "analytics"]
    assert decided == ["ANALYTICS-SERVE", "NO-CONSENT", "NO-CONSENT", "RESTRICTED"]


def test_a_denial_and_an_absent_object_are_told_apart_only_at_home(mesh):
    na, eu = mesh["na"], mesh["eu"]
    denied, absent = add_tokens(mesh, "na", 2, prefix="33")
    na.sql("UPDATE homeward.objects SET record = record || '{\"restricted\": \"yes\"}' WHERE id = %s", denied)
    na.sql("DELETE FROM homeward.objects WHERE id = %s", absent)
    before = len(na.exchanges()), len(eu.exchanges())

    answers = [eu.authorize(card, a_station(eu)) for card in (denied, absent)]

    assert without_ids(answers[0].json()) == without_ids(answers[1].json())
    at_home, here = na.exchanges()[before[0]:], eu.exchanges()[before[1]:]
    assert [(row["kind"], row["decision"], row["rules"]) for row in at_home] == [
        ("deny", "deny", "RESTRICTED"), ("deny", "deny", "absent")]
    assert at_home[0]["policy"] == at_home[1]["policy"] != "none"
    assert [row["kind"] for row in here] == ["ask", "got", "ask", "got"]
    same = ("kind", "type", "purpose", "decision", "rules", "policy", "fields", "ttl_s")
    assert [[row[column] for column in same] for row in here[:2]] == [[row[column] for column in same] for row in here[2:]]
    for asked, denial in zip(here[::2], at_home):
        assert asked["exchange"] == denial["exchange"]


def test_a_negative_answer_is_short_and_dies_with_its_route(mesh):
    na, eu, ap = mesh["na"], mesh["eu"], mesh["ap"]
    late, moved = add_tokens(mesh, "na", 2, prefix="34")
    station = a_station(eu)
    [[record]] = na.sql("DELETE FROM homeward.objects WHERE id = %s RETURNING record", late)
    na.sql("DELETE FROM homeward.objects WHERE id = %s", moved)
    assert [eu.get("token", card, station=station).status_code for card in (late, moved)] == [404, 404]
    asked = len(na.exchanges())
    assert eu.get("token", late, station=station).status_code == 404
    assert len(na.exchanges()) == asked, "a negative answer was not remembered"

    made = na.request("PUT", f"/v1/objects/token/{late}", caller="operator", json=record, headers={"If-None-Match": "*"})
    assert made.status_code == 201
    began = time.monotonic()
    eventually(lambda: eu.get("token", late, station=station).status_code == 200, within_s=8, what="the new object")
    assert time.monotonic() - began < 6, "remembered for longer than cache.negative_ttl_s"

    ap.sql("INSERT INTO homeward.objects (type, id, record) VALUES ('token', %s, %s)", moved, json.dumps(record))
    assert eu.get("token", moved, station=station).status_code == 404
    homeward("routes", "add", "token", "exact", moved, "ap", "--config", eu.config)
    eventually(lambda: eu.get("token", moved, station=station).status_code == 200, within_s=2, what="the new home")


def test_a_record_from_another_region_is_never_passed_on(mesh):
    """ap believes that eu is home: eu holds na's record in its cache, and says that there is no such object."""
    na, eu, ap = mesh["na"], mesh["eu"], mesh["ap"]
    [card] = add_tokens(mesh, "na", 1, prefix="35")
    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"
    assert eu.authorize(card, a_station(eu)).json()["source"] == "cache"
    homeward("routes", "add", "token", "exact", card, "eu", "--config", ap.config)
    eventually(lambda: ap.request("GET", f"/v1/locate/token/{card}").json()["home"] == "eu", what="ap's wrong route")
    asked = len(na.exchanges())

    assert ap.authorize(card, a_station(ap)).json()["status"] == "NOT_ALLOWED"

    last = eu.exchanges()[-1]
    assert (last["kind"], last["peer"], last["rules"]) == ("deny", "ap", "absent")
    assert len(na.exchanges()) == asked, "eu asked on behalf of ap"


def test_a_failing_test_refuses_a_policy_and_an_expired_one_denies(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    [card] = add_tokens(own_mesh, "na", 1)
    path = na.folder / "policy.json"
    policy = json.loads(path.read_text())

    wrong = json.loads(path.read_text())
    wrong["tests"][0]["expect"]["ttl"] = 901
    path.write_text(json.dumps(wrong))
    refused = na.reload()
    assert refused.status_code == 400 and wrong["tests"][0]["name"] in refused.text
    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED", "the old policy went away"

    path.write_text(json.dumps({**policy, "not_after": "2020-01-01T00:00:00Z"}))
    assert na.reload().status_code == 200
    denied = eu.request("POST", "/v1/authorize", json={"id": card, "station": a_station(eu)}, headers=ASK_AGAIN)
    assert denied.json()["status"] == "NOT_ALLOWED"
    station = eu.get("station", a_station(na), purpose="charge.authorize")
    assert station.status_code == 200, "what is not personal needs no policy in date"
