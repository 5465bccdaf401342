"""`homeward dev`: up quickly, two at once, gone without a trace."""
import functools
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg2
import pytest
import requests

from mesh import HOMEWARD, SCRATCH, Mesh, a_station, eventually, good_tokens, homeward


def processes(folder):
    found = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_two_meshes_do_not_meet_and_leave_nothing():
    began = time.monotonic()
    with Mesh("na", "eu") as first:
        assert time.monotonic() - began < 20
        with Mesh("na", "eu") as second:
            assert {region.api for region in first.regions.values()}.isdisjoint(region.api for region in second.regions.values())
            card = good_tokens(first["na"])[0]
            assert first["eu"].authorize(card, a_station(first["eu"])).json()["status"] == "ALLOWED"
            second_folder = second.folder
            assert list(pathlib.Path(second_folder, "na", "pg", "pg_dynshmem").iterdir()), "not in the machine's, where a kill -9 leaves it"
            second["na"].kill_postgres(signal.SIGKILL)
        assert not processes(second_folder) and not pathlib.Path(second_folder).exists()
        assert first["eu"].is_ready() and first["na"].is_ready()
        first_folder = first.folder
    assert not processes(first_folder) and not pathlib.Path(first_folder).exists()


@pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")
def test_brokers_carry_events_and_leave_nothing():
    folder = tempfile.mkdtemp(prefix="hwt-", dir=SCRATCH)
    dev = functools.partial(homeward, timeout=180)
    try:
        dev("dev", "up", "--events", "--regions", "na,eu", "--dir", folder)
        assert dev("mesh", "status", "--links-only", "--mesh", f"{folder}/brokers.json").returncode == 0
        dev("dev", "stop", "--broker-only", "--region", "eu", "--dir", folder)
        assert homeward("dev", "status", "--dir", folder, check=False).returncode == 1
        region = json.loads(pathlib.Path(folder, "mesh.json").read_text())["regions"]["na"]
        data = {"session_id": "s-1", "token_uid": "04A2B3C4D5E6F7", "station_id": "eu-1", "started_at": "2026-11-21T04:12:09Z",
                "ended_at": "2026-11-21T05:40:31Z", "end_reason": "driver", "energy_wh": 31870}
        token = pathlib.Path(folder, "na", "tokens", "operator").read_text().strip()
        sent = requests.post(f"http://127.0.0.1:{region['api']}/v1/events", timeout=10, headers={
            "Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}, data=json.dumps({
                "specversion": "1.0", "id": "e-1", "source": "/test", "type": "session.completed", "destination": "eu", "data": data}))
        assert sent.status_code == 202, sent.text
        dev("dev", "start", "--region", "eu", "--dir", folder)
        dsn = json.loads(pathlib.Path(folder, "mesh.json").read_text())["regions"]["eu"]["dsn"]

        def arrived():
            with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT origin FROM homeward.inbox WHERE id = 'e-1' AND delivered_at IS NOT NULL")
                return cursor.fetchall() == [("na",)]

        eventually(arrived, within_s=60, every_s=0.2, what="the event in eu")
    finally:
        homeward("dev", "down", "--dir", folder, check=False)
    assert not processes(folder) and not pathlib.Path(folder).exists()


def test_commands_explain_themselves():
    for arguments in ([], ["--help"], ["dev", "--help"], ["routes", "--help"], ["import", "--help"], ["replay", "--help"], ["pki", "--help"]):
        done = subprocess.run([HOMEWARD, *arguments], capture_output=True, text=True, timeout=10, check=False)
        assert "usage" in (done.stdout + done.stderr).lower() or "homeward" in done.stdout, arguments
    wrong = subprocess.run([HOMEWARD, "ruotes"], capture_output=True, text=True, timeout=10, check=False)
    assert wrong.returncode == 64 and "routes" in wrong.stderr
