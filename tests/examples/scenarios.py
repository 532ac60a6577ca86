"""What visitors do with each of the small services: a fixed story that uses what was answered."""

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Visitor:
    """One connection, kept where the service keeps it; `host` is what the service is called."""

    def __init__(self, port: int, host: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._host = host

    def ask(
        self, expected: int, method: str, target: str, value: Any = None, **more: str
    ) -> Answer:
        """One request, its status as expected; fields are named with underscores."""
        fields = {name.replace("_", "-").title(): text for name, text in more.items()}
        content = value
        if value is not None and not isinstance(value, bytes):
            content = json.dumps(value).encode()
            fields["Content-Type"] = "application/json"
        self._connection.request(method, target, content, {"Host": self._host, **fields})
        response = self._connection.getresponse()
        received = {name.lower(): text for name, text in response.getheaders()}
        answer = Answer(response.status, received, response.read())
        assert answer.status == expected, (method, target, answer)
        return answer

    def get(self, target: str, expected: int = 200, **more: str) -> Answer:
        return self.ask(expected, "GET", target, **more)

    def close(self) -> None:
        self._connection.close()


def ledger(one: Visitor) -> None:
    accounts = [
        one.ask(201, "POST", "/accounts", {"owner": owner}).fields["location"]
        for owner in ("ada", "bob", "cyd", "dee")
    ]
    first, second = accounts[:2]
    one.get(second)
    # Amounts that look like ids, and one that is the id of its entry.
    for place, cents in enumerate((1, 3, 3, 250, 2), 1):
        entry = {"cents": cents, "text": f"entry {place} of account 1"}
        one.ask(201, "POST", f"{first}/entries", entry, idempotency_key=f"key-{place}")
    again = {"cents": 2, "text": "entry 5 of account 1"}
    one.ask(200, "POST", f"{first}/entries", again, idempotency_key="key-5")
    one.ask(201, "POST", f"{second}/entries", {"cents": 40, "text": "x"}, idempotency_key="key-6")
    known = one.get(first).fields["etag"]
    one.get(first, 304, if_none_match=known)
    entry = {"cents": -7, "text": "back"}
    one.ask(201, "POST", f"{first}/entries", entry, idempotency_key="key-7")
    one.get(first, if_none_match=known)
    page = one.get(f"{first}/entries?limit=2").json
    while page["next"]:
        page = one.get(f"{first}/entries?{urlencode({'limit': 2, 'cursor': page['next']})}").json
    one.get("/accounts/77777", 404)
    for account in accounts:
        one.get(account)


def passes(one: Visitor) -> None:
    def begin(user: str) -> dict[str, str]:
        made = one.ask(201, "POST", "/sessions", {"user": user, "password": "sesame"}).json
        return {"authorization": f"Bearer {made['token']}"}

    one.ask(401, "POST", "/sessions", {"user": "bob", "password": "simsim"})
    one.get("/me", 401)
    one.get("/me", 401, authorization="Bearer nothing.that.wasours")
    bob, ada = begin("bob"), begin("ada")
    one.get("/me", **bob)
    one.get("/users/bob", **bob)
    one.get("/users/ada", 403, **bob)
    one.get("/users/bob", **ada)
    one.get("/me", **ada)
    url = one.ask(201, "POST", "/links", {"file": "report.txt"}, **bob).json["url"]
    one.get(url)
    one.get(url.replace("report", "secret"), 403)
    one.get("/me", 401, authorization=bob["authorization"][:-2] + "AA")
    one.ask(204, "DELETE", "/sessions/current", **bob)
    one.get("/me", 401, **bob)
    one.get("/me", **begin("bob"))


def forms(one: Visitor) -> None:
    def csrf_of(answer: Answer) -> str:
        return answer.content.decode().partition('name="csrf" value="')[2].partition('"')[0]

    def cookie_of(answer: Answer) -> str:
        return answer.fields["set-cookie"].partition(";")[0]

    def post(path: str, cookie: str, **form: str) -> Answer:
        content = urlencode(form).encode()
        return one.ask(303, "POST", path, content, cookie=cookie, content_type=FORM)

    one.get("/notes", 303)
    sessions = []
    for name in ("ada", "bob <b>"):
        front = one.get("/login")
        entered = post("/login", cookie_of(front), text=name, csrf=csrf_of(front))
        sessions.append(cookie_of(entered))
    ada, bob = sessions
    first = one.get("/notes", cookie=ada)
    token, known = csrf_of(first), first.fields["etag"]
    one.get("/notes", 304, cookie=ada, if_none_match=known)
    for text in ("milk & bread", "<script>alert(1)</script>", "call 2030-01-02"):
        made = post("/notes", ada, text=text, csrf=token)
        one.get(made.fields["location"], cookie=ada)
    forged = urlencode({"text": "gotcha", "csrf": "0" * 32}).encode()
    one.ask(403, "POST", "/notes", forged, cookie=ada, content_type=FORM)
    one.get("/notes", cookie=ada, if_none_match=known)
    one.get("/notes", cookie=bob)
    one.get(made.fields["location"], 404, cookie=bob)
    post("/logout", ada, csrf=token)
    one.get("/notes", 303, cookie=ada)
    one.get("/notes", cookie=bob)


def quotes(one: Visitor) -> None:
    one.get("/quotes?skus=pen,ink,paper,desk")
    one.get("/quotes?skus=pen,pen")
    one.get("/quotes?skus=ink,pen")
    one.get("/quotes?skus=pen,broken", 502)
    one.get("/tickets?count=1")
    one.get("/tickets?count=4")
    one.get("/tickets?count=2")
    one.get("/events")
    one.get("/quotes?skus=ink,pen")


def polling(one: Visitor) -> None:
    one.get("/convert?to=USD&cents=1000")
    one.get("/slow")
    one.get("/convert?to=GBP&cents=4991")
    time.sleep(0.25)
    one.get("/slow")
    one.get("/convert?to=SEK&cents=50")
    one.get("/convert?to=USD&cents=500")


def trips(one: Visitor) -> None:
    one.get("/weather/utrecht")
    one.get("/weather/porto")
    one.get("/weather/nowhere", 502)
    one.get("/trips")
    made = [
        one.ask(201, "POST", "/trips", {"city": city}).fields["location"]
        for city in ("utrecht", "porto", "porto", "utrecht", "porto", "utrecht")
    ]
    for trip in made:
        one.get(trip)
    one.get("/trips")
    one.get("/trips/00000000-0000-4000-8000-000000000000", 404)
    one.get("/trips")
