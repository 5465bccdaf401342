"""Regions cosign each other's access logs: a log that was cut is refused by its own region and by the others."""
import http.client
import pathlib
import shutil
import ssl

import pytest

from mesh import Mesh, eventually, good_tokens, homeward


class Pair:
    """Two regions whose logs are cosigned several times a second."""

    def __init__(self, started):
        self.mesh, self.eu, self.na = started, started["eu"], started["na"]
        for region in (self.eu, self.na):
            settings = region.settings()
            settings["access_log"] = {"cosign_interval_ms": 200, "checkpoint_interval_ms": 50}
            region.write_settings(settings)
            self.stop(region)
        # Both have ended by now: what one counts of the other's log, it still knows at the end.
        for region in (self.eu, self.na):
            region.start()

    def stop(self, region):
        homeward("dev", "stop", "--dir", self.mesh.folder, "--region", region.name)

    def key(self, region):
        return homeward("audit", "key", "--config", region.config).stdout.strip()

    def verify(self, region, other):
        return homeward("audit", "verify", "--dir", directory(region), "--key", self.key(region), "--peer-cosigner",
                        self.key(other), "--cosigned-within", "60", check=False)


@pytest.fixture
def pair():
    with Mesh("na", "eu") as started:
        yield Pair(started)


def directory(region):
    return region.folder / "state" / "access-log"


def cosigned_size(region):
    path = directory(region) / "checkpoint.cosigned"
    return int(path.read_text().splitlines()[1]) if path.exists() else 0


def size(region):
    return int((directory(region) / "checkpoint").read_text().splitlines()[1])


def await_cosigned(region, at_least):
    eventually(lambda: cosigned_size(region) >= at_least, within_s=20, what=f"{region.name}'s log of {at_least} entries cosigned")


def grow(pair, count):
    """Crossings that the requester's own gate denies are on record too."""
    goal = size(pair.eu) + count
    token = good_tokens(pair.na, 1)[0]
    while size(pair.eu) < goal:
        for _ in range(count):
            pair.eu.get("token", token)  # without a station there is no evidence


@pytest.mark.sanitized
def test_logs_are_cosigned_and_a_cut_one_is_refused_by_both_sides(pair, tmp_path):
    eu, na = pair.eu, pair.na
    await_cosigned(eu, 1)
    await_cosigned(na, 1)
    for region, other in ((eu, na), (na, eu)):
        done = pair.verify(region, other)
        assert done.returncode == 0 and f"cosigned by {other.name}." in done.stdout, done
        for counter in ("homeward_access_log_cosignatures_total", "homeward_witness_requests_total"):
            eventually(lambda: region.metric(counter, peer=other.name, result="cosigned") > 0, what=f"{counter} in {region.name}")

    # A copy of the log from before, as a backup has it.
    pair.stop(eu)
    backup = tmp_path / "backup"
    shutil.copytree(directory(eu), backup)
    eu.start()
    grow(pair, 40)
    await_cosigned(eu, size(eu))
    assert pair.verify(eu, na).returncode == 0
    pair.stop(eu)
    newest = directory(eu) / "checkpoint.cosigned"
    kept = newest.read_bytes()

    # Put back under the cosignature there is: the region itself refuses to sign any more.
    shutil.rmtree(directory(eu))
    shutil.copytree(backup, directory(eu))
    newest.write_bytes(kept)
    refused = homeward("dev", "start", "--dir", pair.mesh.folder, "--region", "eu", check=False)
    assert refused.returncode != 0
    eventually(lambda: "its end was cut off" in eu.log(), what="the reason in the log")
    cut = pair.verify(eu, na)
    assert cut.returncode == 1 and "its end was cut off" in cut.stderr, cut

    # Put back with its old cosignature: then the other region finds it, at once.
    shutil.rmtree(directory(eu))
    shutil.copytree(backup, directory(eu))
    eu.start()
    eventually(lambda: na.metric("homeward_witness_requests_total", peer="eu", result="rollback") > 0, what="na's alarm")
    assert "peer_log_contradicts_itself" in na.log()
    assert ("peer_rollback", "eu") in [(data["kind"], data["peer"]) for _, data in na.system_events("homeward.log.alarm")]
    eventually(lambda: eu.metric("homeward_access_log_cosignatures_total", peer="na", result="behind") > 0, what="eu's alarm")
    assert "access_log_is_behind" in eu.log()
    assert (pathlib.Path(na.folder) / "state/witnessed/eu.evidence").exists()


def ask(region, as_region, method, path, body=None):
    pki = pathlib.Path(region.mesh.folder) / "pki"
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    context.check_hostname = False
    context.load_cert_chain(pki / f"{as_region}.pem", pki / f"{as_region}.key")
    connection = http.client.HTTPSConnection("127.0.0.1", region.peer, context=context, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_peers_see_hashes_and_never_entries(pair):
    eu = pair.eu
    await_cosigned(eu, 1)
    status, checkpoint, _ = ask(eu, "na", "GET", "/peer/v1/log/checkpoint")
    assert status == 200 and checkpoint.decode().startswith(f"eu.{eu.settings()['trust_domain']}/access-log\n")
    entries = int(checkpoint.splitlines()[1])
    status, tile, _ = ask(eu, "na", "GET", f"/peer/v1/log/tile/0/000.p/{entries}")
    assert status == 200 and len(tile) == 32 * entries
    for path in ("entries/000", "entries/000.p/1", "0/999", "0/0", "9/000", "0/x000/000", "../checkpoint", ""):
        assert ask(eu, "na", "GET", f"/peer/v1/log/tile/{path}")[0] in (400, 404), path
    assert ask(eu, "na", "POST", "/peer/v1/log/add-checkpoint", b"nonsense")[0] == 400
    own = b"old 0\n\n" + checkpoint  # eu's log, but it is na that asks
    assert ask(eu, "na", "POST", "/peer/v1/log/add-checkpoint", own)[0] == 404
    status, told, headers = ask(pair.na, "eu", "POST", "/peer/v1/log/add-checkpoint", own)
    assert status == 409 and told.strip().isdigit() and headers["Content-Type"] == "text/x.tlog.size"
