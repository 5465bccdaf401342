"""A steady load on one region, whose every answer is kept."""
import threading
import time

import requests


class Load:
    """Taps from a few threads until stopped; keeps every answer with its time."""

    def __init__(self, region, cards, station, threads=4, headers=None):
        self.region, self.cards, self.station, self.headers = region, cards, station, headers or {}
        self.answers, self.lock, self.stopping = [], threading.Lock(), threading.Event()
        self.pool = [threading.Thread(target=self.run, args=(number,)) for number in range(threads)]

    def run(self, number):
        session = requests.Session()
        session.trust_env = False
        headers = {"Authorization": f"Bearer {self.region.token()}", **self.headers}
        turn = number
        while not self.stopping.is_set():
            card = self.cards[turn % len(self.cards)]
            turn += len(self.pool)
            began = time.monotonic()
            try:
                answer = session.post(self.region.url("/v1/authorize"), json={"id": card, "station": self.station},
                                      headers=headers, timeout=10)
                body = answer.json()
                outcome = body.get("status") if answer.status_code == 200 else body["code"]
                source, exchange = body.get("source"), body.get("exchange")
            except requests.RequestException as error:
                outcome, source, exchange = f"no answer: {error}", None, None
            with self.lock:
                self.answers.append((began, time.monotonic() - began, outcome, source, exchange))

    def __enter__(self):
        for thread in self.pool:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        for thread in self.pool:
            thread.join()

    def since(self, moment):
        with self.lock:
            return [answer for answer in self.answers if answer[0] >= moment]

    def has_success_since(self, moment):
        return any(outcome == "ALLOWED" and source == "home" for _, _, outcome, source, _ in self.since(moment))
