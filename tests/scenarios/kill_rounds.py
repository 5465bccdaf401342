#!/usr/bin/env python3
"""kill -9 under load, at random instants, over and over: what was answered is in both logs, and each log goes on.

The scenario test runs a few rounds; `make kill-rounds ROUNDS=300` runs many and writes its figures into
docs/RELIABILITY.md.  The seed is printed: SEED= repeats the instants, as far as a machine repeats itself.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from load import Load  # noqa: E402
from mesh import Mesh, a_station, add_tokens, eventually, homeward  # noqa: E402
from tlog import Key, tile_name  # noqa: E402

BEGIN, END = "<!-- kill-rounds -->", "<!-- /kill-rounds -->"


def log_folder(region):
    return region.folder / "state" / "access-log"


def verifier(region):
    """The key as its owner would publish it."""
    origin = (log_folder(region) / "checkpoint").read_text().splitlines()[0]
    return Key(origin, (region.folder / "state" / "access-log.key").read_bytes()).verifier()


def verify(region, since=None):
    """Our verifier over the whole log, and that it goes on from a checkpoint kept from before."""
    options = ["--from-checkpoint", since] if since is not None else []
    done = homeward("audit", "verify", "--dir", log_folder(region), "--key", verifier(region), *options, check=False)
    assert done.returncode == 0, f"{region.name}: {done.stdout}{done.stderr}"


def kept_checkpoint(region, number):
    kept = region.folder / f"checkpoint.{number}"
    shutil.copy(log_folder(region) / "checkpoint", kept)
    return kept


class Tail:
    """The exchanges in a region's log, by kind: each call takes what came since the last."""

    def __init__(self, region):
        self.region, self.next, self.kinds = region, 0, {}

    def kinds_of_new(self):
        folder = log_folder(self.region)
        durable = self.region.metric("homeward_access_log_durable_entries")
        eventually(lambda: log_size(folder) >= durable, what=f"{self.region.name}'s checkpoint")
        kinds, size = {}, log_size(folder)
        for bundle in range(self.next // 256, (size + 255) // 256):
            for index, entry in enumerate(bundle_entries(folder, bundle, min(256, size - bundle * 256)), bundle * 256):
                if index >= self.next and "x" in (entry := json.loads(entry)):
                    kinds.setdefault(entry["k"], set()).add(entry["x"])
        self.next = size
        return kinds


def log_size(folder):
    return int((folder / "checkpoint").read_text().splitlines()[1])


def bundle_entries(folder, bundle, width):
    path = folder / tile_name("entries", bundle, 256)
    content = (path if path.exists() else folder / tile_name("entries", bundle, width)).read_bytes()
    while content:
        length = int.from_bytes(content[:2], "big")
        yield content[2:2 + length]
        content = content[2 + length:]


def missing(load, eu, na):
    """How many were answered from home, and which of them have not all their entries."""
    answered = {answer[4] for answer in load.answers if answer[2] == "ALLOWED" and answer[3] == "home"}
    asking, serving = eu.kinds_of_new(), na.kinds_of_new()
    return len(answered), answered - (asking.get("ask", set()) & asking.get("got", set()) & serving.get("serve", set()))


def start(region):
    """Starts it again; when it began, on the monotonic clock.  Another program may have its port for a moment."""
    end = time.monotonic() + 60
    while True:
        began = time.monotonic()
        try:
            region.start()
            return began
        except AssertionError:
            if time.monotonic() > end or "Address already in use" not in region.log()[-500:]:
                raise
            time.sleep(0.5)


def run(mesh, rounds, seed, told=None):
    """Kills one of two regions in each round; returns the figures."""
    na, eu = mesh["na"], mesh["eu"]
    chance = random.Random(seed)
    station, cards = a_station(eu), add_tokens(mesh, "na", 200)
    figures = {"rounds": rounds, "answered": 0, "missing": 0, "restart_ms": [], "entries": 0}
    kept, tails = [], (Tail(eu), Tail(na))
    for number in range(rounds):
        victim = (na, eu)[number % 2]
        # The oldest is compared again and again: every later checkpoint goes on from every earlier one.
        with Load(eu, cards, station, headers={"Cache-Control": "no-cache"}) as load:
            eventually(lambda: load.has_success_since(0), what="an answer before the kill")
            time.sleep(chance.uniform(0, 0.25))
            checkpoint = kept_checkpoint(victim, number)
            victim.kill(signal.SIGKILL)
        began = start(victim)
        eventually(victim.is_ready, what=f"{victim.name} after its kill")
        figures["restart_ms"].append((time.monotonic() - began) * 1000)
        verify(victim, checkpoint)
        kept.append((victim, checkpoint))
        count, lost = missing(load, *tails)
        figures["answered"] += count
        figures["missing"] += len(lost)
        assert not lost, f"round {number}, seed {seed}: answered without an entry: {sorted(lost)[:5]}"
        assert victim.metric("homeward_access_log_dropped_total") == 0
        if told is not None:
            told(number, figures)
    for region, checkpoint in (kept[:1] + kept[1:2] + [chance.choice(kept) for _ in range(min(20, rounds))]):
        verify(region, checkpoint)
    figures["entries"] = log_size(log_folder(na)) + log_size(log_folder(eu))
    return figures


def write_figures(figures, seed):
    path = pathlib.Path(__file__).resolve().parents[2] / "docs" / "RELIABILITY.md"
    restarts = sorted(figures["restart_ms"])
    table = f"""{BEGIN}
| figure | |
|---|---|
| rounds of `kill -9` under load, regions in turn | {figures['rounds']} |
| personal lookups answered | {figures['answered']:,} |
| answered without an entry on either side | {figures['missing']} |
| entries in both logs at the end, all verified | {figures['entries']:,} |
| from start to ready again, median / p99 | {statistics.median(restarts):.0f} ms / {restarts[int(len(restarts) * 0.99)]:.0f} ms |

`make kill-rounds ROUNDS={figures['rounds']} SEED={seed}`
{END}"""
    text = path.read_text()
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.S))


def main():
    rounds, seed = int(os.environ.get("ROUNDS", "300")), int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"{rounds} rounds, seed {seed}", flush=True)

    def told(number, figures):
        if (number + 1) % 10 == 0:
            print(f"round {number + 1}: {figures['answered']} answered, {figures['missing']} without an entry", flush=True)

    with Mesh("na", "eu") as mesh:
        figures = run(mesh, rounds, seed, told)
    write_figures(figures, seed)
    print(f"{figures['answered']} answered, {figures['missing']} without an entry; written to docs/RELIABILITY.md")


if __name__ == "__main__":
    main()
