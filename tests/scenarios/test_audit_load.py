# SPDX-License-Identifier: Apache-2.0
"""A log of 100,000 entries as two regions write it under load, checked by our verifier and by one that is not ours."""
import re
import shutil
import signal

import pytest

from mesh import Mesh, a_station, add_tokens, homeward, log_size
from test_audit_log import altered, verify
from tlog import Foreign

CARDS = 50_000  # each crosses once, and leaves an `ask` and a `got`


@pytest.fixture(scope="module")
def foreign():
    program = Foreign()
    yield program
    program.remove()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """eu's log, copied when every tap was answered and the region had stopped; and its verifier key."""
    folder = tmp_path_factory.mktemp("log") / "log"
    taps = folder.parent / "taps.csv"
    with Mesh("na", "eu") as mesh:
        eu = mesh["eu"]
        station = a_station(eu)
        taps.write_text("card,station\n" + "".join(f"{card},{station}\n" for card in add_tokens(mesh, "na", CARDS, prefix="0D")))
        done = homeward("replay", taps, "--url", eu.url(""), "--token-file", eu.folder / "tokens" / "cs-auth", "--id", "card",
                        "--station", "station", "--concurrency", "200", timeout=300)
        assert re.search(rf"ALLOWED\s+{CARDS}\b", done.stdout), done.stdout
        key = homeward("audit", "key", "--config", eu.config).stdout.strip()
        eu.kill(signal.SIGTERM)
        eu.await_end()
        shutil.copytree(eu.folder / "state" / "access-log", folder)
    yield folder, key
    shutil.rmtree(folder)


def test_it_is_good_to_both_verifiers(written, foreign):
    folder, key = written
    size = log_size(folder)
    assert size >= 2 * CARDS
    name = key.split("+")[0]
    assert foreign.verify(folder, key) == (True, f"ok {name} {size}\n")
    done = verify(folder, key=key)
    assert done.returncode == 0 and f"good: {name}, {size} entries" in done.stdout, done


@pytest.mark.parametrize("name, at", [("tile/entries/123", 2000), ("tile/0/123", 4000), ("tile/1/000", 1700), ("checkpoint", 60)])
def test_one_flipped_bit_is_found_by_both(written, foreign, name, at):
    folder, key = written
    before = altered(folder / name, at)
    try:
        done = verify(folder, key=key)
        assert done.returncode == 1 and f"{folder}/{name}" in done.stderr, done
        assert not foreign.verify(folder, key)[0]
    finally:
        (folder / name).write_bytes(before)


def test_a_truncation_is_found_by_both(written, foreign):
    folder, key = written
    path = folder / "tile/entries/200"
    before = path.read_bytes()
    try:
        path.write_bytes(before[:-1])
        done = verify(folder, key=key)
        assert done.returncode == 1 and str(path) in done.stderr, done
        assert not foreign.verify(folder, key)[0]
    finally:
        path.write_bytes(before)
