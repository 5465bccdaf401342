"""The client API as a back-end service sees it."""
import json

import pytest

from mesh import UNKNOWN_CARD, a_station, add_tokens, good_tokens

pytestmark = pytest.mark.sanitized


def put(region, kind, identifier, record, **headers):
    return region.request("PUT", f"/v1/objects/{kind}/{identifier}", caller="operator", json=record,
                          headers={key.replace("_", "-"): value for key, value in headers.items()})


def test_writes_need_a_version_and_lose_nothing(mesh):
    eu = mesh["eu"]
    path = "/v1/objects/token/0400000000AA01"
    record = {"uid": "0400000000AA01", "valid": True, "restricted": "no"}

    assert put(eu, "token", "0400000000AA01", record).status_code == 428
    created = put(eu, "token", "0400000000AA01", record, If_None_Match="*")
    assert created.status_code == 201 and created.headers["ETag"] == '"1"'
    assert put(eu, "token", "0400000000AA01", record, If_None_Match="*").status_code == 412
    changed = put(eu, "token", "0400000000AA01", {**record, "valid": False}, If_Match='"1"')
    assert changed.status_code in (200, 204) and changed.headers["ETag"] == '"2"'
    assert put(eu, "token", "0400000000AA01", record, If_Match='"1"').status_code == 412
    assert eu.get("token", "0400000000AA01").json()["record"]["valid"] is False

    assert eu.request("DELETE", path, caller="operator", headers={"If-Match": '"1"'}).status_code == 412
    assert eu.request("DELETE", path, caller="operator", headers={"If-Match": '"2"'}).status_code == 204
    assert eu.get("token", "0400000000AA01").status_code == 404


def test_writes_belong_at_home_and_to_callers_who_may(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)
    assert put(eu, "token", card, {"valid": True}, If_Match='"1"').status_code == 421
    refused = eu.request("PUT", "/v1/objects/token/0400000000AA02", json={"valid": True}, headers={"If-None-Match": "*"})
    assert refused.status_code == 403
    assert put(eu, "token", "0400000000AA02", [1, 2], If_None_Match="*").status_code == 400
    assert put(eu, "nosuchtype", "x", {"a": 1}, If_None_Match="*").status_code in (400, 404)


def test_credentials_decide_the_purposes(mesh):
    eu = mesh["eu"]
    [card] = good_tokens(eu)
    path = f"/v1/objects/token/{card}?purpose=charge.authorize"
    assert eu.request("GET", path, caller=None).status_code == 401
    wrong = eu.request("GET", path, headers={"Authorization": "Bearer hw_nosuchtoken"})
    assert wrong.status_code == 401 and wrong.headers["WWW-Authenticate"].startswith("Bearer")
    other = eu.get("token", card, purpose="analytics")
    assert other.status_code == 403 and other.json()["code"] == "purpose-not-allowed"


@pytest.mark.parametrize("path, named", [
    ("/v1/objects/token/%s", "purpose"),
    ("/v1/objects/token/%s?purpose=charge.authorize&colour=red", "colour"),
    ("/v1/objects/token/%s?purpose=Not%%20A%%20Purpose", "purpose"),
])
def test_bad_questions_name_what_is_wrong(mesh, path, named):
    answer = mesh["eu"].request("GET", path % good_tokens(mesh["eu"])[0])
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert named in answer.json()["detail"]


def test_etag_spares_the_body(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)
    first = eu.get("token", card, station=a_station(eu))
    again = eu.get("token", card, station=a_station(eu), headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and not again.content
    other = eu.get("token", card, station=a_station(eu), headers={"If-None-Match": '"999"'})
    assert other.status_code == 200


def test_request_cache_control_is_honoured(mesh):
    eu, na = mesh["eu"], mesh["na"]
    card = add_tokens(mesh, "na", 1, prefix="2A")[0]
    station = a_station(eu)
    refused = eu.get("token", card, station=station, headers={"Cache-Control": "only-if-cached"})
    assert refused.status_code == 504 and refused.json()["code"] == "not-cached"
    assert eu.get("token", card, station=station).status_code == 200
    assert eu.get("token", card, station=station, headers={"Cache-Control": "only-if-cached"}).status_code == 200
    served = len(na.exchanges())
    fresh = eu.get("token", card, station=station, headers={"Cache-Control": "no-cache"})
    assert fresh.status_code == 200 and "hit" not in fresh.headers["Cache-Status"]
    assert len(na.exchanges()) == served + 1


def test_a_batch_answers_each_in_order(mesh):
    na, eu = mesh["na"], mesh["eu"]
    cards = good_tokens(na, 3)
    lookups = [{"type": "token", "id": card, "purpose": "charge.authorize", "station": a_station(eu)} for card in cards]
    lookups.insert(1, {"type": "token", "id": UNKNOWN_CARD, "purpose": "charge.authorize", "station": a_station(eu)})
    answer = eu.request("POST", "/v1/objects:batch", json={"lookups": lookups})
    assert answer.status_code == 200, answer.text
    answers = answer.json()["answers"]
    assert len(answers) == 4
    assert [item["answer"]["id"] for item in answers if item["status"] == "found"] == cards
    assert answers[1]["status"] == "not_available" and "answer" not in answers[1]
    many = eu.request("POST", "/v1/objects:batch", json={"lookups": lookups * 300})
    assert many.status_code == 413


def test_locate_tells_the_home_without_crossing(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)
    before = len(na.exchanges()), len(eu.exchanges())
    answer = eu.request("GET", f"/v1/locate/token/{card}").json()
    assert answer["home"] == "na" and answer["found_by"] == "exact" and answer["would_cross_border"] is True
    unknown = eu.request("GET", f"/v1/locate/token/{UNKNOWN_CARD}").json()
    assert unknown["home"] is None and unknown["would_cross_border"] is False
    assert (len(na.exchanges()), len(eu.exchanges())) == before


def test_the_description_is_served(mesh):
    description = mesh["eu"].request("GET", "/openapi.json", caller=None).json()
    assert description["openapi"].startswith("3.1")
    assert {"/v1/objects/{type}/{id}", "/v1/authorize", "/v1/locate/{type}/{id}"} <= set(description["paths"])


def test_trace_context_goes_through(mesh):
    eu = mesh["eu"]
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    problem = eu.get("token", UNKNOWN_CARD, station=a_station(eu), headers={"traceparent": trace})
    assert problem.json()["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"lookups":{}}', b'{"lookups":[{"type":"token"}]}', b"\xff\xfe", b"[" * 5000])
def test_bad_bodies_are_refused_clearly(mesh, body):
    answer = mesh["eu"].request("POST", "/v1/objects:batch", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 or (answer.status_code == 200 and json.loads(body)["lookups"])
    assert answer.headers["Content-Type"].startswith("application/")


def test_unknown_paths_and_methods(mesh):
    eu = mesh["eu"]
    assert eu.request("GET", "/v1/nothing").status_code == 404
    wrong = eu.request("PATCH", "/v1/authorize")
    assert wrong.status_code == 405 and "POST" in wrong.headers["Allow"]
