# SPDX-License-Identifier: Apache-2.0
"""golden.py write SCHEMAS: the valid examples, one a line, {"title", "data"}; with --no-any without the envelope's data.
golden.py compare GOLDEN CAME: fails unless each line came back as it went, types of numbers included.
"""
import json
import pathlib
import sys


def write(schemas, has_any):
    for path in sorted((schemas / "examples").glob("*.json")):
        schema = json.loads((schemas / path.name).read_text())
        title = schema["title"] + (f"V{schema['x-version']}" if schema["x-version"] > 1 else "")
        typed = {name for name, field in schema["properties"].items() if has_any or "type" in field}
        for data in json.loads(path.read_text())["valid"]:
            print(json.dumps({"title": title, "data": {key: data[key] for key in data if key in typed}}))


def same(went, came):
    if isinstance(went, dict):
        return isinstance(came, dict) and went.keys() == came.keys() and all(same(went[key], came[key]) for key in went)
    if isinstance(went, list):
        return isinstance(came, list) and len(went) == len(came) and all(map(same, went, came))
    return went == came and isinstance(went, bool) == isinstance(came, bool) and isinstance(went, str) == isinstance(came, str)


def compare(golden, came):
    went, back = ([json.loads(line) for line in pathlib.Path(name).read_text().splitlines()] for name in (golden, came))
    wrong = [first for first, second in zip(went, back) if not same(first, second)]
    for first, second in zip(went, back):
        if not same(first, second):
            print(f"went {json.dumps(first)}\ncame {json.dumps(second)}")
    if len(went) != len(back) or not went:
        print(f"{len(went)} went, {len(back)} came back")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(pathlib.Path(sys.argv[2]), "--no-any" not in sys.argv)
    else:
        sys.exit(compare(sys.argv[2], sys.argv[3]))
