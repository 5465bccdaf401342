"""A mesh of real regions: PostgreSQL, certificates and daemons, through `homeward dev`.

Nothing here sleeps for a fixed time: `eventually` waits for a condition, with an end.
"""
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2
import requests

HOMEWARD = os.environ.get("HOMEWARD", str(pathlib.Path(__file__).resolve().parents[2] / "build/release/homeward"))
SCRATCH = os.environ.get("HOMEWARD_TEST_SCRATCH", "/tmp")
PORTS = []  # claims of ports, held until this process ends


def eventually(condition, within_s=10.0, every_s=0.02, what="the condition"):
    """Waits until condition() is truthy and returns it."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true within {within_s} s"
        time.sleep(every_s)


def homeward(*arguments, check=True, timeout=60, **options):
    """Runs one command of the program and returns the finished process."""
    done = subprocess.run([HOMEWARD, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options)
    if check:
        assert done.returncode == 0, f"homeward {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Begun:
    """What begin() has made is taken away by __exit__(), also when it fails half way."""

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self


class Region:
    def __init__(self, mesh, name, facts):
        self.mesh = mesh
        self.name = name
        self.ending = None  # a daemon that was told to end
        self.folder = pathlib.Path(mesh.folder) / name
        self.config = self.folder / "homeward.conf"
        self.load(facts)
        self.session = requests.Session()
        self.session.trust_env = False

    def load(self, facts):
        self.facts = facts
        self.api, self.peer, self.admin = facts["api"], facts["peer"], facts["admin"]
        self.pid, self.postgres_pid = facts["pid"], facts["postgres_pid"]
        self.dsn = facts["dsn"]

    def token(self, caller="cs-auth"):
        return (self.folder / "tokens" / caller).read_text().strip()

    def url(self, path, admin=False):
        return f"http://127.0.0.1:{self.admin if admin else self.api}{path}"

    def request(self, method, path, caller="cs-auth", headers=None, timeout=15, **options):
        send = dict(headers or {})
        if caller is not None and "Authorization" not in send:
            send["Authorization"] = f"Bearer {self.token(caller)}"
        return self.session.request(method, self.url(path), headers=send, timeout=timeout, **options)

    def get(self, kind, identifier, purpose="charge.authorize", caller="cs-auth", headers=None, **query):
        path = f"/v1/objects/{kind}/{requests.utils.quote(identifier, safe='')}"
        return self.request("GET", path, caller=caller, headers=headers, params={"purpose": purpose, **query})

    def authorize(self, identifier, station, **more):
        headers = more.pop("headers", None)
        return self.request("POST", "/v1/authorize", headers=headers, json={"id": identifier, "station": station, **more})

    def sql(self, query, *parameters):
        with psycopg2.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def alter_system(self, change):
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True  # it takes no part in a transaction
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM {change}")
            cursor.execute("SELECT pg_reload_conf()")
        connection.close()

    def count_statements(self):
        """From now on pg_stat_statements tells what each statement has cost.  PostgreSQL begins anew for it."""
        self.alter_system("SET shared_preload_libraries = 'pg_stat_statements'")
        self.kill_postgres(signal.SIGKILL)
        self.start_postgres()
        eventually(self.is_ready, within_s=30, what=f"{self.name} ready again")
        self.sql("CREATE EXTENSION pg_stat_statements")
        self.alter_system("SET pg_stat_statements.track_planning = on")

    def metrics(self):
        return self.session.get(self.url("/metrics", admin=True), timeout=10).text

    def metric(self, name, **labels):
        """The sum of the series of `name` whose labels include these."""
        total = 0.0
        for line in self.metrics().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match:
                have = dict(re.findall(r'(\w+)="([^"]*)"', match.group(1) or ""))
                if all(have.get(key) == value for key, value in labels.items()):
                    total += float(match.group(2))
        return total

    def is_ready(self):
        try:
            return self.session.get(self.url("/readyz", admin=True), timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def reload(self):
        return self.session.post(self.url("/admin/v1/reload", admin=True), timeout=10)

    def system_events(self, prefix=""):
        """What the region itself has said, by its admin listener: (type, data)."""
        answer = self.session.get(self.url("/admin/v1/events", admin=True), params={"type": prefix}, timeout=10).json()
        return [(row["event"]["type"], row["event"]["data"]) for row in answer["events"]]

    def settings(self):
        return json.loads(self.config.read_text())

    def write_settings(self, settings):
        self.config.write_text(json.dumps(settings, indent=1))

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        self.ending = self.pid if number in (signal.SIGTERM, signal.SIGKILL) else None

    def kill_postgres(self, number):
        """To the postmaster and every backend, as a machine that stops would."""
        for pid in [self.postgres_pid, *children(self.postgres_pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def await_end(self):
        """Of the daemon that kill() told to end: until then, `dev start` finds it running."""
        if self.ending is not None:
            eventually(lambda: not is_running(self.ending), within_s=30, what=f"the end of {self.name}")
            self.ending = None

    def start(self, *options):
        self.await_end()
        homeward("dev", "start", "--dir", self.mesh.folder, "--region", self.name, *options)
        self.mesh.refresh()

    def start_postgres(self):
        homeward("dev", "start", "--dir", self.mesh.folder, "--region", self.name, "--database-only")
        self.mesh.refresh()

    def log(self):
        return (self.folder / "homeward.log").read_text(errors="replace")

    def exchanges(self):
        """The log's entries about crossings, in the order written, under the names of the search index's columns."""
        return [as_row(entry) for entry in self.entries() if "x" in entry]

    def entries(self):
        """All of the region's access log, from its files, once they hold what was durable when this was called."""
        directory = self.folder / "state" / "access-log"
        if self.is_alive():
            durable = self.metric("homeward_access_log_durable_entries")
            eventually(lambda: log_size(directory) >= durable, what=f"{self.name}'s checkpoint of {durable:.0f} entries")
        return [json.loads(entry) for entry in log_entries(directory)]

    def await_index(self):
        """Returns once the search index holds all of the access log that was durable when this was called."""
        durable = self.metric("homeward_access_log_durable_entries")
        eventually(lambda: self.metric("homeward_access_index_position") >= durable, within_s=20,
                   what=f"{self.name}'s search index has {durable:.0f} entries")

    def is_alive(self):
        try:
            return self.session.get(self.url("/livez", admin=True), timeout=2).status_code == 200
        except requests.RequestException:
            return False


def is_running(pid):
    """False for a zombie, too: it has ended, unless threads of it are still about to, with its locks."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return fields[0] != "Z" or int(fields[17]) > 1
    except OSError:
        return False


def log_size(directory):
    """How many entries the signed checkpoint of an access log covers."""
    return int((directory / "checkpoint").read_text().splitlines()[1])


def log_entries(directory):
    """The entries of an access log as the bytes that were logged (C2SP tlog-tiles)."""
    entries = []
    size = log_size(directory)
    for bundle in range((size + 255) // 256):
        digits = f"{bundle:0{(len(str(bundle)) + 2) // 3 * 3}d}"
        parts = [digits[i:i + 3] for i in range(0, len(digits), 3)]
        path = directory / "tile" / "entries" / "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
        left = size - 256 * bundle
        full = path.read_bytes() if path.is_file() else path.with_name(f"{path.name}.p").joinpath(str(left)).read_bytes()
        at = 0
        while at < len(full) and len(entries) < size:
            length = int.from_bytes(full[at:at + 2], "big")
            entries.append(full[at + 2:at + 2 + length])
            at += 2 + length
    assert len(entries) == size, f"{directory}: {len(entries)} entries of {size}"
    return entries


def as_row(entry):
    names = {"kind": "k", "exchange": "x", "me": "me", "peer": "peer", "type": "ot", "subject": "sub", "operation": "op",
             "purpose": "pur", "caller": "cal", "policy": "pol", "rh": "rh"}
    row = {column: entry.get(name, "") for column, name in names.items()}
    row["decision"] = entry.get("dec") or entry.get("out", "")
    row["rules"], row["fields"] = ",".join(entry.get("rul", [])), ",".join(entry.get("fld", []))
    row["ttl_s"] = entry.get("ttl", -1)
    return row


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


class Mesh(Begun):
    def __init__(self, *names, options=()):
        self.names = names
        self.options = options
        self.folder = None
        self.regions = {}

    def begin(self):
        self.folder = tempfile.mkdtemp(prefix="hwt-", dir=SCRATCH)
        os.chmod(self.folder, 0o755)
        homeward("dev", "up", "--no-events", "--dir", self.folder, "--regions", ",".join(self.names), *self.options, timeout=120)
        self.refresh()

    def refresh(self):
        facts = json.loads((pathlib.Path(self.folder) / "mesh.json").read_text())["regions"]
        for name in self.names:
            if name in self.regions:
                self.regions[name].load(facts[name])
            else:
                self.regions[name] = Region(self, name, facts[name])

    def __exit__(self, *exception):
        for region in self.regions.values():
            region.kill_postgres(signal.SIGCONT)
            try:
                region.kill(signal.SIGCONT)
            except ProcessLookupError:
                pass
        homeward("dev", "down", "--dir", self.folder, check=False)
        subprocess.run(["rm", "-rf", self.folder], check=False)

    def __getitem__(self, name):
        return self.regions[name]

    def logs(self, lines=40):
        parts = []
        for region in self.regions.values():
            try:
                parts.append(f"--- {region.name}\n" + "\n".join(region.log().splitlines()[-lines:]))
            except OSError as error:
                parts.append(f"--- {region.name}: {error}")
        return "\n".join(parts)


def free_port():
    """A port nobody listens on, of those that the kernel does not give to outgoing connections, and this process's until it ends.

    Half a minute may pass until a broker listens on it, and by then it must not have been found free again: whoever looks
    for ports here, `homeward dev up` too, first takes the abstract socket of the port's name, which goes with its process.
    """
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0homeward-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        PORTS.append(claim)
        return port


def assert_records_pair(asking, serving, exchange=None):
    """Every crossing that was answered has its entries on both sides, one to one."""
    asked = {row["exchange"]: row for row in asking.exchanges() if row["kind"] == "ask" and row["peer"] == serving.name}
    got = [row for row in asking.exchanges() if row["kind"] == "got" and row["peer"] == serving.name]
    answered = [row["exchange"] for row in got if row["decision"] in ("ok", "permit", "not_available", "deny")]
    served = [row["exchange"] for row in serving.exchanges() if row["peer"] == asking.name and row["operation"] == "serve"]
    assert len(set(served)) == len(served), "one crossing was served twice"
    assert set(served) <= set(asked), "served what was never asked"
    assert set(answered) <= set(served), "an answer without an entry at home"
    assert len(set(answered)) == len(answered), "one crossing has two answers"
    if exchange is not None:
        assert exchange in answered
    return len(answered)


def good_tokens(region, count=1):
    """Canonical ids of seeded tokens at home in this region that would be allowed."""
    rows = region.sql(
        "SELECT id FROM homeward.objects WHERE type = 'token' AND record->>'valid' = 'true'"
        " AND (record->>'valid_until' IS NULL OR (record->>'valid_until')::timestamptz > now())"
        " AND coalesce(record->>'restricted', 'no') = 'no' AND coalesce(record->>'credit', '') <> 'none' ORDER BY id LIMIT %s",
        count,
    )
    assert len(rows) == count, "the mesh has too few seeded tokens"
    return [row[0] for row in rows]


def a_station(region):
    return region.sql("SELECT id FROM homeward.objects WHERE type = 'station' ORDER BY id LIMIT 1")[0][0]


UNKNOWN_CARD = "04FFFFFFFFFFFF"


def add_tokens(mesh, home, count, prefix="0C"):
    """Puts `count` more valid tokens at home in `home`, with exact routes in every region; returns their ids."""
    ids = [f"{prefix}{number:0{14 - len(prefix)}X}" for number in range(count)]
    record = json.dumps({"valid": True, "restricted": "no", "consent_analytics": "no", "valid_until": "2099-01-01T00:00:00Z"})
    mesh[home].sql(
        "INSERT INTO homeward.objects (type, id, record) SELECT 'token', id, %s::jsonb || jsonb_build_object('uid', id)"
        " FROM unnest(%s::text[]) AS id ON CONFLICT DO NOTHING", record, ids)
    for region in mesh.regions.values():
        region.sql("INSERT INTO homeward.routes (type, kind, key, region) SELECT 'token', 'exact', id, %s"
                   " FROM unnest(%s::text[]) AS id ON CONFLICT DO NOTHING", home, ids)
        wanted = region.sql("SELECT generation FROM homeward.route_generation")[0][0]
        eventually(lambda: region.metric("homeward_route_table_generation") >= wanted, what=f"{region.name}'s new routes")
    return ids
