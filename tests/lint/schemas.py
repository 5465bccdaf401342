# SPDX-License-Identifier: Apache-2.0
"""Fails when a schema is not of the subset of schemas/README.md, or when a published one changed.

    schemas.py [FOLDER]            check, as `make lint` does
    schemas.py --publish [FOLDER]  write the versions that are not yet published into published.json

A published version is held by the SHA-256 of its contract: all of the file but descriptions. So a
published file can be explained better, but never mean anything else; a change is a new version in
a new file.
"""
import hashlib
import json
import pathlib
import re
import sys

DRAFT = "http://json-schema.org/draft-07/schema#"
BASE = "https://homeward.dev/schemas/"
CLASSES = ("public", "operational", "pseudonymous", "personal")
CHANNELS = ("crossing", "system")
ENVELOPE = "envelope"
NAME = re.compile(r"([a-z0-9]+(?:[._-][a-z0-9]+)*)\.v([1-9][0-9]*)\.json")
FIELD = re.compile(r"[a-z][a-z0-9_]*")
# What a POSIX extended regular expression and every other dialect read alike.
PATTERN = re.compile(r"\^(?:[A-Za-z0-9 ._/:=-]|\\\.|\[\^?[A-Za-z0-9_./+:-]+\]|[()*+?]|\{\d+(?:,\d*)?\})*\$")
KEYS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format", "enum", "x-classification"},
    "integer": {"minimum", "maximum", "x-classification"},
    "number": {"minimum", "maximum", "x-classification"},
    "boolean": {"x-classification"},
}
TOP = {"$schema", "$id", "title", "x-event-type", "x-version", "x-channel"}
SAID_FREELY = {"description", "$comment"}


def without_words(schema, inside_properties=False):
    """The contract of a schema: all but what is for people.  A field named `description` stays."""
    if isinstance(schema, dict):
        return {key: without_words(value, key == "properties" and not inside_properties)
                for key, value in schema.items() if inside_properties or key not in SAID_FREELY}
    if isinstance(schema, list):
        return [without_words(member) for member in schema]
    return schema


def contract(schema):
    text = json.dumps(without_words(schema), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_node(where, node, say):
    if not isinstance(node, dict):
        return say(f"{where}: not an object")
    kind = node.get("type")
    if not isinstance(kind, str) or kind not in KEYS:
        return say(f"{where}: type must be one of {', '.join(KEYS)}")
    for key in sorted(node.keys() - KEYS[kind] - SAID_FREELY - {"type"}):
        if where != "" or key not in TOP:
            say(f"{where or 'top'}: {key} is not in the subset, or not for a {kind}")
    if not node.get("description"):
        say(f"{where or 'top'}: description is missing")
    {"object": check_object, "array": check_array, "string": check_string}.get(kind, check_number)(where, node, say)
    return None


def check_object(where, node, say):
    properties = node.get("properties")
    if node.get("additionalProperties") is not False or not isinstance(properties, dict) or not properties:
        return say(f"{where or 'top'}: an object has properties and additionalProperties false")
    for name in node.get("required", []):
        if name not in properties:
            say(f"{where or 'top'}: required {name} is not among the properties")
    for name, child in properties.items():
        if not FIELD.fullmatch(name):
            say(f"{where}/{name}: a field's name is lower case, digits and _")
        check_node(f"{where}/{name}", child, say)
    return None


def check_array(where, node, say):
    if not isinstance(node.get("maxItems"), int):
        say(f"{where}: an array has maxItems")
    check_node(f"{where}/items", node.get("items"), say)


def check_string(where, node, say):
    check_class(where, node, say)
    if "enum" in node:
        if not node["enum"] or not all(isinstance(value, str) for value in node["enum"]):
            say(f"{where}: enum lists strings")
    elif not isinstance(node.get("maxLength"), int):
        say(f"{where}: a string has maxLength")
    if node.get("format", "date-time") != "date-time":
        say(f"{where}: the only format is date-time")
    if "pattern" in node and not PATTERN.fullmatch(node["pattern"]):
        say(f"{where}: pattern must begin with ^, end with $ and be plain: {node['pattern']}")


def check_number(where, node, say):
    check_class(where, node, say)
    if node["type"] != "boolean" and not {"minimum", "maximum"} <= node.keys():
        say(f"{where}: a number has minimum and maximum")


def check_class(where, node, say):
    if node.get("x-classification") not in CLASSES:
        say(f"{where}: x-classification must be one of {', '.join(CLASSES)}")


def check_schema(path, schema, say):
    found = NAME.fullmatch(path.name)
    if not found:
        return say("a schema's file is TYPE.vNUMBER.json")
    if schema.get("$schema") != DRAFT:
        say(f"$schema must be {DRAFT}")
    if schema.get("$id") != BASE + path.name:
        say(f"$id must be {BASE}{path.name}")
    if schema.get("x-version") != int(found[2]):
        say(f"x-version must be {found[2]}, as the file's name")
    if not re.fullmatch("[A-Z][A-Za-z0-9]*", str(schema.get("title"))):
        say("title must be a class's name: generated code is named for it")
    if schema.get("type") != "object":
        return say("top: type must be object")
    if found[1] == ENVELOPE:  # its `data` is of any type, the one exception
        schema = json.loads(json.dumps(schema))
        schema.get("properties", {}).pop("data", None)
    elif schema.get("x-event-type") != found[1] or schema.get("x-channel") not in CHANNELS:
        say(f"x-event-type must be {found[1]}, and x-channel one of {', '.join(CHANNELS)}")
    return check_node("", schema, say)


def schemas_of(folder):
    return sorted(path for path in folder.glob("*.json") if path.name != "published.json")


def read(path, say):
    try:
        return json.loads(path.read_text(encoding="ascii"), object_pairs_hook=unique)
    except ValueError as fault:
        say(f"{path.name}: {fault}")
        return None


def unique(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a member is there twice")
    return dict(pairs)


def check(folder):
    """The faults of a folder of schemas, as sentences."""
    faults = []
    published = read(folder / "published.json", faults.append) or {}
    documents = {path.name: read(path, faults.append) for path in schemas_of(folder)}
    for name, schema in documents.items():
        if schema is not None:
            check_schema(folder / name, schema, lambda what, name=name: faults.append(f"{name}: {what}"))
        if not (folder / "examples" / name).is_file():
            faults.append(f"{name}: has no examples/{name}")
    for name, was in published.items():
        if documents.get(name) is None:
            faults.append(f"{name}: is published and may not go")
        elif contract(documents[name]) != was:
            faults.append(f"{name}: is published and may change in descriptions only; "
                          "a change is a new version in a new file")
    for name in documents:
        found = NAME.fullmatch(name)
        if found and int(found[2]) > 1 and f"{found[1]}.v{int(found[2]) - 1}.json" not in published:
            faults.append(f"{name}: version {int(found[2]) - 1} is not published")
    titles = {}
    for name, schema in documents.items():
        key = (schema or {}).get("title"), NAME.fullmatch(name) and NAME.fullmatch(name)[2]
        if titles.setdefault(key, name) != name:
            faults.append(f"{name}: has the title of {titles[key]}")
    return faults


def publish(folder):
    path = folder / "published.json"
    published = json.loads(path.read_text()) if path.is_file() else {}
    for schema in schemas_of(folder):
        published.setdefault(schema.name, contract(json.loads(schema.read_text())))
    path.write_text(json.dumps(published, indent=4, sort_keys=True) + "\n")


def main(arguments):
    folders = [argument for argument in arguments if not argument.startswith("-")]
    folder = pathlib.Path(folders[0] if folders else "schemas")
    if "--publish" in arguments:
        publish(folder)
    faults = check(folder)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
