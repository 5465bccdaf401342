"""Ten thousand delegated lookups in flight at once over a slow link.

How long the slowest takes is what the machine's cores need for all of them (docs/PERFORMANCE.md), so the time is
printed, and the bound is the lookups' own deadline.
"""
import concurrent.futures
import pathlib
import subprocess
import sys
import time

import requests

from mesh import a_station, add_tokens, eventually

LOOKUPS, BATCH, ONE_WAY_MS = 10_000, 1_000, 50
DEADLINE_MS = 10_000  # the most a caller may ask for: two cores do all the work of both regions and the link
PROXY = pathlib.Path(__file__).resolve().parents[1] / "delay_proxy.py"


def threads_and_memory(pid):
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["Threads"]), int(fields["VmHWM"].split()[0]) / 1024


def through_a_slow_link(eu, na):
    proxy = subprocess.Popen([sys.executable, str(PROXY), "0", str(na.peer), str(ONE_WAY_MS)], stdout=subprocess.PIPE, text=True)
    port = int(proxy.stdout.readline().split()[1])
    settings = eu.settings()
    settings["peers"]["na"]["urls"] = [f"https://127.0.0.1:{port}"]
    eu.write_settings(settings)
    assert eu.reload().status_code == 200
    return proxy


def test_ten_thousand_in_flight(own_mesh, record_property):
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards, station = add_tokens(own_mesh, "na", LOOKUPS), a_station(eu)
    proxy = through_a_slow_link(eu, na)
    try:
        warm = add_tokens(own_mesh, "na", 2 * BATCH, prefix="0A")
        headers = {"Authorization": f"Bearer {eu.token()}", "Homeward-Timeout-Ms": str(DEADLINE_MS)}

        def send(part):
            body = {"lookups": [{"type": "token", "id": card, "purpose": "charge.authorize", "station": station} for card in part]}
            began = time.monotonic()
            answer = requests.post(eu.url("/v1/objects:batch"), json=body, headers=headers, timeout=30)
            return time.monotonic() - began, answer.json()["answers"]

        send(warm[:BATCH])
        send(warm[BATCH:])
        parts = [cards[first:first + BATCH] for first in range(0, LOOKUPS, BATCH)]
        with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:
            done = list(pool.map(send, parts))
        answers = [answer for _, part in done for answer in part]
        assert len(answers) == LOOKUPS
        assert all(answer["status"] == "found" for answer in answers), [answer for answer in answers if answer["status"] != "found"][:3]
        served = len([row for row in na.exchanges() if row["kind"] == "serve" and row["peer"] == "eu"])
        assert served == LOOKUPS + len(warm)
        peak = eu.metric("homeward_lookups_in_flight_peak")
        threads, memory_mb = threads_and_memory(eu.pid)
        slowest_ms = max(seconds for seconds, _ in done) * 1000
        print(f"\n{LOOKUPS} lookups, {peak:.0f} in flight at once, slowest batch of {BATCH} {slowest_ms:.0f} ms,"
              f" {threads} threads, {memory_mb:.0f} MB")
        assert threads <= 16
        assert memory_mb < 300
        assert peak >= LOOKUPS * 0.9
        assert slowest_ms < DEADLINE_MS
    finally:
        proxy.kill()


def test_thousands_of_suspended_connections_are_all_answered(own_mesh):
    """Each waits on a suspended connection of its own; none may be forgotten when its answer is ready."""
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards, station = add_tokens(own_mesh, "na", 2_000), a_station(eu)
    proxy = through_a_slow_link(eu, na)
    try:
        script = pathlib.Path(__file__).with_name("many_connections.py")
        done = subprocess.run([sys.executable, str(script), str(eu.api), eu.token(), station, "2000"], input="\n".join(cards),
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "answered 2000 of 2000", done.stdout
        eventually(lambda: eu.metric("homeward_lookups_in_flight") == 0, what="an empty in-flight table")
    finally:
        proxy.kill()
