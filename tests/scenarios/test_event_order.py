# SPDX-License-Identifier: Apache-2.0
"""Order of arrivals: a stream's events have their effects by number, whatever order the broker brings them in.

Most are published to eu's own broker, as if eu were their origin, in the order the test wants; the last come from na.
"""
import json
import pathlib
import random
import shutil
import uuid

import jsonschema
import pika
import pytest

from event_mesh import EventMesh, restart
from losses import SESSION
from mesh import eventually
from test_mesh import connect

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

GAP = pathlib.Path(__file__).resolve().parents[2] / "schemas/homeward.gap.v1.json"
EFFECT = """
CREATE TABLE public.effects (place bigint GENERATED ALWAYS AS IDENTITY, id text NOT NULL, subject text NOT NULL, sequence bigint NOT NULL, late boolean);
CREATE FUNCTION public.effect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.type = 'session.poison' THEN RAISE EXCEPTION 'no such session'; END IF;
    INSERT INTO public.effects (id, subject, sequence, late) VALUES (NEW.id, NEW.subject, NEW.sequence, NEW.late); RETURN NULL; END $$;
CREATE TRIGGER effect AFTER INSERT ON homeward.inbox FOR EACH ROW EXECUTE FUNCTION public.effect();
"""


@pytest.fixture(scope="module")
def region():
    # Long beside what a loaded machine needs to publish a few hundred events.
    with EventMesh("na", "eu", settings={"holdback_ms": 4000}) as mesh:
        mesh["eu"].sql(EFFECT)
        mesh.brokers["eu"].add_queue("operator", "homeward.system", "homeward.#")
        mesh["eu"].broker, mesh["eu"].sender = mesh.brokers["eu"], mesh["na"]
        yield mesh["eu"]


def numbered(subject, sequence, **more):
    return {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/test", "type": "session.completed", "destination": "eu",
            "originregion": "eu", "subject": subject, "sequence": f"{sequence:018}", "time": "2026-11-21T05:40:32Z",
            "datacontenttype": "application/json", **more}


def publish(region, *events):
    connection = connect(region.broker)
    channel = connection.channel()
    for event in events:
        channel.basic_publish("homeward.events", f"eu.eu.{event['type']}", json.dumps(event).encode(), pika.BasicProperties(delivery_mode=2))
    connection.close()


def effects(region, subject):
    return [row[0] for row in region.sql("SELECT sequence FROM public.effects WHERE subject = %s ORDER BY place", subject)]


def held(region, subject):
    return region.sql("SELECT count(*) FROM homeward.held WHERE subject = %s AND NOT is_taken", subject)[0][0]


def gaps(region, subject):
    return region.sql("SELECT missing_from, missing_to, is_start FROM homeward.gaps WHERE subject = %s ORDER BY gap", subject)


@pytest.mark.sanitized
def test_shuffled_events_are_taken_by_number(region):
    subjects, each = [f"shuffled-{number}" for number in range(10)], 30
    events = [numbered(subject, sequence) for subject in subjects for sequence in range(1, each + 1)]
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    twice = random.Random(seed).sample(events + events, 2 * len(events))
    publish(region, *twice)
    count = "SELECT count(*) FROM public.effects WHERE subject LIKE 'shuffled-%%'"
    eventually(lambda: region.sql(count, )[0][0] == len(events), within_s=60, what="all effects")
    eventually(lambda: region.sql("SELECT count(*) FROM homeward.held") == [(0,)], within_s=60, what="nothing held")
    for subject in subjects:
        assert gaps(region, subject) == []
        assert effects(region, subject) == list(range(1, each + 1)), f"{subject}, seed {seed}"
    passed = {subject: [] for subject in subjects}
    got = eventually(lambda: region.broker.take("application", 1000), what="what was passed on")
    for _, payload in got:
        event = json.loads(payload)
        passed[event["subject"]].append(int(event["sequence"]))
    assert passed == {subject: list(range(1, each + 1)) for subject in subjects}


def test_a_gap_is_announced_and_a_late_event_is_marked(region):
    told = region.metric("homeward_events_gaps_total", where="within") or 0
    publish(region, *[numbered("gap", sequence) for sequence in (1, 2, 5, 6)])
    eventually(lambda: held(region, "gap") == 2 or gaps(region, "gap"), what="two held events")
    eventually(lambda: effects(region, "gap") == [1, 2, 5, 6], within_s=60, what="the events behind the gap")
    assert gaps(region, "gap") == [(3, 4, False)]
    [(key, payload)] = eventually(lambda: region.broker.take("operator"), what="the announcement")
    announced = json.loads(payload)
    jsonschema.validate(announced["data"], json.loads(GAP.read_text()))
    assert (key, announced["type"], announced["data"]["missing_from"], announced["data"]["missing_to"], announced["data"]["origin"]) == (
        "homeward.gap", "homeward.gap", f"{3:018}", f"{4:018}", "eu")
    assert "subject" not in announced["data"]
    assert region.sql("SELECT waited_ms >= 4000, subject FROM homeward.gaps WHERE gap = %s", announced["data"]["gap"]) == [(True, "gap")]
    assert region.metric("homeward_events_gaps_total", where="within") == told + 1
    late = numbered("gap", 4)
    publish(region, late, late, numbered("gap", 7))
    eventually(lambda: effects(region, "gap") == [1, 2, 5, 6, 4, 7], what="the late event and the next")
    assert region.sql("SELECT sequence FROM public.effects WHERE subject = 'gap' AND late") == [(4,)]
    assert gaps(region, "gap") == [(3, 4, False)]


@pytest.mark.sanitized
def test_held_events_outlive_a_crash(region):
    publish(region, numbered("crash", 3), numbered("crash", 2))
    eventually(lambda: held(region, "crash") == 2, what="two held events")
    # As if they had waited for no time at all yet: the restart may take longer than they would wait.
    region.sql("UPDATE homeward.held SET held_at = now() + interval '1 hour' WHERE subject = 'crash'")
    restart(region)
    publish(region, numbered("crash", 1))
    eventually(lambda: effects(region, "crash") == [1, 2, 3], within_s=60, what="all three in turn")
    assert gaps(region, "crash") == []
    eventually(lambda: not region.sql("SELECT 1 FROM homeward.inbox WHERE subject = 'crash' AND delivered_at IS NULL"), what="all passed on")


def test_what_is_not_taken_is_not_waited_for(region):
    """An expired event that is ahead, one whose effect fails when its turn comes, and numbers that their source gave up."""
    publish(region, numbered("dead", 5, skippedfrom=f"{4:018}"), numbered("dead", 3, expirytime="2020-01-01T00:00:00Z"),
            numbered("dead", 2, type="session.poison"))
    eventually(lambda: held(region, "dead") == 3, what="three that wait")
    region.sql("UPDATE homeward.held SET held_at = now() + interval '1 hour' WHERE subject = 'dead'")
    publish(region, numbered("dead", 1))
    eventually(lambda: effects(region, "dead") == [1, 5], within_s=60, what="the two that can have an effect")
    assert gaps(region, "dead") == []
    assert region.sql("SELECT detail FROM homeward.dead_letters WHERE reason = 'malformed'") == [("no such session",)]


def test_too_many_held_events_are_let_through(region):
    """A stream never met may begin at any number, and no more than a thousand of one stream wait."""
    region.sql("INSERT INTO homeward.held (origin, source, id, type, subject, destination, sequence, first, event, held_at)"
               " SELECT 'eu', '/test', 'many-' || n, 'session.completed', 'many', 'eu', n, n,"
               " %s::jsonb || jsonb_build_object('id', 'many-' || n, 'sequence', lpad(n::text, 18, '0')), now() + interval '1 hour'"
               " FROM generate_series(10, 1009) AS n", json.dumps(numbered("many", 0)))
    publish(region, numbered("many", 1011))
    eventually(lambda: effects(region, "many") == list(range(10, 1010)), within_s=60, what="the thousand")
    assert gaps(region, "many") == [(1, 9, True)]
    assert held(region, "many") == 1
    publish(region, numbered("many", 1010))
    eventually(lambda: effects(region, "many")[-2:] == [1010, 1011], within_s=60, what="the last two")


@pytest.mark.sanitized
def test_refused_and_repeated_events_leave_no_gap(region):
    """Refused in the batch of the next event, and in one before it; and the same row twice uses up no number."""
    na, session = region.sender, json.dumps(SESSION)
    insert = ("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination) VALUES (%s, 'skips', %s, %s::jsonb, 'eu')"
              " ON CONFLICT DO NOTHING")
    good, bad = "session.completed", "driver.wish"
    na.sql("; ".join([insert] * 5), "s-1", good, session, "s-1", good, session, "s-2", bad, session, "s-3", bad, session, "s-4", good, session)
    eventually(lambda: effects(region, "skips") == [1, 4], within_s=60, what="the events that may leave")
    na.sql(insert, "s-5", bad, session)
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.skips") == [(3,)], what="the third refusal")
    na.sql(insert, "s-6", good, session)
    eventually(lambda: effects(region, "skips") == [1, 4, 6], within_s=60, what="the event after the refusal")
    assert gaps(region, "skips") == []
    said = region.sql("SELECT event->>'skippedfrom' FROM homeward.inbox WHERE subject = 'skips' ORDER BY sequence")
    assert said == [(None,), (f"{2:018}",), (f"{5:018}",)]
