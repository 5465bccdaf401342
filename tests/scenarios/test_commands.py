"""The commands as a person meets them: help, wrong lines, exit codes, what an import and a replay do."""
import json
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from mesh import HOMEWARD, a_station, add_tokens, eventually, good_tokens, homeward

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:1"


def run(*line):
    return homeward(*line, check=False)


def names_in(text):
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.M)
    return re.findall(r"^  ([a-z-]+) ", listed[1], re.M) if listed else []


def all_commands():
    found = []
    for name in names_in(homeward("--help").stdout):
        inner = names_in(homeward(name, "--help").stdout)
        found += [(name, each) for each in inner] or [(name,)]
    return found


def test_every_command_has_help_and_refuses_what_it_does_not_know():
    commands = all_commands()
    assert len(commands) > 25, commands
    for command in commands:
        told = run(*command, "--help")
        assert told.returncode == 0 and told.stdout.lower().startswith(f"usage: homeward {' '.join(command)}"), command
        assert told.stderr == "" and len(told.stdout.splitlines()) >= 3, command
        wrong = run(*command, "--no-such-option")
        assert wrong.returncode == 64 and "no-such-option" in wrong.stderr and wrong.stdout == "", command


def test_wrong_lines_end_with_64():
    for line in ((), ("nosuch",), ("config",), ("config", "nosuch"), ("pki", "--nosuch"), ("import",), ("version", "extra"),
                 ("replay", "x.csv"), ("routes", "add", "token"), ("serve", "extra")):
        done = run(*line)
        assert done.returncode == 64, (line, done.returncode, done.stderr)
        assert done.stderr, line


def test_exit_codes_tell_what_kind_of_trouble_it_is(mesh, tmp_path):
    eu = mesh["eu"]
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    lost = eu.settings()
    lost["database"]["dsn"] = f"host={tmp_path}"
    (tmp_path / "lost.conf").write_text(json.dumps(lost))
    for code, line in (
            (0, ("status", "--config", eu.config)),
            (69, ("status", "--admin", DEAD)),
            (69, ("reload", "--admin", DEAD)),
            (69, ("db", "migrate", "--config", tmp_path / "lost.conf")),
            (78, ("config", "check", broken)),
            (78, ("routes", "ls", "--config", tmp_path / "nowhere.conf")),
            (78, ("policy", "check", broken)),
            (65, ("import", tmp_path / "nothing.csv", "--type", "token", "--id", "uid", "--region-value", "eu", "--config", eu.config)),
            (1, ("routes", "get", "token", "NOSUCHTOKEN", "--config", eu.config)),
            (1, ("routes", "simulate", "token", "NOSUCHTOKEN", "--config", eu.config))):
        done = run(*line)
        assert done.returncode == code, (line, done.returncode, done.stdout, done.stderr)
    shutil.copy(eu.folder / "policy.json", tmp_path / "kept.json")
    (eu.folder / "policy.json").write_text("{")
    try:
        assert run("reload", "--config", eu.config).returncode == 1
    finally:
        (eu.folder / "policy.json").write_text((tmp_path / "kept.json").read_text())


def test_settings_come_from_standard_input_and_only_changes_are_shown(mesh):
    eu = mesh["eu"]
    settings = {**eu.settings(), "cache": {"bytes_max": 67108864, "ttl_max_s": 60}}
    given = subprocess.run([HOMEWARD, "config", "check", "-"], input='{"regoin": "eu", "engines": "two"}', text=True,
                           capture_output=True, check=False)
    assert given.returncode == 78
    assert re.search(r'<stdin>:1:2 /regoin: .*"region"', given.stderr) and "<stdin>:1:" in given.stderr and "/engines" in given.stderr
    changed = eu.folder / "changed.conf"
    changed.write_text(json.dumps(settings))
    shown = homeward("config", "show", "--config", changed, "--diff-default").stdout
    assert "cache.ttl_max_s" in shown and "cache.negative_ttl_s" not in shown


def test_an_import_moves_an_object_out_of_the_region(own_mesh, tmp_path):
    na, eu = own_mesh["na"], own_mesh["eu"]
    stays, moves = good_tokens(eu, 2)
    [[record]] = eu.sql("SELECT record FROM homeward.objects WHERE type = 'token' AND id = %s", moves)
    rows = tmp_path / "rows.csv"
    rows.write_text(f"card,home,lang\n{moves},na,fr\n,na,fr\n{stays}9,eu,de\nX1,not a region,de\n")
    rejects = tmp_path / "rejects.ndjson"
    line = ("import", rows, "--type", "token", "--id", "card", "--region", "home", "--reject", rejects, "--config", eu.config)

    strict = run(*line, "--strict")
    assert strict.returncode == 65 and "nothing was imported" in strict.stderr
    assert eu.sql("SELECT record FROM homeward.objects WHERE type = 'token' AND id = %s", moves) == [(record,)]
    assert "removed" not in run(*line, "--dry-run").stdout

    told = homeward(*line).stdout
    assert "imported 1 objects, 2 routes, rejected 2" in told and "removed 1 whose home is elsewhere now" in told
    assert [json.loads(each)["record"] for each in rejects.read_text().splitlines()] == [2, 4]
    assert eu.sql("SELECT 1 FROM homeward.objects WHERE type = 'token' AND id = %s", moves) == []
    assert eu.sql("SELECT 1 FROM homeward.objects WHERE type = 'token' AND id = %s", stays) == [(1,)]
    eventually(lambda: eu.request("GET", f"/v1/locate/token/{moves}").json()["home"] == "na", what="the new route")
    na.sql("INSERT INTO homeward.objects (type, id, record) VALUES ('token', %s, %s)", moves, json.dumps(record))
    answer = eu.authorize(moves, a_station(eu)).json()
    assert (answer["status"], answer["home"], answer["source"]) == ("ALLOWED", "na", "home")
    again = homeward(*line).stdout
    assert "removed" not in again


def test_a_replay_keeps_the_time_between_taps(mesh, tmp_path):
    eu = mesh["eu"]
    cards = add_tokens(mesh, "na", 3, prefix="3E")
    taps = tmp_path / "taps.csv"
    taps.write_text("card,at,where\n" + "".join(
        f"{card},2026-03-01T08:00:{10 * number:02}Z,{a_station(eu)}\n" for number, card in enumerate(cards)))
    line = ("replay", taps, "--url", f"http://127.0.0.1:{eu.api}", "--token-file", eu.folder / "tokens" / "cs-auth", "--id", "card",
            "--station", "where", "--time", "at", "-o", "json")
    taken = {}
    for speed in ("10", "max"):
        began = time.monotonic()
        report = json.loads(homeward(*line, "--speed", speed).stdout)
        taken[speed] = time.monotonic() - began
        assert "ALLOWED" in json.dumps(report)
    assert 2.0 <= taken["10"] < 4.0, "twenty seconds of taps, ten times faster"
    assert taken["max"] < 1.0
    for wrong in (("--speed", "-1"), ("--speed", "fast"), ("--concurrency", "0")):
        assert run(*line, *wrong).returncode == 64


def test_what_is_installed_is_whole(tmp_path):
    variant = pathlib.Path(HOMEWARD).parent.name
    subprocess.run(["make", "-s", "-C", ROOT, "-o", HOMEWARD, f"VARIANT={variant}", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr"],
                   check=True, capture_output=True, timeout=300)
    manual = tmp_path / "usr/share/doc/homeward"
    installed = str(tmp_path / "usr/bin/homeward")
    for line in (("version",), ("config", "check", manual / "homeward.example.conf"), ("policy", "check", manual / "policy.example.json")):
        assert subprocess.run([installed, *map(str, line)], check=False, capture_output=True).returncode == 0, line
    for name in ("OPERATIONS.md", "CONFIGURATION.md", "POLICY.md", "API.md", "openapi.yaml", "LICENSE"):
        assert (manual / name).stat().st_size > 100
    unit = (tmp_path / "usr/lib/systemd/system/homeward.service").read_text()
    assert "ExecStart=/usr/bin/homeward serve" in unit and "@" not in unit.replace("@system-service", "").replace("~@privileged @resources", "")
    if shutil.which("systemd-analyze"):
        judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15",
                                 str(tmp_path / "usr/lib/systemd/system/homeward.service")], capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.parametrize("name", ["CONFIGURATION.md"])
def test_the_reference_is_the_programs_own(name):
    assert homeward("config", "reference").stdout == (ROOT / "docs" / name).read_text()
