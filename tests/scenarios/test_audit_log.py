"""The access log as an auditor meets it: two verifiers, one of them not ours, agree on what is sound and what is not."""
import json
import shutil
import time

import pytest

from mesh import homeward
from tlog import Foreign, Key, write_log

SIZE = 100_000
LOG = Key("eu.test.example/access-log", bytes(range(32)))
PEER = Key("na.test.example/access-log", bytes(range(32, 64)))


@pytest.fixture(scope="module")
def foreign():
    program = Foreign()
    yield program
    program.remove()


def entries(count):
    return [json.dumps({"v": 1, "t": 1767225600000000 + i * 37, "k": "serve", "me": "eu", "peer": "na", "n": i},
                       separators=(",", ":")).encode() for i in range(count)]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, LOG, entries(SIZE))
    yield folder
    shutil.rmtree(folder)


def verify(folder, *options, key=LOG.verifier()):
    return homeward("audit", "verify", "--dir", folder, "--key", key, *options, check=False)


def altered(path, at):
    """Flips one bit of the file; gives back what it was."""
    before = path.read_bytes()
    path.write_bytes(before[:at] + bytes([before[at] ^ 0x40]) + before[at + 1:])
    return before


def test_a_log_of_100000_entries_is_good_to_both_verifiers(log, foreign):
    assert foreign.verify(log, LOG.verifier()) == (True, f"ok {LOG.name} {SIZE}\n")
    done = verify(log)
    assert done.returncode == 0 and f"good: {LOG.name}, {SIZE} entries" in done.stdout, done
    assert not foreign.verify(log, PEER.verifier())[0]
    wrong_key = verify(log, key=PEER.verifier())
    assert wrong_key.returncode == 1 and "checkpoint: the checkpoint is not signed by the key given" in wrong_key.stderr


@pytest.mark.parametrize("name, at", [
    ("tile/entries/000", 1000), ("tile/entries/390.p/160", 5000), ("tile/0/007", 4000), ("tile/0/390.p/160", 0),
    ("tile/1/000", 1700), ("tile/1/001.p/134", 3), ("tile/2/000.p/1", 31), ("checkpoint", 30), ("checkpoint", 100)])
def test_one_flipped_bit_is_found_by_both_and_its_file_named(log, foreign, name, at):
    before = altered(log / name, at)
    try:
        done = verify(log)
        assert done.returncode == 1 and f"{log}/{name}" in done.stderr, done
        named = [line for line in done.stderr.splitlines() if f"{log}/" in line]
        assert len(named) == 1, done.stderr
        assert not foreign.verify(log, LOG.verifier())[0]
    finally:
        (log / name).write_bytes(before)


@pytest.mark.parametrize("name", ["tile/entries/390.p/160", "tile/entries/200", "tile/0/390.p/160", "checkpoint"])
def test_a_truncated_file_is_found_by_both_and_named(log, foreign, name):
    before = (log / name).read_bytes()
    try:
        for length in (len(before) - 1, len(before) // 2, 0):
            (log / name).write_bytes(before[:length])
            done = verify(log)
            assert done.returncode == 1 and f"{log}/{name}" in done.stderr, done
        assert not foreign.verify(log, LOG.verifier())[0]
    finally:
        (log / name).write_bytes(before)


def test_a_log_put_back_to_an_older_state_is_found_by_what_others_remember(tmp_path):
    older, newer, forked = tmp_path / "older", tmp_path / "newer", tmp_path / "forked"
    write_log(older, LOG, entries(700))
    newer_text = write_log(newer, LOG, entries(1000))
    write_log(forked, LOG, entries(600) + entries(401))
    assert verify(older).returncode == 0  # nothing in it is wrong
    kept = newer / "checkpoint"
    for options, told in ((("--minimum-size", "701"), "at least 701 are expected"),
                          (("--from-checkpoint", kept), "its end was cut off")):
        done = verify(older, *options)
        assert done.returncode == 1 and told in done.stderr, done
    assert verify(newer, "--from-checkpoint", older / "checkpoint", "--minimum-size", "1000").returncode == 0
    fork = verify(forked, "--from-checkpoint", kept)
    assert fork.returncode == 1 and "its first 1000 entries were others" in fork.stderr, fork
    # What a peer cosigned lies beside the log, with its signature.
    now = int(time.time())
    (older / "checkpoint.cosigned").write_text(LOG.sign(newer_text) + PEER.cosign(newer_text, now))
    assert "its end was cut off" in verify(older).stderr
    shutil.copy(older / "checkpoint.cosigned", newer)
    by_peer = ("--peer-cosigner", PEER.verifier())
    done = verify(newer, *by_peer, "--cosigned-within", "3600")
    assert done.returncode == 0 and f"cosigned by {PEER.name}" in done.stdout, done
    assert "is not cosigned by" in verify(newer, "--peer-cosigner", LOG.verifier()).stderr
    (newer / "checkpoint.cosigned").write_text(LOG.sign(newer_text) + PEER.cosign(newer_text, now - 7200))
    assert "cosigned it last at" in verify(newer, *by_peer, "--cosigned-within", "3600").stderr
    (newer / "checkpoint.cosigned").unlink()
    assert verify(newer, *by_peer).returncode == 1


def test_a_receipt_is_checked_without_the_log(log, tmp_path):
    receipt = tmp_path / "receipt.tlog-proof"
    for index in (0, 255, 65536, SIZE - 1):
        shown = homeward("audit", "show", index, "--dir", log, "--key", LOG.verifier()).stdout
        assert json.loads(shown)["n"] == index
        receipt.write_text(homeward("audit", "receipt", index, "--dir", log, "--key", LOG.verifier()).stdout)
        lines = receipt.read_text().splitlines()
        assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[2] == f"index {index}"
        done = homeward("audit", "verify", "--receipt", receipt, "--key", LOG.verifier())
        assert f"entry {index} of {LOG.name}" in done.stdout and done.stdout.endswith(shown)
        other = homeward("audit", "verify", "--receipt", receipt, "--key", PEER.verifier(), check=False)
        assert other.returncode == 1 and "not signed by the key given" in other.stderr
        entry = tmp_path / "entry"
        entry.write_text(shown.replace("serve", "erase"))
        other = homeward("audit", "verify", "--receipt", receipt, "--entry", entry, "--key", LOG.verifier(), check=False)
        assert other.returncode == 1 and "does not lead from the entry" in other.stderr
    lost = homeward("audit", "receipt", SIZE, "--dir", log, check=False)
    assert lost.returncode == 1 and f"the log has {SIZE} entries" in lost.stderr
