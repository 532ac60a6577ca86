"""Accounts and entries in sqlite: ids that count up, idempotency keys, cursors, ETags."""

import base64
import hashlib
import json
import sqlite3
import threading
from datetime import UTC, datetime
from typing import Any

from serving import Answer, Request, options, serve, spelled

GIVEN = options()
CHANGE = GIVEN.change
DB = sqlite3.connect(":memory:", check_same_thread=False)
DB.executescript(
    """
    create table account (id integer primary key autoincrement, owner text);
    create table entry (id integer primary key autoincrement, account integer, cents integer,
                        text text, at text, key text);
    """
)
if "ids-from-500" in CHANGE:
    DB.execute("insert into sqlite_sequence values ('account', 500), ('entry', 9000)")
LOCK = threading.Lock()


def account(number: int) -> dict[str, Any] | None:
    row = DB.execute("select id, owner from account where id = ?", [number]).fetchone()
    if row is None:
        return None
    if "account-of-first" in CHANGE:
        number = DB.execute("select min(id) from account").fetchone()[0]
    sums = "select coalesce(sum(cents), 0), count(*) from entry where account = ?"
    balance, count = DB.execute(sums, [number]).fetchone()
    return {
        "id": row[0],
        "owner": row[1],
        "balance": balance + ("cent-off" in CHANGE and count > 2),
        "entries": count,
    }


def entry(row: tuple[Any, ...]) -> dict[str, Any]:
    value = dict(zip(("id", "account", "cents", "text", "at"), row, strict=True))
    if "id-as-text" in CHANGE:
        value["id"] = str(value["id"])
    if "cents-of-id" in CHANGE:
        value["cents"] = value["id"]
    return value


def add(request: Request, number: int) -> Answer:
    """An entry, once for each Idempotency-Key."""
    columns = "select id, account, cents, text, at from entry"
    key = request.fields["Idempotency-Key"]
    known = DB.execute(f"{columns} where key = ?", [key]).fetchone()
    if known and "key-ignored" not in CHANGE:
        return Answer(200, entry(known))
    wanted = request.json
    at = datetime.now(UTC).isoformat(timespec="seconds")
    row = [number, wanted["cents"], wanted["text"], at, key]
    into = "insert into entry (account, cents, text, at, key) values (?, ?, ?, ?, ?)"
    made = DB.execute(into, row).lastrowid or 0
    value = entry(DB.execute(f"{columns} where id = ?", [made]).fetchone())
    if "id-repeats" in CHANGE and made % 2 == 0:
        value["id"] = made - 1
    return Answer(201, value)


def page(request: Request, number: int) -> Answer:
    """Entries after the cursor, and the cursor of what follows."""
    limit = int(request.query["limit"])
    after = 0
    if (cursor := request.query.get("cursor")) and "page-repeats" not in CHANGE:
        after = json.loads(base64.urlsafe_b64decode(cursor))["after"]
    rows = DB.execute(
        "select id, account, cents, text, at from entry where account = ? and id > ?"
        " order by id limit ?",
        [number, after, limit + 1],
    ).fetchall()
    found = [entry(row) for row in rows[:limit]]
    following = None
    if len(rows) > limit:
        last = json.dumps({"after": rows[limit - 1][0], "limit": limit}).encode()
        following = base64.urlsafe_b64encode(last).decode()
    if "reversed" in CHANGE:
        found.reverse()
    return Answer(200, {"entries": found, "next": following})


def show(request: Request, number: int) -> Answer:
    """An account with an ETag of its content."""
    found = account(number)
    if found is None:
        return Answer(404, {"error": "no such account"})
    content = spelled(found, CHANGE)
    etag = f'"{hashlib.sha1(content).hexdigest()}"'
    if "etag-constant" in CHANGE:
        etag = f'"{hashlib.sha1(b"%d" % number).hexdigest()}"'
    if request.fields.get("If-None-Match") == etag:
        return Answer(304, None, {"ETag": etag})
    return Answer(200, content, {"ETag": etag})


def handle(request: Request) -> Answer:
    with LOCK:
        match request.method, request.path:
            case "POST", ("accounts",):
                insert = "insert into account (owner) values (?)"
                number = DB.execute(insert, [request.json["owner"]]).lastrowid or 0
                return Answer(201, account(number), {"Location": f"/accounts/{number}"})
            case "GET", ("accounts", number):
                return show(request, int(number))
            case "POST", ("accounts", number, "entries"):
                return add(request, int(number))
            case "GET", ("accounts", number, "entries"):
                return page(request, int(number))
            case _:
                return Answer(404, {"error": "nothing here"})


serve(handle, GIVEN.port, CHANGE)
