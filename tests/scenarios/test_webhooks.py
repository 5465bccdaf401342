# SPDX-License-Identifier: Apache-2.0
"""Events that eu took, posted to a real HTTP server: once each, in order, and none lost whatever ends in between."""
import base64
import collections
import hashlib
import hmac
import http.server
import json
import signal
import shutil
import ssl
import threading
import time

import pytest

from event_mesh import EventMesh, restart
from mesh import eventually, free_port, homeward
from test_events import arrived

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

KINDS = ("plain", "busy", "crash", "refused", "gone", "binary", "tls", "late", "slow", "paused")
KEYS = [bytes(range(32)), bytes(range(100, 124))]
TOKEN = "a.bearer_token-42"
RETRY = {"retry_min_ms": 50, "retry_max_s": 1, "timeout_ms": 10000}


class Receiver:
    """Takes POSTs on 127.0.0.1; `answers[path]` is called with each request, and returns a status and headers."""

    def __init__(self, tls=None):
        self.port, self.tls = free_port(), tls
        self.lock, self.requests, self.answers = threading.Lock(), [], {}
        self.busy, self.busiest, self.overlaps = collections.Counter(), collections.Counter(), []
        self.tries, self.server = collections.Counter(), None

    def url(self, path):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}{path}"

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver.take(self.path, self.headers, body) if receiver.server else (None, None)
                if receiver.server is None:
                    self.close_connection = True  # it went away, whatever it had taken
                    return
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if headers.get("Content-Length"):
                    self.wfile.write(b"no such tariff")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", self.port), Handler)
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()

    def take(self, path, headers, body):
        named = (path, headers.get("webhook-id"))
        subject = headers.get("ce-subject") or (json.loads(body).get("subject") if headers["Content-Type"].endswith("+json") else None)
        with self.lock:
            self.busy[path] += 1
            self.busiest[path] = max(self.busiest[path], self.busy[path])
            if subject is not None and self.busy[path, subject] > 0:
                self.overlaps.append((path, subject))
            self.busy[path, subject] += 1
            before = self.tries[named]
            self.tries[named] += 1
            self.requests.append((path, headers, body, time.monotonic()))
        try:
            return self.answers.get(path, lambda *_: (204, {}))(headers, body, before)
        finally:
            with self.lock:
                self.busy[path] -= 1
                self.busy[path, subject] -= 1

    def of(self, path):
        with self.lock:
            return [request[1:] for request in self.requests if request[0] == path]

    def events(self, path):
        return [json.loads(body) for _, body, _ in self.of(path)]


def change_policy(policy):
    for kind in KINDS:
        policy["types"][f"hook.{kind}"] = {"opaque": True, "classification": "operational", "personal": False}
    policy["rules"].append({"id": "HOOKS", "effect": "permit", "operation": ["send", "receive"], "from": ["na"], "to": ["eu"],
                            "type": [f"hook.{kind}" for kind in KINDS], "fields": ["data"]})


class Hooks:
    def __init__(self, mesh):
        self.mesh, self.eu, self.na = mesh, mesh["eu"], mesh["na"]
        pki = self.mesh.brokers.pki
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "na.pem", pki / "na.key")
        context.load_verify_locations(pki / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self.plain, self.crash, self.tls = Receiver().start(), Receiver().start(), Receiver(context).start()
        self.pki = pki

    def configure(self):
        folder, settings = self.eu.folder, self.eu.settings()
        for name, text in (("secret", "".join(f"whsec_{base64.b64encode(key).decode()}\n" for key in KEYS)), ("token", TOKEN + "\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        hooks = {kind: {"url": self.plain.url(f"/{kind}"), "types": [f"hook.{kind}"], **RETRY} for kind in KINDS}
        hooks["plain"].update(types=["other.*", "hook.pla*"], origins=["na"], in_flight_max=4, secret_file="secret",
                              authorization_file="token")
        hooks["crash"].update(url=self.crash.url("/crash"), in_flight_max=8)
        hooks["refused"].update(refusals_max=3)
        hooks["binary"].update(mode="binary", secret_file="secret")
        hooks["tls"].update(url=self.tls.url("/tls"), ca_file=str(self.pki / "ca.pem"), certificate_file=str(self.pki / "eu.pem"),
                            key_file=str(self.pki / "eu.key"))
        hooks["late"].update(url=f"http://127.0.0.1:{free_port()}/", keep_s=2)
        elsewhere = {"name": "elsewhere", "url": self.plain.url("/elsewhere"), "types": ["*"], "origins": ["ap"]}
        settings["events"]["webhooks"] = [elsewhere, *({"name": kind, **hook} for kind, hook in hooks.items())]
        self.eu.write_settings(settings)
        restart(self.eu, signal.SIGTERM)

    def send(self, kind, subjects, count, data="'{}'"):
        """`count` events about each of so many subjects; returns their ids by subject, in order."""
        rows = self.na.sql(f"INSERT INTO homeward.outbox (aggregateid, type, payload, destination) SELECT %s || '-' || s, %s,"
                           f" jsonb_build_object('n', n) || {data}, 'eu' FROM generate_series(1, %s) n, generate_series(1, %s) s"
                           " ORDER BY n, s RETURNING aggregateid, id", kind, f"hook.{kind}", count, subjects)
        sent = collections.defaultdict(list)
        for subject, identifier in rows:
            sent[subject].append(identifier)
        return sent

    def pending(self, kind):
        return self.eu.sql("SELECT count(*) FROM homeward.webhook_deliveries WHERE webhook = %s", kind)[0][0]

    def await_delivered(self, kind, within_s=60):
        done = "SELECT count(*) FROM homeward.outbox WHERE type = %s AND receipted_at IS NULL"
        eventually(lambda: self.na.sql(done, f"hook.{kind}") == [(0,)], within_s=within_s, what=f"receipts of {kind}")
        eventually(lambda: self.pending(kind) == 0, within_s=within_s, what=f"nothing waits for {kind}")

    def show(self, kind):
        rows = json.loads(homeward("events", "webhooks", "-c", self.eu.config, "-o", "json").stdout)
        return next(row for row in rows if row["webhook"] == kind)

    def command(self, *arguments):
        return homeward("events", "webhooks", *arguments, "-c", self.eu.config, check=False)

    def dead(self, kind):
        return self.eu.sql("SELECT detail, convert_from(body, 'UTF8')::jsonb->>'id' FROM homeward.dead_letters"
                           " WHERE reason = 'webhook' AND starts_with(detail, %s) ORDER BY seq", kind + ": ")


@pytest.fixture(scope="module")
def hooks():
    with EventMesh("na", "eu", policy=change_policy) as mesh:
        started = Hooks(mesh)
        started.configure()
        yield started


def by_subject(events):
    """The ids of each subject in the order of their first arrival."""
    came = collections.defaultdict(list)
    for event in events:
        if event["id"] not in came[event["subject"]]:
            came[event["subject"]].append(event["id"])
    return came


def signatures(headers, body):
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode() for key in KEYS)


@pytest.mark.parametrize("worker", ["publisher", "consumer", "webhooks", "ledger"])
def test_no_worker_of_a_region_keeps_another_from_its_work(hooks, worker):
    """Each has an advisory lock of its own."""
    eventually(lambda: f"events_connected region=eu worker={worker}\n" in hooks.eu.log().rpartition(" access_log_open ")[2],
               within_s=60, what=f"the {worker} at work")


def test_each_event_comes_once_and_in_order(hooks):
    hooks.plain.answers["/plain"] = lambda *_: time.sleep(0.005) or (204, {})
    sent = hooks.send("plain", 20, 20)
    hooks.await_delivered("plain")
    assert by_subject(hooks.plain.events("/plain")) == sent
    assert len(hooks.plain.of("/plain")) == 400
    assert not hooks.plain.overlaps and 1 < hooks.plain.busiest["/plain"] <= 4
    for headers, body, _ in hooks.plain.of("/plain"):
        event = json.loads(body)
        assert (headers["Content-Type"], headers["Authorization"]) == ("application/cloudevents+json", f"Bearer {TOKEN}")
        assert (headers["homeward-attempt"], headers["homeward-webhook"], event["specversion"]) == ("1", "plain", "1.0")
        assert headers["webhook-signature"] == signatures(headers, body)
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    assert len({headers["webhook-id"] for headers, _, _ in hooks.plain.of("/plain")}) == 400
    assert not hooks.plain.of("/elsewhere")
    shown = hooks.show("plain")
    assert shown.pop("last_s") < 600
    assert shown == {"webhook": "plain", "state": "running", "pending": 0, "oldest_s": 0, "last": "204", "delivered": 400,
                     "failures": 0, "dead": 0}
    assert hooks.eu.metric("homeward_webhook_attempts_total", webhook="plain", outcome="delivered") == 400


def test_one_that_is_busy_is_asked_again_when_it_said(hooks):
    hooks.plain.answers["/busy"] = lambda headers, body, before: (503, {"Retry-After": "2"}) if before == 0 else (200, {})
    sent = hooks.send("busy", 1, 1)
    hooks.await_delivered("busy")
    (first, body, began), (second, again, ended) = hooks.plain.of("/busy")
    assert by_subject(hooks.plain.events("/busy")) == sent
    assert (first["homeward-attempt"], second["homeward-attempt"]) == ("1", "2")
    assert first["webhook-id"] == second["webhook-id"] and body == again
    assert ended - began > 1.9
    shown = hooks.show("busy")
    assert (shown["delivered"], shown["failures"], shown["state"]) == (1, 1, "running")


def test_a_kill_and_a_receiver_that_is_away_lose_nothing(hooks):
    crash = hooks.crash
    crash.answers["/crash"] = lambda *_: time.sleep(0.02) or (200, {})
    sent = hooks.send("crash", 30, 20)
    eventually(lambda: len(crash.of("/crash")) > 50, within_s=60, what="the first deliveries")
    restart(hooks.eu)
    eventually(lambda: len({event["id"] for event in crash.events("/crash")}) > 150, within_s=60, what="more of them")
    crash.stop()
    eventually(lambda: hooks.show("crash")["state"] == "failing", within_s=30, what="failures")
    restart(hooks.eu)
    eventually(lambda: hooks.show("crash")["last"].startswith("no answer"), within_s=30, what="failures again")
    assert hooks.pending("crash") > 0
    crash.start()
    hooks.await_delivered("crash", within_s=120)
    assert by_subject(crash.events("/crash")) == sent
    # Twice only what was under way when the process or the receiver went.
    assert len(crash.of("/crash")) - 600 <= 3 * 8
    ids = collections.defaultdict(set)
    for headers, body, _ in crash.of("/crash"):
        ids[json.loads(body)["id"]].add(headers["webhook-id"])
    assert len(ids) == 600 and all(len(names) == 1 for names in ids.values())
    assert not hooks.dead("crash")


def test_what_is_refused_becomes_a_dead_letter_and_holds_up_nobody(hooks):
    def refuse(headers, body, before):
        event = json.loads(body)
        return (400, {"Content-Length": "14"}) if (event["subject"], event["data"]["n"]) == ("refused-1", 2) else (200, {})

    hooks.plain.answers["/refused"] = refuse
    sent = hooks.send("refused", 3, 4)
    hooks.await_delivered("refused")
    poison = sent["refused-1"][1]
    assert hooks.dead("refused") == [("refused: 400 after 3 attempts: no such tariff", poison)]
    assert by_subject(hooks.plain.events("/refused")) == sent
    tries = [headers["homeward-attempt"] for headers, body, _ in hooks.plain.of("/refused") if json.loads(body)["id"] == poison]
    assert tries == ["1", "2", "3"]
    shown = hooks.show("refused")
    assert (shown["delivered"], shown["failures"], shown["dead"]) == (11, 3, 1)
    # Once it is mended there: the same again.
    hooks.plain.answers["/refused"] = lambda *_: (200, {})
    again = hooks.command("redeliver", "refused")
    assert (again.returncode, again.stdout) == (0, "refused gets its dead letters again: 1 waiting\n")
    eventually(lambda: hooks.show("refused")["delivered"] == 12, within_s=30, what="the dead letter delivered")
    assert not hooks.dead("refused") and hooks.plain.events("/refused")[-1]["id"] == poison


def test_one_that_is_gone_is_paused_until_it_is_resumed(hooks):
    hooks.plain.answers["/gone"] = lambda *_: (410, {})
    sent = hooks.send("gone", 2, 2)
    eventually(lambda: hooks.show("gone")["state"] == "paused: gone", within_s=30, what="the pause")
    assert [data["webhook"] for _, data in hooks.eu.system_events("homeward.webhook.paused")] == ["gone"]
    assert hooks.eu.metric("homeward_webhook_paused", webhook="gone") == 1
    eventually(lambda: hooks.pending("gone") == 4, within_s=30, what="all four waiting")
    asked = len(hooks.plain.of("/gone"))
    hooks.plain.answers["/gone"] = lambda *_: (200, {})
    assert asked <= 2 and hooks.command("resume", "nobody").stderr == "homeward: there is no webhook nobody\n"
    assert hooks.command("resume", "gone").stdout == "gone is resumed: 4 waiting\n"
    hooks.await_delivered("gone")
    assert by_subject(hooks.plain.events("/gone")) == sent


def test_an_operator_pauses_one(hooks):
    assert hooks.command("pause", "paused").stdout == "paused is paused: 0 waiting\n"
    eventually(lambda: hooks.eu.metric("homeward_webhook_paused", webhook="paused") == 1, within_s=30, what="the pause")
    hooks.send("paused", 1, 3)
    eventually(lambda: hooks.pending("paused") == 3, within_s=30, what="three waiting")
    # What the inbox lost and took again is no second delivery.
    hooks.eu.sql("CREATE TABLE public.lost AS SELECT * FROM homeward.inbox i WHERE EXISTS (SELECT FROM homeward.webhook_deliveries d"
                 " WHERE d.webhook = 'paused' AND (d.origin, d.source, d.id) = (i.origin, i.source, i.id))")
    hooks.eu.sql("DELETE FROM homeward.inbox i USING public.lost l WHERE (l.origin, l.source, l.id) = (i.origin, i.source, i.id)")
    names = ", ".join(name for (name,) in hooks.eu.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = 'homeward'"
                                                       " AND table_name = 'inbox' AND is_identity = 'NO' AND is_generated = 'NEVER'"))
    hooks.eu.sql(f"INSERT INTO homeward.inbox ({names}) SELECT {names} FROM public.lost")
    assert hooks.eu.sql("SELECT count(*) FROM public.lost") == [(3,)] and hooks.pending("paused") == 3
    restart(hooks.eu)
    assert hooks.show("paused")["state"] == "paused: operator" and not hooks.plain.of("/paused")
    assert hooks.command("resume", "paused").returncode == 0
    hooks.await_delivered("paused")
    assert len(hooks.plain.of("/paused")) == 3


def test_what_is_erased_is_delivered_first(hooks):
    assert hooks.command("pause", "paused").returncode == 0
    eventually(lambda: hooks.eu.metric("homeward_webhook_paused", webhook="paused") == 1, within_s=30, what="the pause")
    before = len(hooks.plain.of("/paused"))
    ((identifier,),) = hooks.send("paused", 1, 1, data="'{\"object_type\": \"token\", \"object_id\": \"04FEEDFEED0001\"}'").values()
    eventually(lambda: arrived(hooks.eu, identifier), within_s=30, what="the event")
    forget, kept = "SELECT homeward.events_forget('token', '04FEEDFEED0001')", "SELECT event <> '{}' FROM homeward.inbox WHERE id = %s"
    assert hooks.eu.sql(forget) == [(1,)] and hooks.eu.sql(kept, identifier) == [(True,)]
    assert hooks.command("resume", "paused").returncode == 0
    hooks.await_delivered("paused")
    assert hooks.plain.events("/paused")[before]["data"]["object_id"] == "04FEEDFEED0001"
    assert hooks.eu.sql(forget) == [(0,)] and hooks.eu.sql(kept, identifier) == [(False,)]


def test_binary_mode(hooks):
    hooks.na.sql("INSERT INTO homeward.outbox (id, aggregateid, type, payload, destination) VALUES"
                 " ('b%-1', 'Zürich 7', 'hook.binary', '{\"a\": [1, 2.5, null]}', 'eu')".replace("%", "%%"))
    hooks.await_delivered("binary")
    ((headers, body, _),) = hooks.plain.of("/binary")
    assert json.loads(body) == {"a": [1, 2.5, None]}
    assert (headers["ce-id"], headers["ce-subject"], headers["ce-type"]) == ("b%25-1", "Z%C3%BCrich%207", "hook.binary")
    assert (headers["ce-specversion"], headers["ce-originregion"], headers["Content-Type"]) == ("1.0", "na", "application/json")
    assert headers["webhook-signature"] == signatures(headers, body)


def test_mutual_tls(hooks):
    sent = hooks.send("tls", 2, 2)
    hooks.await_delivered("tls")
    assert by_subject(hooks.tls.events("/tls")) == sent


def test_what_nobody_takes_in_time_becomes_a_dead_letter(hooks):
    sent = hooks.send("late", 1, 2)
    hooks.await_delivered("late")
    letters = hooks.dead("late")
    assert [identifier for _, identifier in letters] == sent["late-1"]
    assert letters[0][0].startswith("late: not delivered in time, attempts: ") and "no answer: " in letters[0][0]


def test_what_is_under_way_is_finished_before_the_end(hooks):
    hooks.plain.answers["/slow"] = lambda *_: time.sleep(0.5) or (200, {})
    hooks.send("slow", 3, 1)
    eventually(lambda: hooks.plain.busy["/slow"] == 3, within_s=30, what="three under way")
    restart(hooks.eu, signal.SIGTERM)
    hooks.await_delivered("slow")
    assert len(hooks.plain.of("/slow")) == 3
