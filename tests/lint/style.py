# SPDX-License-Identifier: Apache-2.0
"""What the compiler and clang-format do not check: the head of each file, lengths, banned calls,
unfinished work.  Takes the files as arguments; names each line that breaks a rule.
"""
import re

from report import run

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
SPDX = "SPDX-License-Identifier: Apache-2.0"

# Name: what to use instead.
BANNED = {
    "strcpy": "strbuf or snprintf",
    "strcat": "strbuf or snprintf",
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "gets": "fgets",
    "atoi": "strtoll with checks",
    "atol": "strtoll with checks",
    "atoll": "strtoll with checks",
    "strtok": "strcspn",
    "strtok_r": "strcspn",
    "system": "posix_spawn with an argument list",
    "popen": "posix_spawn with an argument list",
    "alloca": "a bounded array or the heap",
    "rand": "base/random.h",
    "srand": "base/random.h",
    "gmtime": "gmtime_r",
    "localtime": "base/clock.h",
    "asctime": "base/clock.h",
    "ctime": "base/clock.h",
    "strerror_l": "strerror",
    "mktemp": "mkstemp",
    "tmpnam": "mkstemp",
    "assert": "must(), which stays on in production",
    "MHD_create_post_processor": "the whole body, bounded",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|//[^\n]*', re.DOTALL)


def code_only(text):
    """The text with strings and comments blanked, lines kept."""
    return LITERAL.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)), text)


def function_lengths(lines):
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            yield start, number - start - 1
            start = None


def check_head(text):
    if SPDX not in text[:200].partition("\n")[0]:
        yield 1, f"the first line names the licence: {SPDX}"
    elif not re.match(r"/\* SPDX[^\n]*\*/\n/\*", text):
        yield 2, "a design comment follows the licence: what, why this way, which thread"


def check(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    yield from check_head(text)
    if len(lines) > FILE_LINES_MAX:
        yield len(lines), f"{len(lines)} lines, at most {FILE_LINES_MAX}"
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            yield number, "unfinished work: do it or leave it out"
    for number, line in enumerate(code_only(text).splitlines(), 1):
        for found in CALL.finditer(line):
            yield number, f"{found.group(1)}() is banned: use {BANNED[found.group(1)]}"
    for start, length in function_lengths(lines):
        if length > FUNCTION_LINES_MAX:
            yield start, f"a function of {length} lines, at most {FUNCTION_LINES_MAX}"


if __name__ == "__main__":
    run(check)
