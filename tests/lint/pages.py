# SPDX-License-Identifier: Apache-2.0
"""Pages for people: lines of prose that fit, and links within the project that lead somewhere.

Takes the pages as arguments.  Tables, code and headings may be as long as they need to be.
"""
import re

from report import run

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


if __name__ == "__main__":
    run(check)
