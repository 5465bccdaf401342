#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole loss matrix; its figures go into docs/RELIABILITY.md.  See tests/scenarios/losses.py.

RATE events a second for SECONDS each; PARTITION seconds without a network; ONLY a part of a fault's name.
"""
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "scenarios"))

import losses  # noqa: E402

RATE, SECONDS = int(os.environ.get("RATE", "2000")), int(os.environ.get("SECONDS_EACH", "60"))
PARTITION, ONLY = int(os.environ.get("PARTITION", "600")), os.environ.get("ONLY", "")
BEGIN, END = "<!-- loss matrix: begin -->\n", "<!-- loss matrix: end -->\n"


def table(rows):
    columns = list(next(iter(rows.values())))
    lines = ["| fault | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{row[column]:,}" for column in columns) + " |" for name, row in rows.items()]
    return f"{RATE:,} events a second for {SECONDS} s each, from na to eu.\n\n" + "\n".join(lines) + "\n"


def main():
    rows = {}
    with losses.start() as mesh:
        for number, (name, fault) in enumerate(losses.faults(20, PARTITION).items()):
            if ONLY not in name:
                continue
            rows[name] = losses.run(mesh, f"r{number}", fault, RATE, SECONDS, patience_s=600)
            print(name, rows[name], flush=True)
    if not ONLY:
        page = ROOT / "docs" / "RELIABILITY.md"
        before, rest = page.read_text().split(BEGIN)
        page.write_text(before + BEGIN + table(rows) + END + rest.split(END)[1])
    bad = [name for name, row in rows.items() if row["lost"] or row["doubled"] or row["unannounced"]]
    print(f"loss matrix: {len(rows) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
