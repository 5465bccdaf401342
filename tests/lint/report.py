# SPDX-License-Identifier: Apache-2.0
"""What the checks of one file at a time share: the files are the arguments, and what is wrong is told by line."""
import pathlib
import sys


def run(check):
    """check(path) yields (line, what is wrong); ends the program."""
    count = 0
    for name in sys.argv[1:]:
        for number, what in check(pathlib.Path(name)):
            print(f"{name}:{number}: {what}", file=sys.stderr)
            count += 1
    sys.exit(1 if count else 0)
