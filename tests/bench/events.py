#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events a second across two regions' brokers: homeward's, and beside it a plain federated link's, in the same run.

  plain     a publisher with 1,000 confirmations in flight, and a consumer that acknowledges, over the mesh's own
            exchange and inbox; nothing is kept, checked, decided or put on record
  homeward  rows of the outbox to the queue behind homeward.delivered in the other region: gate and access log on
            both sides, inbox, receipts

EVENTS=N sets how many of each.  The same two brokers, certificates and events serve both.
"""
import json
import os
import pathlib
import signal
import ssl
import sys
import threading
import time

import pika

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from brokers import VHOST  # noqa: E402
from event_mesh import EventMesh  # noqa: E402
from mesh import eventually, is_running  # noqa: E402
from test_mesh import connect  # noqa: E402

EVENTS = int(os.environ.get("EVENTS", "20000"))
IN_FLIGHT = 1000
SESSION = {"session_id": "s-1", "token_uid": "04A2B3C4D5E6F7", "station_id": "eu-1", "started_at": "2026-11-21T04:12:09Z",
           "ended_at": "2026-11-21T05:40:31Z", "end_reason": "driver", "energy_wh": 31870}


class Publisher(threading.Thread):
    """As many messages as asked, never more than IN_FLIGHT without their confirmation."""

    def __init__(self, broker, count, body):
        super().__init__()
        self.count, self.body, self.sent, self.settled = count, body, 0, 0
        context = ssl.create_default_context(cafile=f"{broker.pki}/ca.pem")
        context.load_cert_chain(f"{broker.pki}/{broker.region}.pem", f"{broker.pki}/{broker.region}.key")
        self.parameters = pika.ConnectionParameters("localhost", broker.tls_port, VHOST, pika.credentials.ExternalCredentials(),
                                                    ssl_options=pika.SSLOptions(context, "localhost"))

    def run(self):
        self.connection = pika.SelectConnection(self.parameters, on_open_callback=lambda c: c.channel(on_open_callback=self.opened))
        self.connection.ioloop.start()

    def opened(self, channel):
        self.channel = channel
        channel.confirm_delivery(self.confirmed, callback=lambda _: self.fill())

    def fill(self):
        while self.sent < self.count and self.sent - self.settled < IN_FLIGHT:
            self.channel.basic_publish("homeward.events", "eu.na.session.completed", self.body, pika.BasicProperties(delivery_mode=2))
            self.sent += 1

    def confirmed(self, frame):
        assert isinstance(frame.method, pika.spec.Basic.Ack), "the broker refused an event"
        self.settled = frame.method.delivery_tag if frame.method.multiple else self.settled + 1
        self.fill()
        if self.settled >= self.count:
            self.connection.ioloop.stop()


def consume(broker, queue, count):
    """Seconds until `count` messages have been taken and acknowledged."""
    began = time.monotonic()
    connection = connect(broker)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=IN_FLIGHT)
    taken = 0
    for method, _, _ in channel.consume(queue, inactivity_timeout=60):
        assert method is not None, f"only {taken} of {count} came"
        taken += 1
        if taken % 200 == 0 or taken == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if taken == count:
            break
    channel.cancel()
    connection.close()
    return time.monotonic() - began


def plain(mesh, body):
    for name in mesh.names:
        pid = mesh[name].pid
        mesh[name].kill(signal.SIGTERM)
        eventually(lambda gone=pid: not is_running(gone), within_s=30, what="the end of a region")
    publisher = Publisher(mesh.brokers["na"], EVENTS, body)
    publisher.start()
    seconds = consume(mesh.brokers["eu"], "homeward.inbox", EVENTS)
    publisher.join()
    for name in mesh.names:
        mesh[name].start()
        eventually(mesh[name].is_ready, within_s=30, what=f"{name} again")
    return EVENTS / seconds


def through_homeward(mesh):
    na, eu = mesh["na"], mesh["eu"]
    began = time.monotonic()
    for first in range(0, EVENTS, 1000):
        na.sql("INSERT INTO homeward.outbox (aggregateid, type, payload, destination) SELECT 'session-' || n, 'session.completed',"
               " %s::jsonb, 'eu' FROM generate_series(%s, %s) AS n", json.dumps(SESSION), first + 1, min(first + 1000, EVENTS))
    delivered = "SELECT count(*) FROM homeward.inbox WHERE delivered_at IS NOT NULL"
    eventually(lambda: eu.sql(delivered)[0][0] >= EVENTS, within_s=600, every_s=0.1, what="all events in eu")
    seconds = time.monotonic() - began
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.outbox WHERE receipted_at IS NULL")[0][0] == 0, within_s=60,
               every_s=0.1, what="all receipts")
    assert eu.sql("SELECT count(*) FROM homeward.inbox") == [(EVENTS,)]
    return EVENTS / seconds


def main():
    with EventMesh("na", "eu") as mesh:
        ours = through_homeward(mesh)
        size = mesh["eu"].sql("SELECT max(length(event::text)) FROM homeward.inbox")[0][0]
        theirs = plain(mesh, b"x" * size)
    print(f"plain    {theirs:8,.0f} events/s  ({EVENTS} of {size} bytes)")
    print(f"homeward {ours:8,.0f} events/s")
    print(f"ratio events {ours / theirs:.2f} target >= 0.80")


main()
