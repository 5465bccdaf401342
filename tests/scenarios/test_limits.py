"""One peer cannot take what the others need: its connections and its lookups in flight are bounded."""
import json
import signal
import socket
import ssl
import threading
import uuid

import pytest

from certificates import Authority
from mesh import add_tokens, eventually, homeward

pytestmark = pytest.mark.sanitized

CONNECTIONS_MAX, LOOKUPS_MAX = 4, 5
HEALTH = b"GET /peer/v1/health HTTP/1.1\r\nHost: na\r\n\r\n"


@pytest.fixture
def na(own_mesh):
    na = own_mesh["na"]
    settings = na.settings()
    settings["peer"]["connections_per_peer_max"] = CONNECTIONS_MAX
    settings["lookup"] = {"in_flight_max": LOOKUPS_MAX}
    settings["database"]["timeout_ms"] = 60000
    na.write_settings(settings)
    homeward("dev", "stop", "--dir", own_mesh.folder, "--region", "na")
    na.start()
    eventually(na.is_ready, what="na with its limits")
    return na


@pytest.fixture
def certificates(own_mesh, tmp_path):
    authority, domain = Authority.of_mesh(f"{own_mesh.folder}/pki"), own_mesh["na"].settings()["trust_domain"]
    return {region: authority.issue(tmp_path, region, [f"spiffe://{domain}/region/{region}"]) for region in ("eu", "ap")}


def connect(region, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*certificate)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", region.peer), timeout=20))


def lives(stream):
    try:
        stream.sendall(HEALTH)
        answer = b""
        while not answer.endswith(b"}\n"):
            piece = stream.recv(4096)
            if not piece:
                return False
            answer += piece
        return answer.startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_connections_of_one_region_are_bounded(own_mesh, na, certificates):
    own_mesh["eu"].kill(signal.SIGKILL)  # its own connections would count
    own_mesh["ap"].kill(signal.SIGKILL)
    held = []
    for _ in range(CONNECTIONS_MAX):
        stream = connect(na, certificates["eu"])
        assert lives(stream)
        held.append(stream)
    refused = connect(na, certificates["eu"])
    assert not lives(refused), "one more than allowed was served"
    other = connect(na, certificates["ap"])
    assert lives(other), "one region's connections shut another out"
    assert all(lives(stream) for stream in held)
    held.pop().close()

    def again():
        with connect(na, certificates["eu"]) as stream:
            return lives(stream)

    eventually(again, what="the place that came free")
    assert "number of connections" in na.log()


def ask(region, certificate, cards, timeout_ms):
    lookups = [{"exchange": str(uuid.uuid4()), "type": "token", "id": card, "purpose": "charge.authorize", "caller": "cs-auth",
                "timeout_ms": timeout_ms} for card in cards]
    body = json.dumps({"lookups": lookups}).encode()
    head = f"POST /peer/v1/resolve HTTP/1.1\r\nHost: na\r\nHomeward-Timeout-Ms: {timeout_ms}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with connect(region, certificate) as stream:
        stream.sendall(head.encode() + body)
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["answers"]


def test_lookups_of_one_region_are_bounded(own_mesh, na, certificates):
    cards = add_tokens(own_mesh, "na", 12)
    answers = {}

    def run(region, ids):
        answers[region] = ask(na, certificates[region], ids, 3000)

    na.kill_postgres(signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=run, args=("eu", cards[:8])), threading.Thread(target=run, args=("ap", cards[8:]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
    finally:
        na.kill_postgres(signal.SIGCONT)
    told = {region: [each.get("code", each["status"]) for each in each_answer] for region, each_answer in answers.items()}
    assert told["eu"].count("overloaded") == 8 - LOOKUPS_MAX, told
    assert "overloaded" not in told["ap"], "one region's lookups shut another out"
    assert na.metric("homeward_served_lookups_total", peer="eu", result="overloaded") == 8 - LOOKUPS_MAX
    eventually(lambda: [each["status"] for each in ask(na, certificates["eu"], cards[:LOOKUPS_MAX], 2000)] == ["not_available"] * LOOKUPS_MAX,
               what="the places that came free")
