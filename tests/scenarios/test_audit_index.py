"""The auditor's commands on the index, and two regions' entries side by side."""
import collections
import csv
import datetime
import hashlib
import io
import json

import pytest
import requests

from kill_rounds import kept_checkpoint, log_folder, verifier
from mesh import UNKNOWN_CARD, a_station, add_tokens, eventually, good_tokens, homeward, log_entries
from tlog import Key, write_log

SOON = "2200-01-01"


def audit(region, *arguments, check=True):
    return homeward("audit", *arguments, "--config", region.config, check=check)


def search(region, *filters):
    return json.loads(audit(region, "search", "-o", "json", *filters).stdout)


def reconcile(region, peer, *options, status=0):
    done = audit(region, "reconcile", "--with", peer.name, "--to", SOON, *options, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def crossed(mesh):
    """na and eu after crossings both ways, one refused at home and one never asked."""
    na, eu = mesh["na"], mesh["eu"]
    for card in add_tokens(mesh, "na", 5, prefix="0A"):
        assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"
    for card in add_tokens(mesh, "eu", 3, prefix="0B"):
        assert na.authorize(card, a_station(na)).json()["status"] == "ALLOWED"
    [card] = good_tokens(na)
    assert eu.get("token", card, purpose="analytics", caller="insights", station=a_station(eu)).status_code in (403, 404)
    assert eu.authorize(UNKNOWN_CARD, a_station(eu)).status_code == 200
    for region in (na, eu):
        region.await_index()
    return na, eu


def test_search_finds_by_each_filter(crossed):
    na, eu = crossed
    entries = search(eu)
    assert len(entries) == eu.sql("SELECT count(*) FROM homeward.exchanges")[0][0]
    for name in ("kind", "exchange", "peer", "type", "purpose", "caller", "decision"):
        for value in {entry[name] for entry in entries if entry[name]}:
            expected = [entry for entry in entries if entry[name] == value]
            assert search(eu, f"--{name}", value) == expected, (name, value)
    rules = {rule for entry in entries for rule in entry["rules"].split(",") if rule}
    assert rules
    for rule in rules:
        assert search(eu, "--rule", rule) == [entry for entry in entries if rule in entry["rules"].split(",")]
    middle = entries[len(entries) // 2]["at"]
    assert search(eu, "--from", middle) + search(eu, "--to", middle) == [
        *(entry for entry in entries if entry["at"] >= middle), *(entry for entry in entries if entry["at"] < middle)]
    assert search(eu, "--from", SOON) == []
    assert len(search(eu, "--limit", "2")) == 2
    assert search(eu, "--peer", "na", "--kind", "got", "--purpose", "charge.authorize", "--to", SOON)


def test_search_writes_a_table_json_and_csv(crossed):
    _, eu = crossed
    rows = list(csv.DictReader(io.StringIO(audit(eu, "search", "-o", "csv").stdout)))
    entries = search(eu)
    assert [row["exchange"] for row in rows] == [entry["exchange"] or "" for entry in entries]
    table = audit(eu, "search", "--limit", "1")
    assert "EXCHANGE" in table.stdout and "more than 1 entries" in table.stderr


def test_bad_filters_are_refused(crossed):
    _, eu = crossed
    for wrong in (("--from", "yesterday"), ("--exchange", "7"), ("--kindd", "ask"), ("stray",)):
        done = audit(eu, "search", *wrong, check=False)
        assert done.returncode == 64 and done.stdout == "", wrong
    done = audit(eu, "search", "--subject", "nosuch/1", check=False)
    assert done.returncode != 0 and "no type" in done.stderr
    done = audit(eu, "reconcile", "--with", "nowhere", check=False)
    assert done.returncode != 0 and 'no peer "nowhere"' in done.stderr


def test_a_person_is_found_without_the_log_holding_the_id(crossed, mesh):
    na, _ = crossed
    card = add_tokens(mesh, "na", 5, prefix="0A")[2]
    found = search(na, "--subject", f"token/{card}")
    assert [entry["kind"] for entry in found] == ["serve"]
    assert search(na, "--subject", f"token/{UNKNOWN_CARD}") == []
    hashes = [row["pseudonym"] for row in json.loads(audit(na, "hash", "-o", "json", "token", card).stdout)]
    assert found[0]["subject"] in hashes and card not in str(search(na))
    assert search(na, "--pseudonym", found[0]["subject"]) == found


def test_report_counts_what_search_lists(crossed):
    _, eu = crossed
    report = json.loads(audit(eu, "report", "daily", "-o", "json", "--peer", "na").stdout)
    entries = search(eu, "--peer", "na")
    assert sum(row["count"] for row in report) == len(entries)
    for row in report:
        same = [entry for entry in entries if all(entry[name] == row[name] for name in
                                                  ("peer", "kind", "type", "purpose", "rules", "decision"))]
        assert len([entry for entry in same if entry["at"].startswith(row["day"])]) == row["count"]


def test_an_export_is_what_was_logged_and_is_itself_logged(crossed, tmp_path):
    na, _ = crossed
    target = tmp_path / "na.ndjson"
    audit(na, "export", target, "--to", SOON)
    manifest = json.loads((tmp_path / "na.ndjson.manifest.json").read_text())
    lines = target.read_bytes().splitlines()
    assert manifest["first"] == 0 and manifest["count"] == len(lines) <= manifest["log_size"]
    assert manifest["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert manifest["kinds"] == dict(collections.Counter(json.loads(line)["k"] for line in lines))
    assert manifest["checkpoint"].splitlines()[:2] == [manifest["origin"], str(manifest["log_size"])]
    last = len(lines) - 1
    log = na.folder / na.settings().get("access_log", {}).get("directory", "")
    log = next(path.parent for path in na.folder.rglob("checkpoint")) if not (log / "checkpoint").exists() else log
    shown = homeward("audit", "show", last, "--dir", log).stdout.encode()
    assert shown.rstrip(b"\n") == lines[last], "line n is entry first + n - 1"
    said = f"export of {len(lines)} entries from 0 on, sha256 {manifest['sha256']}"
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.exchanges WHERE kind = 'admin' AND message = %s", said)[0][0] == 1,
               what="the export's own entry")
    middle = json.loads(lines[last // 2])["t"]
    part = tmp_path / "part.ndjson"
    at = datetime.datetime.fromtimestamp(middle // 1_000_000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    audit(na, "export", part, "--from", at)
    first = json.loads((tmp_path / "part.ndjson.manifest.json").read_text())["first"]
    assert part.read_bytes().splitlines()[:len(lines) - first] == lines[first:]


def test_without_a_record_there_is_no_export(crossed, tmp_path):
    na, _ = crossed
    target = tmp_path / "none.ndjson"
    done = audit(na, "export", target, "--admin", "http://127.0.0.1:1", check=False)
    assert done.returncode != 0 and list(tmp_path.iterdir()) == []
    assert audit(na, "export", target, "--from", SOON, check=False).returncode != 0 and list(tmp_path.iterdir()) == []
    for query in ("", "?first=0&count=1&sha256=zz", "?first=a&count=1&sha256=" + "0" * 64):
        assert na.session.post(na.url("/admin/v1/audit/export" + query, admin=True), timeout=10).status_code == 400


def test_every_crossing_pairs(crossed):
    na, eu = crossed
    for one, other in ((na, eu), (eu, na)):
        said = reconcile(one, other)
        assert "8 paired" in said.splitlines()[-1] or "9 paired" in said.splitlines()[-1]
        assert said.splitlines()[-1].endswith("0 faults.")
    everything = json.loads(reconcile(eu, na, "--all", "-o", "json"))
    assert {row["asked_by"] for row in everything if row["finding"] == "paired"} == {"eu", "na"}
    assert json.loads(reconcile(eu, na, "-o", "json")) == []
    assert json.loads(reconcile(eu, na, "--all", "-o", "json", "--from", SOON[:3] + "1-01-01")) == []


class Tampered:
    """The index of a region as it would be if its log had been: entries left out or written otherwise."""

    def __init__(self, region, expression):
        self.region, self.expression = region, expression

    def __enter__(self):
        self.region.sql("ALTER TABLE homeward.exchanges RENAME TO honest")
        self.region.sql(f"CREATE VIEW homeward.exchanges AS {self.expression}")

    def __exit__(self, *exception):
        self.region.sql("DROP VIEW homeward.exchanges")
        self.region.sql("ALTER TABLE homeward.honest RENAME TO exchanges")


def columns_with(region, **changed):
    names = [row[0] for row in region.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = 'homeward'"
                                          " AND table_name = 'exchanges' ORDER BY ordinal_position")]
    return ", ".join(f"{changed[name]} AS {name}" if name in changed else name for name in names)


def tampered(region, exchange, kind, change):
    """The region without its entry of this kind about the exchange, or with that one changed."""
    if change is None:
        view = f"SELECT * FROM homeward.honest WHERE exchange <> '{exchange}' OR kind <> '{kind}'"
    else:
        cases = {name: f"CASE WHEN exchange = '{exchange}' AND kind = '{kind}' THEN {value} ELSE {name} END"
                 for name, value in change.items()}
        view = f"SELECT {columns_with(region, **cases)} FROM homeward.honest"
    return Tampered(region, view)


def one_exchange(region, kind, **columns):
    where = " AND ".join(f"{name} = %s" for name in columns)
    return str(region.sql(f"SELECT exchange FROM homeward.exchanges WHERE kind = %s AND {where} ORDER BY exchange LIMIT 1",
                          kind, *columns.values())[0][0])


@pytest.mark.parametrize("tampers, kind, change, finding", [
    ("na", "serve", None, "ask_without_serve"),
    ("eu", "ask", None, "serve_without_ask"),
    ("eu", "got", None, "serve_without_got"),
    ("eu", "got", {"fields": "'uid,email'"}, "fields_differ"),
    ("na", "serve", {"kind": "'deny'"}, "decision_differs"),
    ("na", "serve", {"ttl_s": "1"}, "terms_differ"),
])
def test_what_one_side_forges_or_withholds_is_named_by_both(crossed, tampers, kind, change, finding):
    na, eu = crossed
    exchange = one_exchange(eu, "got", peer="na", decision="ok")
    with tampered({"na": na, "eu": eu}[tampers], exchange, kind, change):
        for one, other in ((na, eu), (eu, na)):
            rows = json.loads(reconcile(one, other, "-o", "json", status=1))
            assert [(row["finding"], row["exchange"], row["asked_by"]) for row in rows] == [(finding, exchange, "eu")]
    reconcile(eu, na)


def test_an_invented_entry_is_named(crossed):
    na, eu = crossed
    invented = "01a1fbe0-2310-7a2d-b341-322c587ea332"
    columns = columns_with(na, exchange=f"'{invented}'::uuid")
    with Tampered(na, "SELECT * FROM homeward.honest UNION ALL (SELECT " + columns +
                  " FROM homeward.honest WHERE kind = 'serve' AND peer = 'eu' LIMIT 1)"):
        rows = json.loads(reconcile(eu, na, "-o", "json", status=1))
    assert [(row["finding"], row["exchange"]) for row in rows] == [("serve_without_ask", invented)]


def forged_entry(entry, exchange, kind, change):
    """What a region would have its log say; None in the change: another kind of entry in its place, about nobody."""
    said = json.loads(entry)
    if said.get("x") != exchange or said["k"] != kind:
        return entry
    if change is None:
        said = {name: said[name] for name in ("v", "t", "r") if name in said} | {"k": "start"}
    else:
        said |= change
    return json.dumps(said, separators=(",", ":")).encode()


@pytest.mark.parametrize("forger, kind, change, finding", [
    ("na", "serve", None, "ask_without_serve"),
    ("eu", "got", None, "serve_without_got"),
    ("na", "serve", {"ttl": 1}, "terms_differ"),
])
def test_a_log_rewritten_and_signed_again_is_sound_by_itself_and_still_named(crossed, tmp_path, forger, kind, change, finding):
    na, eu = crossed
    region = {"na": na, "eu": eu}[forger]
    region.await_index()
    exchange = one_exchange(eu, "got", peer="na", decision="ok")
    kept, honest = kept_checkpoint(region, 0), list(log_entries(log_folder(region)))
    forged = [forged_entry(entry, exchange, kind, change) for entry in honest]
    assert sum(one != other for one, other in zip(honest, forged)) == 1
    origin = (log_folder(region) / "checkpoint").read_text().splitlines()[0]
    write_log(tmp_path / "log", Key(origin, (region.folder / "state" / "access-log.key").read_bytes()), forged)
    good = audit(region, "verify", "--dir", tmp_path / "log", "--key", verifier(region)).stdout
    assert good.startswith(f"good: {origin}, {len(forged)} entries"), "its own signature is no help"
    older = audit(region, "verify", "--dir", tmp_path / "log", "--key", verifier(region), "--from-checkpoint", kept,
                  check=False)
    assert older.returncode == 1, "but what others remember is"
    try:
        audit(region, "reindex", "--dir", tmp_path / "log")
        for one, other in ((na, eu), (eu, na)):
            rows = json.loads(reconcile(one, other, "-o", "json", status=1))
            assert [(row["finding"], row["exchange"]) for row in rows] == [(finding, exchange)]
    finally:
        audit(region, "reindex")
    reconcile(eu, na)


def test_the_log_of_the_settings_is_read_without_naming_its_folder(crossed, tmp_path):
    _, eu = crossed
    assert audit(eu, "verify", "--key", verifier(eu)).stdout.startswith("good: ")
    assert audit(eu, "show", 0).stdout == homeward("audit", "show", 0, "--dir", log_folder(eu)).stdout
    receipt = tmp_path / "0.tlog-proof"
    receipt.write_text(audit(eu, "receipt", 0).stdout)
    assert audit(eu, "verify", "--receipt", receipt, "--key", verifier(eu)).stdout.startswith("good: entry 0 of ")
    both = audit(eu, "verify", "--receipt", receipt, "--dir", tmp_path, "--key", verifier(eu), check=False)
    assert both.returncode == 64 and "not both" in both.stderr
    missing = homeward("audit", "show", 0, "--config", tmp_path / "none.conf", check=False)
    assert missing.returncode == 78 and "none.conf" in missing.stderr


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_peer_sees_its_own_crossings_only(crossed, mesh):
    na, eu = crossed

    def page(asking, **query):
        tls = asking.settings()["tls"]
        return requests.get(f"https://127.0.0.1:{na.peer}/peer/v1/exchanges", params=query, timeout=10, verify=False,
                            cert=(str(asking.folder / tls["certificate"]), str(asking.folder / tls["key"])))

    whole = {"after": "00000000-0000-0000-0000-000000000000", "before": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
    seen = page(eu, **whole).json()
    assert seen["region"] == "na" and len(seen["entries"]) > 8
    at_na = na.sql("SELECT count(*) FROM homeward.exchanges WHERE peer = 'eu'")[0][0]
    assert len(seen["entries"]) == at_na
    assert page(mesh["ap"], **whole).json()["entries"] == []
    for wrong in ({}, {**whole, "after": "1"}, {"before": whole["before"]}):
        assert page(eu, **wrong).status_code == 400
