"""What the services here ask: prices, tickets, rates, weather, bookings."""

import itertools
import secrets
import time

from serving import Answer, Request, options, serve

GIVEN = options()
PRICES = {"pen": 120, "ink": 499, "paper": 350, "desk": 18900}
WEATHER = {"utrecht": [11.3, 12.1, 9.8], "porto": [18.25, 17.5, 19.9]}
TICKETS = itertools.count(7)


def handle(request: Request) -> Answer:
    match request.method, request.path:
        case "GET", ("prices", sku) if sku in PRICES:
            return Answer(200, {"sku": sku, "cents": PRICES[sku], **request.query})
        case "GET", ("prices", "broken"):
            return Answer(500, {"error": "out of order"})
        case "POST", ("tickets",):
            return Answer(201, {"ticket": next(TICKETS)})
        case "GET", ("rates",):
            return Answer(200, {"USD": 1084, "GBP": 857, "SEK": 11255})
        case "GET", ("weather",) if request.query["city"] in WEATHER:
            days = WEATHER[request.query["city"]][: int(request.query["days"])]
            return Answer(200, {"city": request.query["city"], "degrees": days})
        case "POST", ("bookings",):
            made = {"booking": f"bk_{secrets.token_hex(10)}", "at": int(time.time() * 1000)}
            return Answer(201, {**made, "city": request.json["city"]})
        case "POST", _:
            return Answer(202)
        case _:
            return Answer(404, {"error": "nothing here"})


serve(handle, GIVEN.port, GIVEN.change)
