# SPDX-License-Identifier: Apache-2.0
"""The loss matrix: events flow from na to eu, one fault at a time, and every event is accounted for.

An application in na inserts events into its outbox at a fixed rate; one in eu has an effect on its own table for
each event taken.  Between the two brokers is a proxy, which stands for the wide-area network.

    attempted   inserts begun              acknowledged  inserts that committed
    lost        acknowledged, no effect    doubled       more than one effect
    out of order  an effect before one of the same session with a lower number
    unannounced   those of them whose number is in no gap that was announced

tests/loss_matrix.py runs every fault long and writes docs/RELIABILITY.md; test_loss.py runs some of them short.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import uuid

import psycopg2
import requests

from brokers import VHOST, unbind, wait_for
from event_mesh import EventMesh, restart
from mesh import eventually, free_port

SESSIONS = 50
SESSION = {"session_id": "s-1", "token_uid": "04A2B3C4D5E6F7", "station_id": "eu-1", "started_at": "2026-11-21T04:12:09Z",
           "ended_at": "2026-11-21T05:40:31Z", "end_reason": "driver", "energy_wh": 31870}
EFFECTS = """
CREATE TABLE public.effects (place bigint GENERATED ALWAYS AS IDENTITY, id text NOT NULL, session text NOT NULL, sequence bigint NOT NULL);
CREATE FUNCTION public.take_effect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF starts_with(NEW.id, 'poison-') THEN RAISE EXCEPTION 'no such session'; END IF;
    INSERT INTO public.effects (id, session, sequence) VALUES (NEW.id, NEW.subject, NEW.sequence); RETURN NULL; END $$;
CREATE TRIGGER take_effect AFTER INSERT ON homeward.inbox FOR EACH ROW EXECUTE FUNCTION public.take_effect();
"""


class Proxy:
    """Between the downstream's link and this broker; stopping it is a network that swallows everything."""

    def __init__(self, broker, one_way_ms=5):
        self.port, self.target, self.one_way_ms = free_port(), broker.tls_port, one_way_ms
        self.start()

    def start(self):
        program = pathlib.Path(__file__).resolve().parents[1] / "delay_proxy.py"
        self.process = subprocess.Popen([sys.executable, program, str(self.port), str(self.target), str(self.one_way_ms)],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("ready")

    def signal(self, number):
        self.process.send_signal(number)

    def bytes(self):
        """How many it has carried, both ways."""
        self.signal(signal.SIGUSR1)
        return int(self.process.stdout.readline().split()[1])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class LossMesh(EventMesh):
    """na and eu, whose links go through proxies."""

    def __init__(self, **options):
        super().__init__("na", "eu", **options)
        self.proxies = {}

    def begin(self):
        for name in self.names:
            self.proxies[name] = Proxy(self.brokers[name])
            self.brokers[name].link_port = self.proxies[name].port
        self.brokers.write_mesh({})
        super().begin()
        # Nobody takes what eu passes on: without a bound it would fill the broker's memory.
        eu = self.brokers["eu"]
        eu.api("DELETE", f"/api/queues/{VHOST}/application")
        eu.add_queue("application", "homeward.delivered", "#", **{"x-max-length": 1000})
        self["eu"].sql(EFFECTS)

    def __exit__(self, *exception):
        for proxy in self.proxies.values():
            proxy.stop()
        super().__exit__(*exception)


# ---- the application in na ----

class Application(threading.Thread):
    """Inserts `rate` events a second for `seconds`, in one transaction a tick, and tries on while its database is away."""

    TICK_S = 0.1

    def __init__(self, region, name, rate, seconds):
        super().__init__(daemon=True)
        self.dsn, self.name_of_run = region.dsn, name
        self.rate, self.seconds = rate, seconds
        self.attempted, self.acknowledged = 0, []  # acknowledged: ranges
        self.must_stop = False
        self.missing = None

    def insert(self, connection, first, last):
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination)"
                           " SELECT %s || n, 'session-' || n %% %s, 'session.completed', %s::jsonb, 'eu'"
                           " FROM generate_series(%s, %s) AS n",
                           (f"{self.name_of_run}-", SESSIONS, json.dumps(SESSION), first, last))

    def run(self):
        connection, began, next_event = None, time.monotonic(), 1
        while not self.must_stop and time.monotonic() < began + self.seconds:
            due = int((time.monotonic() - began) * self.rate)
            if due >= next_event:
                last = min(due, next_event + self.rate)
                self.attempted = last
                try:
                    if connection is None:
                        connection = psycopg2.connect(self.dsn, connect_timeout=2)
                    self.insert(connection, next_event, last)
                    self.acknowledged.append((next_event, last))
                except psycopg2.Error:
                    # Committed or not, nobody knows: neither counted as acknowledged nor tried again.
                    connection = None
                next_event = last + 1
            time.sleep(self.TICK_S)  # the pace of the load, not a wait for anything

    @property
    def count(self):
        return sum(last - first + 1 for first, last in self.acknowledged)


# ---- faults: each a function of the mesh that ends when the fault is over ----

def restart_link(mesh):
    link = wait_for(lambda: mesh.brokers["eu"].api("GET", f"/api/federation-links/{VHOST}"), 30, "link")[0]
    mesh.brokers["eu"].api("DELETE", f"/api/federation-links/vhost/{VHOST}/{link['id']}/{link['node']}/restart")


def edit_upstream(mesh):
    broker = mesh.brokers["eu"]
    [upstream] = broker.api("GET", f"/api/parameters/federation-upstream/{VHOST}")
    path = f"/api/parameters/federation-upstream/{VHOST}/{upstream['name']}"
    changed = {**upstream["value"], "prefetch-count": upstream["value"]["prefetch-count"] + 1}
    broker.api("PUT", path, {"value": changed})
    broker.api("PUT", path, {"value": upstream["value"]})


def apply_policy_again(mesh):
    broker = mesh.brokers["eu"]
    [policy] = [each for each in broker.api("GET", f"/api/policies/{VHOST}") if each["apply-to"] == "exchanges"]
    path = f"/api/policies/{VHOST}/{policy['name']}"
    for priority in (policy["priority"] + 1, policy["priority"]):
        broker.api("PUT", path, {"pattern": policy["pattern"], "apply-to": "exchanges", "priority": priority,
                                 "definition": policy["definition"]})


def close_connections(mesh):
    broker = mesh.brokers["na"]
    for connection in broker.api("GET", "/api/connections"):
        try:
            broker.api("DELETE", f"/api/connections/{requests.utils.quote(connection['name'], safe='')}")
        except AssertionError:
            pass  # it closed by itself meanwhile


def end_broker(region, number):
    def fault(mesh):
        broker = mesh.brokers[region]
        if number == signal.SIGKILL:
            broker.kill()
        else:
            broker.stop()
        broker.start()
        eventually(broker.is_ready, within_s=90, every_s=0.5, what=f"the broker of {region} again")
    return fault


def end_homeward(region, number):
    return lambda mesh: restart(mesh[region], number)


def kill_database(region):
    def fault(mesh):
        mesh[region].kill_postgres(signal.SIGKILL)
        mesh[region].start_postgres()
        eventually(mesh[region].is_ready, within_s=30, what=f"{region} ready again")
    return fault


def swallow(seconds):
    """A network that takes everything and gives nothing: heartbeats have to notice."""
    def fault(mesh):
        mesh.proxies["na"].signal(signal.SIGSTOP)
        time.sleep(seconds)  # the fault's length
        mesh.proxies["na"].signal(signal.SIGCONT)
    return fault


def part(seconds):
    """No way between the brokers at all."""
    def fault(mesh):
        mesh.proxies["na"].stop()
        time.sleep(seconds)  # the fault's length
        mesh.proxies["na"].start()
    return fault


def raise_memory_alarm(mesh):
    broker = mesh.brokers["na"]

    def has_alarm():
        return broker.api("GET", "/api/nodes")[0]["mem_alarm"]

    broker.control("set_vm_memory_high_watermark", "absolute", "1MB")
    wait_for(has_alarm, 30, "memory alarm")
    broker.control("set_vm_memory_high_watermark", "absolute", "512MB")
    wait_for(lambda: not has_alarm(), 30, "end of the memory alarm")


def unroutable(seconds):
    """The sender's broker has no way for eu's events, while the link says that it runs."""
    def fault(mesh):
        unbind(mesh.brokers["na"], "eu")
        time.sleep(seconds)  # the fault's length
        restart_link(mesh)
    return fault


def poison(mesh):
    """One event whose effect fails each time is a dead letter, and holds up nobody."""
    name = f"poison-{uuid.uuid4()}"
    mesh["na"].sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination)"
                   " VALUES (%s, 'session-1', 'session.completed', %s::jsonb, 'eu')", name, json.dumps(SESSION))
    eventually(lambda: mesh["eu"].sql("SELECT count(*) FROM homeward.dead_letters WHERE convert_from(body, 'UTF8') LIKE %s", f"%{name}%")
               == [(1,)], within_s=600, every_s=0.5, what="the dead letter")  # behind all that waits


def faults(swallow_s, part_s):
    return {
        "none": lambda mesh: None,
        "link restarted": restart_link,
        "upstream edited and put back": edit_upstream,
        "policy applied again": apply_policy_again,
        "connections closed": close_connections,
        "kill -9 of na's broker": end_broker("na", signal.SIGKILL),
        "TERM of na's broker": end_broker("na", signal.SIGTERM),
        "kill -9 of eu's broker": end_broker("eu", signal.SIGKILL),
        "TERM of eu's broker": end_broker("eu", signal.SIGTERM),
        "kill -9 of na's homeward": end_homeward("na", signal.SIGKILL),
        "TERM of na's homeward": end_homeward("na", signal.SIGTERM),
        "kill -9 of eu's homeward": end_homeward("eu", signal.SIGKILL),
        "TERM of eu's homeward": end_homeward("eu", signal.SIGTERM),
        "kill -9 of na's PostgreSQL": kill_database("na"),
        "kill -9 of eu's PostgreSQL": kill_database("eu"),
        f"network swallows everything for {swallow_s} s": swallow(swallow_s),
        "memory alarm of na's broker": raise_memory_alarm,
        "no way to eu for 10 s (unroutable)": unroutable(10),
        "an event whose effect fails (poison)": poison,
        f"no network for {part_s} s": part(part_s),
    }


# ---- one round ----

def effects(mesh, name):
    """(effects, distinct events, effects out of order, those of them unannounced) of this run."""
    return mesh["eu"].sql("""
        SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE sequence < highest), count(*) FILTER (WHERE sequence < highest
            AND NOT EXISTS (SELECT 1 FROM homeward.gaps g WHERE g.subject = session AND sequence BETWEEN missing_from AND missing_to))
        FROM (SELECT id, session, sequence, max(sequence) OVER (PARTITION BY session ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING
              AND 1 PRECEDING) AS highest FROM public.effects WHERE id LIKE %s) AS taken""", f"{name}-%")[0]


def has_arrived(mesh, name, application):
    """Goes through all of them only when the one that it found missing the last time has come."""
    try:
        if application.missing and not mesh["eu"].sql("SELECT 1 FROM public.effects WHERE id = %s", application.missing):
            return False
        ranges = ",".join(f"({first},{last})" for first, last in application.acknowledged) or "(0,-1)"
        missing = mesh["eu"].sql(f"SELECT %s || n FROM (VALUES {ranges}) AS r(first, last), generate_series(r.first, r.last) AS n"
                                 " WHERE NOT EXISTS (SELECT 1 FROM public.effects e WHERE e.id = %s || n) ORDER BY n DESC LIMIT 1",
                                 f"{name}-", f"{name}-")
        application.missing = missing[0][0] if missing else None
        return not missing
    except psycopg2.Error:
        return False


def run(mesh, name, fault, rate, seconds, patience_s=120):
    """A third of the time undisturbed, the fault, and the rest of the time; then until everything has arrived."""
    mesh["eu"].sql("TRUNCATE public.effects; DROP INDEX IF EXISTS public.effects_id; CREATE INDEX effects_id ON public.effects (id)")
    application = Application(mesh["na"], name, rate, seconds)
    application.start()
    eventually(lambda: effects(mesh, name)[0] > 0, within_s=30, what="the flow")
    time.sleep(seconds / 3)  # the undisturbed part
    fault(mesh)
    over = time.monotonic()
    application.join(seconds + 60)
    ended = time.monotonic()
    deadline = ended + patience_s
    while not has_arrived(mesh, name, application) and time.monotonic() < deadline:
        time.sleep(0.1)  # polls a condition, until the deadline
    caught_up = time.monotonic()
    count, distinct, disorder, unannounced = effects(mesh, name)
    assert application.attempted > 0 and application.count > 0
    missing = 0 if has_arrived(mesh, name, application) else max(1, application.count - distinct)
    return {"attempted": application.attempted, "acknowledged": application.count, "lost": missing,
            "doubled": count - distinct, "out of order": disorder, "unannounced": unannounced,
            "caught up (s)": round(caught_up - max(ended, over), 1)}


def start(**options):
    if "HOMEWARD" not in os.environ:
        os.environ["HOMEWARD"] = str(pathlib.Path(__file__).resolve().parents[2] / "build/release/homeward")
    return LossMesh(**options)
