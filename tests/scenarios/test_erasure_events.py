# SPDX-License-Identifier: Apache-2.0
"""Events in the access logs of both sides; and an erasure, which crosses as one, or over the peer API where none comes through."""
import json

import pytest
from event_mesh import EventMesh, restart
from mesh import a_station, add_tokens, eventually, homeward
from test_audit_index import reconcile, tampered
from test_events import SESSION, WRITER, event, submit
from test_subjects import clean, erasures, files_with


@pytest.fixture(scope="module")
def events():
    with EventMesh("na", "eu", settings={"erasure_wait_s": 3600, "receipt_timeout_s": 2}) as mesh:
        yield mesh


def serve_to_eu(events, prefix):
    """A card of na that eu was told about."""
    na, eu = events["na"], events["eu"]
    [card] = add_tokens(events.mesh, "na", 1, prefix=prefix)
    assert eu.authorize(card, a_station(eu)).json()["status"] == "ALLOWED"
    return na, eu, card


def finish_session(eu, card):
    """Tells na of a session with the card, and returns the event's id."""
    sent = event(destination="na", subject=f"token/{card}", data={**SESSION, "token_uid": card})
    answer = submit(eu, sent, WRITER)
    assert answer.status_code == 202, answer.text
    return sent["id"]


@pytest.fixture(scope="module")
def reconciled(events):
    """na and eu, and under which exchange the first of three events and a broadcast from na came to eu."""
    na, eu = events["na"], events["eu"]
    sent = [event() for _ in range(3)] + [event(destination="all")]
    for one in sent:
        assert submit(na, one, WRITER).status_code == 202
    ids = tuple(one["id"] for one in sent)
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.outbox o LEFT JOIN homeward.broadcasts b ON b.seq = o.seq AND b.region = 'eu'"
                              " WHERE o.id IN %s AND coalesce(o.exchange, b.exchange) IS NOT NULL", ids) == [(4,)],
               within_s=60, what="receipts that name the exchange")
    for region in (na, eu):
        region.await_index()
    [(exchange,)] = na.sql("SELECT exchange::text FROM homeward.outbox WHERE id = %s", ids[0])
    return na, eu, exchange


def test_events_pair_in_both_logs(reconciled):
    na, eu, _ = reconciled
    for one, other in ((na, eu), (eu, na)):
        paired = [row for row in json.loads(reconcile(one, other, "--all", "-o", "json")) if row["finding"] == "paired"]
        assert len(paired) >= 4 and {row["asked_by"] for row in paired} == {"na"}, paired


@pytest.mark.parametrize("tampers, kind, change, at_na, at_eu", [
    ("eu", "receive", None, "receipt_without_receive", None),
    ("na", "send", None, "receive_without_send", "receive_without_send"),
    ("eu", "receive", {"fields": "'energy_wh,card_number'"}, "fields_differ", "fields_differ"),
])
def test_what_one_side_withholds_of_an_event_is_named(reconciled, tampers, kind, change, at_na, at_eu):
    na, eu, exchange = reconciled
    with tampered({"na": na, "eu": eu}[tampers], exchange, kind, change):
        for one, other, finding in ((na, eu, at_na), (eu, na, at_eu)):
            rows = json.loads(reconcile(one, other, "-o", "json", status=0 if finding is None else 1))
            assert [(row["finding"], row["exchange"]) for row in rows] == ([] if finding is None else [(finding, exchange)])
            if finding is None:  # its own receipt is at na: without that, an event that did not come is nobody's fault
                every = json.loads(reconcile(one, other, "--all", "-o", "json"))
                assert [row["exchange"] for row in every if row["finding"] == "unreceived"] == [exchange]
    reconcile(na, eu)


def test_an_erasure_goes_as_an_event_and_empties_what_events_said(events):
    na, eu, card = serve_to_eu(events, "1E")
    session = finish_session(eu, card)
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.inbox WHERE id = %s AND delivered_at IS NOT NULL", session)[0][0] == 1,
               within_s=30, what="the session at na")
    done = homeward("subject", "erase", "token", card, "--wait", "60", "--config", na.config)
    assert "1 of 1 regions have acknowledged" in done.stdout, "only the event can have done it: the peer API waits an hour"
    [erasure] = erasures(na)
    assert erasure["state"] == "acknowledged" and erasure["attempts"] == 1
    [entry] = [entry for entry in eu.entries() if entry["k"] == "erase"]
    assert entry["x"] == erasure["erasure"] and entry["peer"] == "na"
    [event] = na.sql("SELECT event::text, subject FROM homeward.inbox WHERE id = %s", session)
    assert event == ("{}", ""), "its id stays, so that it is not taken again"
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.erasures WHERE sealed IS NOT NULL")[0][0] == 0, within_s=60,
               what="nothing is left to be emptied at na")
    for region in (na, eu):
        eventually(lambda: not _left(region, card), within_s=30, every_s=1, what=f"no trace in {region.name}")


def _left(region, card):
    clean(region)
    return files_with(region, card)


def test_without_a_broker_the_peer_api_tells(events):
    na, eu, card = serve_to_eu(events, "2E")
    settings = na.settings()
    settings["events"]["erasure_wait_s"] = 1
    na.write_settings(settings)
    restart(na)
    events.brokers["eu"].kill()
    done = homeward("subject", "erase", "token", card, "--wait", "60", "--config", na.config)
    assert "1 of 1 regions have acknowledged" in done.stdout
    events.brokers["eu"].start()
    [waiting] = na.sql("SELECT count(*) FROM homeward.outbox WHERE type = 'subject.erased' AND receipt = ''")
    assert waiting == (0,), "an event that nobody needs any more is not sent again"


def test_only_the_home_may_say_it(events):
    eu = events["eu"]
    [card] = add_tokens(events.mesh, "eu", 1, prefix="3E")
    answer = submit(events["na"], event(type="subject.erased", data={
        "request_id": "01a1fbe0-2310-7a2d-b341-322c587ea332", "object_type": "token", "object_id": card,
        "erased_at": "2026-11-21T05:00:00Z"}), WRITER)
    assert answer.status_code == 202, answer.text
    eventually(lambda: "erasure_refused" in eu.log(), within_s=90, every_s=0.5, what="eu's refusal")
    assert eu.get("token", card).status_code == 200
