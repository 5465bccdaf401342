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
import threading
import time

import psycopg2

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
    # Where an application would take them; asking its broker how many there are costs the regions nothing.
    amqp = connect(mesh.brokers["eu"])
    channel = amqp.channel()
    connection, began = psycopg2.connect(na.dsn), time.monotonic()
    for first in range(0, count, 1000):
        add_rows(connection, first + 1, min(first + 1000, count))
    connection.close()
    eventually(lambda: channel.queue_declare("application", passive=True).method.message_count >= count, within_s=600,
               every_s=0.05, what="all events in eu")
    seconds = time.monotonic() - began
    amqp.close()
    eventually(lambda: na.sql("SELECT count(*) FROM homeward.outbox WHERE receipted_at IS NULL")[0][0] == 0, within_s=60,
               every_s=0.1, what="all receipts")
    eventually(lambda: eu.sql("SELECT count(*), count(delivered_at) FROM homeward.inbox") == [(count, count)], within_s=60,
               every_s=0.1, what="all marked as delivered")
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


def percentiles(seconds):
    seconds = sorted(seconds)
    return [1000 * seconds[int(len(seconds) * part)] for part in (0.50, 0.99)]


def homeward_latencies(mesh):
    """From the transaction that inserted an event until eu's broker has confirmed it in homeward.delivered, by one clock."""
    na, eu = mesh["na"], mesh["eu"]
    connection, offset = psycopg2.connect(na.dsn), 10 * EVENTS  # other events and other subjects than before
    ours = f" AND substr(id, 3)::int > {offset}"
    at_pace(lambda first, last: add_rows(connection, offset + first, offset + last))
    connection.close()
    taken = "SELECT count(*) FROM homeward.inbox WHERE delivered_at IS NOT NULL" + ours
    eventually(lambda: eu.sql(taken) == [(PACE * PACED_S,)], within_s=120, every_s=0.1, what="all events in eu")
    sent = dict(na.sql("SELECT id, extract(epoch FROM created_at)::float8 FROM homeward.outbox WHERE true" + ours))
    came = eu.sql("SELECT id, extract(epoch FROM delivered_at)::float8 FROM homeward.inbox WHERE true" + ours)
    return percentiles(at - sent[name] for name, at in came)


def plain_latencies(mesh, size):
    mesh.stop_regions()
    connection, taken = connect(mesh.brokers["na"]), {}
    channel = connection.channel()

    def send(first, last):
        for number in range(first, last + 1):
            channel.basic_publish("homeward.events", "eu.na.session.completed", str(number).ljust(size))

    consumer = threading.Thread(target=consume, args=(mesh.brokers["eu"], "homeward.inbox", PACE * PACED_S,
                                                      lambda body: taken.setdefault(int(body), time.monotonic())))
    consumer.start()
    sent = at_pace(send)
    consumer.join()
    connection.close()
    mesh.start_regions()
    return percentiles(taken[number] - at for number, at in sent.items())


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
