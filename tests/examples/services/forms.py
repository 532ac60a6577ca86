"""Notes on HTML pages, served by wsgiref (HTTP/1.0): cookies, CSRF, redirects."""

import hashlib
import html
import secrets
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server

from serving import options

GIVEN = options()
CHANGE = GIVEN.change
HOUR = 3600
SALT = secrets.token_bytes(16)
CSRF: dict[str, str] = {}
USERS: dict[str, str] = {}
NOTES: list[tuple[str, str, str]] = []


def page(title: str, body: str, session: str) -> str:
    """A page with the form's token, which stays for a session."""
    token = CSRF.setdefault(session, secrets.token_hex(16))
    return (
        f"<!doctype html>\n<html><head><title>{title}</title></head>\n<body>\n{body}\n"
        f'<form method="post"><input type="hidden" name="csrf" value="{token}">'
        '<textarea name="text"></textarea></form>\n</body></html>\n'
    )


def cookie(session: str) -> str:
    attributes = ["Path=/", "HttpOnly", "SameSite=Lax"]
    lives = HOUR * (2 if "expires-late" in CHANGE else 1)
    attributes.append(f"Expires={formatdate(time.time() + lives, usegmt=True)}")
    if "no-httponly" in CHANGE:
        attributes.remove("HttpOnly")
    if "attribute-order" in CHANGE:
        attributes = [attribute.replace("Path", "path") for attribute in reversed(attributes)]
    return "; ".join([f"session={session}", *attributes])


def session_of(environ: dict[str, Any]) -> str:
    given = dict(p.strip().partition("=")[::2] for p in environ.get("HTTP_COOKIE", "").split(";"))
    return given.get("session", "")


def handle(method: str, path: str, form: dict[str, str], session: str) -> tuple[str, Any, str]:
    """Status, fields and content."""
    if path == "/login" and method == "GET":
        session = secrets.token_urlsafe(24)
        return "200 OK", [("Set-Cookie", cookie(session))], page("Log in", "Name?", session)
    if method == "POST" and form.get("csrf") != CSRF.get(session) and "csrf-off" not in CHANGE:
        return "403 Forbidden", [], "<p>Not from our form.</p>\n"
    if path == "/login":
        # A session that was begun before the login must not live on.
        new = secrets.token_urlsafe(24) if "session-fixed" not in CHANGE else session
        USERS[new] = form["text"]
        return "303 See Other", [("Set-Cookie", cookie(new)), ("Location", "/notes")], ""
    user = USERS.get(session)
    if user is None:
        return "303 See Other", [("Location", "/login")], ""
    return handle_known(method, path, form, session, user)


def handle_known(
    method: str, path: str, form: dict[str, str], session: str, user: str
) -> tuple[str, Any, str]:
    escape = html.escape if "unescaped" not in CHANGE else str
    match method, path.strip("/").split("/"):
        case "POST", ["notes"]:
            NOTES.append((secrets.token_urlsafe(12), user, form["text"]))
            return "303 See Other", [("Location", f"/notes/{NOTES[-1][0]}")], ""
        case "GET", ["notes"]:
            mine = [n for n in NOTES if n[1] == user or "notes-of-all" in CHANGE]
            if "newest-first" in CHANGE:
                mine.reverse()
            items = "\n".join(
                f'<li><a href="/notes/{note}">{escape(text)}</a></li>' for note, _, text in mine
            )
            return "200 OK", [], page(escape(user), f"<ul>\n{items}\n</ul>", session)
        case "GET", ["notes", wanted]:
            for note, owner, text in NOTES:
                if note == wanted and owner == user:
                    return "200 OK", [], page("Note", f"<p>{escape(text)}</p>", session)
            return "404 Not Found", [], "<p>No such note.</p>\n"
        case "POST", ["logout"]:
            if "logout-forgotten" not in CHANGE:
                del USERS[session]
            return "303 See Other", [("Location", "/login")], ""
        case _:
            return "404 Not Found", [], "<p>Nothing here.</p>\n"


def application(environ: dict[str, Any], start: Any) -> list[bytes]:
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    form = {name: values[0] for name, values in parse_qs(content).items()}
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    status, fields, text = handle(method, path, form, session_of(environ))
    fields = [("Content-Type", "text/html; charset=utf-8"), *fields]
    if status.startswith("200"):
        # Nobody else can make it again: what it is made of does not leave this process.
        made_of = path if "etag-constant" in CHANGE else text
        etag = f'"{hashlib.sha256(SALT + made_of.encode()).hexdigest()[:20]}"'
        fields.append(("ETag", etag))
        if environ.get("HTTP_IF_NONE_MATCH") == etag:
            start("304 Not Modified", [("ETag", etag)])
            return []
    start(status, fields)
    return [text.encode()]


class Quiet(WSGIRequestHandler):
    def log_message(self, *what: object) -> None:
        pass


make_server("127.0.0.1", GIVEN.port, application, handler_class=Quiet).serve_forever()
