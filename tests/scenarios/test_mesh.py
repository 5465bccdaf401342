# SPDX-License-Identifier: Apache-2.0
"""`homeward mesh` against three real brokers over mutual TLS: planned, applied, locked, verified, healed."""
import json
import re
import shutil
import ssl
import subprocess
import time

import pika
import pytest

from brokers import Brokers, VHOST, unbind, wait_for

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")


@pytest.fixture(scope="module")
def empty_brokers():
    with Brokers("na", "eu", "ap") as started:
        yield started


def plan(brokers):
    done = brokers.mesh("plan", "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def all_green(brokers):
    return brokers.mesh("status", "--links-only").returncode == 0


@pytest.fixture(scope="module")
def brokers(empty_brokers):
    """With the mesh applied and every link up."""
    empty_brokers.apply()
    return empty_brokers


def publish(broker, key, marker):
    return broker.api("POST", f"/api/exchanges/{VHOST}/homeward.events/publish", {
        "properties": {"delivery_mode": 2}, "routing_key": key, "payload": marker, "payload_encoding": "string"})["routed"]


def connect(broker, region=None):
    """As the region's own service does: by its certificate, which is its only credential."""
    context = ssl.create_default_context(cafile=f"{broker.pki}/ca.pem")
    context.load_cert_chain(f"{broker.pki}/{region or broker.region}.pem", f"{broker.pki}/{region or broker.region}.key")
    return pika.BlockingConnection(pika.ConnectionParameters(
        "localhost", broker.tls_port, VHOST, pika.credentials.ExternalCredentials(), socket_timeout=10,
        ssl_options=pika.SSLOptions(context, "localhost")))


def holds_on_disk(broker, marker):
    """True when the marker is anywhere in what the broker wrote: events are persistent, so all it saw is there."""
    return any(marker.encode() in path.read_bytes() for path in (broker.folder / "mnesia").rglob("*") if path.is_file())


def take(broker, queue, count=1, quiet_s=1.0):
    """Consumes `count` messages, or with 0 whatever comes within quiet_s, and returns (key, payload) of each."""
    connection, taken = connect(broker), []
    try:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        deadline = time.monotonic() + (20 if count else quiet_s)
        for method, _, body in channel.consume(queue, inactivity_timeout=0.1):
            if method is not None:
                taken.append((method.routing_key, body.decode()))
                channel.basic_ack(method.delivery_tag)
            if (count and len(taken) == count) or time.monotonic() > deadline:
                break
        channel.cancel()
    finally:
        connection.close()
    return taken


def link(brokers, source, target):
    links = json.loads(brokers.mesh("status", "--links-only", "-o", "json").stdout)
    return next(found for found in links if (found["from"], found["to"]) == (source, target))


def codes(brokers, *arguments):
    done = brokers.mesh("verify", "-o", "json", *arguments)
    assert done.returncode in (0, 1), done.stderr
    return {finding["code"] for finding in json.loads(done.stdout)}


def credentials(brokers, region):
    pki = brokers.folder / "pki"
    return ["--as", region, "--certificate", f"{pki}/{region}.pem", "--key", f"{pki}/{region}.key", "--ca", f"{pki}/ca.pem"]


def heal(brokers):
    found = plan(brokers)
    done = brokers.mesh("apply", "--confirm", found["plan"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert plan(brokers)["steps"] == []
    return found


def test_a_wrong_file_is_refused_with_every_error(empty_brokers):
    empty_brokers.write_mesh({"topology": "ring", "vhosts": "x"})
    for command in ("check", "plan", "apply", "status", "verify"):
        refused = empty_brokers.mesh(command)
        assert refused.returncode == 78, command
        assert "/topology: not a topology" in refused.stderr and 'did you mean "vhost"?' in refused.stderr
    empty_brokers.write_mesh({})
    assert empty_brokers.mesh("check").stdout.endswith("3 regions, 6 links\n")


def test_empty_brokers_are_planned_and_nothing_is_changed(empty_brokers):
    shown = empty_brokers.mesh("plan", "--exit-code")
    assert shown.returncode == 2
    found = plan(empty_brokers)
    assert found["steps"] and all(step["action"] == "create" for step in found["steps"])
    assert found["plan"].startswith(re.search(r"^plan ([0-9a-f]{16})$", shown.stdout, re.M).group(1))
    refused = empty_brokers.mesh("apply")
    assert refused.returncode == 77 and "nothing was done" in refused.stderr
    assert empty_brokers.mesh("apply", "--plan", "0" * 16).returncode == 77
    for broker in empty_brokers.brokers.values():
        assert VHOST not in [vhost["name"] for vhost in broker.api("GET", "/api/vhosts")]


def test_what_was_applied_leaves_no_difference(brokers):
    assert brokers.mesh("plan", "--exit-code").returncode == 0
    assert plan(brokers)["steps"] == []
    again = brokers.mesh("apply", "--yes")
    assert again.returncode == 0 and "No difference" in again.stdout


def test_an_event_crosses_only_the_link_it_must(brokers):
    na, eu, ap = (brokers.brokers[name] for name in ("na", "eu", "ap"))
    assert publish(na, "eu.na.session.completed", "for-eu-only")
    assert take(eu, "homeward.inbox") == [("eu.na.session.completed", "for-eu-only")]
    assert holds_on_disk(eu, "for-eu-only") and not holds_on_disk(ap, "for-eu-only")
    assert publish(na, "all.na.route.changed", "for-everyone")
    for broker in (na, eu, ap):
        assert take(broker, "homeward.inbox") == [("all.na.route.changed", "for-everyone")]
    # What ap's only link to na ever asked for: its own events and everyone's.
    keys = {binding["routing_key"] for binding in na.api("GET", f"/api/exchanges/{VHOST}/homeward.events/bindings/source")
            if binding["destination"].startswith("federation: homeward.events -> ap")}
    assert keys == {"ap.#", "all.#"}
    assert take(ap, "homeward.inbox", 0) == []


def test_a_region_can_neither_read_nor_write_in_anothers_name(brokers):
    eu = brokers.brokers["eu"]

    def refused(region, act):
        connection = connect(eu, region)
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            act(channel)
        assert caught.value.reply_code == 403
        connection.close()

    refused("ap", lambda channel: channel.basic_get("homeward.inbox"))
    refused("ap", lambda channel: channel.queue_bind("federation: homeward.events -> na", "homeward.events", "ap.#"))
    refused("ap", lambda channel: channel.queue_bind("federation: homeward.events -> ap", "homeward.events", "#"))
    refused("ap", lambda channel: channel.basic_publish("homeward.events", "eu.ap.session.completed", b"forged"))
    refused("eu", lambda channel: channel.basic_publish("homeward.events", "na.ap.session.completed", b"forged"))


def test_an_event_for_no_region_is_kept(brokers):
    na = brokers.brokers["na"]
    publish(na, "moon.na.session.completed", "stray")
    assert "MESH_007" in wait_for(lambda: codes(brokers) or None, 20, "finding")
    assert take(na, "homeward.unroutable") == [("moon.na.session.completed", "stray")]


def test_the_sender_refuses_a_forbidden_binding(brokers):
    for region in brokers.regions:
        done = brokers.mesh("verify", *credentials(brokers, region))
        assert f"2 peers refused {region} a binding" in done.stdout, done.stdout + done.stderr
    assert not {"MESH_010", "MESH_011"} & codes(brokers, *credentials(brokers, "ap"))


def test_an_open_lock_is_found_and_locked_again(brokers):
    eu = brokers.brokers["eu"]
    eu.api("PUT", f"/api/topic-permissions/{VHOST}/ap", {"exchange": "homeward.events", "write": "^$", "read": ".*"})
    assert {"MESH_002", "MESH_010"} <= codes(brokers, *credentials(brokers, "ap"))
    steps = heal(brokers)["steps"]
    assert [(step["action"], step["region"], step["kind"], step["name"]) for step in steps] == [
        ("change", "eu", "topic-permission", "ap")]
    assert "MESH_010" not in codes(brokers, *credentials(brokers, "ap"))
    left = eu.api("GET", f"/api/exchanges/{VHOST}/homeward.events/bindings/source")
    assert not [binding for binding in left if "probe" in binding["routing_key"]]


def test_an_edit_on_a_broker_is_found_and_healed(brokers):
    na = brokers.brokers["na"]
    upstream = f"/api/parameters/federation-upstream/{VHOST}/homeward-eu"
    value = na.api("GET", upstream)["value"]
    na.api("PUT", upstream, {"value": {**value, "resource-cleanup-mode": "default"}})
    na.api("PUT", f"/api/policies/{VHOST}/homeward-old", {"pattern": "^x$", "apply-to": "queues", "definition": {"max-length": 1}})
    refused = brokers.mesh("apply", "--yes")
    assert refused.returncode == 77 and "type --confirm" in refused.stderr
    found = heal(brokers)
    changed, removed = found["steps"]
    assert (changed["kind"], changed["links_restarted"], changed["is_buffer_at_risk"]) == ("upstream", 1, True)
    assert (removed["action"], removed["name"]) == ("delete", "homeward-old")
    assert na.api("GET", upstream)["value"]["resource-cleanup-mode"] == "never"
    wait_for(lambda: all_green(brokers), 60, "green links after healing")


def test_what_is_not_ours_is_left_alone_and_named(brokers):
    eu = brokers.brokers["eu"]
    eu.api("PUT", f"/api/queues/{VHOST}/debug", {"durable": True, "arguments": {}})
    eu.api("POST", f"/api/bindings/{VHOST}/e/homeward.events/q/debug", {"routing_key": "eu.homeward-test", "arguments": {}})
    assert "MESH_006" in codes(brokers)
    assert plan(brokers)["steps"] == []
    eu.api("DELETE", f"/api/queues/{VHOST}/debug")
    assert "MESH_006" not in codes(brokers)


def test_a_link_that_runs_and_carries_nothing_is_not_green(brokers):
    unbind(brokers.brokers["na"], "eu")
    dead = link(brokers, "na", "eu")
    assert (dead["state"], dead["is_green"]) == ("running", False)
    assert "MESH_004" in codes(brokers)
    eu = brokers.brokers["eu"]
    running = next(found for found in eu.api("GET", f"/api/federation-links/{VHOST}") if found["upstream"] == "homeward-na")
    eu.api("DELETE", f"/api/federation-links/vhost/{VHOST}/{running['id']}/{running['node']}/restart")
    wait_for(lambda: link(brokers, "na", "eu")["is_green"], 60, "a green link again")


def test_a_queue_with_events_is_never_removed(brokers):
    """A region leaves: its buffers go only when they are empty."""
    na, eu, ap = (brokers.brokers[name] for name in ("na", "eu", "ap"))
    before = brokers.describe()
    ap.api("DELETE", f"/api/policies/{VHOST}/homeward-federate")  # its links end; what is sent to it waits
    wait_for(lambda: not link(brokers, "na", "ap")["has_consumer"], 20, "buffer without consumer")
    assert publish(na, "ap.na.session.completed", "waits")
    wait_for(lambda: link(brokers, "na", "ap")["buffered_events"] == 1, 20, "waiting event")
    brokers.write_mesh({"regions": {name: before["regions"][name] for name in ("na", "eu")}})
    leaving = plan(brokers)
    stopped = brokers.mesh("apply", "--confirm", leaving["plan"])
    assert stopped.returncode == 1 and "holds 1 events and stays" in stopped.stderr
    brokers.write_mesh({})
    heal(brokers)
    assert take(ap, "homeward.inbox") == [("ap.na.session.completed", "waits")]
    wait_for(lambda: all_green(brokers), 60, "green links")
    assert take(eu, "homeward.inbox", 0) == []


def test_a_paused_link_keeps_its_events_and_its_pause(brokers):
    na, eu = brokers.brokers["na"], brokers.brokers["eu"]
    wait_for(lambda: all_green(brokers), 60, "green links")
    assert brokers.mesh("pause", "na", "moon").returncode == 64
    paused = brokers.mesh("pause", "na", "eu")
    assert paused.returncode == 0 and "na -> eu is paused" in paused.stdout, paused.stderr
    wait_for(lambda: not link(brokers, "na", "eu")["has_consumer"], 20, "buffer without consumer")
    assert publish(na, "eu.na.session.completed", "patient")
    wait_for(lambda: link(brokers, "na", "eu")["buffered_events"] == 1, 20, "waiting event")
    found = link(brokers, "na", "eu")
    assert (found["state"], found["is_green"], found["has_binding"], found["reason"]) == ("paused", False, True, "the link is paused")
    assert link(brokers, "eu", "na")["is_green"] and link(brokers, "na", "ap")["is_green"]
    assert plan(brokers)["steps"] == []  # nor does apply undo it
    assert brokers.mesh("apply", "--yes").returncode == 0 and link(brokers, "na", "eu")["state"] == "paused"
    assert "No link is broken." in brokers.mesh("heal", "--config", "/nonexistent").stdout
    resumed = brokers.mesh("resume", "na", "eu")
    assert resumed.returncode == 0, resumed.stderr
    assert take(eu, "homeward.inbox") == [("eu.na.session.completed", "patient")]
    wait_for(lambda: all_green(brokers), 60, "green links")
    assert plan(brokers)["steps"] == []


def traces_of(broker, region):
    """Whatever a broker still has of a region: users, locks, upstreams, buffers and what feeds them."""
    found = [("user", user["name"]) for user in broker.api("GET", "/api/users")]
    found += [("permission", one["user"]) for one in broker.api("GET", f"/api/vhosts/{VHOST}/permissions")]
    found += [("topic", one["user"]) for one in broker.api("GET", f"/api/vhosts/{VHOST}/topic-permissions")]
    for kind, path in (("upstream", "parameters/federation-upstream"), ("queue", "queues"), ("exchange", "exchanges")):
        found += [(kind, one["name"]) for one in broker.api("GET", f"/api/{path}/{VHOST}")]
    return [(kind, name) for kind, name in found if region in re.split(r"[^a-z]", name)]


def retire(brokers, *arguments):
    return brokers.mesh("retire", *arguments, "--config", "/nonexistent")


def test_a_region_is_retired_when_nothing_waits_for_it(brokers):
    na, eu, ap = (brokers.brokers[name] for name in ("na", "eu", "ap"))
    wait_for(lambda: all_green(brokers), 60, "green links")
    brokers.mesh_file.write_text("// what the operator wrote\n" + brokers.mesh_file.read_text())
    before = brokers.mesh_file.read_text()
    assert brokers.mesh("pause", "ap", "na").returncode == 0  # na does not fetch: what ap sends it waits
    assert publish(ap, "na.ap.session.completed", "last words")
    wait_for(lambda: link(brokers, "ap", "na")["buffered_events"] == 1, 20, "waiting event")
    shown = retire(brokers, "ap")
    assert shown.returncode == 77 and "type --confirm ap; nothing was done" in shown.stderr, shown.stderr
    assert retire(brokers, "ap", "--confirm", "eu").returncode == 77
    assert retire(brokers, "ap", "--confirm", "ap", "--gone").returncode == 77  # nobody was asked for receipts
    refused = retire(brokers, "ap", "--confirm", "ap", "--lose", "0", "--wait", "1")
    assert refused.returncode == 77 and "1 events have not arrived, more than --lose 0" in refused.stderr, refused.stderr
    assert brokers.mesh_file.read_text() == before and traces_of(na, "ap")
    assert brokers.mesh("resume", "ap", "na").returncode == 0
    done = retire(brokers, "ap", "--confirm", "ap", "--lose", "0", "--wait", "120")
    assert done.returncode == 0 and "ap is retired" in done.stdout, done.stdout + done.stderr
    assert take(na, "homeward.inbox") == [("na.ap.session.completed", "last words")]
    wait_for(lambda: not traces_of(na, "ap") and not traces_of(eu, "ap"), 30, "brokers without ap")
    after = brokers.mesh_file.read_text()
    assert after.startswith("// what the operator wrote\n") and '"ap"' not in after
    assert [path.read_text() for path in brokers.folder.glob("mesh.json.before-*")] == [before]
    assert plan(brokers)["steps"] == []
    again = retire(brokers, "ap", "--confirm", "ap")
    assert again.returncode == 0 and "has no region ap" in again.stdout
    wait_for(lambda: all_green(brokers), 60, "green links of those that are left")
    assert publish(na, "eu.na.session.completed", "goes on") and take(eu, "homeward.inbox") == [("eu.na.session.completed", "goes on")]
    brokers.mesh_file.write_text(before)
    heal(brokers)
    wait_for(lambda: all_green(brokers), 60, "ap again")


def test_a_broker_that_is_gone_is_a_finding_and_then_retired(brokers):
    """Last: it stops one."""
    na, eu, ap = (brokers.brokers[name] for name in ("na", "eu", "ap"))
    ap.stop()
    done = brokers.mesh("plan")
    assert done.returncode == 69 and "does not answer" in done.stderr
    assert "MESH_001" in codes(brokers)
    assert brokers.mesh("status", "--links-only").returncode == 1
    for marker in ("one", "two"):
        assert publish(na, "ap.na.session.completed", marker)
    wait_for(lambda: link(brokers, "na", "ap")["buffered_events"] == 2, 20, "waiting events")
    alive = retire(brokers, "ap", "--confirm", "ap")
    assert alive.returncode == 69 and "say --gone; nothing was done" in alive.stderr, alive.stderr
    refused = retire(brokers, "ap", "--confirm", "ap", "--gone")
    assert refused.returncode == 77 and "add --lose 2; nothing was done" in refused.stderr, refused.stderr
    # Stopped half way, and said again.
    with subprocess.Popen([brokers.program, "mesh", "retire", "ap", "--mesh", str(brokers.mesh_file), "--config", "/nonexistent",
                           "--confirm", "ap", "--gone", "--lose", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as half:
        assert any("mesh_step" in line for line in half.stderr)
        half.kill()
    done = retire(brokers, "ap", "--confirm", "ap", "--gone", "--lose", "2")
    assert done.returncode == 0 and "ap" in done.stdout, done.stdout + done.stderr
    wait_for(lambda: not traces_of(na, "ap") and not traces_of(eu, "ap"), 30, "brokers without ap")
    assert "2 regions, 2 links" in brokers.mesh("check").stdout
    wait_for(lambda: all_green(brokers), 90, "green links of those that are left")
    assert plan(brokers)["steps"] == []
