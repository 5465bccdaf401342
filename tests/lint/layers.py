# SPDX-License-Identifier: Apache-2.0
"""Fails when a folder includes a header it may not.  ALLOWED is the architecture.

A folder may include its own headers, and of an allowed folder only the front door,
<folder>/<folder>.h; all of base is front door.  The program's own files (main.c and its
neighbours) may include every front door and nothing else.  Headers may not include each other
in a circle.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": [],
    "policy": ["base"],
    "router": ["base", "policy"],
    "handlers": ["base", "policy"],
    "federation": ["base", "policy"],
    "locator": ["base", "policy", "router", "handlers"],
    "cli": ["base", "policy", "router", "federation"],
    "": ["base", "policy", "router", "handlers", "federation", "locator", "cli"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1)


def refuse(folder, header, path):
    """Why the file at `path`, of `folder`, may not include `header`; None when it may."""
    owner, _, name = header.rpartition("/")
    beside = (path.parent / header).resolve()
    tests = pathlib.Path("tests/unit").resolve()
    if owner == "tests/unit/support" and path.parts[0] == "tests":
        return None
    if beside.exists() and beside.parent in (path.parent.resolve(), tests / "support"):
        return None
    if owner == folder:
        return None
    if owner not in ALLOWED[folder]:
        return f"{folder or 'main'} may include: {', '.join([folder or '.'] + ALLOWED[folder])}"
    if owner != "base" and name != f"{owner}.h":
        return f"{header} is private to {owner}; its front door is {owner}/{owner}.h"
    return None


def files():
    for folder in ALLOWED:
        for path in sorted(pathlib.Path(folder or ".").glob("*.[ch]")):
            yield folder, path
        if folder:
            for path in sorted(pathlib.Path("tests/unit", folder).glob("*.[ch]")):
                yield folder, path


def circles(graph):
    """Every header that can reach itself, with the way round."""
    done, found = set(), []

    def visit(header, way):
        if header in way:
            found.append(way[way.index(header):] + [header])
            return
        if header in done:
            return
        for target in graph.get(header, []):
            visit(target, way + [header])
        done.add(header)

    for header in sorted(graph):
        visit(header, [])
    return found


def main():
    errors, graph = [], {}
    for folder, path in files():
        for number, header in includes(path):
            reason = refuse(folder, header, path)
            if reason:
                errors.append(f'{path}:{number}: includes "{header}": {reason}')
            if path.suffix == ".h":
                graph.setdefault(str(path), []).append(header)
    for circle in circles(graph):
        errors.append(f"{circle[0]}: headers in a circle: {' -> '.join(circle)}")
    print("\n".join(errors), end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
