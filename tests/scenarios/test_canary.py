# SPDX-License-Identifier: Apache-2.0
"""Canaries between two regions on real brokers: what they measure, and that nobody but them ever sees them."""
import shutil

import pytest

from brokers import VHOST
from event_mesh import EventMesh
from mesh import eventually
from test_events import event, submit
from test_mesh import codes, unbind

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu", settings={"receipt_timeout_s": 1}) as started:
        yield started


def matrix(region):
    answer = region.session.get(region.url("/admin/v1/mesh", admin=True), timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def link(region, source, target):
    return next((found for found in matrix(region)["links"] if (found["from"], found["to"]) == (source, target)), None)


def is_known(found):
    return found is not None and not found["is_silent"] and found["round_trip_p50_ms"] is not None


def test_each_region_knows_the_whole_matrix(events):
    for name in ("na", "eu"):
        for ends in (("na", "eu"), ("eu", "na")):
            found = eventually(lambda: is_known(link(events[name], *ends)) and link(events[name], *ends), within_s=30,
                               what=f"{ends} as {name} knows it")
            assert 0 <= found["round_trip_p50_ms"] <= found["round_trip_p99_ms"]
            assert (found["duplicates"], found["gaps"], found["unreceipted"]) == (0, 0, 0)
        regions = {row["region"]: row for row in matrix(events[name])["regions"]}
        assert set(regions) == {"na", "eu"}
        assert all(row["certificate_days"] > 0 and row["alarms"] == 0 for row in regions.values())


def test_canaries_are_measured_and_never_kept(events):
    na, eu = events["na"], events["eu"]
    eventually(lambda: is_known(link(na, "na", "eu")), within_s=30, what="an answer")
    assert na.metric("homeward_mesh_canary_silent", region="eu") == 0
    assert na.metric("homeward_mesh_canary_age_seconds", region="eu") < 60
    assert na.metric("homeward_mesh_canary_round_trip_p99_seconds", region="eu") >= 0
    for region in (na, eu):
        for table in ("inbox", "outbox", "dead_letters"):
            assert region.sql(f"SELECT count(*) FROM homeward.{table}") == [(0,)], table
    assert events.brokers["eu"].take("application") == []


def test_an_event_that_came_twice_is_counted_for_its_link(events):
    na, eu = events["na"], events["eu"]
    sent = event()
    assert submit(na, sent, "operator").status_code == 202
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s AND receipted_at IS NOT NULL", sent["id"]),
               within_s=30, what="the receipt")
    na.sql("UPDATE homeward.outbox SET sent_at = NULL, next_at = now() WHERE id = %s", sent["id"])
    na.sql("NOTIFY homeward_outbox")
    eventually(lambda: link(eu, "na", "eu")["duplicates"] == 1, within_s=30, what="a duplicate from na")
    eventually(lambda: link(na, "na", "eu")["duplicates"] == 1, within_s=30, what="na's knowledge of it")
    assert link(eu, "eu", "na")["duplicates"] == 0


def depth(broker, queue):
    return broker.api("GET", f"/api/queues/{VHOST}/{queue}").get("messages", 0)


def test_canaries_without_a_binding_do_not_stay(events):
    """A finding about events must not come from canaries that found no way."""
    na = events.brokers["na"]
    unbind(na, "eu")
    eventually(lambda: "MESH_007" in codes(events.brokers), within_s=60, every_s=0.5, what="canaries in homeward.unroutable")
    healed = events.brokers.mesh("heal", "--config", "/nonexistent")
    assert healed.returncode == 0 and "restarted" in healed.stdout, healed.stdout + healed.stderr
    eventually(lambda: depth(na, "homeward.unroutable") == 0, within_s=120, every_s=0.5, what="an empty homeward.unroutable")
    eventually(lambda: "MESH_007" not in codes(events.brokers), within_s=60, every_s=0.5, what="no finding any more")


def test_a_daemon_that_stops_is_silent_and_back(events):
    na, eu = events["na"], events["eu"]
    eventually(lambda: is_known(link(na, "eu", "na")), within_s=30, what="canaries of eu")
    eu.kill()
    sent = [event() for _ in range(5)]
    for one in sent:
        assert submit(na, one, "operator").status_code == 202
    eventually(lambda: link(na, "eu", "na")["is_silent"] and "mesh_link_silent" in na.log(), within_s=40, what="silence")
    eventually(lambda: na.metric("homeward_mesh_canary_silent", region="eu") == 1, what="the metric of silence")
    eu.start()
    eventually(lambda: not link(na, "eu", "na")["is_silent"] and "mesh_link_back" in na.log(), within_s=60, what="eu again")
    # They waited in eu's inbox for longer than receipt_timeout_s: late is not lost, and nothing was sent again.
    states = "SELECT receipt, resends FROM homeward.outbox WHERE id IN %s"
    ids = tuple(one["id"] for one in sent)
    eventually(lambda: na.sql(states, ids) == [("applied", 0)] * len(ids), within_s=30, what=f"receipts: {na.sql(states, ids)}")
    said = na.session.get(na.url("/admin/v1/events?type=homeward.link", admin=True), timeout=10).json()["events"]
    states = [(kept["event"]["type"], kept["event"]["data"]["from"], kept["event"]["data"].get("state")) for kept in said]
    assert ("homeward.link.down", "eu", "no_canary") in states, states
    eventually(lambda: {"homeward.link.down", "homeward.link.up"} <= events.judge_seen("na"), within_s=30, every_s=0.5,
               what="both, as their schemas have them, at na's broker")
