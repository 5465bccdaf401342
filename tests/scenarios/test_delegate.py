"""The way to a home: another address, never another region, and only the region asked for."""
import json
import socket
import threading

import pytest
import requests

from mesh import a_station, add_tokens, assert_records_pair, eventually, free_port

pytestmark = pytest.mark.sanitized


class BlackHole:
    """Takes connections and never says a word; counts the bytes it was told."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.streams, self.count, self.bytes = [], 0, 0
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def run(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            self.streams.append(stream)

    def __exit__(self, *exception):
        self.listener.close()
        for stream in self.streams:
            stream.close()


def point(region, peer, urls):
    """Changes where this region looks for a peer, and reloads."""
    settings = region.settings()
    before = settings["peers"][peer]["urls"]
    settings["peers"][peer]["urls"] = urls
    region.write_settings(settings)
    told = region.reload()
    assert told.status_code == 200, told.text
    return before


def url(port):
    return f"https://127.0.0.1:{port}"


def tap(region, card, timeout_ms=2500):
    return requests.post(region.url("/v1/authorize"), json={"id": card, "station": a_station(region)}, timeout=15,
                         headers={"Authorization": f"Bearer {region.token()}", "Homeward-Timeout-Ms": str(timeout_ms)})


def test_another_region_at_the_address_is_refused_before_anything_is_said(own_mesh):
    """eu is told that na lives where ap does: the certificate says ap, so nothing is sent."""
    na, eu, ap = own_mesh["na"], own_mesh["eu"], own_mesh["ap"]
    cards = add_tokens(own_mesh, "na", 3)
    ap.sql("INSERT INTO homeward.objects (type, id, record) SELECT 'token', unnest(%s::text[]), '{\"valid\": true}'", cards)
    point(eu, "na", [url(ap.peer)])

    answer = tap(eu, cards[0])

    assert answer.status_code == 503 and answer.json()["code"] == "home-unreachable", answer.text
    assert 'next-hop="na"' in answer.headers["Proxy-Status"]
    assert "error=tls_certificate_error" in answer.headers["Proxy-Status"]
    assert [row for row in ap.exchanges() if row["peer"] == "eu"] == []
    assert ap.metric("homeward_http_request_duration_seconds_count", server="peer", route="/peer/v1/resolve") == 0
    assert na.exchanges() == []
    [entry] = [row for row in eu.exchanges() if row["kind"] == "got"]
    assert entry["decision"] not in ("ok", "not_available") and entry["peer"] == "na"


def test_certificate_failures_back_off_and_end_with_the_right_certificate(own_mesh):
    na, eu, ap = own_mesh["na"], own_mesh["eu"], own_mesh["ap"]
    cards = add_tokens(own_mesh, "na", 20)
    right = point(eu, "na", [url(ap.peer)])
    for card in cards[:10]:
        assert tap(eu, card, 1000).status_code == 503
    [address] = [peer for peer in eu.session.get(eu.url("/admin/v1/status", admin=True)).json()["peers"] if peer["region"] == "na"]
    assert address["state"] == "down" and address["reason"] == "tls_certificate_error", address
    assert eu.metric("homeward_peer_errors_total", peer="na", reason="tls_certificate_error") < 10, "every lookup made a handshake"
    point(eu, "na", right)
    eventually(lambda: tap(eu, cards[10]).json().get("status") == "ALLOWED", within_s=3, what="the right address")
    assert_records_pair(eu, na)


@pytest.mark.parametrize("kind", ["refuses", "is a black hole"])
def test_the_homes_other_address_is_tried(own_mesh, kind):
    na, eu, ap = own_mesh["na"], own_mesh["eu"], own_mesh["ap"]
    cards = add_tokens(own_mesh, "na", 30)
    with BlackHole() as hole:
        dead = hole.port if kind == "is a black hole" else free_port()
        point(eu, "na", [url(dead), url(na.peer)])
        answers = [tap(eu, card) for card in cards]
    assert [answer.status_code for answer in answers] == [200] * len(cards), [answer.text for answer in answers if answer.status_code != 200]
    assert {answer.json()["status"] for answer in answers} == {"ALLOWED"}
    if kind == "is a black hole":
        assert 0 < hole.count < 10, "each lookup went to the dead address first"
    assert ap.exchanges() == [], "a lookup for na went to ap"
    assert assert_records_pair(eu, na) == len(cards)


def test_a_refusal_is_final_and_is_not_asked_twice(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    [card] = add_tokens(own_mesh, "na", 1)
    na.sql("UPDATE homeward.objects SET record = record || '{\"restricted\": \"yes\"}' WHERE id = %s", card)
    point(eu, "na", [url(na.peer), f"https://localhost:{na.peer}"])
    answer = tap(eu, card)
    assert answer.json()["status"] == "NOT_ALLOWED"
    assert [row["kind"] for row in na.exchanges()] == ["deny"]


def test_a_dead_home_is_not_hammered(own_mesh):
    """Retries stay within their share, and an address that is down is only probed."""
    eu = own_mesh["eu"]
    cards = add_tokens(own_mesh, "na", 30)
    with BlackHole() as one, BlackHole() as other:
        point(eu, "na", [url(one.port), url(other.port)])
        answers = [tap(eu, card, 200) for card in cards]
        assert {answer.status_code for answer in answers} <= {503, 504}
        attempts = eu.metric("homeward_delegate_retries_total")
        assert attempts <= len(cards) * 0.1 + 10, "more retries than the budget"
    assert json.loads(answers[-1].text)["code"] in ("home-unreachable", "deadline")
