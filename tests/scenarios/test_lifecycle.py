"""Start and stop: what refuses to start and with which words, what a drain promises, and how long it may take."""
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from mesh import HOMEWARD, a_station, add_tokens, eventually


class Daemon:
    """`homeward serve` started here, so that its exit code is seen."""

    def __init__(self, region, folder, change=lambda settings, folder: None):
        self.folder = folder
        settings = region.settings()
        for name, path in settings["tls"].items():
            settings["tls"][name] = str((region.folder / path).resolve())
        shutil.copy(region.folder / "policy.json", folder / "policy.json")
        settings["state_dir"] = str(folder / "state")
        for listener in ("api", "peer", "admin"):
            settings[listener] = {"listen": "127.0.0.1:0"}
        change(settings, folder)
        (folder / "homeward.conf").write_text(json.dumps(settings))
        self.log = open(folder / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen([HOMEWARD, "serve", "--config", folder / "homeward.conf", "--ports-file", folder / "ports.json"],
                                        stdout=self.log, stderr=self.log)

    def wait(self, timeout=20):
        code = self.process.wait(timeout)
        return code, (self.folder / "log").read_text()

    def ports(self):
        path = self.folder / "ports.json"
        return eventually(lambda: path.exists() and json.loads(path.read_text() or "{}"), what="the ports")

    def text(self):
        return (self.folder / "log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def edit_policy(change):
    def edit(settings, folder):
        policy = json.loads((folder / "policy.json").read_text())
        change(policy)
        (folder / "policy.json").write_text(json.dumps(policy))
    return edit


def set_in(section, name, value):
    return lambda settings, folder: settings[section].update({name: value})


REFUSALS = {
    "no policy file": (set_in("policy", "file", "nowhere.json"), 78, r"nowhere\.json"),
    "a policy that is not JSON": (lambda settings, folder: (folder / "policy.json").write_text("{oops"), 78, r"policy\.json"),
    "a policy whose own test fails": (edit_policy(lambda policy: policy["tests"][0]["expect"].update(ttl=1)), 78, "taps abroad"),
    "another region's policy": (lambda settings, folder: settings["policy"].update(file=str(pathlib.Path(settings["tls"]["ca"]).parents[1] / "ap/policy.json")), 78, "speaks for region ap"),
    "no certificate file": (set_in("tls", "certificate", "/nowhere.pem"), 78, r"/nowhere\.pem"),
    "another region's certificate": (lambda settings, folder: settings["tls"].update(
        certificate=settings["tls"]["certificate"].replace("eu.pem", "na.pem"), key=settings["tls"]["key"].replace("eu.key", "na.key")),
        78, "names region na, but this is eu"),
    "a key that is another's": (lambda settings, folder: settings["tls"].update(key=settings["tls"]["key"].replace("eu.key", "na.key")),
                                78, "not the key of"),
    "an unknown setting": (lambda settings, folder: settings.update(regoin="eu"), 78, r'did you mean "region"'),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_wrong_at_start_is_said_and_nothing_listens(mesh, tmp_path, case):
    change, code, words = REFUSALS[case]
    with Daemon(mesh["eu"], tmp_path, change) as daemon:
        ended, text = daemon.wait()
    assert ended == code, text
    assert re.search(words, text), text
    assert not (tmp_path / "ports.json").exists()


def test_a_port_in_use_is_said(mesh, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Daemon(mesh["eu"], tmp_path, set_in("api", "listen", f"127.0.0.1:{port}")) as daemon:
            ended, text = daemon.wait()
    assert ended not in (0, 64) and str(port) in text, text


def test_a_newer_schema_is_refused_at_start(own_mesh, tmp_path):
    eu = own_mesh["eu"]
    eu.sql("INSERT INTO homeward.schema_migrations VALUES (9999, 'from the future', now())")
    with Daemon(eu, tmp_path) as daemon:
        ended, text = daemon.wait()
    assert ended == 78 and "9999" in text, text


def test_an_idle_daemon_stops_with_nothing_left(mesh, tmp_path):
    with Daemon(mesh["eu"], tmp_path) as daemon:
        daemon.ports()
        daemon.process.send_signal(signal.SIGTERM)
        ended, text = daemon.wait()
    assert ended == 0 and "stopped" in text, text


def start_waiting(mesh, daemon, timeout_ms, answers):
    """A lookup for a home that does not answer, under way in the daemon."""
    eu, ports = mesh["eu"], daemon.ports()
    first, card = add_tokens(mesh, "na", 2)
    station = a_station(eu)
    base = f"http://127.0.0.1:{ports['api']}"
    headers = {"Authorization": f"Bearer {eu.token()}", "Homeward-Timeout-Ms": str(timeout_ms)}
    ready = f"http://127.0.0.1:{ports['admin']}/readyz"
    eventually(lambda: requests.get(ready, timeout=5).status_code == 200, what="readiness")
    eventually(lambda: requests.get(f"{base}/v1/locate/token/{card}", headers=headers, timeout=5).json()["home"] == "na", what="the route")
    warm = requests.post(base + "/v1/authorize", json={"id": first, "station": station}, headers=headers, timeout=20)
    assert warm.json()["status"] == "ALLOWED", "no connection to leave hanging"
    mesh["na"].kill(signal.SIGSTOP)

    def run():
        try:
            answers.append(requests.post(base + "/v1/authorize", json={"id": card, "station": station}, headers=headers, timeout=20))
        except requests.RequestException as error:
            answers.append(error)

    waiting = threading.Thread(target=run)
    waiting.start()
    metrics = f"http://127.0.0.1:{ports['admin']}/metrics"
    eventually(lambda: "homeward_lookups_in_flight 1" in requests.get(metrics, timeout=5).text, what="the lookup under way")
    return waiting, ready, base


def test_a_drain_says_so_and_lets_answers_end(own_mesh, tmp_path):
    answers = []
    with Daemon(own_mesh["eu"], tmp_path) as daemon:
        ports = daemon.ports()
        kept = requests.Session()
        kept.trust_env = False
        assert "close" not in kept.get(f"http://127.0.0.1:{ports['api']}/openapi.json").headers.get("Connection", "")
        waiting, ready, base = start_waiting(own_mesh, daemon, 8000, answers)
        daemon.process.send_signal(signal.SIGTERM)
        eventually(lambda: "draining" in daemon.text(), what="the drain")
        said = requests.get(ready + "?verbose", timeout=5)
        assert said.status_code == 503 and "[-]draining" in said.text
        try:
            last = kept.get(base + "/openapi.json", timeout=5)
            assert last.headers["Connection"].lower() == "close", "a kept connection was not told to go"
        except requests.ConnectionError:
            pass  # or it was closed
        own_mesh["na"].kill(signal.SIGCONT)
        waiting.join(15)
        ended, text = daemon.wait()
    assert ended == 0, text
    assert answers[0].status_code == 200 and answers[0].json()["status"] == "ALLOWED"
    assert answers[0].headers["Connection"].lower() == "close"


def test_a_drain_ends_at_its_cap(own_mesh, tmp_path):
    answers = []
    with Daemon(own_mesh["eu"], tmp_path, lambda settings, folder: settings.update(drain_timeout_ms=1000)) as daemon:
        waiting, _, _ = start_waiting(own_mesh, daemon, 9000, answers)
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        ended, text = daemon.wait(10)
        took = time.monotonic() - began
        waiting.join(15)
    assert 0.9 < took < 3, took
    assert ended == 1 and "drain_cut_short" in text, text
    assert isinstance(answers[0], requests.RequestException), (answers[0].text, text)


def test_the_log_stays_small_while_the_database_is_away(own_mesh, tmp_path):
    """A fault that meets every lookup is said about once a second, with how often it was not said."""
    eu = own_mesh["eu"]
    cards, station = add_tokens(own_mesh, "na", 300), a_station(eu)
    eu.kill_postgres(signal.SIGKILL)
    before, began = len(eu.log().splitlines()), time.monotonic()
    for card in cards:
        eu.authorize(card, station, headers={"Homeward-Timeout-Ms": "100"})
        if time.monotonic() - began > 6:
            break
    lines = eu.log().splitlines()[before:]
    assert len(lines) < 12 * (time.monotonic() - began) + 20, "\n".join(lines[:50])

