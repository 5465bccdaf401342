"""docs/openapi.yaml is what the API does: every route is in it, and every answer is as it says."""
import pathlib
import re

import jsonschema
import pytest
import requests

from mesh import UNKNOWN_CARD, a_station, add_tokens, good_tokens

pytestmark = pytest.mark.sanitized

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "locator" / "api.c"
METHODS = {"get", "put", "post", "delete"}


class Description:
    def __init__(self, document):
        self.document = document
        self.seen = set()

    def resolve(self, part):
        while "$ref" in part:
            found = self.document
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            part = found
        return part

    def check(self, schema, value):
        resolver = jsonschema.RefResolver("", self.document)
        jsonschema.Draft202012Validator(schema, resolver=resolver, format_checker=jsonschema.FormatChecker()).validate(value)

    def template_of(self, path):
        for template in self.document["paths"]:
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
                return template
        raise AssertionError(f"{path} is not described")

    def check_answer(self, answer):
        """The status, the media type, the headers and the body are among those described."""
        method = answer.request.method.lower()
        template = self.template_of(requests.utils.urlparse(answer.request.url).path)
        operation = self.document["paths"][template][method]
        status = str(answer.status_code)
        described = operation["responses"].get(status) or operation["responses"].get(status[0] + "XX")
        assert described, f"{method} {template}: {status} is not described: {answer.text}"
        described = self.resolve(described)
        self.seen.add((method, template, status))
        for name, header in described.get("headers", {}).items():
            if name in answer.headers:
                schema = self.resolve(header)["schema"]
                text = answer.headers[name]
                self.check(schema, int(text) if schema.get("type") == "integer" else text)
        content = described.get("content")
        if not content:
            assert not answer.content, f"{method} {template} {status}: a body is not described"
            return
        kind = answer.headers["Content-Type"].split(";")[0]
        assert kind in content, f"{method} {template} {status}: {kind} is not described"
        self.check(content[kind]["schema"], answer.json())
        if kind == "application/problem+json":
            assert answer.json()["status"] == answer.status_code


@pytest.fixture(scope="module")
def description(mesh):
    return Description(mesh["eu"].request("GET", "/openapi.json", caller=None).json())


def test_every_route_is_described_and_nothing_else(description):
    routes = set(re.findall(r'\{ "([A-Z]+)", "(/[^"]*)", ', SOURCE.read_text()))
    assert len(routes) >= 7
    described = {(method.upper(), path) for path, operations in description.document["paths"].items()
                 for method in operations if method in METHODS}
    assert described == routes


def test_its_examples_are_as_it_says(description):
    found = 0
    pending = [description.document]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(part)
        if not isinstance(part, dict):
            continue
        pending.extend(part.values())
        if "schema" in part and "examples" in part:
            for example in part["examples"].values():
                description.check(part["schema"], description.resolve(example)["value"])
                found += 1
        elif "schema" in part and "example" in part:
            description.check(part["schema"], part["example"])
            found += 1
    assert found > 20


def test_answers_are_as_described(mesh, description):
    na, eu = mesh["na"], mesh["eu"]
    station, [card], [away] = a_station(eu), good_tokens(eu), add_tokens(mesh, "na", 1, prefix="3C")
    write = {"caller": "operator", "json": {"uid": "x", "valid": True}}
    path = "/v1/objects/token/0400000000BB01"
    objects = "/v1/objects/token/%s?purpose=charge.authorize"
    tap = {"id": away, "station": station}

    def ask(method, where, **options):
        answer = eu.request(method, where, **options)
        description.check_answer(answer)
        return answer

    assert ask("GET", objects % away + f"&station={requests.utils.quote(station, safe='')}").status_code == 200
    held = ask("GET", objects % away + f"&station={requests.utils.quote(station, safe='')}")
    assert held.status_code == 200 and {"ETag", "Age", "Cache-Control", "Cache-Status", "Homeward-Home", "Homeward-Exchange"} <= set(held.headers)
    local = ask("GET", objects % card)
    assert ask("GET", objects % card, headers={"If-None-Match": local.headers["ETag"]}).status_code == 304
    assert ask("GET", objects % UNKNOWN_CARD).status_code == 404
    assert ask("GET", "/v1/objects/token/" + card).status_code == 400
    assert ask("GET", objects % card, caller=None).status_code == 401
    assert ask("GET", f"/v1/objects/token/{card}?purpose=analytics").status_code == 403
    assert ask("GET", objects % add_tokens(mesh, "na", 1, prefix="3D")[0], headers={"Cache-Control": "only-if-cached"}).status_code == 504

    assert ask("PUT", path, **write).status_code == 428
    assert ask("PUT", path, headers={"If-None-Match": "*"}, **write).status_code == 201
    assert ask("PUT", path, headers={"If-None-Match": "*"}, **write).status_code == 412
    assert ask("PUT", path, headers={"If-Match": '"1"'}, **write).status_code == 200
    assert ask("PUT", path, headers={"If-Match": '"2"'}, json={"a": 1}).status_code == 403
    assert ask("PUT", path, caller="operator", data=b"[", headers={"If-Match": '"2"'}).status_code == 400
    assert ask("PUT", path, caller="operator", json={"a": "x" * 70000}, headers={"If-Match": '"2"'}).status_code == 413
    assert ask("PUT", f"/v1/objects/token/{away}", headers={"If-Match": '"1"'}, **write).status_code == 421
    assert ask("DELETE", path, caller="operator").status_code == 428
    assert ask("DELETE", path, caller="operator", headers={"If-Match": '"1"'}).status_code == 412
    assert ask("DELETE", path, caller="operator", headers={"If-Match": '"2"'}).status_code == 204
    assert ask("DELETE", path, caller="operator", headers={"If-Match": '"2"'}).status_code in (404, 412)
    assert ask("DELETE", path, headers={"If-Match": '"2"'}).status_code == 403
    assert ask("DELETE", f"/v1/objects/token/{away}", caller="operator", headers={"If-Match": '"1"'}).status_code == 421

    lookups = [{"type": "token", "id": each, "purpose": purpose} for each, purpose in
               ((card, "charge.authorize"), (UNKNOWN_CARD, "charge.authorize"), (card, "analytics"), ("", "charge.authorize"))]
    batch = ask("POST", "/v1/objects:batch", json={"lookups": lookups})
    assert [each["status"] for each in batch.json()["answers"]] == ["found", "not_available", "error", "error"]
    assert ask("POST", "/v1/objects:batch", json={"lookup": []}).status_code == 400
    assert ask("POST", "/v1/objects:batch", json={"lookups": lookups * 300}).status_code == 413
    assert ask("POST", "/v1/objects:batch", json={"lookups": []}, caller=None).status_code == 401

    for where in (away, card, UNKNOWN_CARD):
        assert ask("GET", f"/v1/locate/token/{where}").status_code == 200
    assert ask("GET", "/v1/locate/nosuchtype/x").status_code == 400
    assert ask("GET", f"/v1/locate/token/{card}", caller=None).status_code == 401

    assert ask("POST", "/v1/authorize", json=tap).json()["status"] == "ALLOWED"
    assert ask("POST", "/v1/authorize", json={"token": UNKNOWN_CARD, "station": station}).json()["status"] == "NOT_ALLOWED"
    assert ask("POST", "/v1/authorize", json={}).status_code == 400
    assert ask("POST", "/v1/authorize", json=tap, caller=None).status_code == 401
    assert ask("POST", "/v1/authorize", json={**tap, "purpose": "analytics"}).status_code == 403
    assert ask("POST", "/v1/authorize", json={**tap, "tap": "x" * 100000}).status_code == 413
    # These regions have no broker; what one with a broker answers is test_events.py's.
    assert ask("POST", "/v1/events", caller=None, json={}).status_code == 401
    assert ask("POST", "/v1/events", caller="operator", json={}).status_code == 404
    assert ask("GET", "/openapi.json", caller=None).status_code == 200

    operations = {(method, path) for path, each in description.document["paths"].items() for method in each if method in METHODS}
    assert {(method, path) for method, path, _ in description.seen} == operations


def test_failures_are_as_described(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    description = Description(eu.request("GET", "/openapi.json", caller=None).json())
    cards = add_tokens(own_mesh, "na", 3)
    station = a_station(eu)
    na.kill()
    answer = eu.authorize(cards[0], a_station(eu))
    assert answer.status_code == 503 and answer.json()["code"] == "home-unreachable"
    description.check_answer(answer)
    assert {"Proxy-Status", "Retry-After"} <= set(answer.headers)
    description.check_answer(eu.get("token", cards[1], station=a_station(eu)))
    description.check_answer(eu.authorize(cards[2], a_station(eu), headers={"Homeward-Timeout-Ms": "1"}))
    eu.kill_postgres(9)
    lost = eu.get("token", cards[0], station=station)
    assert lost.status_code in (503, 504)
    description.check_answer(lost)
