# SPDX-License-Identifier: Apache-2.0
"""What an operator does with a mesh whose daemons run: doctor, trace, events, a region retired and added again.

One mesh for all, in this order; na's daemon is asked.
"""
import json
import shutil
import subprocess
import threading

import pytest

from event_mesh import EventMesh
from mesh import eventually
from test_events import event, submit
from test_mesh import traces_of, unbind

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")


class Operated(EventMesh):
    """The mesh file says of the regions what their settings say."""

    def begin(self):
        describe = self.brokers.describe

        def described():
            whole = describe()
            whole["trust_domain"] = self["na"].settings()["trust_domain"]
            for name, entry in whole["regions"].items():
                entry["peer_urls"] = [f"https://127.0.0.1:{self[name].peer}"]
            return whole

        self.brokers.describe = described
        self.brokers.write_mesh({})
        super().begin()


@pytest.fixture(scope="module")
def events():
    with Operated("na", "eu", "ap") as started:
        yield started


def ask(events, command, *arguments, region="na"):
    """As the operator of a region, where its settings and its database are."""
    return events.brokers.mesh(command, "--config", str(events[region].config), *arguments)


def admin(events, region="na"):
    return ["--admin", f"http://127.0.0.1:{events[region].admin}"]


def await_green(events):
    eventually(lambda: ask(events, "status", *admin(events)).returncode == 0, within_s=120, every_s=0.5, what="green links")


def findings(events, *arguments):
    done = ask(events, "doctor", *admin(events), "-o", "json", *arguments)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == any(one["severity"] != "note" for one in found), done.stdout
    return [one for one in found if one["severity"] != "note"]


def trace(events, *arguments):
    done = ask(events, "trace", "--from", "na", "--to", "eu", "-o", "json", *arguments)
    return done, {hop["hop"]: hop for hop in json.loads(done.stdout or "[]")}


def test_a_mesh_that_is_well_has_no_findings(events):
    await_green(events)
    assert eventually(lambda: findings(events) == [], within_s=60, every_s=1, what="a doctor without findings")
    shown = ask(events, "doctor", *admin(events))
    assert shown.returncode == 0 and shown.stdout.startswith("Nothing is wrong."), shown.stdout + shown.stderr


def test_an_event_is_traced_all_the_way(events):
    na, eu = events["na"], events["eu"]
    done, hops = trace(events)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(hops) == ["outbox", "confirmed", "crossed", "taken", "receipted"]
    assert all(hop["is_passed"] for hop in hops.values()), hops
    assert 0 == hops["outbox"]["ms"] <= hops["confirmed"]["ms"] and hops["receipted"]["ms"] > 0
    assert "eu says: applied" in hops["receipted"]["evidence"]
    trace_id = hops["outbox"]["evidence"].split()[-1]
    for region, step in ((na, "sent"), (eu, "arrived"), (na, "receipted")):
        eventually(lambda: any("event_trace" in line and trace_id in line and f"step={step}" in line
                               for line in region.log().splitlines()), what=f"{step} in the log of {region.name}")
    assert eu.sql("SELECT count(*) FROM homeward.inbox") == [(0,)]  # nothing is kept of it
    assert events.brokers["eu"].take("application") == []           # nor passed on
    assert ask(events, "trace", "--from", "eu", "--to", "na").returncode == 64


def test_it_stops_where_the_binding_is_missing(events):
    unbind(events.brokers["na"], "eu")
    done, hops = trace(events, "--wait", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert [name for name, hop in hops.items() if hop["is_passed"]] == ["outbox", "confirmed"]
    assert hops["crossed"]["evidence"].startswith("stopped: na has no binding for it"), hops
    assert events["na"].sql("SELECT reason FROM homeward.outbox WHERE refused_at IS NOT NULL") == [("the trace is over",)]
    worst = findings(events)[0]
    assert (worst["severity"], worst["code"], worst["where"]) == ("critical", "MESH_004", "na -> eu"), worst
    assert worst["command"].startswith("homeward mesh heal")
    assert ask(events, "heal", *admin(events)).returncode == 0
    await_green(events)
    assert trace(events)[0].returncode == 0


def test_it_stops_where_nobody_takes_it(events):
    eu = events["eu"]
    eu.kill()

    def stopped():  # a broker counts its consumers every few seconds
        done, hops = trace(events, "--wait", "2")
        assert done.returncode == 1, done.stdout + done.stderr
        return "nobody consumes the inbox of eu" in (hops["taken"]["evidence"] or "")

    eventually(stopped, within_s=60, what="a trace that stops in eu's inbox")
    found = {(one["code"], one["where"]) for one in findings(events)}
    assert ("MESH_023", "eu") in found, found  # its peer address
    eu.start()
    eventually(eu.is_ready, within_s=30, what="eu again")
    await_green(events)


def told(events):
    done = ask(events, "events", *admin(events), "-o", "json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_happens_is_told(events):
    links = {(row["link"]["from"], row["link"]["to"], row["link"]["state"]) for row in told(events) if "link" in row}
    assert links == {(a, b, "running") for a in events.names for b in events.names if a != b}, links
    last = max((row["number"] for row in told(events) if "number" in row), default=0)
    watching = subprocess.Popen([events.brokers.program, "mesh", "events", "--follow", "--mesh", str(events.brokers.mesh_file),
                                 "--config", str(events["na"].config), *admin(events), "-o", "json"], stdout=subprocess.PIPE, text=True)
    ending = threading.Timer(90, watching.kill)
    ending.start()
    try:
        events["eu"].kill()
        assert any(row.get("number", 0) > last and row["event"]["type"] == "homeward.link.down"
                   for row in map(json.loads, watching.stdout))
    finally:
        ending.cancel()
        watching.kill()
        watching.wait()
        watching.stdout.close()
    events["eu"].start()
    eventually(events["eu"].is_ready, within_s=30, what="eu again")
    await_green(events)
    said = [row["event"]["type"] for row in told(events) if "event" in row]
    assert "homeward.link.down" in said and all(kind.startswith(("homeward.link.", "homeward.peer.", "homeward.gap",
                                                                 "homeward.certificate.")) for kind in said), said
    assert ask(events, "events", *admin(events)).stdout.startswith("link 2")


def test_a_foreign_certificate_is_named(events):
    """As if na's addresses of eu were ap's."""
    whole = events.brokers.describe()
    whole["regions"]["eu"]["peer_urls"] = whole["regions"]["ap"]["peer_urls"]
    other = events.brokers.folder / "other.json"
    other.write_text(json.dumps(whole))
    done = events.brokers.run("mesh", "doctor", "--mesh", str(other), "--config", str(events["na"].config), *admin(events),
                              "-o", "json")
    found = [one for one in json.loads(done.stdout) if one["code"] == "MESH_024"]
    assert done.returncode == 1 and len(found) == 1 and found[0]["where"] == "eu", done.stdout
    assert "region/ap" in found[0]["evidence"] and "region/eu" in found[0]["evidence"]


def test_a_region_is_retired_only_with_its_receipts(events):
    na = events["na"]
    events["ap"].kill()  # its broker takes events, and nobody answers for them
    sent = event(destination="ap")
    assert submit(na, sent, "operator").status_code == 202
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s AND sent_at < now() - interval '10 s'", sent["id"]),
               within_s=60, what="an event without a receipt")
    # What a daemon knows of the outbox is some seconds old.
    eventually(lambda: any(row["unreceipted"] == 1 for row in json.loads(ask(events, "status", *admin(events), "-o", "json").stdout)
                           if (row["from"], row["to"]) == ("na", "ap")), within_s=60, what="an event without a receipt")
    events.brokers["na"].add_queue("strays", "homeward.unroutable", "#")
    refused = ask(events, "retire", "ap", *admin(events), "--confirm", "ap", "--wait", "1")
    assert refused.returncode == 77 and "1 events have not arrived" in refused.stderr, refused.stderr
    assert "no more events are routed to it" in refused.stderr
    events["ap"].start()
    eventually(events["ap"].is_ready, within_s=30, what="ap again")
    eventually(lambda: na.sql("SELECT receipt FROM homeward.outbox WHERE id = %s", sent["id"]) == [("applied",)], within_s=120,
               what="the receipt")
    done = ask(events, "retire", "ap", *admin(events), "--confirm", "ap", "--wait", "180")
    assert done.returncode == 0 and "ap is retired" in done.stdout, done.stdout + done.stderr
    assert not traces_of(events.brokers["na"], "ap") and not traces_of(events.brokers["eu"], "ap")
    assert "ap" in strays(events.brokers["na"])  # sent when it was cut off already, and daemons did not know


def follows(region):
    return [line for line in region.log().splitlines() if "mesh_file_followed" in line]


def canaried(events):
    """The regions that na's daemon knows links with."""
    shown = events["na"].session.get(events["na"].url("/admin/v1/mesh", admin=True), timeout=15).json()
    return {row["region"] for row in shown["regions"]} - {"na"}


def answer_age(events):
    shown = events["na"].session.get(events["na"].url("/admin/v1/mesh", admin=True), timeout=15).json()
    return next(row["answer_age_ms"] for row in shown["links"] if (row["from"], row["to"]) == ("na", "eu"))


def strays(broker):
    """Whom the canaries were for that no link took, since the last time."""
    return [json.loads(payload)["destination"] for key, payload in broker.take("strays") if key.endswith(".homeward.canary")]


def test_daemons_follow_the_retirement(events):
    """No canary goes to a region that is retired, from daemons that were not restarted."""
    na, broker = events["na"], events.brokers["na"]
    for name in ("na", "eu"):
        eventually(lambda: any('added="" removed=ap' in line for line in follows(events[name])), within_s=30,
                   what=f"{name} following the mesh file")
    assert canaried(events) == {"eu"}
    metrics = na.metrics()
    assert 'homeward_mesh_canary_silent{region="eu"}' in metrics and 'region="ap"' not in "".join(
        line for line in metrics.splitlines(keepends=True) if line.startswith("homeward_mesh_canary"))
    strays(broker)
    ages = [answer_age(events)]
    # A canary to eu every two seconds: the age of its answers falls back each time.
    eventually(lambda: ages.append(answer_age(events)) or sum(b < a for a, b in zip(ages, ages[1:])) >= 3, within_s=60,
               every_s=0.2, what="three canaries")
    assert "ap" not in strays(broker)
    await_green(events)


def test_a_bad_mesh_file_changes_nothing(events):
    na, before = events["na"], events.brokers.mesh_file.read_text()
    follow_count = len(follows(na))
    events.brokers.mesh_file.write_text(before.replace('"regions"', '"regoins"', 1))
    try:
        refused = events.brokers.run("reload", *admin(events))
        assert refused.returncode == 1 and f"{events.brokers.mesh_file}:" in refused.stderr, refused.stderr
        assert "regoins" in refused.stderr and na.metric("homeward_config_last_reload_successful") == 0
        eventually(lambda: "mesh_file_refused" in events["eu"].log(), within_s=30, what="a refusal without being asked")
        assert canaried(events) == {"eu"} and len(follows(na)) == follow_count
    finally:
        events.brokers.mesh_file.write_text(before)
    done = events.brokers.run("reload", *admin(events))
    assert done.returncode == 0 and na.metric("homeward_config_last_reload_successful") == 1, done.stderr
    await_green(events)


def add_region(events, *arguments, **changes):
    entry = events.brokers.describe()["regions"]["ap"]
    given = {"peer-url": entry["peer_urls"][0], "broker-url": entry["broker_urls"][0],
             "management-url": entry["management"]["url"], **changes}
    return ask(events, "add-region", "ap", *[part for name, value in given.items() for part in (f"--{name}", value)], *arguments)


def test_a_region_is_added_when_its_broker_is_right(events):
    before = events.brokers.mesh_file.read_text()
    wrong = add_region(events, "--yes", **{"broker-url": json.loads(before)["regions"]["eu"]["broker_urls"][0]})
    assert wrong.returncode == 1 and 'its certificate is of "eu", not of "ap"' in wrong.stdout, wrong.stdout + wrong.stderr
    unnamed = add_region(events, "--yes", "--cluster", "pacific")
    assert unnamed.returncode == 1 and 'calls itself "ap", the mesh file "pacific"' in unnamed.stdout
    shown = add_region(events)
    assert shown.returncode == 77 and "say --yes to do it; nothing was done" in shown.stderr, shown.stdout + shown.stderr
    assert events.brokers.mesh_file.read_text() == before and not traces_of(events.brokers["na"], "ap")
    done = add_region(events, *admin(events), "--yes", "--wait", "180")
    assert done.returncode == 0 and "All links of ap are green" in done.stdout, done.stdout + done.stderr
    assert "3 regions, 6 links" in events.brokers.mesh("check").stdout
    again = add_region(events, *admin(events), "--yes", "--wait", "60")
    assert again.returncode == 0 and "No difference" in again.stdout, again.stdout + again.stderr
    await_green(events)
    for name, added in (("na", "ap"), ("eu", "ap"), ("ap", "eu,na")):  # nobody was restarted
        eventually(lambda: any(f'added={added} removed=""' in line for line in follows(events[name])), within_s=30,
                   what=f"{name} following the mesh file")
    assert canaried(events) == {"ap", "eu"}
    done, _ = trace(events, "--to", "ap")
    assert done.returncode == 0, done.stdout + done.stderr
