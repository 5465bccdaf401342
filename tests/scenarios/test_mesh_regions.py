# SPDX-License-Identifier: Apache-2.0
"""Thirty regions around a hub on three brokers: each has a virtual host, a certificate and its own lock."""
import json
import shutil

import pytest

from brokers import Brokers, wait_for
from test_mesh import plan

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")
REGIONS = [f"r{i:02}" for i in range(30)]


@pytest.fixture(scope="module")
def brokers():
    with Brokers("na", "eu", "ap") as started:
        for name in REGIONS:
            started.run_ok("pki", "issue", "--dir", str(started.folder / "pki"), "--region", name)
        at = list(started.brokers.values())
        started.write_mesh({"topology": "hub", "hub": "r00", "regions": {
            name: {**started.describe_region(name, at[i % 3]), "cluster": at[i % 3].region, "vhost": f"homeward.{name}"}
            for i, name in enumerate(REGIONS)}})
        yield started


def test_thirty_regions_on_three_brokers(brokers):
    shown = brokers.mesh("plan")
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) < 25, shown.stdout + shown.stderr
    applied = brokers.mesh("apply", "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert plan(brokers)["steps"] == []
    wait_for(lambda: brokers.mesh("status", "--links-only").returncode == 0, 90, "58 green links")
    links = json.loads(brokers.mesh("status", "--links-only", "-o", "json").stdout)
    assert len(links) == 58 and all("r00" in (link["from"], link["to"]) for link in links)
    assert json.loads(brokers.mesh("verify", "-o", "json").stdout) == []
    # From a spoke over another broker to the hub, and no further.
    spoke, hub = brokers.brokers["ap"], brokers.brokers["na"]
    for key in ("r00.r02.test", "r01.r02.test"):
        spoke.api("POST", "/api/exchanges/homeward.r02/homeward.events/publish", {
            "properties": {"delivery_mode": 2}, "routing_key": key, "payload": key, "payload_encoding": "string"})

    def count(broker, vhost, queue):
        return broker.api("GET", f"/api/queues/{vhost}/{queue}").get("messages")

    wait_for(lambda: count(hub, "homeward.r00", "homeward.inbox") == 1, 30, "event at the hub")
    wait_for(lambda: count(spoke, "homeward.r02", "homeward.unroutable") == 1, 30, "event without a link")
