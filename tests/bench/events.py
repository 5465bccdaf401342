#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events across two regions' brokers: homeward's, and beside it a plain federated link's, in the same run.

  plain     a publisher with 1,000 confirmations in flight, and a consumer that acknowledges, over the mesh's own
            exchange and inbox; nothing is kept, checked, decided or put on record
  homeward  rows of the outbox to the queue behind homeward.delivered in the other region: gate and access log on
            both sides, inbox, receipts

First as many a second as go; then how long each takes at 1,000 a second; then as many as go over a link with 100 ms each
way; then what crosses the wide-area network, beside a design that sends everything to everyone.  EVENTS=N sets how many of
each.  The same brokers, certificates and events serve both sides.
"""
import json
import threading
import time

from event_load import EVENTS, BenchMesh, Publisher, add_rows, connect, consume, eventually

PACE, PACED_S, TICK_S = 1000, 10, 0.01
WAN_EVENTS = 2000


def plain(mesh, body, count):
    mesh.stop_regions()
    publisher = Publisher(mesh.brokers["na"], count, body)
    publisher.start()
    seconds = consume(mesh.brokers["eu"], "homeward.inbox", count)
    publisher.join()
    mesh.start_regions()
    return count / seconds


def through_homeward(mesh, count):
    na, eu = mesh["na"], mesh["eu"]
    began = time.monotonic()
    for first in range(0, count, 1000):
        add_rows(na, first + 1, min(first + 1000, count))
    delivered = "SELECT count(*) FROM homeward.inbox WHERE delivered_at IS NOT NULL"
    eventually(lambda: eu.sql(delivered)[0][0] >= count, within_s=600, every_s=0.1, what="all events in eu")
    seconds = time.monotonic() - began
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.outbox WHERE receipted_at IS NULL")[0][0] == 0, within_s=60,
               every_s=0.1, what="all receipts")
    assert eu.sql("SELECT count(*) FROM homeward.inbox") == [(count,)]
    consume(mesh.brokers["eu"], "application", count)
    return count / seconds


# ---- how long each takes ----

def at_pace(send):
    """Calls send(first, last) for PACE numbers a second; the time before each call, by number."""
    sent, began, next_number = {}, time.monotonic(), 1
    while next_number <= PACE * PACED_S:
        due = min(int((time.monotonic() - began) * PACE), PACE * PACED_S)
        if due >= next_number:
            now = time.monotonic()
            sent.update((number, now) for number in range(next_number, due + 1))
            send(next_number, due)
            next_number = due + 1
        time.sleep(TICK_S)  # the pace of the load
    return sent


def latencies(broker, queue, number_of, send):
    taken, total = {}, PACE * PACED_S
    consumer = threading.Thread(target=consume, args=(broker, queue, total, lambda body: taken.setdefault(number_of(body), time.monotonic())))
    consumer.start()
    sent = at_pace(send)
    consumer.join()
    taken_s = sorted(taken[number] - sent[number] for number in sent)
    return [1000 * taken_s[int(total * part)] for part in (0.50, 0.99)]


def homeward_latencies(mesh):
    mesh["na"].sql("DELETE FROM homeward.outbox")
    mesh["eu"].sql("DELETE FROM homeward.inbox")
    mesh["eu"].sql("DELETE FROM homeward.streams")
    return latencies(mesh.brokers["eu"], "application", lambda body: int(json.loads(body)["id"][2:]),
                     lambda first, last: add_rows(mesh["na"], first, last))


def plain_latencies(mesh, size):
    mesh.stop_regions()
    connection = connect(mesh.brokers["na"])
    channel = connection.channel()

    def send(first, last):
        for number in range(first, last + 1):
            channel.basic_publish("homeward.events", "eu.na.session.completed", str(number).ljust(size))

    found = latencies(mesh.brokers["eu"], "homeward.inbox", int, send)
    connection.close()
    mesh.start_regions()
    return found


# ---- what crosses ----

def wan_bytes(mesh, key, size):
    """Bytes out of na's broker to all others while WAN_EVENTS plain messages are carried."""
    others = [name for name in mesh.names if name != "na" and key.startswith((name, "all"))]
    before = mesh.proxies["na"].bytes()
    publisher = Publisher(mesh.brokers["na"], WAN_EVENTS, b"x" * size, key)
    publisher.start()
    for name in others:
        consume(mesh.brokers[name], "homeward.inbox", WAN_EVENTS)
    publisher.join()
    return mesh.proxies["na"].bytes() - before


def main():
    with BenchMesh("na", "eu") as mesh:
        ours = through_homeward(mesh, EVENTS)
        size = mesh["eu"].sql("SELECT max(length(event::text)) FROM homeward.inbox")[0][0]
        theirs = plain(mesh, b"x" * size, EVENTS)
        print(f"plain    {theirs:8,.0f} events/s  ({EVENTS} of {size} bytes)\nhomeward {ours:8,.0f} events/s", flush=True)
        fast = ours / theirs
        ours, theirs = homeward_latencies(mesh), plain_latencies(mesh, size)
        print(f"at {PACE} events/s: plain p50 {theirs[0]:.0f} ms, p99 {theirs[1]:.0f} ms; homeward p50 {ours[0]:.0f} ms,"
              f" p99 {ours[1]:.0f} ms", flush=True)
    with BenchMesh("na", "eu", one_way_ms=100) as mesh:
        ours, theirs = through_homeward(mesh, EVENTS // 2), plain(mesh, b"x" * size, EVENTS // 2)
        print(f"with 100 ms each way: plain {theirs:,.0f} events/s, homeward {ours:,.0f} events/s", flush=True)
        far = ours / theirs
    with BenchMesh("na", "eu", "ap", one_way_ms=0) as mesh:
        mesh.stop_regions()
        one, everyone = (wan_bytes(mesh, f"{place}.na.session.completed", size) for place in ("eu", "all"))
        mesh.start_regions()
        print(f"across the network, of three regions: {one / WAN_EVENTS:,.0f} bytes an event to one,"
              f" {everyone / WAN_EVENTS:,.0f} to all who discard it")
    print(f"ratio events-far {far:.2f} target >= 0.80")
    print(f"ratio events-wan-bytes {everyone / one:.2f} target >= 2.00")
    print(f"ratio events {fast:.2f} target >= 0.80")


main()
