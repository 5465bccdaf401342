"""The event schemas: their golden examples, and that the check refuses what it must."""
import datetime
import json
import pathlib
import re
import shutil
import subprocess
import sys

import jsonschema
import pytest
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = TOP / "schemas"
NAMES = sorted(path.name for path in (SCHEMAS / "examples").glob("*.json"))
ORDER = ["public", "operational", "pseudonymous", "personal"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")

times = jsonschema.FormatChecker(formats=())


@times.checks("date-time", raises=ValueError)
def is_time(text):
    if not isinstance(text, str):
        return True
    if not TIME.fullmatch(text):
        raise ValueError(text)
    datetime.datetime.fromisoformat(text[:19])
    return True


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def validator(name):
    schema = load(SCHEMAS / name)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema, format_checker=times)


def check(folder, *options):
    done = subprocess.run([sys.executable, str(TOP / "tests/lint/schemas.py"), *options, str(folder)],
                          capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    return pathlib.Path(shutil.copytree(SCHEMAS, tmp_path / "schemas"))


def edit(path, change):
    document = load(path)
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_what_they_say(name):
    examples, judge = load(SCHEMAS / "examples" / name), validator(name)
    assert examples["valid"] and examples["invalid"]
    for data in examples["valid"]:
        judge.validate(data)
    for case in examples["invalid"]:
        assert not judge.is_valid(case["data"]), case["why"]


@pytest.mark.parametrize("name", NAMES)
def test_every_bound_is_held(name):
    """Each field of the first example, one step beyond each of its bounds, is refused."""
    schema, data, judge = load(SCHEMAS / name), load(SCHEMAS / "examples" / name)["valid"][0], validator(name)
    for field, rule in schema["properties"].items():
        beyond = []
        if "maxLength" in rule:
            beyond.append("x" * (rule["maxLength"] + 1))
        if rule.get("minLength"):
            beyond.append("")
        if "maximum" in rule:
            beyond += [rule["maximum"] + 1, rule["minimum"] - 1]
        if "enum" in rule:
            beyond.append("not-listed")
        for value in beyond:
            assert not judge.is_valid({**data, field: value}), (field, value)
    for field in schema["required"]:
        assert not judge.is_valid({key: value for key, value in data.items() if key != field}), field
    assert not judge.is_valid({**data, "nobody_knows": 1})


def classes(schema):
    if schema["type"] == "object":
        return set().union(*map(classes, schema["properties"].values()))
    return classes(schema["items"]) if schema["type"] == "array" else {schema["x-classification"]}


def test_an_event_says_the_highest_class_of_its_data():
    example = load(SCHEMAS / "examples/envelope.v1.json")["valid"][0]
    named = example["dataschema"].removeprefix("https://homeward.dev/schemas/")
    assert named.startswith(example["type"] + ".v")
    validator(named).validate(example["data"])
    assert example["dataclassification"] == max(classes(load(SCHEMAS / named)), key=ORDER.index)


def test_system_events_are_not_about_a_known_person():
    for name in NAMES:
        schema = load(SCHEMAS / name)
        if schema.get("x-channel") == "system":
            assert "personal" not in classes(schema), name


def test_the_schemas_pass_their_check():
    assert check(SCHEMAS) == (0, "")


def test_asyncapi_describes_every_event_on_its_channels():
    document = yaml.safe_load((TOP / "docs/asyncapi.yaml").read_text(encoding="utf-8"))
    messages = document["components"]["messages"]
    files = {message["payload"]["$ref"].removeprefix("../schemas/"): key for key, message in messages.items()}
    assert sorted(files) == [name for name in NAMES if not name.startswith("envelope.")]
    for name, key in files.items():
        schema = load(SCHEMAS / name)
        assert messages[key]["name"] == schema["x-event-type"]
        on = {channel for channel, what in document["channels"].items() if key in what["messages"]}
        if schema["x-channel"] == "system":
            assert on == {"system"}, name
        elif schema["x-event-type"] in ("homeward.receipt", "homeward.canary"):
            assert on == {"events"}, "only homewards speak of these with each other"
        else:
            assert on == {"submit", "events", "delivered"}, name


PUBLISHED = "session.completed.v1.json"


@pytest.mark.parametrize("change", [
    lambda schema: schema["properties"].pop("evse_id"),
    lambda schema: schema["properties"].update(tip={"type": "boolean", "description": "A tip.", "x-classification": "public"}),
    lambda schema: schema["required"].remove("token_uid"),
    lambda schema: schema["required"].append("evse_id"),
    lambda schema: schema["properties"]["energy_wh"].update(maximum=5),
    lambda schema: schema["properties"]["token_uid"].update({"x-classification": "public"}),
    lambda schema: schema["properties"]["end_reason"]["enum"].append("theft"),
    lambda schema: schema["properties"]["cost"]["properties"]["currency"].update(pattern="^[A-Z]*$"),
    lambda schema: schema.update(title="Other"),
])
def test_a_published_version_keeps_its_meaning(copy, change):
    edit(copy / PUBLISHED, change)
    status, said = check(copy)
    assert status == 1 and f"{PUBLISHED}: is published and may change in descriptions only" in said


def test_a_published_version_may_be_explained_better(copy):
    edit(copy / PUBLISHED, lambda schema: schema.update(description="Better words."))
    edit(copy / PUBLISHED, lambda schema: schema["properties"]["cost"].update({"description": "Other words."}))
    assert check(copy) == (0, "")


def test_a_published_version_may_not_go(copy):
    (copy / PUBLISHED).unlink()
    assert check(copy) == (1, f"{PUBLISHED}: is published and may not go\n")


def test_a_new_version_is_a_new_file(copy):
    second = "session.completed.v2.json"
    shutil.copy(copy / PUBLISHED, copy / second)
    shutil.copy(copy / "examples" / PUBLISHED, copy / "examples" / second)
    status, said = check(copy)
    assert status == 1 and "$id must be" in said and "x-version must be 2" in said

    def become_second(schema):
        schema.update({"$id": f"https://homeward.dev/schemas/{second}", "x-version": 2})
        schema["required"].append("evse_id")
    edit(copy / second, become_second)
    assert check(copy, "--publish") == (0, "")
    edit(copy / second, lambda schema: schema["required"].remove("evse_id"))
    status, said = check(copy)
    assert status == 1 and f"{second}: is published" in said and PUBLISHED not in said


def test_a_version_does_not_come_before_its_elder(copy):
    for folder in (copy, copy / "examples"):
        shutil.copy(folder / "homeward.canary.v1.json", folder / "homeward.canary.v2.json")
    edit(copy / "homeward.canary.v2.json", lambda schema: schema.update(
        {"$id": "https://homeward.dev/schemas/homeward.canary.v2.json", "x-version": 2}))
    assert check(copy) == (1, "homeward.canary.v2.json: version 1 is not published\n")


@pytest.mark.parametrize("fault, change", [
    ("x-classification must be one of", lambda schema: schema["properties"]["number"].pop("x-classification")),
    ("oneOf is not in the subset", lambda schema: schema["properties"]["number"].update(oneOf=[])),
    ("a string has maxLength", lambda schema: schema["properties"]["to"].pop("maxLength")),
    ("a number has minimum and maximum", lambda schema: schema["properties"]["number"].pop("maximum")),
    ("additionalProperties false", lambda schema: schema.pop("additionalProperties")),
    ("pattern must begin with ^", lambda schema: schema["properties"]["to"].update(pattern="^\\d+$")),
    ("required gone is not among", lambda schema: schema["required"].append("gone")),
    ("type must be one of", lambda schema: schema["properties"]["to"].update(type=["string", "null"])),
    ("the only format is date-time", lambda schema: schema["properties"]["sent_at"].update(format="time")),
    ("$schema must be", lambda schema: schema.update({"$schema": "https://json-schema.org/draft/2020-12/schema"})),
])
def test_what_is_not_of_the_subset_is_refused(copy, fault, change):
    edit(copy / "homeward.canary.v1.json", change)
    status, said = check(copy)
    assert status == 1 and fault in said
