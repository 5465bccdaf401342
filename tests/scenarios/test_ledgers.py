# SPDX-License-Identifier: Apache-2.0
"""Ledgers: what a region sent is compared with what arrived, and what its destination lost is sent again, and nothing else."""
import json
import pathlib
import shutil
import uuid

import jsonschema
import pytest

from event_mesh import EventMesh
from mesh import eventually, homeward
from test_events import SESSION, WRITER, event, submit

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

DIFFERENCE = pathlib.Path(__file__).resolve().parents[2] / "schemas/homeward.ledger.difference.v1.json"
SETTLED = ("SELECT count(*) FROM homeward.outbox o WHERE destination <> 'na' AND NOT EXISTS (SELECT 1 FROM homeward.ledgers l"
           " WHERE l.origin = 'na' AND l.destination = 'eu' AND o.created_at >= l.since AND o.created_at < l.until"
           " AND l.state IN ('even', 'mended'))")
WINDOW = ("SELECT l.since, l.until FROM homeward.ledgers l, homeward.outbox o WHERE l.origin = 'na' AND l.destination = 'eu'"
          " AND o.created_at >= l.since AND o.created_at < l.until AND o.id = %s")


@pytest.fixture(scope="module")
def events():
    # A receipt that is late makes no event go again, so that what goes again is the ledgers' doing.
    with EventMesh("na", "eu", "ap", settings={"ledger_interval_s": 4, "receipt_timeout_s": 3600}) as mesh:
        yield mesh


def send(region, count, **more):
    sent = [event(**more) for _ in range(count)]
    for one in sent:
        assert submit(region, one, WRITER).status_code == 202
    return [one["id"] for one in sent]


def await_settled(events):
    eventually(lambda: events["na"].sql(SETTLED) == [(0,)], within_s=90, every_s=0.2, what="a settled window for every event")


def inbox(region):
    return {row[0] for row in region.sql("SELECT id FROM homeward.inbox WHERE origin = 'na'")}


def names(region, kind):
    return {row[0] for row in region.sql("SELECT id FROM homeward.ledger_differences WHERE kind = %s", kind)}


def sent_again(region):
    """By id: events to eu alone, and the regions to which a broadcast went again."""
    direct = region.sql("SELECT id FROM homeward.outbox WHERE resends > 0")
    broadcast = region.sql("SELECT o.id, b.region FROM homeward.broadcasts b JOIN homeward.outbox o USING (seq) WHERE b.resends > 0")
    return {row[0] for row in direct}, set(broadcast)


def ledgers(region, *options):
    return json.loads(homeward("events", "ledger", "--config", region.config, "-o", "json", "--limit", 10000, *options).stdout)


def test_what_the_destination_lost_is_named_and_comes_again(events):
    na, eu = events["na"], events["eu"]
    direct, broadcast = send(na, 9), send(na, 3, destination="all")
    [expired] = send(na, 1, expirytime="2020-01-01T00:00:00Z")
    await_settled(events)
    assert inbox(eu) == {*direct, *broadcast}
    assert sent_again(na) == (set(), set())
    assert {row["state"] for row in ledgers(eu) if row["from"] == "na"} == {"even"}
    assert sum(row["dead"] for row in ledgers(eu) if row["from"] == "na") == 1

    lost = {*direct[:2], broadcast[0]}
    eu.sql("DELETE FROM homeward.inbox WHERE id = ANY(%s)", list(lost))
    eventually(lambda: inbox(eu) == {*direct, *broadcast}, within_s=90, every_s=0.2, what="all events once more")
    assert names(eu, "missing") == lost
    assert names(eu, "extra") == set()
    await_settled(events)
    assert sent_again(na) == (set(direct[:2]), {(broadcast[0], "eu")})
    assert expired not in inbox(eu)

    said = [data for _, data in eu.system_events("homeward.ledger.difference")]
    for data in said:
        jsonschema.validate(data, json.loads(DIFFERENCE.read_text()))
    assert sum(data["missing"] for data in said) == 3
    assert eu.metric("homeward_ledger_differences_total", kind="missing") == 3
    assert na.metric("homeward_ledger_resent_total") == 3
    assert "ledger_difference" in eu.log() and "ledger_resent" in na.log()

    def mended(region):
        rows = [row for row in ledgers(region) if row["from"] == "na" and row["state"] == "mended"]
        return sum(row["missing"] for row in rows) == 3 and sum(row["resent"] for row in rows) == 3

    eventually(lambda: mended(na) and mended(eu), within_s=60, every_s=0.5, what="mended windows on both sides")
    assert {row["id"] for row in ledgers(eu, "--ids")} == lost
    # What comes next is even, and nothing is sent again.
    send(na, 2)
    await_settled(events)
    assert names(eu, "missing") == lost
    assert sent_again(na) == (set(direct[:2]), {(broadcast[0], "eu")})


def test_a_database_that_knows_neither_events_nor_windows(events):
    """As one restored from a backup: what it lacks is older than the next ledger that comes."""
    na, eu = events["na"], events["eu"]
    sent = send(na, 2)
    await_settled(events)
    before, [(since, _)] = sent_again(na), na.sql(WINDOW, sent[0])
    eu.sql("DELETE FROM homeward.inbox WHERE id = ANY(%s); DELETE FROM homeward.ledgers WHERE origin = 'na' AND since >= %s", sent, since)
    eventually(lambda: set(sent) <= inbox(eu), within_s=90, every_s=0.2, what="both events once more")
    assert set(sent) <= names(eu, "missing")
    await_settled(events)
    assert sent_again(na) == (before[0] | set(sent), before[1])


def test_what_came_before_events_said_their_time_is_not_missing(events):
    na, eu = events["na"], events["eu"]
    [sent] = send(na, 1)
    await_settled(events)
    missing, before = names(eu, "missing"), sent_again(na)
    eu.sql("UPDATE homeward.inbox SET outbox_time = NULL WHERE id = %s", sent)
    eventually(lambda: eu.sql("SELECT outbox_time IS NOT NULL FROM homeward.inbox WHERE id = %s", sent) == [(True,)], within_s=90, every_s=0.2,
               what="the time of the event")
    await_settled(events)
    assert names(eu, "missing") == missing and sent_again(na) == before


def test_what_the_source_never_sent_is_named_too(events):
    na, eu = events["na"], events["eu"]
    [sent] = send(na, 1)
    await_settled(events)
    before = sent_again(na)
    eu.sql("INSERT INTO homeward.inbox (origin, source, id, type, subject, destination, sequence, event, delivered_at, outbox_time)"
           " SELECT origin, source, 'never-sent', type, subject, destination, sequence, event, delivered_at, outbox_time"
           " FROM homeward.inbox WHERE id = %s", sent)
    eventually(lambda: names(eu, "extra") == {"never-sent"}, within_s=90, every_s=0.2, what="the extra event's name")
    state = "SELECT l.state, l.extra FROM homeward.ledgers l WHERE l.origin = 'na' AND l.destination = 'eu' AND l.since = %s"
    [(since, _)] = na.sql(WINDOW, sent)
    eventually(lambda: na.sql(state, since) == [("extra", 1)] and eu.sql(state, since) == [("extra", 1)], within_s=60, every_s=0.2,
               what="the window's state on both sides")
    eventually(lambda: [row["state"] for row in ledgers(eu, "--open") if row["from"] == "na"] == ["extra"], within_s=60, every_s=0.5,
               what="one window that is not even")
    assert [data["extra"] for _, data in eu.system_events("homeward.ledger.difference")][-1] == 1
    assert sent_again(na) == before


def test_a_region_speaks_only_of_its_own_pair(events):
    """ap says what na sent eu, and what eu is to send na again."""
    eu = events["eu"]
    known = eu.sql("SELECT origin, destination, since FROM homeward.ledgers WHERE until < '2026-01-01'")
    window = {"since": "2025-11-21T04:00:00.000000Z", "until": "2025-11-21T05:00:00.000000Z"}
    ledger = {**window, "from": "na", "to": "eu", "sent": 1, "dead": 0, "resent": 0, "ids_sha256": "0" * 64, "first": window["since"]}
    answer = {**window, "from": "eu", "to": "na", "state": "missing", "taken": 0, "missing": 1, "extra": 0, "awaited": 0,
              "resend": [{"source": "/test", "id": "1"}]}
    for kind, data in (("homeward.ledger", ledger), ("homeward.ledger.answer", answer)):
        ignored = eu.log().count("ledger_message_ignored")
        said = event(type=kind, source="/homeward/ledger", originregion="ap", exchangeid=str(uuid.uuid4()), data=data,
                     time=window["until"], datacontenttype="application/json", dataclassification="operational",
                     dataschema=f"https://homeward.dev/schemas/{kind}.v1.json")
        assert events.brokers["ap"].publish("homeward.events", f"eu.ap.{kind}", json.dumps(said))
        eventually(lambda count=ignored: eu.log().count("ledger_message_ignored") == count + 1, within_s=60, what=f"{kind} ignored")
    assert eu.sql("SELECT origin, destination, since FROM homeward.ledgers WHERE until < '2026-01-01'") == known
    assert not eu.sql("SELECT 1 FROM homeward.outbox WHERE resends > 0")


def test_only_the_region_that_lost_a_broadcast_gets_it_again(events):
    na, eu, ap = (events[name] for name in ("na", "eu", "ap"))
    [lost, kept] = send(na, 2, destination="all")
    [to_ap] = send(na, 1, destination="ap")
    of_ap = SETTLED.replace("l.destination = 'eu'", "l.destination = 'ap'").replace("destination <> 'na'", "o.id = ANY(%s)")
    eventually(lambda: na.sql(of_ap, [lost, kept, to_ap]) == [(0,)], within_s=90, every_s=0.2, what="settled windows of ap")
    before = sent_again(na)
    ap.sql("DELETE FROM homeward.inbox WHERE id = %s", lost)
    eventually(lambda: {lost, kept, to_ap} <= inbox(ap), within_s=90, every_s=0.2, what="the broadcast once more")
    assert names(ap, "missing") == {lost} and lost not in names(eu, "missing")
    eventually(lambda: sent_again(na) == (before[0], before[1] | {(lost, "ap")}), within_s=30, what="one sending more")
    rows = [row for row in ledgers(ap) if row["from"] == "na" and row["missing"]]
    assert len(rows) == 1 and rows[0]["to"] == "ap" and {row["id"] for row in ledgers(ap, "--ids")} == {lost}


def test_what_is_more_than_two_pages_is_named_whole(events):
    na, eu = events["na"], events["eu"]
    na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination) SELECT 'page-' || n, 'page-' || n %% 7,"
           " 'session.completed', %s::jsonb, 'eu' FROM generate_series(1, 1000) AS n", json.dumps(SESSION))
    sent = {f"page-{number}" for number in range(1, 1001)}
    eventually(lambda: sent <= inbox(eu), within_s=90, every_s=0.2, what="all events")
    settled = SETTLED.replace("destination <> 'na'", "o.id LIKE 'page-%%'")
    eventually(lambda: na.sql(settled) == [(0,)], within_s=90, every_s=0.2, what="settled windows")
    lost = {f"page-{number}" for number in range(1, 1001) if number % 10}
    eu.sql("DELETE FROM homeward.inbox WHERE id = ANY(%s)", list(lost))
    eventually(lambda: sent <= inbox(eu), within_s=120, every_s=0.2, what="all events once more")
    assert {name for name in names(eu, "missing") if name.startswith("page-")} == lost
    eventually(lambda: na.sql(settled) == [(0,)], within_s=90, every_s=0.2, what="settled windows again")
    assert {name for name in sent_again(na)[0] if name.startswith("page-")} == lost


def test_a_window_is_counted_by_the_minute(events):
    """Windows of five minutes, of events that were made over a quarter of an hour: the sums of slices are those of the whole."""
    ap, eu = events["ap"], events["eu"]
    settings = ap.settings()
    ap.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination, created_at) SELECT 'slice-' || n, 'slice-' || n %% 7,"
           " 'session.completed', %s::jsonb, 'eu', now() - interval '15 minutes' - n * interval '1 second' FROM generate_series(1, 900) AS n",
           json.dumps(SESSION))
    eventually(lambda: ap.sql("SELECT count(*) FROM homeward.outbox WHERE id LIKE 'slice-%%' AND receipt = 'applied'") == [(900,)],
               within_s=90, every_s=0.2, what="all receipts")
    ap.kill()
    ap.sql("DELETE FROM homeward.ledgers WHERE origin = 'ap';"
           " UPDATE homeward.schema_migrations SET applied_at = now() - interval '40 minutes' WHERE name LIKE '%%ledgers%%'")
    ap.write_settings({**settings, "events": {**settings["events"], "ledger_interval_s": 300}})
    ap.start()
    settled = ("SELECT count(*), sum(l.sent), bool_and(l.until - l.since > interval '60 s') FROM homeward.ledgers l WHERE l.origin = 'ap' AND"
               " l.destination = 'eu' AND l.state = 'even' AND EXISTS (SELECT 1 FROM homeward.outbox o WHERE o.created_at >= l.since AND"
               " o.created_at < l.until AND o.destination = 'eu')")
    try:
        eventually(lambda: ap.sql(settled)[0][1] == 900, within_s=90, every_s=0.2, what="even windows of all events")
    finally:
        ap.write_settings(settings)
    [(windows, _, is_long)] = ap.sql(settled)
    assert windows >= 3 and is_long
    assert ap.sql("SELECT count(*) FROM homeward.ledgers l WHERE origin = 'ap' AND destination = 'eu' AND ids_sha256 <> (SELECT"
                  " homeward.ledger_digest(bit_xor(homeward.ledger_hash(r.source, r.id)) FILTER (WHERE r.word = 'applied')) FROM"
                  " homeward.ledger_rows('eu', l.since, l.until) AS r)") == [(0,)]
    assert eu.sql("SELECT sum(sent), sum(taken) FROM homeward.ledgers WHERE origin = 'ap' AND state = 'even'") == [(900, 900)]
    assert not sent_again(ap)[0] and not {row[0] for row in eu.sql("SELECT id FROM homeward.ledger_differences WHERE origin = 'ap'")}
