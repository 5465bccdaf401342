#!/usr/bin/env python3
"""What the access log costs: taps carried to another region with the log closed, beside the same build with it off.

Two pairs of regions run at once, one with access_log.mode closed, one with off (which only a development environment
may).  Rounds alternate, A B A B, each tap asks for another id and is not answered from a cache; the ratio is the median
of the rounds' ratios.  ROUNDS, SECONDS_EACH and CONNECTIONS make it shorter or longer.
"""
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from mesh import Mesh, a_station, add_tokens, eventually, homeward  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "4"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "64"))
CARDS = int(os.environ.get("CARDS", "20000"))
TARGET = 0.90
MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000}


def restart_with(mesh, mode):
    for region in mesh.regions.values():
        settings = region.settings()
        settings["access_log"] = {**settings.get("access_log", {}), "mode": mode}
        # One peer is all the callers there are: what it may ask is not what is measured.
        settings["budgets"] = {**settings.get("budgets", {}), "lookups_per_s": 0, "subjects_per_hour": 0, "misses_percent": 0}
        region.write_settings(settings)
        region.kill()
        region.await_end()
        homeward("dev", "start", "--dir", mesh.folder, "--region", region.name, env={**os.environ, "HOMEWARD_DEVELOPMENT": "1"})
        mesh.refresh()
        eventually(region.is_ready, what=f"{region.name} with the log {mode}")


class Side:
    def __init__(self, mesh, mode, folder):
        restart_with(mesh, mode)
        self.mode, self.region, self.home, self.asked = mode, mesh["eu"], mesh["na"], 0
        cards, station = add_tokens(mesh, "na", CARDS), a_station(mesh["eu"])
        listing, self.script = folder / f"{mode}.txt", folder / f"{mode}.lua"
        listing.write_text("\n".join(f"/v1/objects/token/{card}?purpose=charge.authorize&station={station}" for card in cards))
        self.script.write_text(f"""
local requests, turn = {{}}, 0
function init(args)
  wrk.headers["Authorization"] = "Bearer {self.region.token()}"
  wrk.headers["Cache-Control"] = "no-cache"
  for path in io.lines("{listing}") do requests[#requests + 1] = wrk.format("GET", path) end
  turn = tonumber(args[1]) % #requests
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
""")

    def run(self, seconds=SECONDS):
        before = self.entries()
        done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", self.script,
                               f"http://127.0.0.1:{self.region.api}", str(self.asked)], capture_output=True, text=True, check=True)
        assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
        count = int(re.search(r"(\d+) requests in", done.stdout).group(1))
        self.asked += count
        # That one is closed and the other off is shown, not believed: `ask` and `got` here, `serve` there.
        made = self.entries() - before
        assert made >= 3 * count if self.mode == "closed" else made == 0, f"{self.mode}: {made} entries for {count} answers"
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1)), float(p99.group(1)) * MILLISECONDS[p99.group(2)]

    def entries(self):
        return sum(region.metric("homeward_access_log_durable_entries") for region in (self.region, self.home))


def main():
    with Mesh("na", "eu") as first, Mesh("na", "eu") as second, tempfile.TemporaryDirectory() as folder:
        closed, off = Side(first, "closed", pathlib.Path(folder)), Side(second, "off", pathlib.Path(folder))
        for side in (closed, off):
            side.run(seconds=1)
        rounds = []
        for number in range(ROUNDS):
            # Who goes first changes, so that a machine that slows down favours neither.
            pair = (closed, off) if number % 2 == 0 else (off, closed)
            results = {side.mode: side.run() for side in pair}
            rounds.append((results["closed"], results["off"]))
            print(f"round {number + 1}: closed {results['closed'][0]:,.0f}/s p99 {results['closed'][1]:.1f} ms,"
                  f" off {results['off'][0]:,.0f}/s p99 {results['off'][1]:.1f} ms", flush=True)
    ratio = statistics.median(with_log[0] / without[0] for with_log, without in rounds)
    print(f"p99 closed {statistics.median(one[0][1] for one in rounds):.1f} ms, off {statistics.median(one[1][1] for one in rounds):.1f} ms")
    print(f"ratio audit-closed {ratio:.2f} target >= {TARGET:.2f}")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
