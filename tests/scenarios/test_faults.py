"""Homes and databases that die, hang and come back, under load."""
import concurrent.futures
import signal
import time

import pytest

from load import Load
from mesh import a_station, add_tokens, assert_records_pair, eventually

DEADLINE_S = 2.5


def check(load, eu, na):
    outcomes = {answer[2] for answer in load.answers}
    assert not [outcome for outcome in outcomes if isinstance(outcome, str) and outcome.startswith("no answer")], outcomes
    slow = [answer for answer in load.answers if answer[1] > DEADLINE_S + 0.5]
    assert not slow, f"answers after their deadline: {slow[:3]}"
    allowed = {answer[4] for answer in load.answers if answer[2] == "ALLOWED" and answer[3] == "home"}
    assert allowed, "the load never got an answer from home"
    asked = {row["exchange"] for row in eu.exchanges() if row["kind"] == "ask"}
    got = {row["exchange"] for row in eu.exchanges() if row["kind"] == "got"}
    served = {row["exchange"] for row in na.exchanges() if row["kind"] == "serve"}
    assert allowed <= asked and allowed <= got and allowed <= served, "an answer without its record"


FAULTS = {
    "kill -9 of the home": (lambda na: na.kill(signal.SIGKILL), lambda na: na.start()),
    "SIGSTOP of the home": (lambda na: na.kill(signal.SIGSTOP), lambda na: na.kill(signal.SIGCONT)),
    "kill -9 of the home's PostgreSQL": (lambda na: na.kill_postgres(signal.SIGKILL), lambda na: na.start_postgres()),
    "SIGSTOP of the home's PostgreSQL": (lambda na: na.kill_postgres(signal.SIGSTOP), lambda na: na.kill_postgres(signal.SIGCONT)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_home_fails_under_load_and_comes_back(own_mesh, fault):
    na, eu = own_mesh["na"], own_mesh["eu"]
    breaks, mends = FAULTS[fault]
    station = a_station(eu)
    cards = add_tokens(own_mesh, "na", 50)
    cached = add_tokens(own_mesh, "na", 3, prefix="0F")
    for card in cached:
        assert eu.authorize(card, station).json()["status"] == "ALLOWED"

    with Load(eu, cards, station, headers={"Cache-Control": "no-cache"}) as load:
        eventually(lambda: load.has_success_since(0), what="the first answer")
        breaks(na)
        broken = time.monotonic()
        eventually(lambda: any(answer[2] in ("home-unreachable", "deadline") for answer in load.since(broken)),
                   within_s=DEADLINE_S + 2, what="a clear problem")
        for card in cached:
            hit = eu.authorize(card, station)
            assert hit.json()["status"] == "ALLOWED" and hit.json()["source"] == "cache"
        mends(na)
        mended = time.monotonic()
        eventually(lambda: load.has_success_since(mended), within_s=3.0, what="recovery")
    check(load, eu, na)


def test_the_requesters_database_fails_and_crossings_go_on(own_mesh):
    """Asking another region takes the routes in memory and the log on disk, and each crossing is on record all the same."""
    na, eu = own_mesh["na"], own_mesh["eu"]
    station = a_station(eu)
    cards = add_tokens(own_mesh, "na", 50)
    [cached] = add_tokens(own_mesh, "na", 1, prefix="0F")
    assert eu.authorize(cached, station).json()["status"] == "ALLOWED"

    eu.kill_postgres(signal.SIGKILL)
    served = len(na.exchanges())
    answers = [eu.authorize(card, station) for card in cards[:5]]
    assert all(answer.json().get("status") == "ALLOWED" for answer in answers), [answer.text for answer in answers]
    assert len(na.exchanges()) == served + 5
    assert_records_pair(eu, na)
    assert eu.authorize(cached, station).json()["source"] == "cache"
    assert eu.session.get(eu.url("/readyz", admin=True)).status_code == 503

    eu.start_postgres()
    eventually(eu.is_ready, within_s=3, what="recovery")
    assert eu.authorize(cards[9], station).json()["status"] == "ALLOWED"
    assert_records_pair(eu, na)


def test_a_region_starts_without_its_database(own_mesh):
    """The last good route table and callers are on disk: asking other regions needs no database."""
    eu, na = own_mesh["eu"], own_mesh["na"]
    [card] = add_tokens(own_mesh, "na", 1)
    station = a_station(eu)
    eu.kill(signal.SIGTERM)
    eu.await_end()
    eu.kill_postgres(signal.SIGKILL)
    eu.start("--no-database")

    located = eu.request("GET", f"/v1/locate/token/{card}")
    assert located.status_code == 200 and located.json()["home"] == "na"
    eventually(lambda: eu.authorize(card, station).json().get("status") == "ALLOWED", within_s=5, what="an answer")

    eu.start_postgres()
    eventually(eu.is_ready, within_s=15, what="readiness after the database is back")
    assert eu.authorize(card, station).json()["status"] == "ALLOWED"


def test_one_dead_home_does_not_slow_the_others(own_mesh):
    na, eu, ap = own_mesh["na"], own_mesh["eu"], own_mesh["ap"]
    station = a_station(eu)
    lost, fine = add_tokens(own_mesh, "na", 20), add_tokens(own_mesh, "ap", 20, prefix="0A")
    na.kill(signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(eu.authorize, card, station) for card in lost[:10]]
            times = []
            for card in fine:
                began = time.monotonic()
                assert eu.authorize(card, station).json()["status"] == "ALLOWED"
                times.append(time.monotonic() - began)
            assert all(future.result().status_code in (503, 504) for future in waiting)
        assert sorted(times)[len(times) // 2] < 0.5
    finally:
        na.kill(signal.SIGCONT)
