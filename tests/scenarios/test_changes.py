# SPDX-License-Identifier: Apache-2.0
"""What changes in one region is forgotten in every process of another: objects, and the routes to them.

Two processes serve eu on one database.  An access log has one process, so the second has a log of its own; the broker
gives the inbox to one consumer at a time, so one of them takes each event and the other hears of it by NOTIFY.
"""
import json
import os
import shutil
import signal
import subprocess

import pytest
import requests

from event_mesh import EventMesh
from mesh import HOMEWARD, a_station, add_tokens, eventually, free_port, homeward

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")


class Second:
    """Another process of a region: its own listeners and state, and the region's keys, certificate and database."""

    def __init__(self, region):
        self.region, self.ports = region, {name: free_port() for name in ("api", "peer", "admin")}
        settings = region.settings()
        for name, port in self.ports.items():
            settings[name] = {"listen": f"127.0.0.1:{port}"}
        state = region.folder / "state"
        settings["access_log"] = {"origin": "second/access-log", "key_file": str(state / "access-log.key"),
                                  "subject_key_file": str(next(state.glob("subject*")))}
        settings["state_dir"] = "second"
        self.config = region.folder / "second.conf"
        self.config.write_text(json.dumps(settings))
        with open(region.folder / "second.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([HOMEWARD, "serve", "--config", str(self.config)], stdout=log, stderr=log)

    def admin(self, path):
        return requests.get(f"http://127.0.0.1:{self.ports['admin']}{path}", timeout=10)

    def is_ready(self):
        try:
            return self.admin("/readyz").status_code == 200
        except requests.RequestException:
            return False

    def heard(self, what):
        text = self.admin("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith(f'homeward_changes_heard_total{{what="{what}"}}'))

    def source(self, card):
        answer = requests.post(f"http://127.0.0.1:{self.ports['api']}/v1/authorize", timeout=15,
                               headers={"Authorization": f"Bearer {self.region.token()}"},
                               json={"id": card, "station": a_station(self.region)})
        return answer.json()["source"]

    def stop(self):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.kill()
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu") as started:
        yield started


@pytest.fixture(scope="module")
def second(events):
    process = Second(events["eu"])
    try:
        eventually(process.is_ready, within_s=30, what="the second process of eu")
        yield process
    finally:
        process.stop()


def first_source(eu, card):
    return eu.authorize(card, a_station(eu)).json()["source"]


def both_hold(eu, second, card):
    eventually(lambda: (first_source(eu, card), second.source(card)) == ("cache", "cache"), within_s=30, what="two copies")


def both_ask(eu, second, card, what):
    """Each asks the home again, once."""
    eventually(lambda: first_source(eu, card) == "home", within_s=30, every_s=0.1, what=f"the first process to forget {what}")
    eventually(lambda: second.source(card) == "home", within_s=30, every_s=0.1, what=f"the second process to forget {what}")


def test_a_second_process_cannot_share_the_access_log(events):
    refused = subprocess.run([HOMEWARD, "serve", "--config", str(events["eu"].config)], capture_output=True, text=True, timeout=60,
                             check=False)
    assert refused.returncode != 0 and "access-log" in refused.stderr, refused


def test_a_change_reaches_every_process(events, second):
    na, eu = events["na"], events["eu"]
    card, other = add_tokens(events.mesh, "na", 2, prefix="51")
    both_hold(eu, second, card)
    both_hold(eu, second, other)
    na.sql("UPDATE homeward.objects SET record = record || '{\"valid_until\": \"2098-01-01T00:00:00Z\"}' WHERE id = %s", card)
    both_ask(eu, second, card, "the changed card")
    assert (first_source(eu, other), second.source(other)) == ("cache", "cache"), "what did not change is kept"


def test_the_route_of_one_object_is_told_to_who_has_a_copy_only(events, second):
    na, eu = events["na"], events["eu"]
    card, unknown = add_tokens(events.mesh, "na", 2, prefix="52")
    both_hold(eu, second, card)
    na.sql("DELETE FROM homeward.routes WHERE key IN (%s, %s)", card, unknown)
    both_ask(eu, second, card, "the card whose route went")
    told = na.sql("SELECT destination, payload->>'object_id' FROM homeward.outbox WHERE payload->>'object_id' IN (%s, %s)", card, unknown)
    assert told == [("eu", card)]


def test_a_prefix_that_moves_empties_the_caches(events, second):
    na, eu = events["na"], events["eu"]
    card = add_tokens(events.mesh, "na", 1, prefix="53")[0]
    both_hold(eu, second, card)
    homeward("routes", "add", "token", "prefix", "5301", "na", "--config", na.config)
    both_ask(eu, second, card, "everything")
    assert second.heard("all") >= 1
    told = eu.sql("SELECT event->'data' FROM homeward.inbox WHERE type = 'route.changed' ORDER BY received_at DESC LIMIT 1")[0][0]
    assert {name: told[name] for name in ("change", "object_type", "prefix", "home")} == {
        "change": "added", "object_type": "token", "prefix": "5301", "home": "na"}
    # Another region's prefix is that region's to tell.
    homeward("routes", "add", "token", "prefix", "5302", "eu", "--config", na.config)
    homeward("routes", "rm", "token", "prefix", "5301", "--config", na.config)
    changes = "SELECT payload->>'change', payload->>'prefix' FROM homeward.outbox WHERE type = 'route.changed' ORDER BY seq"
    assert na.sql(changes) == [("added", "5301"), ("removed", "5301")]
    na.sql("INSERT INTO homeward.routes SELECT 'token', 'prefix', '54' || lpad(n::text, 6, '0'), 'na' FROM generate_series(1, 101) AS n")
    assert na.sql("SELECT payload->>'change', payload->>'count' FROM homeward.outbox WHERE type = 'route.changed' ORDER BY seq DESC"
                  " LIMIT 1") == [("changed", "101")]
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.outbox WHERE type = 'route.changed' AND sent_at IS NOT NULL") == [(3,)],
               within_s=30, what="all of them sent")
    eventually(lambda: "route.changed" in events.judge_seen("eu"), within_s=30, every_s=0.5, what="them, as the schema has them")


def test_what_a_process_missed_is_made_up_for(events, second):
    na, eu = events["na"], events["eu"]
    card = add_tokens(events.mesh, "na", 1, prefix="55")[0]
    both_hold(eu, second, card)
    os.kill(second.process.pid, signal.SIGSTOP)
    try:
        # All of eu's connections go; the first process makes its own again and takes the event.
        eu.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'homeward control'")
        na.sql("UPDATE homeward.objects SET record = record || '{\"valid_until\": \"2097-01-01T00:00:00Z\"}' WHERE id = %s", card)
        eventually(lambda: eu.sql("SELECT 1 FROM homeward.inbox WHERE event->'data'->>'object_id' = %s", card), within_s=60,
                   what="the event in eu's inbox")
    finally:
        os.kill(second.process.pid, signal.SIGCONT)
    eventually(lambda: second.source(card) == "home", within_s=30, every_s=0.1, what="the second process to make up for it")
    assert "changes_made_up_for" in (eu.folder / "second.log").read_text()
