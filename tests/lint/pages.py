# SPDX-License-Identifier: Apache-2.0
"""Pages for people: lines of prose that fit, and links within the project that lead somewhere.

Takes the pages as arguments.  Tables, code and headings may be as long as they need to be.
"""
import pathlib
import re
import sys

COLUMNS_MAX = 120
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
CODE_SPAN = re.compile(r"`[^`]*`")


def prose(text):
    """(number, line) of what is neither code, table nor heading."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith(("#", "|", "<!--")):
            yield number, line


def anchor(heading):
    """As the usual renderers make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path):
    is_code = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and line.startswith("#"):
            yield anchor(line.lstrip("#"))


def check(path):
    text = path.read_text(encoding="utf-8")
    for number, line in prose(text):
        if len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns, at most {COLUMNS_MAX}"
    for number, line in enumerate(text.splitlines(), 1):
        for target, name in LINK.findall(CODE_SPAN.sub("", line)):
            page = (path.parent / target).resolve() if target else path
            if not page.exists():
                yield number, f"{target}: there is no such file"
            elif name and page.suffix == ".md" and name not in anchors(page):
                yield number, f"{target}#{name}: there is no such heading"


def main(names):
    count = 0
    for name in names:
        for number, what in check(pathlib.Path(name)):
            print(f"{name}:{number}: {what}", file=sys.stderr)
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
