# SPDX-License-Identifier: Apache-2.0
"""Another master key around the subjects' keys, while lookups go on, and over a kill in the middle."""
import json
import re
import threading

import pytest

from kill_rounds import verifier
from mesh import a_station, add_tokens, eventually, homeward

DRIVERS = 450  # more than two batches


@pytest.fixture
def mesh(own_mesh):
    return own_mesh


def masters(region):
    """Numbers of the master keys in the file, and of rows by the key they are wrapped with."""
    document = json.loads((region.folder / "state" / "subjects.key").read_text())
    return [master["id"] for master in document["masters"]], dict(
        region.sql("SELECT get_byte(wrapped, 4), count(*) FROM homeward.subject_keys GROUP BY 1"))


def change(region, *arguments):
    return homeward("subject", "change-master-key", *arguments, "--config", region.config, check=False, timeout=120)


def subjects(region, kind="serve"):
    return {entry["sub"] for entry in region.entries() if entry["k"] == kind}


def test_keys_are_wrapped_anew_and_pseudonyms_stay(mesh):
    na, eu = mesh["na"], mesh["eu"]
    cards, station = add_tokens(mesh, "na", DRIVERS, prefix="0A"), a_station(eu)

    def tap(card):
        return eu.get("token", card, station=station, headers={"Cache-Control": "no-cache"})

    assert all(tap(card).status_code == 200 for card in cards)
    eventually(lambda: masters(na) == ([1], {1: DRIVERS}), what=f"a key for each driver: {masters(na)}")
    before = subjects(na)
    assert len(before) == DRIVERS
    erased = homeward("subject", "erase", "token", cards[0], "--config", na.config, check=False)
    assert erased.returncode == 0, erased.stdout + erased.stderr

    answers, is_over = [], threading.Event()

    def drive():
        while not is_over.is_set():
            for card in cards[1:20]:
                answers.append(tap(card).status_code)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        begun = change(na, "--wait", "0")
        assert begun.returncode == 75 and "master key 2 is in force" in begun.stdout, begun.stdout + begun.stderr
        assert masters(na)[0] == [2, 1]
        late = add_tokens(mesh, "na", 1, prefix="0B")[0]
        assert tap(late).status_code == 200
    finally:
        is_over.set()
        driver.join(60)
    assert answers and set(answers) == {200}

    na.kill()
    na.start()
    eventually(na.is_ready, within_s=30, what="na again")
    done = change(na)
    assert done.returncode == 0 and "the earlier master key destroyed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"\d+ keys wrapped anew", done.stdout)
    assert masters(na) == ([2], {2: DRIVERS}), "one erased, one new"

    assert tap(cards[0]).status_code == 404
    assert all(tap(card).status_code == 200 for card in cards[1:20])
    assert len(subjects(na)) == DRIVERS + 1 and before < subjects(na)
    verified = homeward("audit", "verify", "--key", verifier(na), "--config", na.config, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = [entry["msg"] for entry in na.entries() if entry["k"] == "admin" and "master" in entry["msg"]]
    assert told == ["master key 2 begun", "master key 2 alone; the earlier destroyed"], told


def test_a_change_that_cannot_be_kept_is_not_begun(mesh):
    na = mesh["na"]
    file = na.folder / "state" / "subjects.key"
    before, aside = masters(na), file.with_name("aside")
    file.rename(aside)
    file.mkdir()
    try:
        refused = change(na)
        assert refused.returncode != 0 and "subjects.key" in refused.stderr, refused.stdout + refused.stderr
    finally:
        file.rmdir()
        aside.rename(file)
    assert masters(na) == before
