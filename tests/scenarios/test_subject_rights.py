# SPDX-License-Identifier: Apache-2.0
"""What people may ask for beside erasure: restriction, consent, and a report of what crossed about them."""
import hashlib
import json

from mesh import UNKNOWN_CARD, a_station, add_tokens, eventually, homeward


def subject(region, *arguments, command="subject", check=True):
    return homeward(command, *arguments, "--config", region.config, check=check)


def ask_home(eu, card, **more):
    return eu.get("token", card, station=a_station(eu), headers={"Cache-Control": "no-cache"}, **more)


def test_a_restricted_subject_does_not_cross_and_its_copies_are_forgotten(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = add_tokens(mesh, "na", 1, prefix="A1")
    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"
    assert eu.authorize(card, a_station(eu)).json()["source"] == "cache"
    na.await_index()
    done = subject(na, "restrict", "token", card, "--reason", "ticket-311")
    assert done.stdout.splitlines() == ["subject.restricted = yes, version 2 of the record", "1 of 1 regions have acknowledged"]
    assert eu.authorize(card, a_station(eu)).json()["status"] != "ALLOWED", "the copy is forgotten and the home denies"
    assert ask_home(eu, card).status_code == 404
    [entry] = [entry for entry in na.entries() if entry["k"] == "admin" and "restricted" in entry["msg"]]
    assert entry["msg"] == "subject.restricted = yes: ticket-311" and entry["n"] == 1 and entry["sub"].startswith("p1.")
    assert na.sql("SELECT count(*) FROM homeward.subject_keys")[0][0] >= 1, "nothing was erased"
    assert na.sql("SELECT count(*) FROM homeward.erasures WHERE sealed IS NOT NULL")[0][0] == 0
    subject(na, "unrestrict", "token", card)
    eventually(lambda: eu.authorize(card, a_station(eu), headers={"Cache-Control": "no-cache"}).json()["status"] == "ALLOWED",
               what="the card is let through again")


def test_consent_decides_about_analytics(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = add_tokens(mesh, "na", 1, prefix="A2")
    asked = {"purpose": "analytics", "caller": "insights"}
    assert ask_home(eu, card, **asked).status_code == 404
    subject(na, "set", "token", card, "analytics", "granted", "--reason", "form-12", command="consent")
    assert ask_home(eu, card, **asked).status_code == 200
    na.await_index()
    done = subject(na, "set", "token", card, "analytics", "withdrawn", command="consent")
    assert "1 of 1 regions have acknowledged" in done.stdout
    assert eu.get("token", card, station=a_station(eu), **asked).status_code == 404, "also from the cache"


def test_what_cannot_be_set_is_said(mesh):
    na = mesh["na"]
    [card] = add_tokens(mesh, "na", 1, prefix="A3")
    for arguments, words in ((("token", UNKNOWN_CARD), "no such token"), (("engine", "x"), "type"), (("station", a_station(na)), "no flag")):
        done = subject(na, "restrict", *arguments, check=False)
        assert done.returncode != 0 and words in done.stderr, done.stderr
    done = subject(na, "set", "token", card, "analytics", "maybe", command="consent", check=False)
    assert done.returncode == 64 and "granted or withdrawn" in done.stderr
    done = subject(na, "set", "token", card, "marketing", "granted", command="consent", check=False)
    assert done.returncode != 0 and "subject.consent_marketing" in done.stderr
    assert subject(na, "restrict", "token", card, "--admin", "http://127.0.0.1:1", check=False).returncode != 0


def test_a_person_is_told_what_crossed_with_proof(mesh, tmp_path):
    na, eu = mesh["na"], mesh["eu"]
    card, other = add_tokens(mesh, "na", 2, prefix="A4")
    for each in (card, other, card):
        assert ask_home(eu, each).status_code == 200
    assert ask_home(eu, card, purpose="analytics", caller="insights").status_code == 404
    na.await_index()
    folder = tmp_path / "report"
    done = subject(na, "access-report", "token", card, "--into", folder)
    assert done.stdout == f"3 exchanges, each with its receipt, in {folder}\n"
    text = (folder / "report.json").read_bytes()
    report = json.loads(text)
    assert report["subject"] == f"token/{card}" and report["region"] == "na"
    first, again, denied = report["exchanges"]
    assert (first["kind"], first["region"], first["purpose"], first["caller"], first["decision"]) == (
        "serve", "eu", "charge.authorize", "cs-auth", "permit")
    assert set(first["fields"]) >= {"uid", "valid"} and first["basis"] == {"TAP-SERVE": {"art6": "6(1)(b)", "ch5": "46(2)(c)"}}
    assert again["exchange"] != first["exchange"] and denied["decision"] == "deny" and "fields" not in denied
    key = homeward("audit", "key", "--config", na.config).stdout.strip()
    for exchange in report["exchanges"]:
        receipt = folder / exchange["receipt"]
        assert hashlib.sha256(receipt.read_bytes()).hexdigest() == exchange["receipt_sha256"]
        said = homeward("audit", "verify", "--receipt", receipt, "--key", key).stdout
        assert f"entry {exchange['entry']} of" in said and exchange["exchange"] in said
    said = f"access report of 3 exchanges, sha256 {hashlib.sha256(text).hexdigest()}"
    assert said in [entry.get("msg") for entry in na.entries()], "the report is on record"

    again = subject(na, "access-report", "token", card, "--into", folder, check=False)
    assert again.returncode != 0 and "File exists" in again.stderr and (folder / "report.json").read_bytes() == text
    nothing = tmp_path / "nothing"
    done = subject(na, "access-report", "token", card, "--into", nothing, "--admin", "http://127.0.0.1:1", check=False)
    assert done.returncode != 0 and not nothing.exists(), "without a record there is no report"
