#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a cache in another region forgets an object that changed at home, at RATE changes a second.

Three regions; eu and ap have copies of every one of CARDS cards of na.  An application in na changes them in turn, a
transaction every 20 ms.  Of a card in every tenth of a second it is watched when both other regions forget it: from the
moment it has committed, `only-if-cached` lookups ask until the cache has nothing more.  What counts is the later of the
two.  The application is a process of its own, and watchers look every 20 ms: the processors are for what is measured.

RATE, SECONDS_EACH and CARDS make it other than 550, 8 and 2,000.
"""
import collections
import concurrent.futures
import functools
import http.client
import multiprocessing
import os
import threading
import time

import psycopg2

from event_load import BenchMesh, eventually
from mesh import a_station, add_tokens

RATE, SECONDS = int(os.environ.get("RATE", "550")), int(os.environ.get("SECONDS_EACH", "8"))
CARDS = int(os.environ.get("CARDS", "2000"))
TICK_S, WATCH_EVERY_S, LOOK_EVERY_S, PATIENCE_S = 0.02, 0.1, 0.02, 30
TARGET_MS = 1000
connections = threading.local()


@functools.cache
def how_to_ask(region):
    """(query, headers) of a driver at one of the region's stations."""
    return f"purpose=charge.authorize&station={a_station(region)}", {"Authorization": f"Bearer {region.token()}"}


def ask(region, card, cache_control):
    """The status of a lookup; each thread has connections of its own."""
    connection = connections.__dict__.setdefault(region.name, http.client.HTTPConnection("127.0.0.1", region.api, timeout=10))
    query, headers = how_to_ask(region)
    connection.request("GET", f"/v1/objects/token/{card}?{query}", headers={**headers, "Cache-Control": cache_control})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def watch(region, card, committed):
    """Seconds from the commit until the cache has forgotten it."""
    while ask(region, card, "only-if-cached") == 200:
        assert time.monotonic() < committed + PATIENCE_S, f"{region.name} still has {card}"
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - committed


def change_all(dsn, cards, to_watch):
    """The application: changes at the rate asked for.  What to watch goes out as (card, committed); last (None, changes/s)."""
    done, began, watched, committed = 0, time.monotonic(), 0, 0
    connection = psycopg2.connect(dsn)
    while done < len(cards):
        due = min(int((time.monotonic() - began) * RATE), len(cards))
        if due > done:
            with connection, connection.cursor() as cursor:
                cursor.execute("UPDATE homeward.objects SET record = record || '{\"valid\": false}', version = version + 1"
                               " WHERE type = 'token' AND id = ANY(%s)", (cards[done:due],))
            committed = time.monotonic()
            if committed >= watched + WATCH_EVERY_S:
                to_watch.put((cards[done], committed))
                watched = committed
            done = due
        time.sleep(TICK_S)  # the pace of the load
    connection.close()
    to_watch.put((None, done / (committed - began)))


def round_of_changes(region, cards, others, pool):
    """(the later latency of each pair of watches, changes/s)"""
    to_watch, pairs = multiprocessing.Queue(), []
    application = multiprocessing.Process(target=change_all, args=(region.dsn, cards, to_watch))
    application.start()
    while True:
        card, committed = to_watch.get(timeout=PATIENCE_S)
        if card is None:
            break
        pairs.append([pool.submit(watch, other, card, committed) for other in others])
    application.join()
    return [max(one.result() for one in pair) for pair in pairs], committed


def main():
    latencies, rates = [], []
    with BenchMesh("na", "eu", "ap") as mesh, concurrent.futures.ThreadPoolExecutor(16) as pool:
        na, others = mesh["na"], [mesh["eu"], mesh["ap"]]
        cards = add_tokens(mesh.mesh, "na", CARDS)
        for _ in range(max(1, RATE * SECONDS // CARDS)):
            for other in others:
                answers = collections.Counter(pool.map(lambda card, region=other: ask(region, card, "no-cache"), cards))
                assert answers == {200: CARDS}, f"{other.name} gets {dict(answers)}"
            eventually(lambda: na.sql("SELECT count(*) FROM homeward.copies") == [(2 * CARDS,)], within_s=30, what="copies")
            forgotten, rate = round_of_changes(na, cards, others, pool)
            latencies += forgotten
            rates.append(rate)
            na.sql("UPDATE homeward.objects SET record = record || '{\"valid\": true}', version = version + 1 WHERE type = 'token'")
            sent = "SELECT count(*) FROM homeward.outbox WHERE receipted_at IS NULL"
            eventually(lambda: na.sql(sent) == [(0,)], within_s=120, every_s=0.1, what="all receipts")
    latencies.sort()
    p50, p99 = (1000 * latencies[int(len(latencies) * part)] for part in (0.50, 0.99))
    print(f"{sum(rates) / len(rates):.0f} changes/s, {len(latencies)} of them watched in two regions: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(f"ratio invalidation {TARGET_MS / p99:.2f} target >= 1.00")


main()
