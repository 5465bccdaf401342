# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of events share: a plain publisher and consumer, and a mesh whose links go through proxies."""
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
from losses import Proxy  # noqa: E402
from mesh import eventually, is_running  # noqa: E402
from test_mesh import connect  # noqa: E402

EVENTS = int(os.environ.get("EVENTS", "20000"))
IN_FLIGHT = 1000
SESSION = {"session_id": "s-1", "token_uid": "04A2B3C4D5E6F7", "station_id": "eu-1", "started_at": "2026-11-21T04:12:09Z",
           "ended_at": "2026-11-21T05:40:31Z", "end_reason": "driver", "energy_wh": 31870}


class Publisher(threading.Thread):
    """As many messages as asked, never more than IN_FLIGHT without their confirmation."""

    def __init__(self, broker, count, body, key="eu.na.session.completed"):
        super().__init__()
        self.count, self.body, self.key, self.sent, self.settled = count, body, key, 0, 0
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
            self.channel.basic_publish("homeward.events", self.key, self.body, pika.BasicProperties(delivery_mode=2))
            self.sent += 1

    def confirmed(self, frame):
        assert isinstance(frame.method, pika.spec.Basic.Ack), "the broker refused an event"
        self.settled = frame.method.delivery_tag if frame.method.multiple else self.settled + 1
        self.fill()
        if self.settled >= self.count:
            self.connection.ioloop.stop()


def consume(broker, queue, count, each=None):
    """Seconds until `count` messages have been taken and acknowledged; each(body) of every one."""
    began = time.monotonic()
    connection = connect(broker)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=IN_FLIGHT)
    taken = 0
    for method, _, body in channel.consume(queue, inactivity_timeout=60):
        assert method is not None, f"only {taken} of {count} came"
        taken += 1
        if each is not None:
            each(body)
        if taken % 200 == 0 or taken == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if taken == count:
            break
    channel.cancel()
    connection.close()
    return time.monotonic() - began


class BenchMesh(EventMesh):
    """Regions whose links go through a proxy each, which counts bytes; one_way_ms None: without proxies."""

    def __init__(self, *names, one_way_ms=None, **options):
        super().__init__(*names, **options)
        self.one_way_ms, self.proxies = one_way_ms, {}

    def begin(self):
        if self.one_way_ms is not None:
            for name in self.names:
                self.proxies[name] = Proxy(self.brokers[name], self.one_way_ms)
                self.brokers[name].link_port = self.proxies[name].port
            self.brokers.write_mesh({})
        super().begin()

    def configure(self, name):
        # One peer is all the callers there are: what it may ask is not what is measured.
        settings = self[name].settings()
        settings["budgets"] = {"lookups_per_s": 0, "subjects_per_hour": 0, "misses_percent": 0}
        self[name].write_settings(settings)
        super().configure(name)

    def stop_regions(self):
        for name in self.names:
            pid = self[name].pid
            self[name].kill(signal.SIGTERM)
            eventually(lambda gone=pid: not is_running(gone), within_s=30, what="the end of a region")

    def start_regions(self):
        for name in self.names:
            self[name].start()
            eventually(self[name].is_ready, within_s=30, what=f"{name} again")

    def __exit__(self, *exception):
        for proxy in self.proxies.values():
            proxy.stop()
        super().__exit__(*exception)


def add_rows(connection, first, last, destination="eu"):
    """Events first to last into the outbox, in one transaction; their ids are `n-` and their number."""
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination) SELECT 'n-' || n, 'session-' || n,"
                       " 'session.completed', %s::jsonb, %s FROM generate_series(%s, %s) AS n",
                       (json.dumps(SESSION), destination, first, last))
