"""The access log when processes are killed and disks fail: nothing answered is missing, nothing personal goes by unrecorded."""
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

import kill_rounds
from mesh import Mesh, a_station, add_tokens, eventually, homeward

HERE = pathlib.Path(__file__).resolve().parent
FOLDER_MIB = 6  # two write-ahead files and a reserve of 1 MiB each, and room to fill


@pytest.fixture(scope="module")
def mesh():
    with Mesh("na", "eu") as started:
        yield started


@pytest.fixture(scope="module")
def cards(mesh):
    return iter(add_tokens(mesh, "na", 2000, prefix="0A"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The preloaded library that makes the disk of one folder fail."""
    built = tmp_path_factory.mktemp("faults") / "disk_faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, HERE / "disk_faults.c", "-ldl"], check=True)
    return built


def stop(region):
    region.kill(signal.SIGTERM)
    region.await_end()


def restart(region, environment=None):
    stop(region)
    homeward("dev", "start", "--dir", region.mesh.folder, "--region", region.name, env={**os.environ, **(environment or {})})
    region.mesh.refresh()
    eventually(region.is_ready, what=f"{region.name} after its restart")


def tap(eu, card, station):
    answer = eu.authorize(card, station, headers={"Cache-Control": "no-cache"})
    return answer.status_code, answer.json()["status" if answer.status_code == 200 else "code"]


def a_station_of_na(mesh):
    """Asks eu for a station whose home is na, not from its cache: nothing personal."""
    answer = mesh["eu"].get("station", a_station(mesh["na"]), purpose="charge.authorize", headers={"Cache-Control": "no-cache"})
    return answer.status_code


def assert_closed(mesh, cards, station):
    """Personal data is refused at once and clearly; stations go on; whoever looks is told."""
    eu = mesh["eu"]
    eventually(lambda: tap(eu, next(cards), station) == (503, "access-log-unavailable"), what="a clear refusal")
    began = time.monotonic()
    assert tap(eu, next(cards), station) == (503, "access-log-unavailable")
    assert time.monotonic() - began < 1
    assert a_station_of_na(mesh) == 200
    assert eu.session.get(eu.url("/readyz", admin=True), timeout=5).status_code == 503
    assert eu.metric("homeward_access_log_failed") == 1
    assert eu.metric("homeward_access_log_dropped_total") == 0


def assert_open(mesh, cards, station, answered):
    eu = mesh["eu"]
    eventually(lambda: tap(eu, next(cards), station) == (200, "ALLOWED"), what="the log's return")
    eventually(eu.is_ready, what="readiness")
    assert eu.metric("homeward_access_log_failed") == 0
    assert eu.metric("homeward_access_log_dropped_total") == 0
    assert answered <= {row["exchange"] for row in eu.exchanges() if row["kind"] == "got"}
    kill_rounds.verify(eu)


def gaps(region):
    return [entry for entry in region.entries() if entry["k"] == "gap"]


def some_answers(eu, cards, station, count=5):
    answers = [eu.authorize(next(cards), station, headers={"Cache-Control": "no-cache"}) for _ in range(count)]
    assert [answer.status_code for answer in answers] == [200] * count
    return {answer.json()["exchange"] for answer in answers}


def test_kill_minus_9_under_load_loses_no_entry(mesh):
    seed = random.SystemRandom().randrange(1 << 32)
    figures = kill_rounds.run(mesh, int(os.environ.get("ROUNDS", "8")), seed)
    print(f"seed {seed}: {figures}")
    assert figures["answered"] > 0 and figures["missing"] == 0


def test_the_search_index_is_lost_and_made_again(mesh):
    eu = mesh["eu"]
    rows = "SELECT log_index, kind, exchange::text, subject, rh FROM homeward.exchanges ORDER BY log_index"
    size = len(eu.entries())
    eventually(lambda: eu.metric("homeward_access_index_position") >= size, what="the index's end")
    before = eu.sql(rows)
    assert [row[0] for row in before] == list(range(len(before)))
    eu.sql("DELETE FROM homeward.log_entries WHERE mod(log_index, 2) = 0")
    eu.sql("DELETE FROM homeward.log_contexts")
    for _ in range(2):
        done = homeward("audit", "reindex", "--config", eu.config)
        assert done.stdout == f"{len(before)} entries indexed\n"
        assert eu.sql(rows) == before


@pytest.mark.parametrize("mode", ["full", "short", "eio"])
def test_a_disk_that_fails(mesh, cards, library, tmp_path, mode):
    eu, station = mesh["eu"], a_station(mesh["eu"])
    switch = tmp_path / "mode"
    os.chmod(tmp_path, 0o755)
    restart(eu, {"LD_PRELOAD": str(library), "DISK_FAULTS_FOLDER": str(kill_rounds.log_folder(eu)), "DISK_FAULTS_MODE": str(switch)})
    answered, before = some_answers(eu, cards, station), len(gaps(eu))
    switch.write_text(mode)
    assert_closed(mesh, cards, station)
    switch.unlink()
    if mode == "eio":
        # What the disk holds is not known, and trying again could hide that.
        time.sleep(1.2)
        assert tap(eu, next(cards), station) == (503, "access-log-unavailable")
        restart(eu)
    assert_open(mesh, cards, station, answered)
    if mode != "eio":
        assert eventually(lambda: gaps(eu)[before:], what="the gap's entry")[-1]["n"] >= 1


def test_grace_lets_personal_data_through_for_a_while_uncached_and_counted(mesh, cards, library, tmp_path):
    eu, station, grace_s = mesh["eu"], a_station(mesh["eu"]), 4
    switch = tmp_path / "mode"
    os.chmod(tmp_path, 0o755)
    before = eu.settings()
    eu.write_settings({**before, "access_log": {**before.get("access_log", {}), "mode": "grace", "grace_s": grace_s}})
    try:
        restart(eu, {"LD_PRELOAD": str(library), "DISK_FAULTS_FOLDER": str(kill_rounds.log_folder(eu)), "DISK_FAULTS_MODE": str(switch)})
        some_answers(eu, cards, station)
        told = len(gaps(eu))
        switch.write_text("full")
        card, began = next(cards), time.monotonic()
        answers = [eu.authorize(card, station) for _ in range(3)]
        if time.monotonic() - began < grace_s:
            assert [(answer.status_code, answer.json().get("source")) for answer in answers] == [(200, "home")] * 3
        eventually(lambda: tap(eu, next(cards), station) == (503, "access-log-unavailable"), what="the grace's end")
        switch.unlink()
        eventually(lambda: tap(eu, next(cards), station) == (200, "ALLOWED"), what="the log's return")
        assert eventually(lambda: gaps(eu)[told:], what="the gap's entry")[-1]["n"] >= 3
        kill_rounds.verify(eu)
    finally:
        eu.write_settings(before)
        restart(eu)


def test_a_log_that_is_off_is_refused(mesh):
    eu = mesh["eu"]
    settings = eu.settings()
    other = eu.folder / "off.conf"
    other.write_text(json.dumps({**settings, "access_log": {"mode": "off", "directory": str(eu.folder / "off")}, "state_dir": str(eu.folder / "off-state")}))
    done = homeward("serve", "--config", other, check=False)
    assert done.returncode == 78 and "nothing may cross unrecorded" in done.stderr, done


def test_a_full_volume(mesh, cards, tmp_path):
    eu, station = mesh["eu"], a_station(mesh["eu"])
    volume = eu.folder / "volume"
    volume.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FOLDER_MIB}m", "tmpfs", volume], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    before = eu.settings()
    try:
        subprocess.run(["chown", "--reference", eu.folder / "state", volume], check=True)
        settings = eu.settings()
        settings["access_log"] = {**settings.get("access_log", {}), "directory": str(volume / "log"), "segment_bytes": 1 << 20,
                                  "reserve_bytes": 1 << 20}
        eu.write_settings(settings)
        restart(eu)
        some_answers(eu, cards, station)
        filler = os.open(volume / "filler", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while os.write(filler, bytes(4096)):
                pass
        os.close(filler)
        # The next checkpoint finds no space.
        eventually(lambda: [tap(eu, next(cards), station)[0] for _ in range(3)] == [503] * 3, what="the full disk's refusal")
        assert a_station_of_na(mesh) == 200
        assert not eu.is_ready() and eu.metric("homeward_access_log_failed") == 1
        (volume / "filler").unlink()
        eventually(lambda: tap(eu, next(cards), station) == (200, "ALLOWED"), what="the log's return")
        done = homeward("audit", "verify", "--dir", volume / "log", "--key", kill_rounds.verifier(eu), check=False)
        assert done.returncode == 0, done.stderr
        assert eu.metric("homeward_access_log_dropped_total") == 0
    finally:
        stop(eu)
        eu.write_settings(before)
        subprocess.run(["umount", volume], check=False)
        eu.start()
