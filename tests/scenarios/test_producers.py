# SPDX-License-Identifier: Apache-2.0
"""Local applications of a region: programs with nothing but a certificate, as docs/EVENTS.md shows them.

The Python here is the document's own: its fenced blocks are run as they stand.
"""
import json
import pathlib
import queue
import re
import shutil
import threading

import pika
import pytest
from brokers import VHOST
from event_mesh import EventMesh
from mesh import eventually
from test_events import WRITER, arrived, event, submit

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")
EVENTS = pathlib.Path(__file__).resolve().parents[2] / "docs/EVENTS.md"
APPLICATIONS = {"na": [{"name": "billing", "may": ["submit", "deliver", "system"]}, {"name": "till", "may": ["submit"]}],
                "eu": [{"name": "screen", "may": ["deliver"]}]}


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu", applications=APPLICATIONS) as started:
        yield started


class Documented:
    """The document's Python: connect() once, and the blocks by what is in them."""

    def __init__(self, broker):
        self.blocks = re.findall(r"^```python\n(.*?)^```$", EVENTS.read_text(encoding="utf-8"), re.M | re.S)
        self.given = {"host": "localhost", "port": broker.tls_port, "folder": str(broker.pki)}

    def run(self, marker, **variables):
        names = {**self.given, **variables}
        found = [block for block in self.blocks if marker in block]
        assert len(found) == 1 and "def connect" in self.blocks[0], marker
        exec(compile(self.blocks[0], str(EVENTS), "exec"), names)  # pylint: disable=exec-used
        if found[0] is not self.blocks[0]:
            exec(compile(found[0], str(EVENTS), "exec"), names)  # pylint: disable=exec-used
        return names


class Enough(Exception):
    """Ends a documented program that would go on for ever."""


class Consumer:
    """A documented consumer on a thread of its own; `got` is what it was given and has acknowledged, but for the last."""

    def __init__(self, documented, marker, variable):
        self.got, self.asked_to_end, self.fault = queue.Queue(), threading.Event(), None

        def take(message):
            self.got.put(message)
            if self.asked_to_end.is_set():
                raise Enough

        def work():
            try:
                documented.run(marker, **{variable: take})
            except Enough:
                pass
            except Exception as fault:  # pylint: disable=broad-except
                self.fault = fault
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def next(self, wanted, within_s=60):
        """The next message for which wanted() is true."""
        def look():
            assert self.fault is None, self.fault
            try:
                message = self.got.get(timeout=0.2)
            except queue.Empty:
                return None
            return message if wanted(message) else None
        return eventually(look, within_s=within_s, what="the message at the consumer")


def consumers(broker, name):
    return [row["queue"]["name"] for row in broker.api("GET", f"/api/consumers/{VHOST}") if row["queue"]["name"] == name]


def test_the_documented_producer_sends_an_event(events):
    na, eu = events["na"], events["eu"]
    sent = event(source="/billing")
    Documented(events.brokers["na"]).run("homeward.submit", event=sent)
    eventually(lambda: arrived(eu, sent["id"]), within_s=60, what="the event in eu")
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s AND receipt = 'applied'", sent["id"]), within_s=60,
               what="its receipt")


def test_the_documented_consumers_receive_by_type(events):
    na, eu, broker = events["na"], events["eu"], events.brokers["na"]
    documented = Documented(broker)
    sessions = Consumer(documented, "billing.sessions", "take")
    alarms = Consumer(documented, "billing.alarms", "alarm")
    eventually(lambda: consumers(broker, "billing.sessions") and consumers(broker, "billing.alarms"), within_s=60, every_s=0.2,
               what="the consumers")
    status = json.loads((EVENTS.parents[1] / "schemas/examples/station.status.changed.v1.json").read_text())["valid"][0]
    other = event(destination="na", type="station.status.changed", data=status)
    sent = [event(destination="na", subject="session-7") for _ in range(3)]
    for one in [other, *sent]:
        assert submit(eu, one, WRITER).status_code == 202
    got = [sessions.next(lambda _: True) for _ in sent]
    assert [one["id"] for one in got] == [one["id"] for one in sent], "other types are not its, and the order is kept"
    na.sql("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'prefix', '0499B1', 'eu')")
    assert alarms.next(lambda message: message["type"] == "homeward.routes.changed")["data"]["count"] >= 1
    for consumer in (sessions, alarms):
        consumer.asked_to_end.set()
    assert submit(eu, event(destination="na"), WRITER).status_code == 202
    na.sql("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'prefix', '0499B2', 'eu')")
    for consumer in (sessions, alarms):
        consumer.thread.join(timeout=60)
        assert not consumer.thread.is_alive() and consumer.fault is None


REFUSED = [
    ("billing", lambda channel: channel.basic_publish("homeward.events", "eu.na.session.completed", b"{}")),
    ("billing", lambda channel: channel.basic_publish("homeward.delivered", "na.session.completed", b"{}")),
    ("billing", lambda channel: channel.basic_publish("", "homeward.inbox", b"{}")),
    ("billing", lambda channel: channel.basic_get("homeward.inbox")),
    ("billing", lambda channel: channel.queue_declare("other.queue")),
    ("billing", lambda channel: channel.queue_declare("billing")),
    ("billing", lambda channel: channel.queue_delete("application")),
    ("billing", lambda channel: channel.queue_bind("application", "homeward.delivered", "#")),
    ("billing", lambda channel: (channel.queue_declare("billing.x"), channel.queue_bind("billing.x", "homeward.events", "#"))),
    ("till", lambda channel: channel.queue_declare("till.x")),
    ("till", lambda channel: channel.basic_get("homeward.submit")),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_an_application_may_no_more_than_it_is_given(events, case):
    name, attempt = REFUSED[case]
    broker = events.brokers["na"]
    connect = Documented(broker).run("def connect")["connect"]
    connection = connect("localhost", broker.tls_port, name, broker.pki)
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refusal:
            attempt(channel)
        assert refusal.value.reply_code == 403, refusal.value
    finally:
        connection.close()


def test_an_application_is_a_user_of_its_own_region_only(events):
    broker = events.brokers["na"]
    connect = Documented(broker).run("def connect")["connect"]
    with pytest.raises((pika.exceptions.ProbableAuthenticationError, pika.exceptions.AMQPConnectionError)):
        connect("localhost", broker.tls_port, "screen", broker.pki)
    own = events.brokers["eu"]
    connect("localhost", own.tls_port, "screen", own.pki).close()


def findings(brokers):
    done = brokers.mesh("verify", "-o", "json")
    assert done.returncode in (0, 1), done.stderr
    return [found["evidence"] for found in json.loads(done.stdout) if found["code"] in ("MESH_002", "MESH_006")]


def test_verify_notices_an_application_that_has_more(events):
    brokers, broker = events.brokers, events.brokers["na"]
    assert findings(brokers) == []
    broker.api("PUT", f"/api/permissions/{VHOST}/till", {"configure": "^$", "write": ".*", "read": "^$"})
    broker.api("PUT", "/api/users/billing", {"password": "guessed", "tags": "homeward,administrator"})
    assert sorted(findings(brokers)) == ["permission till: to change", "user billing: to change"]
    brokers.apply()
    assert findings(brokers) == []
