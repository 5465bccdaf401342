# SPDX-License-Identifier: Apache-2.0
"""Local applications of a region: programs with nothing but a certificate, as docs/EVENTS.md shows them.

The Python here is the document's own: its fenced blocks are run as they stand.
"""
import json
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import threading

import pika
import pytest
from brokers import VHOST
from event_mesh import SEEN, EventMesh, kill_broker
from mesh import eventually
from test_events import WRITER, arrived, dead, event, submit
from wire import judge

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")
EVENTS = pathlib.Path(__file__).resolve().parents[2] / "docs/EVENTS.md"
APPLICATIONS = {"na": [{"name": "billing", "may": ["submit", "deliver", "system"]}, {"name": "till", "may": ["submit"]},
                       {"name": "cs_1", "may": ["mqtt"]}, {"name": "cs_2", "may": ["mqtt"]}],
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

    def block(self, marker):
        found = [block for block in self.blocks if marker in block]
        assert len(found) == 1, (marker, found)
        return found[0]

    def run(self, marker, **variables):
        """The block that has the marker, after the one that says how to connect."""
        names = {**self.given, **variables}
        for block in dict.fromkeys((self.block("def connect("), self.block(marker))):
            exec(compile(block, str(EVENTS), "exec"), names)  # pylint: disable=exec-used
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
    assert na.sql("SELECT caller FROM homeward.outbox WHERE id = %s", sent["id"]) == [("amqp.billing",)]


def test_everything_on_the_wire_is_as_the_schemas_have_it(events):
    """What is published to homeward.events itself, receipts and canaries too, as the brokers' tracing shows it."""
    seen = {"na": set(), "eu": set()}

    def look():
        for name, types in seen.items():
            types.update(judge(payload) for _, payload in events.brokers[name].take("wire", 1000))
        return {"session.completed", "homeward.canary"} <= seen["na"] and {"homeward.receipt", "homeward.canary"} <= seen["eu"]
    for name in seen:
        events.brokers[name].add_queue("wire", "amq.rabbitmq.trace", "publish.homeward.events", **SEEN)
        events.brokers[name].api("PUT", f"/api/vhosts/{VHOST}", {"tracing": True})
    try:
        assert submit(events["na"], event(), WRITER).status_code == 202
        eventually(look, within_s=60, every_s=0.5, what=f"one of each on the wire: {seen}")
    finally:
        for name in seen:
            events.brokers[name].api("PUT", f"/api/vhosts/{VHOST}", {"tracing": False})


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
    connect = Documented(broker).run("def connect(")["connect"]
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
    connect = Documented(broker).run("def connect(")["connect"]
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


def documented_command(program):
    """The document's command line of this program, without its prompt and its answer."""
    found = re.findall(rf"^\$ ({program} (?:.*\\\n)*.*)$", EVENTS.read_text(encoding="utf-8"), re.M)
    assert len(found) == 1, found
    return found[0].replace("\\\n", " ")


def publish(broker, topic, payload, certificate="cs_1", timeout_s=30):
    """mosquitto_pub as documented, with QoS 1: (exit code, what it said)."""
    command = documented_command("mosquitto_pub")
    for shown, real in (("broker.na.example", "localhost"), ("8883", str(broker.mqtt_port)), ("events/cs_1/session", topic),
                        ("pki/cs_1", f"{broker.pki}/{certificate}"), ("pki/ca", f"{broker.pki}/ca")):
        assert shown in command, (shown, command)
        command = command.replace(shown, real)
    if certificate is None:
        command = re.sub(r"--(cert|key) \S+", "", command)
    done = subprocess.run(["sh", "-c", f"timeout {timeout_s} {command} -d"], input=payload, capture_output=True, text=True,
                          timeout=timeout_s + 30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_device_publishes_by_mqtt_and_is_named(events):
    na, eu, broker = events["na"], events["eu"], events.brokers["na"]
    sent = event(source="/chargers/cs_1")
    code, said = publish(broker, "events/cs_1/session", json.dumps(sent))
    assert code == 0 and "PUBACK" in said, said
    eventually(lambda: arrived(eu, sent["id"]), within_s=60, what="the device's event in eu")
    assert publish(broker, "events/cs_1/session", json.dumps(sent))[0] == 0, "a device may send again what it is not sure of"
    after = event(source="/chargers/cs_1")
    assert publish(broker, "events/cs_1/session", json.dumps(after))[0] == 0
    eventually(lambda: arrived(eu, after["id"]), within_s=60, what="the event after it")
    assert eu.sql("SELECT count(*) FROM homeward.inbox WHERE id = %s", sent["id"]) == [(1,)]
    assert na.sql("SELECT DISTINCT caller FROM homeward.outbox WHERE source = '/chargers/cs_1'") == [("mqtt.cs_1",)]


@pytest.mark.parametrize("topic, certificate", [
    ("events/cs_2/session", "cs_1"), ("events/session", "cs_1"), ("eu/na/session.completed", "cs_1"), ("events/cs_1/session", None),
    ("events/cs_1/session", "till"), ("events/screen/session", "screen"),
])
def test_a_device_publishes_under_its_own_name_only(events, topic, certificate):
    na, broker = events["na"], events.brokers["na"]
    sent = event(source="/chargers/forged")
    code, said = publish(broker, topic, json.dumps(sent), certificate, timeout_s=10)
    assert code != 0 and "PUBACK" not in said, said
    mine = event(source="/chargers/cs_1", destination="na")
    assert publish(broker, "events/cs_1/session", json.dumps(mine))[0] == 0
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s", mine["id"]), within_s=60, what="what came after it")
    assert na.sql("SELECT 1 FROM homeward.outbox WHERE source = '/chargers/forged'") == []


def test_what_is_no_event_is_a_dead_letter(events):
    na, broker = events["na"], events.brokers["na"]
    for payload in ('{"soc": 80}', "not JSON"):
        assert publish(broker, "events/cs_2/session", payload, "cs_2")[0] == 0
    eventually(lambda: len(dead(na, "submitted")) == 2, within_s=60, what="two dead letters")
    assert na.sql("SELECT DISTINCT routing_key FROM homeward.dead_letters WHERE reason = 'submitted'") == [('"events.cs_2.session"',)]
    na.sql("DELETE FROM homeward.dead_letters")


def test_what_a_device_was_told_is_kept_outlives_the_broker(events):
    """homeward is away, so that only the broker can have it; and the broker is killed at once."""
    na, eu, broker = events["na"], events["eu"], events.brokers["na"]
    na.kill(signal.SIGKILL)
    na.await_end()
    sent = event(source="/chargers/cs_1")
    assert publish(broker, "events/cs_1/session", json.dumps(sent))[0] == 0
    kill_broker(broker)
    na.start()
    eventually(lambda: arrived(eu, sent["id"]), within_s=120, what="the device's event in eu")
