# SPDX-License-Identifier: Apache-2.0
"""Ledgers: what a region sent is compared with what arrived, and what its destination lost is sent again, and nothing else."""
import json
import pathlib
import shutil

import jsonschema
import pytest

from event_mesh import EventMesh
from mesh import eventually, homeward
from test_events import WRITER, event, submit

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
    with EventMesh("na", "eu", settings={"ledger_interval_s": 4, "receipt_timeout_s": 3600}) as mesh:
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
