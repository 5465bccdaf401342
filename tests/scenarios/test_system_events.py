# SPDX-License-Identifier: Apache-2.0
"""What homeward itself says: to homeward.system, to GET /admin/v1/events, and to `homeward events tail`."""
import json
import shutil
import signal
import subprocess
import threading

import pika
import pytest

from event_mesh import EventMesh, restart
from mesh import HOMEWARD, a_station, add_tokens, eventually, good_tokens, homeward
from test_events import WRITER, event, submit
from test_mesh import connect
from test_schemas import NAMES, validator

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

DENIALS = 3


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu") as started:
        for name in started.names:
            region = started[name]
            region.write_settings({**region.settings(), "alarms": {"denials_per_minute": DENIALS}})
            started.brokers[name].add_queue("operators", "homeward.system", "#")
            restart(region)
        yield started


def published(events, name, kind, data=None):
    """Waits for one of this type (and with this data) in the operators' queue and returns the data of all of the type that came."""
    def look():
        for _, payload in events.brokers[name].take("operators"):
            event = json.loads(payload)
            validator("envelope.v1.json").validate(event)
            assert f"{event['type']}.v1.json" in NAMES
            validator(f"{event['type']}.v1.json").validate(event["data"])
            found.append(event)
        told = [event["data"] for event in found if event["type"] == kind]
        return told if data is None or data in told else None
    found = []
    return eventually(look, within_s=60, every_s=0.2, what=f"{kind} at {name}'s broker")


def said(region, kind):
    return [data for name, data in region.system_events(kind) if name == kind]


def add_route(region, key):
    region.sql("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'prefix', %s, 'eu')", key)


def ask(region, **query):
    return region.session.get(region.url("/admin/v1/events", admin=True), params=query, timeout=40)


def test_a_peer_goes_and_comes_back(events):
    na, eu = events["na"], events["eu"]
    card = good_tokens(eu)[0]
    eu.kill(signal.SIGKILL)
    def is_down():
        na.get("token", card, station=a_station(na), headers={"Cache-Control": "no-cache"})
        return said(na, "homeward.peer.down")
    assert eventually(is_down, within_s=60, every_s=0.2, what="eu down")[0]["peer"] == "eu"
    assert published(events, "na", "homeward.peer.down")[0]["reason"] in ("refused", "closed", "timeout")
    eu.start()
    eventually(eu.is_ready, within_s=60, what="eu again")
    back = published(events, "na", "homeward.peer.up")
    assert back[0]["peer"] == "eu" and back[0]["down_s"] >= 0
    assert na.metric("homeward_system_events_total", type="homeward.peer.up") >= 1


def test_a_reader_that_waits_is_answered_when_there_is_something(events):
    na = events["na"]
    before = ask(na).json()
    since = {"after": before["last"], "run": before["run"], "type": "homeward.routes."}
    assert ask(na, **since).json()["events"] == []
    answers = []
    reader = threading.Thread(target=lambda: answers.append(ask(na, wait=25, **since).json()))
    reader.start()
    add_route(na, "0499A1")
    reader.join(timeout=40)
    assert [row["event"]["type"] for row in answers[0]["events"]] == ["homeward.routes.changed"], answers
    assert answers[0]["last"] >= answers[0]["events"][0]["number"] > before["last"]
    published(events, "na", "homeward.routes.changed", answers[0]["events"][0]["event"]["data"])
    assert ask(na, after="x").status_code == ask(na, wait=26).status_code == ask(na, wait=-1).status_code == 400


def test_denials_beyond_the_limit_are_told_without_an_id(events):
    na, eu = events["na"], events["eu"]
    cards = add_tokens(events.mesh, "na", DENIALS + 2, prefix="47")
    na.sql("UPDATE homeward.objects SET record = record || '{\"restricted\": \"yes\"}' WHERE id LIKE '47%%'")
    for card in cards:
        eu.authorize(card, a_station(eu), headers={"Cache-Control": "no-cache"})
        eu.get("token", card)  # no station, so eu's own gate denies it
    told = published(events, "na", "homeward.gate.denials")
    assert [(data["peer"], data["denied"]) for data in told] == [("eu", DENIALS)], told
    assert [(data["caller"], data["denied"]) for data in said(eu, "homeward.gate.denials")] == [("cs-auth", DENIALS)]
    assert not any(card in json.dumps(na.system_events()) + json.dumps(eu.system_events()) for card in cards)


def test_status_tells_of_events(events):
    na = events["na"]
    na.sql("INSERT INTO homeward.outbox (type, payload, destination, next_at) SELECT 'session.completed', '{}', 'xx', 'infinity' FROM"
           " generate_series(1, 3)")
    na.sql("INSERT INTO homeward.dead_letters (reason, detail, routing_key, body) VALUES ('malformed', '', '', '')")
    try:
        told = na.session.get(na.url("/admin/v1/status", admin=True), timeout=10).json()
        assert told["events"]["unsent"] == 3 and told["events"]["dead_letters"] == 1 and told["events"]["oldest_unsent_s"] >= 0, told
        assert "homeward.gate.denials" in [row["event"]["type"] for row in told["alarms"]], told
        shown = homeward("status", "--config", na.config).stdout
        assert "events: 3 unsent (the oldest for " in shown and "1 dead letters" in shown, shown
        assert "alarm: " in shown and "homeward.gate.denials peer=eu denied=3" in shown, shown
    finally:
        na.sql("DELETE FROM homeward.outbox WHERE destination = 'xx'")
        na.sql("DELETE FROM homeward.dead_letters")


def test_what_is_said_while_the_broker_is_away_is_published_later(events):
    na, broker = events["na"], events.brokers["na"]
    broker.take("operators")
    before = len(said(na, "homeward.routes.changed"))
    broker.kill()
    add_route(na, "0499A2")
    eventually(lambda: len(said(na, "homeward.routes.changed")) > before, what="the event in memory")
    last = said(na, "homeward.routes.changed")[-1]
    broker.start()
    eventually(broker.is_ready, within_s=90, every_s=0.5, what="na's broker again")
    published(events, "na", "homeward.routes.changed", last)


def rows(region, *arguments):
    return json.loads(homeward("events", *arguments, "-o", "json", "--config", region.config).stdout)


def count_of(region, table, **wanted):
    return sum(row["events"] for row in rows(region, table) if wanted.items() <= row.items())


def test_tables_of_events_are_shown_without_sql(events):
    na, eu = events["na"], events["eu"]
    sent = event()
    assert submit(na, sent, WRITER).status_code == 202
    eventually(lambda: count_of(na, "outbox", destination="eu", state="applied"), within_s=30, what="the receipt")
    assert count_of(eu, "inbox", origin="na", type="session.completed", undelivered=0) >= 1
    na.sql("INSERT INTO homeward.outbox (type, payload, destination) VALUES ('session.completed', '{}', 'eu')")
    eventually(lambda: count_of(na, "outbox", destination="eu", state="refused"), within_s=30, what="the refusal")
    assert "DESTINATION" in homeward("events", "outbox", "--config", na.config).stdout


def test_a_dead_letter_is_sent_again_by_its_source(events):
    na, eu = events["na"], events["eu"]
    eu.sql("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such session'; END $$")
    eu.sql("CREATE TRIGGER refuse AFTER INSERT ON homeward.inbox FOR EACH ROW EXECUTE FUNCTION public.refuse()")
    sent = event()
    assert submit(na, sent, WRITER).status_code == 202
    eventually(lambda: count_of(na, "outbox", state="dead"), within_s=30, what="the receipt of a dead letter")
    letter = rows(eu, "dead", "--reason", "malformed")[0]
    assert letter["detail"] == "no such session" and letter["bytes"] > 100
    refused = homeward("events", "dead", "requeue", letter["number"], "--confirm", letter["number"], "--config", eu.config, check=False)
    assert refused.returncode == 1 and "homeward events resend" in refused.stderr, refused
    eu.sql("DROP TRIGGER refuse ON homeward.inbox")
    homeward("events", "resend", sent["id"], "--config", na.config)
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s AND receipt = 'applied'", sent["id"]), within_s=30,
               what="the event in eu")
    applied = homeward("events", "resend", sent["id"], "--config", na.config, check=False)
    assert applied.returncode == 77 and f"--confirm {sent['id']}" in applied.stderr
    homeward("events", "resend", sent["id"], "--confirm", sent["id"], "--config", na.config)
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s AND receipt <> ''", sent["id"]), within_s=30,
               what="the second receipt")
    assert eu.sql("SELECT count(*) FROM homeward.inbox WHERE id = %s", sent["id"]) == [(1,)]
    assert homeward("events", "resend", "no-such", "--config", na.config, check=False).returncode == 1


def test_what_was_submitted_and_died_is_handed_in_again(events):
    na, eu = events["na"], events["eu"]
    good = event(source="/pika")
    number = na.sql("INSERT INTO homeward.dead_letters (reason, detail, routing_key, body) VALUES ('submitted', 'then', '\"k\"',"
                    " convert_to(%s, 'UTF8')) RETURNING seq", json.dumps(good))[0][0]
    requeue = ("events", "dead", "requeue", number, "--config", na.config)
    unconfirmed = homeward(*requeue, check=False)
    assert unconfirmed.returncode == 77 and "nothing was done" in unconfirmed.stderr
    assert [row["number"] for row in rows(na, "dead", "--reason", "submitted")] == [number]
    homeward(*requeue, "--confirm", number)
    eventually(lambda: eu.sql("SELECT 1 FROM homeward.inbox WHERE id = %s", good["id"]), within_s=30, what="the event in eu")
    assert rows(na, "dead") == []
    assert homeward(*requeue, "--confirm", number, check=False).returncode == 1


def trace_of(region, trace):
    lines = [line for line in region.log().splitlines() if "event_trace" in line and f"trace_id={trace}" in line]
    return [dict(part.split("=", 1) for part in line.split() if "=" in part)["step"] for line in lines]


def test_a_trace_is_seen_from_end_to_end(events):
    """A context given in an HTTP header, an AMQP header and a column is in the event that arrives, and in its receipt's line."""
    na, eu, broker = events["na"], events["eu"], events.brokers["na"]
    traces = {way: f"{number:032x}" for number, way in enumerate(("http", "amqp", "sql", "unsampled"), start=0x71ace)}
    parents = {way: f"00-{trace}-00f067aa0ba902b7-{'00' if way == 'unsampled' else '01'}" for way, trace in traces.items()}
    sent = {way: event(id=f"traced-{way}") for way in traces}
    for way in ("http", "unsampled"):
        accepted = na.request("POST", "/v1/events", caller=WRITER, data=json.dumps(sent[way]),
                              headers={"Content-Type": "application/cloudevents+json", "traceparent": parents[way]})
        assert accepted.status_code == 202, accepted.text
    connection = connect(broker)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("homeward.submit", "billing", json.dumps(sent["amqp"]).encode(), mandatory=True,
                          properties=pika.BasicProperties(delivery_mode=2, headers={"traceparent": parents["amqp"]}))
    connection.close()
    na.sql("INSERT INTO homeward.outbox (id, source, type, payload, destination, attributes) VALUES ('traced-sql', '/test',"
           " 'session.completed', %s, 'eu', %s)", json.dumps(sent["sql"]["data"]), json.dumps({"traceparent": parents["sql"]}))
    delivered = {}

    def arrive():
        for _, payload in events.brokers["eu"].take("application"):
            got = json.loads(payload)
            delivered[got["id"]] = got.get("traceparent")
        return {f"traced-{way}" for way in traces} <= delivered.keys()
    eventually(arrive, within_s=60, every_s=0.2, what="the traced events at eu's homeward.delivered")
    assert {way: delivered[f"traced-{way}"] for way in traces} == parents
    for way in ("http", "amqp", "sql"):
        # Threads of one process write these, so their order is not theirs to promise.
        steps = ["receipted", "sent"] + ["submitted"] * (way != "sql")
        eventually(lambda way=way, steps=steps: sorted(trace_of(na, traces[way])) == steps, within_s=30, what=f"na's steps of {way}")
        eventually(lambda way=way: trace_of(eu, traces[way]) == ["arrived"], within_s=30, what=f"eu's step of {way}")
    eventually(lambda: na.sql("SELECT 1 FROM homeward.outbox WHERE id = 'traced-unsampled' AND receipt = 'applied'"), within_s=30,
               what="the last receipt")
    assert trace_of(na, traces["unsampled"]) == trace_of(eu, traces["unsampled"]) == []


def test_tail_goes_on_after_a_restart(events):
    na = events["na"]
    once = homeward("events", "tail", "--once", "--config", na.config, "--type", "homeward.routes.").stdout.splitlines()
    assert len(once) >= 2 and all(" homeward.routes.changed count=" in line for line in once), once
    tail = subprocess.Popen([HOMEWARD, "events", "tail", "--config", str(na.config), "-o", "json"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines, complaints = [], []
    readers = [threading.Thread(target=lambda pipe=pipe, to=to: [to.append(line) for line in pipe], daemon=True)
               for pipe, to in ((tail.stdout, lines), (tail.stderr, complaints))]
    try:
        for reader in readers:
            reader.start()
        eventually(lambda: len(lines) >= 2, within_s=30, what="what was said before")
        restart(na)
        add_route(na, "0499A3")
        count = na.sql("SELECT generation FROM homeward.route_generation")[0][0]
        eventually(lambda: any(json.loads(line)["event"]["data"].get("generation") == count for line in lines), within_s=60,
                   what="what was said after the restart")
        assert any("was started again" in line for line in complaints), complaints
    finally:
        tail.kill()
        tail.wait(timeout=10)


def test_tail_says_when_nobody_answers(tmp_path):
    done = homeward("events", "tail", "--admin", f"unix:{tmp_path}/none", check=False)
    assert done.returncode == 69 and "does not answer" in done.stderr
    assert homeward("events", "tail", "--type", "a b", "--admin", "x", check=False).returncode == 64
