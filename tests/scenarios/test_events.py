# SPDX-License-Identifier: Apache-2.0
"""Two regions, two real brokers federated over mutual TLS: events cross once and are never lost.

An application's effect is a trigger on the inbox, so that it happens in the transaction that takes the event.
"""
import json
import pathlib
import shutil
import time
import uuid

import jsonschema
import pika
import pytest

from brokers import VHOST
from event_mesh import EventMesh, kill_broker, restart
from mesh import a_station, eventually, good_tokens
from test_mesh import connect

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

EVENTS = 2000
WRITER = "operator"
ENVELOPE = pathlib.Path(__file__).resolve().parents[2] / "schemas/envelope.v1.json"
EFFECT = """
CREATE TABLE public.effects (id text NOT NULL);
CREATE FUNCTION public.effect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.type = 'session.poison' THEN RAISE EXCEPTION 'no such session'; END IF;
    INSERT INTO public.effects VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER effect AFTER INSERT ON homeward.inbox FOR EACH ROW EXECUTE FUNCTION public.effect();
"""


SESSION = {"session_id": "s-1", "token_uid": "04A2B3C4D5E6F7", "station_id": "eu-1", "started_at": "2026-11-21T04:12:09Z",
           "ended_at": "2026-11-21T05:40:31Z", "end_reason": "driver", "energy_wh": 31870}


def change_policy(policy):
    """Two types nobody described, one of which may be received nowhere; and no session of anyone ever says what it cost."""
    policy["types"]["session.poison"] = {"opaque": True, "classification": "operational", "personal": False}
    policy["types"]["partner.message"] = {"opaque": True, "classification": "personal", "personal": True}
    policy["rules"].append({"id": "POISON", "effect": "permit", "operation": ["send", "receive"], "to": ["eu"],
                            "type": ["session.poison"], "fields": ["data"]})
    policy["rules"].append({"id": "PARTNER", "effect": "permit", "operation": ["send"], "to": ["eu"], "type": ["partner.message"],
                            "fields": ["data"]})
    for rule in policy["rules"]:
        if "cost" in rule.get("fields", []):
            rule["fields"].remove("cost")


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu", policy=change_policy) as started:
        started["eu"].sql(EFFECT)
        yield started


def event(**more):
    return {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/test", "type": "session.completed",
            "destination": "eu", "data": SESSION, **more}


def submit(region, body, caller):
    return region.request("POST", "/v1/events", caller=caller, data=json.dumps(body),
                          headers={"Content-Type": "application/cloudevents+json"})


def arrived(region, identifier):
    return region.sql("SELECT event FROM homeward.inbox WHERE id = %s AND delivered_at IS NOT NULL", identifier)


def dead(region, reason):
    return region.sql("SELECT detail FROM homeward.dead_letters WHERE reason = %s", reason)


def test_submitted_event_arrives_and_is_passed_on(events):
    na, eu = events["na"], events["eu"]
    sent = event(subject="session-1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    answer = submit(na, sent, WRITER)
    assert (answer.status_code, answer.json()) == (202, {"id": sent["id"], "source": "/test"})
    got = eventually(lambda: arrived(eu, sent["id"]), what="the event in eu")[0][0]
    jsonschema.validate(got, json.loads(ENVELOPE.read_text()))
    more = {name: got.pop(name) for name in ("time", "exchangeid", "outboxtime")}
    assert more["outboxtime"] == more["time"]
    assert got == {**sent, "originregion": "na", "sequence": "0" * 17 + "1", "datacontenttype": "application/json",
                   "dataschema": "https://homeward.dev/schemas/session.completed.v1.json", "dataclassification": "personal"}
    got.update(more)
    passed = events.brokers["eu"].take("application")
    assert [(key, json.loads(payload)) for key, payload in passed] == [("na.session.completed", got)]
    for region, peer, kind, operation in ((na, "eu", "send", "send"), (eu, "na", "receive", "receive")):
        columns = ("kind", "peer", "type", "operation", "purpose", "decision", "rules", "fields")
        rows = [tuple(row[name] for name in columns) for row in region.exchanges() if row["exchange"] == more["exchangeid"]]
        assert rows == [(kind, peer, "session.completed", operation, "event", "permit", "EVENT-SESSION",
                         "session_id,token_uid,station_id,started_at,ended_at,end_reason,energy_wh")]
    assert submit(na, sent, WRITER).status_code == 202
    assert na.sql("SELECT count(*) FROM homeward.outbox WHERE id = %s", sent["id"]) == [(1,)]
    broadcast = event(destination="all")
    assert submit(na, broadcast, WRITER).status_code == 202
    for region in (na, eu):
        eventually(lambda: arrived(region, broadcast["id"]), what=f"the broadcast in {region.name}")


def refusal(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


def denials(region, kind, operation):
    return len([row for row in region.exchanges() if (row["kind"], row["type"], row["operation"]) == ("deny", kind, operation)])


def test_what_may_not_leave_is_refused(events):
    na = events["na"]
    before = na.sql("SELECT count(*) FROM homeward.outbox")
    assert submit(na, event(), None).status_code == 401
    assert submit(na, event(), "cs-auth").status_code == 403
    assert "originregion" in refusal(submit(na, event(originregion="eu"), WRITER), 400)
    assert refusal(submit(na, event(id=""), WRITER), 400)
    assert "only homeward itself" in refusal(submit(na, event(type="homeward.receipt"), WRITER), 400)
    # By the schema.
    assert refusal(submit(na, event(data={**SESSION, "energy_wh": -1}), WRITER), 400) == "data/energy_wh: out of its range"
    assert refusal(submit(na, event(data={**SESSION, "name": "Ann"}), WRITER), 400) == (
        "data: has a member that its schema does not name")
    assert "dataschema" in refusal(submit(na, event(dataschema="https://nobody.example/x"), WRITER), 400)
    # By the policy: a type nobody described, one without a rule for its destination, a field that no rule names.
    assert refusal(submit(na, event(type="driver.wish"), WRITER), 403) == (
        "driver.wish from na to eu: the policy does not describe this type")
    assert "no rule permits it" in refusal(submit(na, event(type="partner.message", destination="xx"), WRITER), 403)
    dear = event(data={**SESSION, "cost": {"currency": "EUR", "amount_minor": 1434}})
    assert refusal(submit(na, dear, WRITER), 403) == "session.completed from na to eu: no rule lets these fields cross: cost"
    assert [denials(na, kind, "send") for kind in ("driver.wish", "partner.message", "session.completed")] == [1, 1, 1]
    assert na.sql("SELECT count(*) FROM homeward.outbox") == before
    # An application's own row is held to the same rules.
    na.sql("INSERT INTO homeward.outbox (id, type, destination, payload) VALUES ('sly', 'driver.wish', 'eu', '{}'),"
           " ('odd', 'a b', 'eu', '{}'), ('bad', 'session.completed', 'eu', '{}'), ('own', 'homeward.receipt', 'eu', '{}')")
    refused = "SELECT count(*) FROM homeward.outbox WHERE refused_at IS NOT NULL AND reason <> '' AND sent_at IS NULL"
    eventually(lambda: na.sql(refused) == [(4,)], what="four refusals")
    assert denials(na, "driver.wish", "send") == 2
    assert not events["eu"].sql("SELECT 1 FROM homeward.inbox WHERE id IN ('sly', 'odd', 'bad', 'own')")


def test_what_may_not_be_received_becomes_a_dead_letter(events):
    na, eu = events["na"], events["eu"]
    assert submit(na, event(type="partner.message", data=["anything"]), WRITER).status_code == 202
    told = eventually(lambda: dead(eu, "refused"), what="the refused event's dead letter")
    assert told == [("partner.message from na to eu: no rule permits it",)]
    assert denials(eu, "partner.message", "receive") == 1
    assert not eu.sql("SELECT 1 FROM homeward.inbox WHERE type = 'partner.message'")


def receipt(region, identifier):
    return region.sql("SELECT receipt FROM homeward.outbox WHERE id = %s AND receipted_at IS NOT NULL", identifier)


def test_the_source_is_told_and_sends_again_what_it_was_not_told_of(events):
    na, eu = events["na"], events["eu"]
    sent = event()
    assert submit(na, sent, WRITER).status_code == 202
    assert eventually(lambda: receipt(na, sent["id"]), what="the receipt") == [("applied",)]
    refused = event(type="partner.message", data={})
    assert submit(na, refused, WRITER).status_code == 202
    assert eventually(lambda: receipt(na, refused["id"]), what="the refusal's receipt") == [("refused",)]
    # Lost where nothing of homeward could see it, and so without a receipt.
    eu.sql("DELETE FROM homeward.inbox WHERE id = %s", sent["id"])
    na.sql("UPDATE homeward.outbox SET receipted_at = NULL, receipt = '', sent_at = now() - interval '61 s' WHERE id = %s", sent["id"])
    eventually(lambda: arrived(eu, sent["id"]), what="the event once more")
    assert eventually(lambda: receipt(na, sent["id"]), what="its receipt") == [("applied",)]
    assert na.metric("homeward_events_resent_total") >= 1
    # What is over goes after its time, and what is not stays.
    na.sql("UPDATE homeward.outbox SET created_at = now() - interval '31 days' WHERE id = %s", sent["id"])
    eventually(lambda: not na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s", sent["id"]), what="the end of the row")
    assert receipt(na, refused["id"])


def test_a_broadcast_is_sent_again_to_the_region_that_lacks_it(events):
    na, eu = events["na"], events["eu"]
    broadcast = event(destination="all", subject="session-of-all")
    assert submit(na, broadcast, WRITER).status_code == 202
    rows = ("SELECT region, b.receipt FROM homeward.broadcasts b JOIN homeward.outbox o USING (seq)"
            " WHERE o.id = %s AND b.receipted_at IS NOT NULL ORDER BY region")
    everywhere = [("eu", "applied"), ("na", "applied")]
    eventually(lambda: na.sql(rows, broadcast["id"]) == everywhere, within_s=30, what="a receipt from both")
    # Lost in eu only.
    before = na.metric("homeward_events_received_total")
    eu.sql("DELETE FROM homeward.inbox WHERE id = %s", broadcast["id"])
    na.sql("UPDATE homeward.broadcasts SET receipted_at = NULL, receipt = '', sent_at = now() - interval '61 s' WHERE region = 'eu'"
           " AND seq = (SELECT seq FROM homeward.outbox WHERE id = %s)", broadcast["id"])
    eventually(lambda: arrived(eu, broadcast["id"]), within_s=30, what="the broadcast once more in eu")
    eventually(lambda: na.sql(rows, broadcast["id"]) == everywhere, within_s=30, what="its receipt")
    resends = "SELECT region, b.resends FROM homeward.broadcasts b JOIN homeward.outbox o USING (seq) WHERE o.id = %s ORDER BY region"
    assert na.sql(resends, broadcast["id"]) == [("eu", 1), ("na", 0)]
    assert na.metric("homeward_events_received_total") == before


def test_a_change_at_home_is_forgotten_where_a_copy_is(events):
    na, eu = events["na"], events["eu"]
    card, other = good_tokens(na, 2)
    station = a_station(eu)

    def source():
        return [eu.authorize(card, station).json()[name] for name in ("source", "status")]

    assert [source(), source()] == [["home", "ALLOWED"], ["cache", "ALLOWED"]]
    assert na.sql("SELECT region FROM homeward.copies WHERE id = %s", card) == [("eu",)]
    record, version = na.sql("SELECT record, version FROM homeward.objects WHERE id = %s", card)[0]
    changed = na.request("PUT", f"/v1/objects/token/{card}", caller=WRITER, json={**record, "valid": False}, headers={"If-Match": f'"{version}"'})
    assert changed.status_code in (200, 204), changed.text
    assert eventually(lambda: source() != ["cache", "ALLOWED"] and source(), what="the end of eu's copy")[1] == "BLOCKED"
    told = eu.sql("SELECT subject, event->'data' FROM homeward.inbox WHERE type = 'object.changed'")
    assert [(subject, data["object_id"], data["change"]) for subject, data in told] == [(f"token/{card}", card, "changed")]
    # What nobody was served is nobody's business, and neither is a change that changes nothing.
    na.sql("UPDATE homeward.objects SET record = record || '{\"valid\": false}' WHERE id IN (%s, %s)", card, other)
    assert na.sql("SELECT count(*) FROM homeward.outbox WHERE type = 'object.changed'") == [(1,)]
    # An application that owns the table says it itself.
    na.sql("SELECT homeward.object_changed('token', %s, 'deleted')", card)
    eventually(lambda: len(eu.sql("SELECT 1 FROM homeward.inbox WHERE type = 'object.changed'")) == 2, what="the second event")


def test_a_producer_that_speaks_amqp(events):
    """Plain pika: publishes with confirmations to homeward.submit, and reads what comes out at the other end."""
    na, eu = events["na"], events["eu"]
    good, odd = event(source="/pika"), event(source="/pika", data={**SESSION, "energy_wh": "much"})
    connection = connect(events.brokers["na"])
    channel = connection.channel()
    channel.confirm_delivery()
    for body in (json.dumps(good), json.dumps(good), json.dumps(odd), "no event"):
        channel.basic_publish("homeward.submit", "billing", body.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
    connection.close()
    eventually(lambda: arrived(eu, good["id"]), what="the event in eu")
    assert na.sql("SELECT caller FROM homeward.outbox WHERE id = %s", good["id"]) == [("homeward.submit",)]
    told = eventually(lambda: len(dead(na, "submitted")) == 2 and dead(na, "submitted"), what="two dead letters")
    assert ("data/energy_wh: not of type integer",) in told
    assert not na.sql("SELECT 1 FROM homeward.outbox WHERE id = %s", odd["id"])


def test_an_event_in_binary_mode(events):
    na, eu = events["na"], events["eu"]
    headers = {"ce-specversion": "1.0", "ce-id": str(uuid.uuid4()), "ce-source": "/test", "ce-type": "session.completed",
               "ce-destination": "eu", "ce-subject": "Euro%20%E2%82%AC", "Content-Type": "application/json"}

    def post(body=json.dumps(SESSION), **more):
        return na.request("POST", "/v1/events", caller=WRITER, data=body, headers={**headers, **more})

    answer = post()
    assert (answer.status_code, answer.json()) == (202, {"id": headers["ce-id"], "source": "/test"}), answer.text
    got = eventually(lambda: arrived(eu, headers["ce-id"]), what="the event in eu")[0][0]
    jsonschema.validate(got, json.loads(ENVELOPE.read_text()))
    assert (got["subject"], got["data"], got["datacontenttype"]) == ("Euro \u20ac", SESSION, "application/json")
    assert "percent-encoded" in refusal(post(**{"ce-subject": "100%"}), 400)
    assert "originregion" in refusal(post(**{"ce-originregion": "eu"}), 400)
    assert refusal(post("{"), 400) == "data: not JSON, which its content type says"
    assert refusal(post(json.dumps({**SESSION, "energy_wh": -1})), 400) == "data/energy_wh: out of its range"


def test_a_batch_is_kept_whole_or_not_at_all(events):
    na, eu = events["na"], events["eu"]

    def post(batch):
        return na.request("POST", "/v1/events", caller=WRITER, data=json.dumps(batch),
                          headers={"Content-Type": "application/cloudevents-batch+json"})

    batch = [event(subject="batch") for _ in range(5)]
    answer = post(batch)
    assert (answer.status_code, answer.json()) == (202, [{"id": one["id"], "source": "/test"} for one in batch]), answer.text
    for number, one in enumerate(batch):
        got = eventually(lambda: arrived(eu, one["id"]), what="an event of the batch")[0][0]
        assert int(got["sequence"]) == number + 1
    before = na.sql("SELECT count(*) FROM homeward.outbox")
    assert refusal(post([event(), event(data={**SESSION, "energy_wh": -1})]), 400) == "[1] data/energy_wh: out of its range"
    assert refusal(post([event(), event(), event(type="driver.wish")]), 403).startswith("[2] driver.wish from na to eu")
    assert refusal(post([7]), 400) == "[0] event: not a JSON object"
    for wrong in ([], {}, [event()] * 257):
        assert refusal(post(wrong), 400) == "batch: not an array of 1 to 256 events"
    assert na.sql("SELECT count(*) FROM homeward.outbox") == before
    # What is known already is accepted again, beside what is new.
    assert post(batch + [event(id="batch-new")]).status_code == 202
    assert na.sql("SELECT count(*) FROM homeward.outbox") == [(before[0][0] + 1,)]


def test_a_producer_that_speaks_amqp_in_binary_mode(events):
    na, eu = events["na"], events["eu"]
    good, odd = str(uuid.uuid4()), str(uuid.uuid4())
    connection = connect(events.brokers["na"])
    channel = connection.channel()
    channel.confirm_delivery()
    for identifier, data in ((good, SESSION), (odd, {**SESSION, "energy_wh": "much"})):
        attributes = {"specversion": "1.0", "id": identifier, "source": "/pika/100%", "type": "session.completed", "destination": "eu"}
        channel.basic_publish("homeward.submit", "billing", json.dumps(data).encode(), pika.BasicProperties(
            delivery_mode=2, content_type="application/json",
            headers={f"cloudEvents:{name}": value for name, value in attributes.items()}), mandatory=True)
    connection.close()
    got = eventually(lambda: arrived(eu, good), what="the event in eu")[0][0]
    assert (got["source"], got["data"]) == ("/pika/100%", SESSION)
    kept = "SELECT body FROM homeward.dead_letters WHERE detail = 'data/energy_wh: not of type integer'"
    bodies = eventually(lambda: [body for (body,) in na.sql(kept) if odd.encode() in bytes(body)], what="the dead letter")
    assert json.loads(bytes(bodies[0]))["id"] == odd


def test_nobody_takes_it_is_kept(events):
    lost = event(destination="xx")
    assert submit(events["na"], lost, WRITER).status_code == 202
    kept = eventually(lambda: events.brokers["na"].take("homeward.unroutable"), what="the unroutable event")
    assert [json.loads(payload)["id"] for _, payload in kept] == [lost["id"]]


def test_bad_arrivals_become_dead_letters(events):
    na, eu = events["na"], events["eu"]
    forged = event(originregion="na")
    events.brokers["eu"].publish("homeward.events", "eu.na.session.completed", json.dumps(forged))
    eventually(lambda: dead(eu, "forged"), what="the forged event's dead letter")
    events.brokers["eu"].publish("homeward.events", "eu.eu.session.completed", "not an event")
    eventually(lambda: dead(eu, "malformed"), what="the malformed event's dead letter")
    late = event(expirytime="2020-01-01T00:00:00Z")
    assert submit(na, late, WRITER).status_code == 202
    eventually(lambda: dead(eu, "expired"), what="the expired event's dead letter")
    assert eventually(lambda: receipt(na, late["id"]), what="its receipt") == [("expired",)]
    poison, good = event(type="session.poison"), event()
    assert submit(na, poison, WRITER).status_code == submit(na, good, WRITER).status_code == 202
    eventually(lambda: arrived(eu, good["id"]), what="the event after the poison")
    eventually(lambda: ("no such session",) in dead(eu, "malformed"), what="the poison's dead letter")
    assert not eu.sql("SELECT 1 FROM homeward.inbox WHERE id IN (%s, %s, %s)", forged["id"], late["id"], poison["id"])
    # A foreign event is not kept at all.  (Bound to homeward.events the key would stop every link: the lock works.)
    events.brokers["eu"].api("PUT", "/api/exchanges/homeward/stray", {"type": "topic", "durable": True})
    events.brokers["eu"].bind("stray", "homeward.inbox", "ap.#")
    events.brokers["eu"].publish("stray", "ap.eu.session.completed", json.dumps(event(originregion="eu", destination="ap")))
    eventually(lambda: eu.metric("homeward_events_received_total", outcome="foreign") == 1, what="the discarded event")


def test_a_deadlock_is_not_the_events_fault(events):
    """PostgreSQL ends one of two transactions that wait for each other; who it ends is to try again, however often that is."""
    na, eu = events["na"], events["eu"]
    eu.sql("CREATE SEQUENCE public.deadlocks")
    eu.sql("CREATE FUNCTION public.deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
           " IF NEW.subject = 'deadlock' AND nextval('public.deadlocks') <= 3 THEN"
           " RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected'; END IF; RETURN NULL; END $$")
    eu.sql("CREATE TRIGGER deadlock AFTER INSERT ON homeward.inbox FOR EACH ROW EXECUTE FUNCTION public.deadlock()")
    body = event(subject="deadlock")
    assert submit(na, body, WRITER).status_code == 202
    eventually(lambda: arrived(eu, body["id"]), what="the event after three deadlocks")
    assert eu.sql("SELECT last_value FROM public.deadlocks") == [(4,)]
    assert not eu.sql("SELECT 1 FROM homeward.dead_letters WHERE detail LIKE '%%deadlock%%'")
    eu.sql("DROP TRIGGER deadlock ON homeward.inbox; DROP FUNCTION public.deadlock; DROP SEQUENCE public.deadlocks")


def test_shipments_that_overlap_send_each_row_once_and_in_order(events):
    """More rows than may be in flight (1,000); at the seam of the first two shipments some may not leave."""
    na, eu = events["na"], events["eu"]
    rows = "FROM homeward.outbox WHERE aggregateid LIKE 'seam-%%'"
    na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination)"
           " SELECT 'seam-' || n, 'seam-' || n %% 3, 'session.completed', jsonb_set(%s::jsonb, '{energy_wh}',"
           " to_jsonb(CASE WHEN n BETWEEN 999 AND 1001 THEN -1 ELSE 1 END)), 'eu' FROM generate_series(1, 2500) AS n",
           json.dumps(SESSION))
    eventually(lambda: na.sql(f"SELECT count(*) {rows} AND receipted_at IS NOT NULL")[0][0] == 2497, within_s=90, every_s=0.2,
               what="all receipts")
    assert na.sql(f"SELECT id {rows} AND refused_at IS NOT NULL ORDER BY seq") == [("seam-999",), ("seam-1000",), ("seam-1001",)]
    eventually(lambda: na.sql(f"SELECT count(*) {rows} AND sent_at IS NOT NULL AND attempts <> resends + 1") == [(0,)],
               what="one sending of each row")
    assert eu.sql("SELECT count(*), count(*) FILTER (WHERE late) FROM homeward.inbox WHERE subject LIKE 'seam-%%'") == [(2497, 0)]
    assert eu.sql("SELECT count(*) FROM homeward.gaps WHERE subject LIKE 'seam-%%'") == [(0,)]


def batched(region, direction):
    return region.metric("homeward_events_batched_total", direction=direction)


def test_one_bad_event_of_a_message_does_not_hold_up_its_neighbours(events):
    """Rows of one transaction, and so of one message: some expired, some refused there, some whose effect fails."""
    na, eu = events["na"], events["eu"]
    rows = "FROM homeward.outbox WHERE aggregateid = 'bundle'"

    def insert(first, last):
        na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination, attributes)"
               " SELECT 'bundle-' || n, 'bundle', CASE n %% 20 WHEN 7 THEN 'session.poison' WHEN 11 THEN 'partner.message'"
               " ELSE 'session.completed' END, %s::jsonb, 'eu', CASE n %% 20 WHEN 3 THEN '{\"expirytime\": \"2020-01-01T00:00:00Z\"}'"
               " ELSE '{}' END::jsonb FROM generate_series(%s, %s) AS n", json.dumps(SESSION), first, last)

    # Not before eu has said, by a canary, that it takes such.
    eventually(lambda: 'homeward_mesh_canary_age_seconds{region="eu"}' in na.metrics(), within_s=30, what="a canary of eu")
    before = [batched(na, "sent"), batched(eu, "received")]
    insert(1, 400)
    eventually(lambda: na.sql(f"SELECT count(*) {rows} AND receipted_at IS NOT NULL") == [(400,)], within_s=60, what="all receipts")
    after = [batched(na, "sent"), batched(eu, "received")]
    assert after[0] - before[0] > 200 and after[1] - before[1] > 200, (before, after)
    told = dict(na.sql(f"SELECT receipt, count(*) {rows} GROUP BY receipt"))
    assert told == {"applied": 340, "expired": 20, "refused": 20, "dead": 20}
    assert eu.sql("SELECT count(*) FROM homeward.inbox WHERE subject = 'bundle' AND delivered_at IS NOT NULL AND NOT late") == [(340,)]
    assert eu.sql("SELECT count(*) FROM homeward.gaps WHERE subject = 'bundle'") == [(0,)]
    # A dead letter is the event alone, with the key that it would have come under alone.
    buried = eu.sql("SELECT reason, routing_key, count(DISTINCT convert_from(body, 'UTF8')::jsonb->>'id') FROM homeward.dead_letters"
                    " WHERE convert_from(body, 'UTF8') LIKE '%%bundle-%%' GROUP BY 1, 2 ORDER BY 1")
    assert buried == [("expired", '"eu.na.session.completed"', 20), ("malformed", '"eu.na.session.poison"', 20),
                      ("refused", '"eu.na.partner.message"', 20)]
    order = "SELECT array_agg(id ORDER BY sequence) = array_agg(id ORDER BY substr(id, 8)::int) FROM homeward.inbox WHERE subject = 'bundle'"
    assert eu.sql(order) == [(True,)]


def test_a_message_that_is_no_batch_is_one_dead_letter(events):
    eu = events["eu"]
    good = [event(originregion="eu", source="/batch") for _ in range(2)]
    own = event(originregion="eu", source="/batch", type="homeward.receipt")

    def publish(text):
        events.brokers["eu"].publish("homeward.events", "eu.eu.homeward.batch", text)

    before = eu.sql("SELECT count(*) FROM homeward.dead_letters")[0][0]
    publish("{}")
    publish(json.dumps([{}] * 257))
    detail = "batch: not an array of 1 to 256 events, of 1,048,576 bytes at most"
    eventually(lambda: dead(eu, "malformed").count((detail,)) == 2, what="two dead letters")
    # What can be taken apart is: only what is no event is buried.
    publish(f"[{json.dumps(good[0])}, nonsense, {json.dumps(own)}, {json.dumps(good[1])}]")
    for one in good:
        eventually(lambda identifier=one["id"]: arrived(eu, identifier), what="the good events")
    assert eu.sql("SELECT count(*) FROM homeward.dead_letters") == [(before + 4,)]
    assert ("type: homeward's own events come alone",) in dead(eu, "forged")


def test_a_region_that_did_not_say_so_gets_no_batches(events):
    """An older homeward says nothing of it in its canaries; here eu sends none."""
    na, eu = events["na"], events["eu"]
    settings = eu.settings()
    eu.write_settings({**settings, "events": {**settings["events"], "canary_interval_ms": 0}})
    restart(eu)
    restart(na)
    try:
        na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination)"
               " SELECT 'single-' || n, 'single', 'session.completed', %s::jsonb, 'eu' FROM generate_series(1, 200) AS n", json.dumps(SESSION))
        rows = "SELECT count(*) FROM homeward.outbox WHERE id LIKE 'single-%%' AND receipt = 'applied'"
        eventually(lambda: na.sql(rows) == [(200,)], within_s=60, what="all receipts")
        assert not batched(na, "sent") and not batched(eu, "received")
    finally:
        eu.write_settings(settings)
        restart(eu)


class BeforeBatches:
    """Stands for eu with a homeward from before batches: such a message is no event, so it is buried without a receipt;
    each event alone is receipted, and its answers to canaries say nothing of batches."""

    def __init__(self, events):
        self.broker, self.taken, self.buried, self.answered_s = events.brokers["eu"], [], [], []
        self.connection = connect(self.broker)
        self.channel = self.connection.channel()
        self.channel.basic_consume("homeward.inbox", self.take)

    def say(self, kind, source, data):
        said = event(source=source, type=kind, destination="na", originregion="eu", exchangeid=str(uuid.uuid4()), data=data,
                     time="2026-11-21T05:40:32Z", datacontenttype="application/json", dataclassification="operational",
                     dataschema=f"https://homeward.dev/schemas/{kind}.v1.json")
        self.channel.basic_publish("homeward.events", f"na.eu.{kind}", json.dumps(said).encode(), pika.BasicProperties(delivery_mode=2))

    def take(self, channel, method, _, body):
        kind, content = method.routing_key.split(".", 2)[2], json.loads(body)
        if kind == "homeward.batch":
            self.buried += [one["id"] for one in content]
        elif kind == "homeward.canary" and content["data"]["kind"] == "canary":
            said = {name: content["data"][name] for name in ("number", "instance", "sent_at")}
            self.say("homeward.canary", "/homeward/mesh", {**said, "from": "eu", "to": "na", "kind": "answer"})
            self.answered_s.append(time.monotonic())
        elif not kind.startswith("homeward."):
            self.taken.append(content["id"])
            self.say("homeward.receipt", "/homeward/receipts", {"at": "2026-11-21T05:40:32Z", "events": [
                {"source": content["source"], "id": content["id"], "outcome": "applied"}]})
        channel.basic_ack(method.delivery_tag)

    def work(self):
        self.connection.process_data_events(time_limit=0.1)


def answer_age_s(region):
    return region.metric("homeward_mesh_canary_answer_age_seconds", region="eu")


def test_a_region_that_takes_no_batches_any_more_loses_nothing(events):
    """eu says that it takes batches, and then an older homeward takes its place: what it buried comes again, one by one."""
    na, eu = events["na"], events["eu"]

    def insert(name, count):
        na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination) SELECT %s || '-' || n, %s,"
               " 'session.completed', %s::jsonb, 'eu' FROM generate_series(1, %s) AS n", name, name, json.dumps(SESSION), count)
        return {f"{name}-{number}" for number in range(1, count + 1)}

    def receipted(name):
        return na.sql("SELECT count(*) FROM homeward.outbox WHERE aggregateid = %s AND receipt = 'applied'", name)[0][0]

    def goes_together():
        sent, name = batched(na, "sent"), f"together-{uuid.uuid4()}"
        insert(name, 20)
        eventually(lambda: receipted(name) == 20, within_s=60, what="receipts")
        return batched(na, "sent") > sent

    eventually(goes_together, within_s=60, what="a batch")
    eu.kill()
    sent = batched(na, "sent")
    before = insert("downgraded", 100)
    eventually(lambda: not na.sql("SELECT 1 FROM homeward.outbox WHERE aggregateid = 'downgraded' AND sent_at IS NULL"), what="all sent")
    assert batched(na, "sent") - sent > 50
    old = BeforeBatches(events)
    try:
        eventually(lambda: old.work() or len(old.buried) > 50, within_s=60, what="batches that are buried")
        # From its first answer on it gets none.
        eventually(lambda: old.work() or (old.answered_s and answer_age_s(na) < time.monotonic() - old.answered_s[0] - 1),
                   within_s=60, what="an answer that says nothing of batches")
        sent, buried = batched(na, "sent"), list(old.buried)
        after = insert("alone", 100)
        eventually(lambda: old.work() or receipted("alone") == 100, within_s=60, what="receipts of what came singly")
        # What was buried has no receipt, and when its time is over it comes again: as if that were now.
        assert set(buried) <= before and receipted("downgraded") == 100 - len(set(buried))
        na.sql("UPDATE homeward.outbox SET sent_at = sent_at - interval '61 s' WHERE aggregateid = 'downgraded'")
        eventually(lambda: old.work() or receipted("downgraded") == 100, within_s=120, what="receipts of what had been buried")
        assert batched(na, "sent") == sent and old.buried == buried
        assert set(old.taken) == before | after
    finally:
        old.connection.close()
        eu.start()
        eventually(eu.is_ready, within_s=30, what="eu again")
    eventually(goes_together, within_s=60, what="a batch again")


def test_no_statement_of_the_daemon_is_compiled(events):
    """By what PostgreSQL expects of grown tables it would compile some for seconds, each time they run."""
    na = events["na"]
    na.alter_system("SET jit_above_cost = 0")
    try:
        na.count_statements()
        na.sql("SELECT count(*) AS control FROM homeward.outbox")
        compiled = "SELECT count(*), sum(jit_functions) FROM pg_stat_statements WHERE query LIKE %s"
        if na.sql(compiled, "SELECT count(*) AS control%")[0][1] == 0:
            pytest.skip("this PostgreSQL has no compiler")
        for statement in ("WITH RECURSIVE places%", "UPDATE homeward.outbox SET sent_at%"):
            na.sql("INSERT INTO homeward.outbox (aggregateid, type, payload, destination) VALUES ('jit', 'session.completed', %s::jsonb, 'eu')",
                   json.dumps(SESSION))
            eventually(lambda: na.sql(compiled, statement)[0][0] > 0, within_s=60, what=f"a statement like {statement}")
            assert na.sql(compiled, statement)[0][1] == 0
    finally:
        na.alter_system("RESET jit_above_cost")


def test_nothing_is_lost_or_doubled_through_kills(events):
    na, eu = events["na"], events["eu"]
    events.brokers["eu"].api("DELETE", f"/api/queues/{VHOST}/application/contents")
    eu.sql("TRUNCATE public.effects")
    faults = [lambda: restart(eu), lambda: kill_broker(events.brokers["na"]), lambda: restart(na), lambda: kill_broker(events.brokers["eu"])]
    step = EVENTS // len(faults)
    for number, fault in enumerate(faults):
        na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination)"
               " SELECT 'kill-' || n, 'session-' || n %% 50, 'session.completed', %s::jsonb, 'eu'"
               " FROM generate_series(%s, %s) AS n", json.dumps(SESSION), number * step + 1, (number + 1) * step)
        # In the middle of the flow, not after it.
        eventually(lambda: eu.sql("SELECT count(*) FROM public.effects")[0][0] > number * step, within_s=60, what="the flow")
        fault()
    count = "SELECT count(*) FROM homeward.inbox WHERE id LIKE 'kill-%%' AND delivered_at IS NOT NULL"
    eventually(lambda: eu.sql(count, )[0][0] == EVENTS, within_s=90, every_s=0.2, what="all events in eu")
    assert eu.sql("SELECT count(*), count(DISTINCT id) FROM public.effects") == [(EVENTS, EVENTS)]
    assert na.sql("SELECT count(*) FROM homeward.outbox WHERE id LIKE 'kill-%%' AND sent_at IS NULL", ) == [(0,)]
    unreceipted = "SELECT count(*) FROM homeward.outbox WHERE id LIKE 'kill-%%' AND receipted_at IS NULL"
    eventually(lambda: na.sql(unreceipted, )[0][0] == 0, within_s=30, every_s=0.2, what="all receipts")
    got = set()
    while batch := events.brokers["eu"].take("application", 1000):
        got |= {json.loads(payload)["id"] for _, payload in batch}
    assert got == {f"kill-{number}" for number in range(1, EVENTS + 1)}
