"""Converts money with rates that it polls in the background; tells how it is now and then."""

import json
import threading
import time
from urllib.request import Request as Call
from urllib.request import urlopen

from serving import UPSTREAM_URL, Answer, Request, options, serve

GIVEN = options()
CHANGE = GIVEN.change
EVERY_S = 0.02 if "polls-often" in CHANGE else 60 if "polls-once" in CHANGE else 0.1
RATES: dict[str, int] = {}


def poll() -> None:
    with urlopen(f"{UPSTREAM_URL}/rates") as answer:
        RATES.update(json.load(answer))


def work() -> None:
    beat = 0
    while True:
        time.sleep(EVERY_S)
        poll()
        beat += 1
        said = json.dumps({"beat": beat, "at": time.time()}).encode()
        urlopen(Call(f"{UPSTREAM_URL}/heartbeat", said, {"Content-Type": "application/json"}))


def handle(request: Request) -> Answer:
    if request.path == ("slow",):
        time.sleep(0.35)
        return Answer(200, {"slow": True})
    rate = RATES.get(request.query["to"], 0)
    if "rate-guessed" in CHANGE:
        rate = 1000
    if "rates-swapped" in CHANGE:
        rate = RATES["USD" if request.query["to"] == "GBP" else "GBP"]
    exact = int(request.query["cents"]) * rate
    cents = exact // 1000 if "cut-off" in CHANGE else (exact + 500) // 1000
    return Answer(200, {"cents": cents, "rate": rate})


poll()
threading.Thread(target=work, daemon=True).start()
serve(handle, GIVEN.port, CHANGE)
