"""What an operator does: check, reload, drain, rotate, migrate, route."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from mesh import HOMEWARD, a_station, add_tokens, eventually, good_tokens, homeward


@pytest.mark.sanitized
def test_all_settings_errors_are_told_at_once(mesh, tmp_path):
    bad = tmp_path / "bad.conf"
    bad.write_text('{ // a comment\n  "regoin": "eu",\n  "api": { "threads": "two" },\n  "cache": { "bytes_max": -1, },\n}\n')
    done = homeward("config", "check", bad, check=False)
    assert done.returncode == 78
    text = done.stdout + done.stderr
    assert re.search(r"bad\.conf:2:\d+.*regoin.*region", text), text
    assert re.search(r"bad\.conf:3:\d+.*/api/threads", text), text
    assert re.search(r"bad\.conf:4:\d+.*/cache/bytes_max", text), text
    served = subprocess.run([HOMEWARD, "serve", "--config", str(bad)], capture_output=True, text=True, timeout=20, check=False)
    assert served.returncode == 78 and "regoin" in served.stderr


@pytest.mark.sanitized
def test_a_start_that_fails_halfway_says_why(mesh, tmp_path):
    settings = mesh["eu"].settings()
    folder = mesh["eu"].folder
    settings["state_dir"] = str(tmp_path / "state")
    for name in ("certificate", "key", "ca", "crl"):
        settings["tls"][name] = str((folder / settings["tls"][name]).resolve())
    for name, broken in (("tls", {**settings["tls"], "ca": str(tmp_path / "absent.pem")}), ("policy", {"file": str(tmp_path / "absent.json")})):
        config = tmp_path / f"{name}.conf"
        config.write_text(json.dumps({**settings, name: broken}))
        done = subprocess.run([HOMEWARD, "serve", "--config", str(config)], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 78, (name, done)
        assert "absent" in done.stderr


@pytest.mark.sanitized
def test_config_show_tells_values_and_sources(mesh):
    rows = json.loads(homeward("config", "show", "--config", mesh["eu"].config, "-o", "json").stdout)
    text = json.dumps(rows)
    assert '"region"' in text and '"eu"' in text
    assert homeward("config", "check", mesh["eu"].config).returncode == 0


@pytest.mark.sanitized
def test_health_endpoints(mesh):
    eu = mesh["eu"]
    for path in ("/livez", "/readyz", "/startupz"):
        assert eu.session.get(eu.url(path, admin=True)).status_code == 200
    verbose = eu.session.get(eu.url("/readyz?verbose", admin=True)).text
    assert "[+]database ok" in verbose and "[+]routes ok" in verbose and "[+]policy ok" in verbose
    text = eu.session.get(eu.url("/metrics", admin=True))
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "homeward_build_info" in text.text


@pytest.mark.sanitized
def test_a_reload_applies_everything_or_nothing(own_mesh):
    eu = own_mesh["eu"]
    good = eu.config.read_text()
    policy_file = eu.folder / "policy.json"
    policy = policy_file.read_text()
    before = eu.session.get(eu.url("/admin/v1/status", admin=True)).json()

    settings = json.loads(good)
    settings["peers"].pop("ap")
    eu.write_settings(settings)
    policy_file.write_text(policy.replace('"effect"', '"efect"', 1))
    refused = eu.reload()
    assert refused.status_code == 400 and "policy.json: /rules/0/" in refused.text
    after = eu.session.get(eu.url("/admin/v1/status", admin=True)).json()
    assert [peer["region"] for peer in after["peers"]] == [peer["region"] for peer in before["peers"]]
    assert after["policy"] == before["policy"]

    policy_file.write_text(policy)
    applied = eu.reload()
    assert applied.status_code == 200 and any("peers" in key for key in applied.json()["applied"])
    assert [peer["region"] for peer in eu.session.get(eu.url("/admin/v1/status", admin=True)).json()["peers"]] == ["na"]

    settings["engines"] = 7
    settings["peers"] = json.loads(good)["peers"]
    eu.write_settings(settings)
    os.kill(eu.pid, signal.SIGHUP)
    eventually(lambda: len(eu.session.get(eu.url("/admin/v1/status", admin=True)).json()["peers"]) == 2, what="the reload by signal")
    assert "engines" in eu.reload().json()["restart_needed"]


@pytest.mark.sanitized
def test_terminate_drains_what_is_in_flight(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    [card] = add_tokens(own_mesh, "na", 1)
    na.kill(signal.SIGSTOP)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(requests.post(
        eu.url("/v1/authorize"), json={"id": card, "station": a_station(eu)}, timeout=20,
        headers={"Authorization": f"Bearer {eu.token()}", "Homeward-Timeout-Ms": "4000"})))
    waiting.start()
    eventually(lambda: eu.metric("homeward_lookups_in_flight") == 1, what="the lookup under way")
    eu.kill(signal.SIGTERM)
    eventually(lambda: "draining" in eu.log(), what="the drain")
    assert eu.session.get(eu.url("/readyz", admin=True)).status_code == 503
    na.kill(signal.SIGCONT)
    waiting.join(20)
    assert answers and answers[0].status_code == 200 and answers[0].json()["status"] == "ALLOWED"
    eu.await_end()
    assert "event=stopped" in eu.log() or '"stopped"' in eu.log() or " stopped" in eu.log()


def test_a_second_terminate_ends_at_once(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    [card] = add_tokens(own_mesh, "na", 1)
    na.kill(signal.SIGSTOP)
    waiting = threading.Thread(target=lambda: pytest.raises(requests.RequestException, requests.post, eu.url("/v1/authorize"),
                               json={"id": card, "station": a_station(eu)}, timeout=20,
                               headers={"Authorization": f"Bearer {eu.token()}", "Homeward-Timeout-Ms": "9000"}))
    waiting.start()
    eventually(lambda: eu.metric("homeward_lookups_in_flight") == 1, what="the lookup under way")
    eu.kill(signal.SIGTERM)
    eventually(lambda: "draining" in eu.log(), what="the drain")
    began = time.monotonic()
    eu.kill(signal.SIGTERM)
    eu.await_end()
    assert time.monotonic() - began < 4, "long before the lookup's deadline"
    na.kill(signal.SIGCONT)
    waiting.join(20)


def test_certificates_are_rotated_without_a_failed_request(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards, station = add_tokens(own_mesh, "na", 60), a_station(eu)
    settings = na.settings()
    certificate, key = (na.folder / settings["tls"]["certificate"]).resolve(), (na.folder / settings["tls"]["key"]).resolve()
    fresh = own_mesh.folder + "/fresh"
    os.mkdir(fresh)
    for name in ("ca.pem", "ca.key", "crl.pem", "index.json"):
        source = pathlib.Path(own_mesh.folder) / "pki" / name
        if source.exists():
            (pathlib.Path(fresh) / name).write_bytes(source.read_bytes())
    os.chmod(fresh + "/ca.key", 0o600)
    homeward("pki", "issue", "--dir", fresh, "--region", "na")
    before = na.metric("homeward_tls_certificate_expiry_timestamp_seconds", role="leaf")

    failed = []
    for number, card in enumerate(cards):
        if number == 20:
            key.write_bytes(pathlib.Path(fresh + "/na.key").read_bytes())
            certificate.write_bytes(pathlib.Path(fresh + "/na.pem").read_bytes())
        if number == 40:
            eventually(lambda: "certificates_reloaded" in na.log(), what="the new certificate")
        answer = eu.authorize(card, station)
        if answer.status_code != 200 or answer.json()["status"] != "ALLOWED":
            failed.append(answer.text)
    assert not failed
    assert na.metric("homeward_tls_certificate_expiry_timestamp_seconds", role="leaf") >= before
    # Each side tells what the other showed, the one that answered the handshake as well as the one that asked.
    # A connection that was open already goes on with the certificate it was made with.
    own = na.metric("homeward_tls_certificate_expiry_timestamp_seconds", role="leaf")
    assert eu.metric("homeward_peer_certificate_not_after_seconds", peer="na") in (before, own)
    assert na.metric("homeward_peer_certificate_not_after_seconds", peer="eu") \
        == eu.metric("homeward_tls_certificate_expiry_timestamp_seconds", role="leaf")


def test_a_newer_database_is_refused(own_mesh):
    eu = own_mesh["eu"]
    eu.sql("INSERT INTO homeward.schema_migrations VALUES (9999, 'from the future', now())")
    done = homeward("db", "migrate", "--config", eu.config, check=False)
    assert done.returncode != 0 and "9999" in done.stdout + done.stderr
    assert eu.sql("SELECT max(version) FROM homeward.schema_migrations")[0][0] == 9999


@pytest.mark.sanitized
def test_routes_are_followed_live(mesh):
    eu = mesh["eu"]
    homeward("routes", "add", "token", "exact", "04AABBCCDDEE99", "na", "--config", eu.config)
    eventually(lambda: eu.request("GET", "/v1/locate/token/04AABBCCDDEE99").json()["home"] == "na", what="the new route")
    assert " na " in homeward("routes", "simulate", "token", "04AABBCCDDEE99", "--config", eu.config).stdout
    driver = eu.sql("SELECT id FROM homeward.objects WHERE type = 'driver' ORDER BY id LIMIT 1")[0][0]
    assert driver in homeward("routes", "simulate", "driver", driver.lower(), "--config", eu.config).stdout
    homeward("routes", "add", "station", "prefix", "XX", "ap", "--config", eu.config)
    eventually(lambda: eu.request("GET", "/v1/locate/station/XXABC").json()["found_by"] == "prefix", what="the new prefix")
    homeward("routes", "rm", "token", "exact", "04AABBCCDDEE99", "--config", eu.config)
    eventually(lambda: eu.request("GET", "/v1/locate/token/04AABBCCDDEE99").json()["home"] is None, what="the route gone")
    listed = json.loads(homeward("routes", "ls", "--config", eu.config, "-o", "json").stdout)
    assert "XX" in json.dumps(listed)


@pytest.mark.sanitized
def test_callers_are_followed_live(mesh):
    eu = mesh["eu"]
    token = re.search(r"hw_[A-Za-z0-9_-]+", homeward("callers", "add", "billing", "--purposes", "session.view", "--config", eu.config).stdout).group(0)
    assert token not in str(eu.sql("SELECT * FROM homeward.callers"))
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/objects/token/{good_tokens(eu)[0]}?purpose=charge.authorize"
    eventually(lambda: eu.request("GET", path, headers=headers).status_code == 403, what="the new caller")
    homeward("callers", "rm", "billing", "--config", eu.config)
    eventually(lambda: eu.request("GET", path, headers=headers).status_code == 401, what="the caller gone")


@pytest.mark.sanitized
def test_policy_commands_explain(mesh):
    eu = mesh["eu"]
    assert homeward("policy", "check", eu.folder / "policy.json").returncode == 0
    broken = eu.folder / "broken.json"
    broken.write_text((eu.folder / "policy.json").read_text().replace('"default"', '"defualt"', 1))
    refused = homeward("policy", "check", broken, check=False)
    assert refused.returncode != 0 and "defualt" in refused.stdout + refused.stderr


@pytest.mark.sanitized
def test_the_unix_socket_serves_the_same_api(mesh):
    eu = mesh["eu"]
    path = eu.settings()["api"].get("unix_path")
    if not path:
        pytest.fail("the development mesh has no unix socket for the api")
    path = str((eu.folder / path).resolve())
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(5)
        stream.connect(path)
        stream.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: homeward\r\nConnection: close\r\n\r\n")
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")


def test_object_ids_never_reach_the_log(mesh):
    na, eu = mesh["na"], mesh["eu"]
    [card] = good_tokens(na)
    eu.authorize(card, a_station(eu))
    eu.get("token", card, purpose="analytics", caller="insights")
    for region in mesh.regions.values():
        assert card not in region.log() and eu.token() not in region.log()


def test_without_a_mesh_there_is_nothing_to_show(mesh):
    region = mesh["na"]
    answer = region.session.get(region.url("/admin/v1/mesh", admin=True), timeout=10)
    assert answer.status_code == 404 and "events.mesh" in answer.text
