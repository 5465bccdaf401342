#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a cache in another region forgets an object that changed at home, at RATE changes a second.

Three regions; eu and ap have copies of every one of CARDS cards of na.  An application in na changes them in turn, a
transaction every 20 ms.  Of each transaction one card is watched in both other regions: from the moment it has
committed, `only-if-cached` lookups ask until the cache has nothing more.  What counts is the later of the two.

RATE, SECONDS_EACH and CARDS make it other than 500, 8 and 2,000.
"""
import concurrent.futures
import os
import threading
import time

import psycopg2
import requests

from event_load import BenchMesh, eventually
from mesh import a_station, add_tokens

RATE, SECONDS = int(os.environ.get("RATE", "500")), int(os.environ.get("SECONDS_EACH", "8"))
CARDS = int(os.environ.get("CARDS", "2000"))
TICK_S, LOOK_EVERY_S, PATIENCE_S = 0.02, 0.005, 30
TARGET_MS = 1000
sessions = threading.local()


def ask(region, card, cache_control):
    """The status of a lookup; each thread has connections of its own."""
    session = sessions.__dict__.setdefault(region.name, requests.Session())
    answer = session.get(region.url(f"/v1/objects/token/{card}?purpose=charge.authorize&station={a_station(region)}"), timeout=10,
                         headers={"Authorization": f"Bearer {region.token()}", "Cache-Control": cache_control})
    return answer.status_code


def watch(region, card, committed):
    """Seconds from the commit until the cache has forgotten it."""
    while ask(region, card, "only-if-cached") == 200:
        assert time.monotonic() < committed + PATIENCE_S, f"{region.name} still has {card}"
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - committed


def change_all(region, cards, others, pool):
    """Changes at the rate asked for; the pairs of watches."""
    watches, done, began = [], 0, time.monotonic()
    connection = psycopg2.connect(region.dsn)
    while done < len(cards):
        due = min(int((time.monotonic() - began) * RATE), len(cards))
        if due > done:
            with connection, connection.cursor() as cursor:
                cursor.execute("UPDATE homeward.objects SET record = record || '{\"valid\": false}', version = version + 1"
                               " WHERE type = 'token' AND id = ANY(%s)", (cards[done:due],))
            committed = time.monotonic()
            watches.append([pool.submit(watch, other, cards[done], committed) for other in others])
            done = due
        time.sleep(TICK_S)  # the pace of the load
    connection.close()
    return watches, done / (time.monotonic() - began)


def main():
    latencies, rates = [], []
    with BenchMesh("na", "eu", "ap") as mesh, concurrent.futures.ThreadPoolExecutor(16) as pool:
        na, others = mesh["na"], [mesh["eu"], mesh["ap"]]
        cards = add_tokens(mesh.mesh, "na", CARDS)
        for _ in range(max(1, RATE * SECONDS // CARDS)):
            for other in others:
                assert set(pool.map(lambda card, region=other: ask(region, card, "no-cache"), cards)) == {200}
            eventually(lambda: na.sql("SELECT count(*) FROM homeward.copies") == [(2 * CARDS,)], within_s=30, what="copies")
            watches, rate = change_all(na, cards, others, pool)
            latencies += [max(one.result() for one in pair) for pair in watches]
            rates.append(rate)
            na.sql("UPDATE homeward.objects SET record = record || '{\"valid\": true}', version = version + 1 WHERE type = 'token'")
            sent = "SELECT count(*) FROM homeward.outbox WHERE receipted_at IS NULL"
            eventually(lambda: na.sql(sent) == [(0,)], within_s=120, every_s=0.1, what="all receipts")
    latencies.sort()
    p50, p99 = (1000 * latencies[int(len(latencies) * part)] for part in (0.50, 0.99))
    print(f"{sum(rates) / len(rates):.0f} changes/s, {len(latencies)} of them watched in two regions: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(f"ratio invalidation {TARGET_MS / p99:.2f} target >= 1.00")


main()
