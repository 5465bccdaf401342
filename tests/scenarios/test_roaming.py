"""A driver from one region taps in another: what is allowed, what crosses, what is on record."""
import json

import pytest

from mesh import UNKNOWN_CARD, a_station, add_tokens, assert_records_pair, good_tokens

pytestmark = pytest.mark.sanitized


def without_ids(problem):
    return {key: value for key, value in problem.items() if key not in ("exchange", "trace_id", "instance")}


def test_a_roaming_driver_is_allowed_and_both_sides_have_it_on_record(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)

    answer = eu.authorize(card, a_station(eu))

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["status"], body["home"], body["source"]) == ("ALLOWED", "na", "home")
    assert_records_pair(eu, na, body["exchange"])
    kinds = [row["kind"] for row in eu.exchanges() if row["exchange"] == body["exchange"]]
    assert kinds == ["ask", "got"]
    [served] = [row for row in na.exchanges() if row["exchange"] == body["exchange"]]
    assert served["kind"] == "serve" and served["peer"] == "eu" and served["decision"] == "permit"
    assert card not in str(eu.exchanges()) + str(na.exchanges()), "an id is in the access record"


def test_the_second_tap_is_answered_without_crossing(mesh):
    na, eu = mesh["na"], mesh["eu"]
    card = add_tokens(mesh, "na", 1, prefix="0A")[0]
    first = eu.authorize(card, a_station(eu)).json()
    crossings = len(na.exchanges())

    again = eu.authorize(card, a_station(eu))

    assert again.json()["source"] == "cache"
    assert again.json()["exchange"] == first["exchange"], "a hit names the crossing it came from"
    assert len(na.exchanges()) == crossings
    record = eu.get("token", card, station=a_station(eu))
    assert record.status_code == 200 and "; hit; ttl=" in record.headers["Cache-Status"]


def test_only_the_fields_of_the_purpose_cross(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)
    at_home = na.sql("SELECT record FROM homeward.objects WHERE type = 'token' AND id = %s", card)[0][0]

    seen = eu.get("token", card, station=a_station(eu)).json()["record"]

    assert set(seen) < set(at_home), "everything the home knows has crossed"
    assert "driver_id" not in seen and "restricted" not in seen
    assert all(seen[field] == at_home[field] for field in seen)


def test_analytics_is_denied_and_looks_like_unknown(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)

    denied = eu.get("token", card, purpose="analytics", caller="insights", station=a_station(eu))
    unknown = eu.get("token", UNKNOWN_CARD, purpose="analytics", caller="insights", station=a_station(eu))

    assert denied.status_code == unknown.status_code == 404
    assert without_ids(denied.json()) == without_ids(unknown.json())
    assert set(denied.json()) == set(unknown.json())
    assert set(denied.headers) == set(unknown.headers)


def test_without_a_station_in_the_requesters_region_nothing_is_released(mesh):
    na, eu, ap = mesh["na"], mesh["eu"], mesh["ap"]
    card = add_tokens(mesh, "na", 1, prefix="0E")[0]
    served = len([row for row in na.exchanges() if row["kind"] == "serve"])

    assert eu.get("token", card).status_code == 404
    assert eu.get("token", card, station=a_station(na)).status_code == 404
    assert eu.get("token", card, station=a_station(ap)).status_code == 404
    assert eu.get("token", card, station="EU*HWD*NOSUCHSTATION").status_code == 404

    assert len([row for row in na.exchanges() if row["kind"] == "serve"]) == served
    assert eu.authorize(card, a_station(na)).json()["status"] == "NOT_ALLOWED"


def test_an_unknown_card_is_refused_without_leaving_the_region(mesh):
    eu = mesh["eu"]
    before = eu.metric("homeward_delegations_total"), len(eu.exchanges())

    answer = eu.authorize(UNKNOWN_CARD, a_station(eu))

    assert answer.status_code == 200 and answer.json()["status"] == "NOT_ALLOWED"
    assert eu.get("token", UNKNOWN_CARD, station=a_station(eu)).status_code == 404
    assert (eu.metric("homeward_delegations_total"), len(eu.exchanges())) == before


def test_a_permitted_tap_opens_a_grant_at_home(mesh):
    na, eu = mesh["na"], mesh["eu"]
    card = add_tokens(mesh, "na", 1, prefix="0B")[0]
    before = na.sql("SELECT count(*) FROM homeward.grants WHERE region = 'eu'")[0][0]

    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"

    after, hours = na.sql("SELECT count(*), max(extract(epoch FROM expires_at - now())) / 3600"
                          " FROM homeward.grants WHERE region = 'eu'")[0]
    assert after == before + 1
    assert 23.9 < hours <= 24


def test_a_driver_at_home_needs_no_crossing(mesh):
    na = mesh["na"]
    [card] = good_tokens(na)
    before = len(na.exchanges())

    answer = na.authorize(card, a_station(na)).json()

    assert (answer["status"], answer["home"], answer["source"]) == ("ALLOWED", "na", "local")
    assert len(na.exchanges()) == before


@pytest.mark.parametrize("change, wanted", [
    ({"valid": False}, "BLOCKED"),
    ({"valid_until": "2001-01-01T00:00:00Z"}, "EXPIRED"),
    ({"restricted": "yes"}, "NOT_ALLOWED"),
])
def test_what_the_home_says_of_a_card_decides(mesh, change, wanted):
    na, eu = mesh["na"], mesh["eu"]
    card = add_tokens(mesh, "na", 1, prefix={"BLOCKED": "1A", "EXPIRED": "1B", "NOT_ALLOWED": "1C"}[wanted])[0]
    na.sql("UPDATE homeward.objects SET record = record || %s::jsonb WHERE type = 'token' AND id = %s", json.dumps(change), card)

    assert eu.authorize(card, a_station(eu)).json()["status"] == wanted
