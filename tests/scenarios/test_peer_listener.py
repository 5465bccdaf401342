"""What the peer listener refuses: in the handshake, in the first handler call, and by the clock."""
import json
import re
import socket
import ssl
import time

import pytest

from certificates import Authority
from mesh import a_station, eventually, good_tokens, homeward

pytestmark = pytest.mark.sanitized


def connect(region, certificate=None):
    """A TLS connection on which one byte was read or refused; None when the handshake failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*certificate)
    plain = socket.create_connection(("127.0.0.1", region.peer), timeout=5)
    return context.wrap_socket(plain)


def ask(stream, request):
    """Sends the bytes and reads to the end of the connection, or for two seconds."""
    stream.sendall(request)
    stream.settimeout(2)
    answer = b""
    try:
        while True:
            piece = stream.recv(65536)
            if not piece:
                break
            answer += piece
    except (socket.timeout, ssl.SSLError, ConnectionError):
        pass
    return answer


HEALTH = b"GET /peer/v1/health HTTP/1.1\r\nHost: na\r\nConnection: close\r\n\r\n"


def answered(region, certificate):
    try:
        with connect(region, certificate) as stream:
            return ask(stream, HEALTH).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError, socket.timeout):
        return False


@pytest.fixture(scope="module")
def pki(mesh, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    inside = json.loads((mesh["na"].folder / "homeward.conf").read_text())
    domain = inside["trust_domain"]
    ours, other = Authority.of_mesh(f"{mesh.folder}/pki"), Authority.stranger()
    uri = f"spiffe://{domain}/region/eu"
    return {
        "good": ours.issue(folder, "good", [uri]),
        "no certificate": None,
        "another CA": other.issue(folder, "other", [uri]),
        "expired": ours.issue(folder, "expired", [uri], days=(-9, -1)),
        "not yet valid": ours.issue(folder, "early", [uri], days=(1, 9)),
        "two URI SANs": ours.issue(folder, "two", [uri, f"spiffe://{domain}/region/na"]),
        "no URI SAN": ours.issue(folder, "none", []),
        "another trust domain": ours.issue(folder, "domain", ["spiffe://other.example/region/eu"]),
        "a path that is no region": ours.issue(folder, "path", [f"spiffe://{domain}/service/eu"]),
        "a CA certificate as leaf": ours.issue(folder, "ca", [uri], ca=True),
    }


def test_a_good_certificate_is_served(mesh, pki):
    assert answered(mesh["na"], pki["good"])


@pytest.mark.parametrize("case", ["no certificate", "another CA", "expired", "not yet valid", "two URI SANs", "no URI SAN",
                                  "another trust domain", "a path that is no region", "a CA certificate as leaf"])
def test_refused_in_the_handshake(mesh, pki, case):
    before = mesh["na"].metric("homeward_http_request_duration_seconds_count", server="peer", route="/peer/v1/resolve")
    certificate = pki[case]
    body = b'{"lookups":[]}'
    request = b"POST /peer/v1/resolve HTTP/1.1\r\nHost: na\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    answer = b""
    try:
        with connect(mesh["na"], certificate) as stream:
            answer = ask(stream, request)
    except (ssl.SSLError, ConnectionError, socket.timeout):
        pass
    assert answer == b"", f"{case}: {answer!r}"
    after = mesh["na"].metric("homeward_http_request_duration_seconds_count", server="peer", route="/peer/v1/resolve")
    assert after == before, "the endpoint was called"


def test_tls_1_2_is_refused(mesh, pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*pki["good"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", mesh["na"].peer), timeout=5))


def test_a_revoked_region_is_cut_off_even_on_an_open_connection(own_mesh):
    na, eu = own_mesh["na"], own_mesh["eu"]
    pki_folder = f"{own_mesh.folder}/pki"
    homeward("pki", "issue", "--dir", pki_folder, "--region", "leaving")
    certificate = f"{pki_folder}/leaving.pem", f"{pki_folder}/leaving.key"
    with connect(na, certificate) as stream:
        keep = HEALTH.replace(b"Connection: close\r\n", b"")
        stream.sendall(keep)
        stream.settimeout(5)
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")

        homeward("pki", "revoke", "--dir", pki_folder, "--cert", certificate[0])

        eventually(lambda: not answered(na, certificate), what="refusal of the revoked certificate")
        assert b"200" not in ask(stream, keep), "an open connection outlived its certificate"
    assert eu.authorize(good_tokens(na)[0], a_station(eu)).json()["status"] == "ALLOWED", "others go on"


SMUGGLING = {
    "CL and TE": b"POST {p} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET {p} HTTP/1.1\r\nHost: a\r\n\r\n",
    "two Content-Length": b"POST {p} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcXY",
    "TE identity": b"POST {p} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabcGET {p} HTTP/1.1\r\nHost: a\r\n\r\n",
    "TE unknown": b"POST {p} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE chunked": b"POST {p} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk ended by LF": b"POST {p} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n",
    "chunk extension": b"POST {p} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    "space before colon": b"GET {p} HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded header": b"GET {p} HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "bare LF": b"GET {p} HTTP/1.1\nHost: a\n\n",
    "one bare LF": b"GET {p} HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
    "no Host": b"GET {p} HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET {p} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "NUL in a header": b"GET {p} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "signed Content-Length": b"POST {p} HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
    "HTTP/9.9": b"GET {p} HTTP/9.9\r\nHost: a\r\n\r\n",
    "absolute URI": b"GET http://evil/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "%00 in the path": b"GET {p}%00b HTTP/1.1\r\nHost: a\r\n\r\n",
    "dot dot": b"GET {p}/../b%2e%2e%2fc HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Content-Length": b"POST {p} HTTP/1.1\r\nHost: a\r\n\r\n",
}


def refused_and_closed(answer):
    """No answer at all, or nothing but refusals."""
    return all(status in (b"4", b"5") for status in re.findall(rb"HTTP/1\.[01] (\d)\d\d ", answer))


@pytest.mark.parametrize("case", SMUGGLING)
def test_smuggling_is_refused_on_the_peer_listener(mesh, pki, case):
    with connect(mesh["na"], pki["good"]) as stream:
        answer = ask(stream, SMUGGLING[case].replace(b"{p}", b"/peer/v1/health"))
    assert refused_and_closed(answer), answer


@pytest.mark.parametrize("case", SMUGGLING)
def test_smuggling_is_refused_on_the_client_api(mesh, case):
    with socket.create_connection(("127.0.0.1", mesh["na"].api), timeout=5) as stream:
        answer = ask(stream, SMUGGLING[case].replace(b"{p}", b"/openapi.json"))
    assert refused_and_closed(answer), answer


def test_a_body_of_one_byte_a_second_ends_at_the_deadline(own_mesh):
    na = own_mesh["na"]
    settings = na.settings()
    settings["api"]["request_deadline_ms"] = 1500
    na.write_settings(settings)
    homeward("dev", "stop", "--dir", own_mesh.folder, "--region", "na")
    na.start()
    with socket.create_connection(("127.0.0.1", na.api), timeout=10) as stream:
        stream.sendall(b"POST /v1/authorize HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n" % na.token().encode())
        started = time.monotonic()
        stream.settimeout(1)
        while True:
            try:
                stream.sendall(b"x")
                if stream.recv(4096) == b"":
                    break
            except socket.timeout:
                pass
            except ConnectionError:
                break
            assert time.monotonic() - started < 5, "still open long after the deadline"
        assert 1.0 < time.monotonic() - started < 4


def test_garbage_from_a_peer_is_refused_and_harms_nothing(mesh, pki):
    na = mesh["na"]
    for body in (b"", b"{", b"[]", b'{"lookups":3}', b'{"lookups":[{}]}', b'{"lookups":[' + b"{}," * 2000 + b"{}]}", b"\x00" * 100):
        request = b"POST /peer/v1/resolve HTTP/1.1\r\nHost: na\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        with connect(na, pki["good"]) as stream:
            answer = ask(stream, request)
        assert answer.startswith(b"HTTP/1.1 4"), (body[:40], answer)
    assert answered(na, pki["good"])


def test_the_body_cannot_claim_another_region(mesh, pki):
    """The certificate says eu; whatever the body says, the record says eu."""
    na, ap = mesh["na"], mesh["ap"]
    lookup = {"exchange": "0190a000-0000-7000-8000-0000000000aa", "type": "token", "id": good_tokens(na)[0], "requester": "ap",
              "purpose": "charge.authorize", "caller": "cs-auth", "timeout_ms": 2000, "station": a_station(ap), "station_type": "station"}
    body = json.dumps({"requester": "ap", "lookups": [lookup]}).encode()
    request = b"POST /peer/v1/resolve HTTP/1.1\r\nHost: na\r\nHomeward-Timeout-Ms: 2000\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    with connect(na, pki["good"]) as stream:
        answer = ask(stream, request)
    assert b"not_available" in answer, answer
    [entry] = [row for row in na.exchanges() if row["exchange"] == lookup["exchange"]]
    assert entry["peer"] == "eu" and entry["kind"] == "deny"
