"""Every decision of a policy against SQL made from the same file, and what must hold for all of them."""
import contextlib
import csv
import io
import json
import pathlib
import random

import psycopg2
import pytest

from mesh import homeward
from policy_sql import column, decisions_of

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "docs/policy.example.json"
ANSWER = ["decision", "rules", "fields", "ttl", "onward"]


def points_of(path, expired):
    return homeward("policy", "enumerate", path, "--csv", *(["--expired"] if expired else [])).stdout


@contextlib.contextmanager
def decided_twice(region, path, expired=False):
    """A cursor over a table `both` with our decisions and PostgreSQL's side by side."""
    policy = json.loads(pathlib.Path(path).read_text())
    points = points_of(path, expired)
    header = next(csv.reader([points.splitlines()[0]]))
    connection = psycopg2.connect(region.dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")
            columns = ", ".join(f"{column(name)} text" for name in header)
            cursor.execute(f"CREATE TEMP TABLE points ({columns}) ON COMMIT DROP")
            cursor.copy_expert("COPY points FROM STDIN (FORMAT csv, HEADER true, FORCE_NOT_NULL (rules, fields))", io.StringIO(points))
            cursor.execute(f"CREATE TEMP TABLE both_sides ON COMMIT DROP AS {decisions_of(policy, 'points', expired)}")
            yield policy, cursor
    finally:
        connection.close()


def count(cursor, where="TRUE"):
    cursor.execute(f"SELECT count(*) FROM both_sides WHERE {where}")
    return cursor.fetchone()[0]


def assert_no_difference(cursor):
    differs = " OR ".join(f"{column(name)} IS DISTINCT FROM sql_{name}::text" for name in ANSWER)
    cursor.execute(f"SELECT * FROM both_sides WHERE {differs} LIMIT 3")
    names = [each.name for each in cursor.description]
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    assert rows == [], f"{count(cursor, differs)} points are decided otherwise, such as {rows[0]}"


def assert_what_must_hold(policy, cursor):
    """Read off our decisions alone: a rule that is named, an attribute it needs, a field it lists."""
    rules = {rule["id"]: rule for rule in policy["rules"]}
    cursor.execute("SELECT * FROM both_sides WHERE decision = 'permit' OR rules <> ''")
    names = [each.name for each in cursor.description]
    for row in cursor:
        point = dict(zip(names, row))
        named = [rules[each] for each in point["rules"].split()]
        effects = {rule["effect"] for rule in named}
        assert effects == ({"permit"} if point["decision"] == "permit" else {"forbid"}), point
        if point["decision"] == "deny":
            continue
        needed = {attribute for rule in named for attribute, _, _ in rule.get("when", [])}
        needed |= {key for rule in named for key in ("purpose", "caller") if key in rule}
        assert "unknown" not in [point[name] for name in needed], f"a permit from what is not known: {point}"
        listed = {field for rule in named for field in (policy["types"][point["type"]]["fields"] if rule["fields"] == ["*"] else rule["fields"])}
        assert set(point["fields"].split(",")) <= listed, f"a field no rule lists: {point}"


@pytest.mark.parametrize("expired", [False, True])
def test_postgresql_decides_every_request_of_the_example_alike(mesh, expired):
    with decided_twice(mesh["eu"], EXAMPLE, expired) as (policy, cursor):
        assert count(cursor) >= 100_000
        assert count(cursor, "decision = 'permit'") >= 1_000
        assert count(cursor, "decision = 'deny' AND rules <> ''") >= (0 if expired else 1_000)
        assert_no_difference(cursor)
        assert_what_must_hold(policy, cursor)


@pytest.mark.parametrize("name", ["na", "eu", "ap"])
def test_postgresql_decides_every_request_of_a_running_region_alike(mesh, name):
    path = mesh[name].settings()["policy"]["file"]
    with decided_twice(mesh[name], mesh[name].folder / path) as (policy, cursor):
        assert count(cursor) >= 4_000
        assert_no_difference(cursor)
        assert_what_must_hold(policy, cursor)


def test_the_comparison_notices_a_rule_that_is_read_otherwise(mesh, tmp_path):
    policy = json.loads(EXAMPLE.read_text())
    points = points_of(EXAMPLE, False)
    policy["rules"] = [rule for rule in policy["rules"] if rule["id"] != "EU-02"]
    other = tmp_path / "policy.json"
    other.write_text(json.dumps(policy))
    with pytest.raises(AssertionError, match="decided otherwise"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "points_of", lambda path, expired: points)
        with decided_twice(mesh["eu"], other) as (_, cursor):
            assert_no_difference(cursor)


# ---- policies nobody would write ----

REGIONS, PURPOSES, CALLERS = ["na", "ap", "uk"], ["charge.authorize", "analytics"], ["cs-auth", "insights"]
FIELDS = ["uid", "valid", "email"]
FLAGS = {"subject.restricted": {"field": "restricted", "absent": "no"}, "subject.agreed": {"field": "agreed", "absent": "unknown"}}
OPERATIONS = ["local", "ask", "serve"]


def some(dice, values):
    return dice.sample(values, dice.randint(1, len(values)))


def a_condition(dice, operations):
    values = {"requester": ["$home", "$to", *REGIONS], "to": ["$requester", *REGIONS], "purpose": PURPOSES, "caller": CALLERS,
              "evidence.station_region": ["$requester", "$home", "$to", "eu", *REGIONS], "subject.roaming": ["active", "none"]}
    if "ask" not in operations:
        values.update({"subject.restricted": ["yes", "no"], "subject.agreed": ["yes", "granted"]})
    attribute = dice.choice(list(values))
    operator = dice.choice(["eq", "ne", "in"])
    return [attribute, operator, some(dice, values[attribute]) if operator == "in" else dice.choice(values[attribute])]


def a_rule(dice, number):
    effect = "forbid" if dice.random() < 0.3 else "permit"
    rule = {"id": f"R{number}", "effect": effect, "operation": some(dice, OPERATIONS)}
    for key, values in (("from", ["eu", *REGIONS]), ("to", ["eu", *REGIONS]), ("purpose", PURPOSES), ("caller", CALLERS), ("type", ["token", "visitor"])):
        if dice.random() < 0.4:
            rule[key] = some(dice, values)
    rule["when"] = [a_condition(dice, rule["operation"]) for _ in range(dice.randint(0, 3))]
    if not rule["when"]:
        del rule["when"]
    if effect == "permit":
        rule["fields"] = some(dice, FIELDS)
        if dice.random() < 0.7:
            rule["obligations"] = {"cache_ttl_max_s": dice.choice([0, 60, 900]), "onward": dice.choice(["yes", "no"])}
    return rule


def a_policy(dice):
    kind = {"fields": FIELDS, "flags": FLAGS, "personal": True}
    return {"schema": "homeward-policy/1", "home": "eu", "version": 1, "not_after": "2030-01-01T00:00:00Z", "default": "deny",
            "types": {"token": kind, "visitor": {**kind, "personal": dice.random() < 0.5}},
            "rules": [a_rule(dice, number) for number in range(dice.randint(1, 12))]}


@pytest.mark.parametrize("seed", range(8))
def test_postgresql_decides_random_policies_alike(mesh, tmp_path, seed):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(a_policy(random.Random(seed))))
    with decided_twice(mesh["eu"], path, expired=seed % 4 == 3) as (policy, cursor):
        assert_no_difference(cursor)
        assert_what_must_hold(policy, cursor)
