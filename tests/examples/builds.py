"""Builds that the judge must get right, without rules: right ones, harmless variants, regressions.

A build is one service with one change switched on. What is expected of its verdict stands in
`BUILDS`; how the judge finds it is none of this module's business: it sees the command alone.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import scenarios
from tap import Capture, relay

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "examples" / "shop"
SERVICES = Path(__file__).with_name("services")
CAPTURE = ROOT / "fixtures" / "pcaps" / "shop" / "shop.pcap"
BIN = Path(sys.executable).parent
NODE = shutil.which("node") or "node"

PASS, DIFFERS, CALLS, UNFIT = 0, 1, 3, 4


class Build(NamedTuple):
    """A service with a change; the exit code, and texts that the causes must hold.

    A text "a|b" is there where one of its parts is.
    """

    service: str
    change: str
    code: int
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.service} {self.change or 'as it is'}"


class Service(NamedTuple):
    """How a service is started, and what its visitors do."""

    command: tuple[str, ...]
    scenario: Callable[[scenarios.Visitor], None]
    asks: bool = False


def _python(name: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, str(SERVICES / f"{name}.py"), *more)


RECORDED: dict[str, Service] = {
    "ledger": Service(_python("ledger"), scenarios.ledger),
    "passes": Service(_python("passes"), scenarios.passes),
    "forms": Service(_python("forms"), scenarios.forms),
    "quotes": Service(_python("quotes"), scenarios.quotes, asks=True),
    "polling": Service(_python("polling"), scenarios.polling, asks=True),
    "trips": Service((NODE, str(SERVICES / "trips.mjs")), scenarios.trips, asks=True),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def started(command: Sequence[str], port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service, once it accepts connections on `port`; gone at the end."""
    with subprocess.Popen(
        [*command, "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{command} ended"
                    assert time.monotonic() < deadline, f"{command} does not listen"
                    time.sleep(0.02)
            yield process
        finally:
            process.terminate()


@dataclass(frozen=True)
class Recording:
    """A recording, and the name of the upstream in it where there is one."""

    path: Path
    upstream: str = ""


def imported(capture: Path, path: Path, *more: str) -> Path:
    """The recording of a capture."""
    command = [str(BIN / "capture-agent"), "import", str(capture), "-o", str(path), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return path


def record(name: str, folder: Path) -> Recording:
    """A new recording of a service as it is: the shop's from its fixture, others by a real run."""
    path = folder / f"{name}.mcap"
    if name == "shop":
        return Recording(imported(CAPTURE, path))
    service = RECORDED[name]
    pcap = folder / f"{name}.pcap"
    capture = Capture(pcap)
    port, above = free_port(), ""
    with ExitStack() as stack:
        env = {}
        if service.asks:
            behind = free_port()
            stack.enter_context(started(_python("upstream"), behind))
            above = f"127.0.0.1:{stack.enter_context(relay(capture, ('127.0.0.1', behind)))}"
            env["UPSTREAM_URL"] = f"http://{above}"
        stack.enter_context(started(service.command, port, **env))
        here = ("127.0.0.1", port)
        visited = stack.enter_context(relay(capture, here, known_as=here))
        visitor = scenarios.Visitor(visited, f"127.0.0.1:{port}")
        service.scenario(visitor)
        visitor.close()
    capture.close()
    return Recording(imported(pcap, path, "--service", f"127.0.0.1:{port}"), above)


@dataclass
class Outcome:
    """What a run of the judge left behind."""

    build: Build
    code: int
    out: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> str:
        """What is wrong with the verdict, or "" where it is right."""
        if self.code != self.build.code:
            return f"exit {self.code} instead of {self.build.code}"
        told = json.dumps(self.report.get("causes"), ensure_ascii=False)
        lacking = [t for t in self.build.said if not any(part in told for part in t.split("|"))]
        return f"the causes do not say {' and '.join(lacking)}" if lacking else ""

    @property
    def hash(self) -> str:
        """Of the verdict without its timings; of a broken build, without what it made up itself."""
        left_out = {"timings"} if self.build.code == PASS else {"timings", "actual"}
        return hashlib.sha256(json.dumps(_without(self.report, left_out)).encode()).hexdigest()


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(v, names) for name, v in value.items() if name not in names}
    return [_without(v, names) for v in value] if isinstance(value, list) else value


def judge(
    build: Build, recording: Recording, folder: Path, *more: str, mocks_by_env: bool = True
) -> Outcome:
    """One run of `replay run`; the build is sent to the mocks through its environment or not."""
    report = folder / f"{build.service}-{build.change or 'as-it-is'}.json"
    if build.service == "shop":
        command: tuple[str, ...] = (sys.executable, str(SHOP / "shop.py"))
        kind, _, name = build.change.partition(":")
        changed = (f"--{kind}", name) if kind else ()
        upstreams = {
            "INVENTORY_URL": "inventory.internal:80",
            "PAYMENTS_URL": "payments.internal:80",
        }
    else:
        command = RECORDED[build.service].command
        changed = ("--change", build.change) if build.change else ()
        upstreams = {"UPSTREAM_URL": recording.upstream} if recording.upstream else {}
    env = {
        name: f"http://{{mock:{upstream}}}" if mocks_by_env else f"http://{upstream}"
        for name, upstream in upstreams.items()
    }
    words = [
        str(BIN / "replay"), "run", str(recording.path), "--target", "http://127.0.0.1:{port}",
        *(word for pair in env.items() for word in ("--env", "=".join(pair))),
        "--json", str(report), *more, "--", *command, "--port", "{port}", *changed,
    ]  # fmt: skip
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        out = process.communicate(timeout=100)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # it ends its build
        out = process.communicate(timeout=20)[0]
    outcome = Outcome(build, process.returncode, out)
    if report.exists():
        outcome.report = json.loads(report.read_text())
        report.unlink()
    return outcome


# The service as it is, and what is as good.
CORRECT = [Build(name, "", PASS) for name in ("shop", *RECORDED)]
HARMLESS = [
    Build(service, change, PASS)
    for service, changes in {
        "shop": (
            "json-order json-compact json-escaped field-case field-order field-values chunked"
            " length dribble gzip-level closes closes-silently slow calls-slow calls-close"
            " calls-json calls-chunked"
        ),
        "ledger": "ids-from-500 json-order json-compact field-case chunked closes",
        "passes": "claims-order json-order json-compact chunked",
        "forms": "attribute-order",
        "quotes": "in-turn last-first json-order closes",
        "polling": "polls-often polls-once json-compact",
        "trips": "json-order json-spread closes",
    }.items()
    for change in changes.split()
]
HARMLESS = [
    build._replace(change=f"variant:{build.change}") if build.service == "shop" else build
    for build in HARMLESS
]

# Change: exit code, and what the causes must say.
_SHOP = {
    "wrong-total": (DIFFERS, "POST /orders", "$.total_cents", "6129", "5480"),
    "cent-too-much": (DIFFERS, "POST /orders", "$.total_cents"),
    "tax-rounded-down": (CALLS, "POST /charges", "$.amount"),
    "shipping-border": (CALLS, "POST /charges", "$.amount"),
    "total-as-text": (DIFFERS, "$.total_cents", "string"),
    "total-as-fraction": (DIFFERS, "$.total_cents"),
    "time-zone": (DIFFERS, "$.created_at"),
    "held-too-long": (DIFFERS, "$.reservation.expires_at"),
    "no-zone": (DIFFERS, "$.created_at"),
    "time-as-epoch": (DIFFERS, "$.created_at"),
    "other-id": (DIFFERS, "$.id"),
    "other-location": (DIFFERS, "location"),
    "number-repeats": (DIFFERS, "$.number"),
    "charge-of-another": (DIFFERS, "$.charge"),
    "stale-order": (DIFFERS, "GET /orders/", "$.note"),
    "stale-stock": (DIFFERS, "GET /products/MUG-BLUE", "$.available"),
    "list-of-all": (DIFFERS, "GET /orders?customer=", "$.count"),
    "list-reversed": (DIFFERS, "GET /orders", "$.orders"),
    "list-without-first": (DIFFERS, "GET /orders", "$.orders"),
    "search-by-case": (DIFFERS, "GET /products?search=caf%C3%A9", "$.products"),
    "status-200": (DIFFERS, "POST /orders", "status", "201"),
    "error-code": (DIFFERS, "POST /orders", "$.error.code"),
    "cancelled-twice": (DIFFERS, "/cancel", "status", "409"),
    "no-vary": (DIFFERS, "/products", "vary"),
    "debug-field": (DIFFERS, "GET /products/", "x-debug"),
    "member-dropped": (DIFFERS, "POST /orders", "$.note"),
    "card-told": (DIFFERS, "POST /orders", "$.card"),
    "note-cut": (DIFFERS, "$.note", "danke"),
    "note-garbled": (DIFFERS, "$.note", "danke"),
    "csv-unquoted": (DIFFERS, "GET /products/export", "Café"),
    "content-cut": (DIFFERS, "GET /products/export"),
    "gzip-unsaid": (DIFFERS, "GET /products", "content-encoding"),
    "head-length": (DIFFERS, "HEAD /products", "content-length"),
    "etag-constant": (DIFFERS, "GET /products/MUG-BLUE", "etag"),
    "etag-ignored": (DIFFERS, "GET /products/MUG-BLUE", "status", "304"),
    "stock-unchecked": (CALLS, "missing", "GET /stock/"),
    "stock-asked-twice": (CALLS, "extra", "GET /stock/"),
    "stock-query": (CALLS, "GET /stock/", "fresh"),
    "goods-kept": (CALLS, "missing", "DELETE /reservations/"),
    "currency": (CALLS, "POST /charges", "$.currency", "USD"),
    "refund-of-subtotal": (CALLS, "/refunds", "$.amount"),
    "one-key-for-all": (CALLS, "POST /charges", "idempotency-key"),
    "no-key": (CALLS, "POST /charges", "idempotency-key"),
    "charged-twice": (CALLS, "extra", "POST /charges"),
    "declined-accepted": (CALLS, "missing", "DELETE /reservations/"),
}  # fmt: skip
_OTHERS = {
    "ledger": {
        "id-repeats": (DIFFERS, "/entries", "$.id"),
        "id-as-text": (DIFFERS, "/entries", "$.id"),
        "cents-of-id": (DIFFERS, "/entries", "$.cents"),
        "cent-off": (DIFFERS, "GET /accounts/", "$.balance"),
        "account-of-first": (DIFFERS, "GET /accounts/", "$.balance"),
        "key-ignored": (DIFFERS, "/entries", "status"),
        "page-repeats": (DIFFERS, "/entries?limit=2", "$.entries"),
        "reversed": (DIFFERS, "/entries?limit=2", "$.entries"),
        "etag-constant": (DIFFERS, "GET /accounts/", "etag"),
        # The same with ids that are others anyway.
        "ids-from-500+id-repeats": (DIFFERS, "/entries", "$.id"),
        "ids-from-500+cents-of-id": (DIFFERS, "/entries", "$.cents"),
        "ids-from-500+cent-off": (DIFFERS, "GET /accounts/", "$.balance"),
        "ids-from-500+page-repeats": (DIFFERS, "/entries?limit=2", "$.entries"),
        "ids-from-500+etag-constant": (DIFFERS, "GET /accounts/", "etag"),
    },
    "passes": {
        "sub-other": (DIFFERS, "POST /sessions", "$.token"),
        "role-admin": (DIFFERS, "POST /sessions", "$.token"),
        "expires-late": (DIFFERS, "POST /sessions", "$.token"),
        "no-expiry": (DIFFERS, "POST /sessions", "$.token"),
        "alg-none": (DIFFERS, "POST /sessions", "$.token"),
        "jti-constant": (DIFFERS, "POST /sessions", "$.id"),
        "all-allowed": (DIFFERS, "GET /users/ada", "status"),
        "ended-accepted": (DIFFERS, "GET /me", "status"),
        "link-late": (DIFFERS, "POST /links", "$.url"),
        "unsigned": (DIFFERS, "GET /files/secret.txt", "status"),
    },
    "forms": {
        "unescaped": (DIFFERS, "/notes", "script"),
        "csrf-off": (DIFFERS, "POST /notes", "status", "403"),
        "session-fixed": (DIFFERS, "POST /login", "set-cookie"),
        "expires-late": (DIFFERS, "GET /login", "set-cookie"),
        "no-httponly": (DIFFERS, "GET /login", "set-cookie"),
        "notes-of-all": (DIFFERS, "GET /notes"),
        "newest-first": (DIFFERS, "GET /notes"),
        "logout-forgotten": (DIFFERS, "GET /notes", "status"),
        "etag-constant": (DIFFERS, "/notes", "etag|304"),
    },
    "quotes": {
        "currency": (CALLS, "GET /prices/", "currency", "USD"),
        "misses-ink": (CALLS, "missing", "GET /prices/ink"),
        "asks-twice": (CALLS, "extra", "GET /prices/"),
        "error-swallowed": (CALLS, "extra", "POST /audit"),
        "prices-mixed": (DIFFERS, "GET /quotes?skus=pen,ink", "$.lines"),
        "not-noted": (CALLS, "missing", "POST /audit"),
        "noted-other-id": (DIFFERS, "GET /quotes", "$.id"),
        "ticket-kept": (DIFFERS, "GET /tickets", "$.tickets"),
        "event-lost": (DIFFERS, "GET /events"),
    },
    "polling": {
        "rate-guessed": (DIFFERS, "GET /convert", "$.rate"),
        "rates-swapped": (DIFFERS, "GET /convert", "$.rate"),
        "cut-off": (DIFFERS, "GET /convert", "$.cents"),
    },
    "trips": {
        "query": (CALLS, "GET /weather", "days"),
        "error-swallowed": (DIFFERS, "GET /weather/nowhere", "status"),
        "no-await": (DIFFERS, "GET /weather/utrecht", "$.degrees"),
        "rounded": (DIFFERS, "GET /weather/utrecht", "$.mean"),
        "key-constant": (CALLS, "POST /bookings", "idempotency-key"),
        "booking-lost": (DIFFERS, "POST /trips", "$.booking"),
        "expires-late": (DIFFERS, "POST /trips", "$.expires_at_ms"),
        "other-id": (DIFFERS, "POST /trips", "$.id|location"),
        "sorted-backwards": (DIFFERS, "GET /trips", "$.trips"),
        "cities-mixed": (DIFFERS, "GET /trips", "$.trips"),
    },
}  # fmt: skip
BROKEN = [
    *(Build("shop", f"fault:{name}", code, tuple(said)) for name, (code, *said) in _SHOP.items()),
    *(
        Build(service, name, code, tuple(said))
        for service, builds in _OTHERS.items()
        for name, (code, *said) in builds.items()
    ),
]
BUILDS = [*CORRECT, *HARMLESS, *BROKEN]
