# SPDX-License-Identifier: Apache-2.0
"""Events as they were seen at a broker, held against the schemas: the envelope, and the data by the schema it names.

Where the official JSON Schema of CloudEvents is among the data, against that too.
"""
import functools
import json
import re

import jsonschema
from conftest import DATA
from test_schemas import NAMES, validator

BASE = "https://homeward.dev/schemas/"
OFFICIAL = DATA / "cloudevents.json"
known = functools.lru_cache(validator)


@functools.lru_cache
def official():
    return jsonschema.Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8"))) if OFFICIAL.exists() else None


def is_extension(name, value):
    """An attribute that CloudEvents allows and homeward carries unread."""
    return (name not in known("envelope.v1.json").schema["properties"] and re.fullmatch("[a-z0-9]{1,20}", name) is not None
            and isinstance(value, (str, bool, int)))


def judge(payload):
    """Raises jsonschema.ValidationError; returns the event's type."""
    event = json.loads(payload)
    if official() is not None:
        official().validate(event)
    known("envelope.v1.json").validate({name: value for name, value in event.items() if not is_extension(name, value)})
    assert not ("data" in event and "data_base64" in event), event
    schema = event.get("dataschema", "").removeprefix(BASE)
    if schema in NAMES:
        assert schema.startswith(event["type"] + ".v"), event
        known(schema).validate(event["data"])
    return event["type"]
