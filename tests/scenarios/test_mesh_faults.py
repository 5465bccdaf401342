# SPDX-License-Identifier: Apache-2.0
"""Links that say `running` and are dead: seen within ten seconds by the daemons, told by `mesh status`, healed.

The canary's interval is the default.  na -> eu is the link that breaks; eu's daemon is asked.
"""
import json
import shutil
import signal
import subprocess
import time

import pytest

from brokers import VHOST, unbind
from losses import LossMesh
from mesh import HOMEWARD, eventually
from test_canary import link
from test_events import event, submit

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")
SEEN_WITHIN_S = 10


@pytest.fixture(scope="module")
def events():
    with LossMesh(settings={"receipt_timeout_s": 5}) as started:
        yield started


def ask(events, command, *arguments):
    return events.brokers.mesh(command, "--admin", f"http://127.0.0.1:{events['eu'].admin}", *arguments)


def is_green(events):
    return ask(events, "status").returncode == 0


def await_green(events):
    eventually(lambda: is_green(events), within_s=90, every_s=0.5, what="green links")


def await_silence(events, broke_at):
    """The daemon's view, not the brokers'."""
    eventually(lambda: link(events["eu"], "na", "eu")["is_silent"], within_s=SEEN_WITHIN_S + 20, every_s=0.05, what="silence")
    seen_s = time.monotonic() - broke_at
    print(f"seen after {seen_s:.1f} s")
    assert seen_s <= SEEN_WITHIN_S


def rows(events):
    return json.loads(ask(events, "status", "-o", "json").stdout)


def row(events):
    return next(found for found in rows(events) if found["from"] == "na")


def test_status_without_a_daemon_is_not_green(events):
    await_green(events)
    shown = events.brokers.mesh("status", "--config", "/nonexistent")
    assert shown.returncode == 1 and "unknown" in shown.stdout and "cannot be read" in shown.stderr
    assert events.brokers.mesh("status", "--links-only").returncode == 0
    found = rows(events)
    assert all(one["is_green"] and one["canary_age_ms"] <= 10000 and one["unreceipted"] == 0 and one["certificate_days"] > 0
               and one["round_trip_p50_ms"] >= 10 and one["reason"] == "" for one in found), found
    watching = subprocess.Popen([HOMEWARD, "mesh", "status", "--mesh", events.brokers.mesh_file, "--links-only", "--watch",
                                 "--interval", "1", "-o", "csv"], stdout=subprocess.PIPE, text=True)
    try:
        heads = [line for line, _ in zip(watching.stdout, range(6)) if line.startswith("from")]
        assert len(heads) == 2  # a head and two links, twice
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_a_deleted_binding_is_seen_and_healed_and_nothing_is_lost(events):
    na, eu = events["na"], events["eu"]
    await_green(events)
    assert "No link is broken." in ask(events, "heal").stdout
    unbind(events.brokers["na"], "eu")
    broke_at = time.monotonic()
    sent = [event() for _ in range(20)]
    for one in sent:
        assert submit(na, one, "operator").status_code == 202
    await_silence(events, broke_at)
    found = row(events)
    assert (found["state"], found["is_green"], found["reason"]) == ("running", False, "na has no binding for it")
    assert ask(events, "status").returncode == 1
    planned = ask(events, "heal", "--dry-run", "-o", "json")
    assert planned.returncode == 1
    assert [(one["from"], one["to"], one["done"]) for one in json.loads(planned.stdout)] == [("na", "eu", "would restart")]
    healed = ask(events, "heal")
    assert healed.returncode == 0 and "restarted" in healed.stdout, healed.stdout + healed.stderr
    ids = tuple(one["id"] for one in sent)
    eventually(lambda: eu.sql("SELECT count(*) FROM homeward.inbox WHERE id IN %s", ids) == [(len(ids),)], within_s=90,
               every_s=0.5, what="all events in eu")
    await_green(events)


def test_a_foreign_policy_is_seen(events):
    await_green(events)
    foreign = f"/api/policies/{VHOST}/someone"
    events.brokers["eu"].api("PUT", foreign, {"pattern": "^homeward", "apply-to": "exchanges", "priority": 9999,
                                              "definition": {"alternate-exchange": "homeward.unroutable"}})
    broke_at = time.monotonic()
    try:
        await_silence(events, broke_at)
        found = row(events)
        assert not found["is_green"] and found["reason"].startswith("the link is missing"), found
        left = ask(events, "heal")
        assert left.returncode == 1 and "there is no such link" in left.stdout
    finally:
        events.brokers["eu"].api("DELETE", foreign)
    await_green(events)


def test_a_black_hole_is_seen(events):
    await_green(events)
    events.proxies["na"].signal(signal.SIGSTOP)
    broke_at = time.monotonic()
    try:
        await_silence(events, broke_at)
        found = eventually(lambda: next((one for one in rows(events) if not one["is_green"] and one["from"] == "na"), None),
                           within_s=20, every_s=0.2, what="a link that is not green")
        assert found["reason"].startswith(("no canary for", "the link is", "nobody consumes")), found
    finally:
        events.proxies["na"].signal(signal.SIGCONT)
    await_green(events)
