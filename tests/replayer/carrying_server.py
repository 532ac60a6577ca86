"""A build whose requests depend on its answers: log-in with a form token, bearer tokens, keys,
cursors, entity tags, and numbers that begin where it is told."""

import argparse
import base64
import hashlib
import hmac
import json
import secrets
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET = secrets.token_bytes(32)
ITEMS = [{"name": f"item {number}"} for number in "abcdef"]
# Made anew by each process, of a length of its own, with what must be escaped in a query.
CURSORS = {n: secrets.token_hex(5 + secrets.randbelow(9)) + "+/==" for n in range(2, 7, 2)}
FORM_TOKEN = secrets.token_urlsafe(24 + secrets.randbelow(9))
SESSION = secrets.token_urlsafe(24)
TAG = secrets.token_hex(4 + secrets.randbelow(5))
KEYS: dict[str, str] = {}
NOTES: dict[str, str] = {}


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(**claims: object) -> str:
    said = ".".join(coded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{said}.{coded(hmac.digest(SECRET, said.encode(), hashlib.sha256))}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fault = ""
    first = 1
    token = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/login":
            field = f'<input type="hidden" name="csrf" value="{FORM_TOKEN}">'
            if self.fault == "no-form-token":
                field = ""
            page = f"<html><body><form>\n{field}\n</form></body></html>\n"
            self.answer(200, page.encode(), "text/html", ("Set-Cookie", f"sid={SESSION}; HttpOnly"))
        elif url.path == "/docs/1":
            self.answer_json(200, {"text": "one"}, ("ETag", f'"{TAG}"'))
        elif url.path.startswith("/notes/"):
            note = NOTES.get(url.path.rpartition("/")[2])
            self.answer_json(*((200, {"note": note}) if note else (404, {"error": "no note"})))
        elif url.path == "/keys/check":
            user, _, password = base64.b64decode(self.shown()).decode().partition(":")
            good = KEYS.get(user) == password
            self.answer_json(200 if good else 401, {"good": good})
        elif url.path == "/items":
            self.items(query.get("cursor", [""])[0])
        else:
            self.answer_json(404, {"error": "nothing here"})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/login":
            known = self.headers.get("Cookie") == f"sid={SESSION}"
            if not known or parse_qs(content).get("csrf") != [FORM_TOKEN]:
                self.answer_json(403, {"error": "form token"})
                return
            Handler.token = jwt(sub="ada", iat=int(time.time()), exp=int(time.time()) + 3600)
            self.answer_json(200, {"token": self.token})
        elif self.path == "/keys":
            user, password = secrets.token_hex(12), secrets.token_urlsafe(20)
            KEYS[user] = password
            self.answer_json(201, {"user": user, "password": password})
        elif self.path == "/notes":
            number = str(self.first + len(NOTES))
            NOTES[number] = content
            self.answer(201, b"", "text/plain", ("Location", f"/notes/{number}"))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        same = self.headers.get("If-Match") == f'"{TAG}"'
        self.answer_json(200 if same else 412, {"saved": same})

    def shown(self) -> str:
        return self.headers.get("Authorization", "").partition(" ")[2]

    def items(self, cursor: str) -> None:
        if not self.token or self.shown() != self.token:
            self.answer_json(401, {"error": "token"})
            return
        start = 0 if not cursor else next((n for n, c in CURSORS.items() if c == cursor), None)
        if start is None:
            self.answer_json(400, {"error": "cursor"})
            return
        page: dict[str, object] = {"items": ITEMS[start : start + 2]}
        if start + 2 in CURSORS and self.fault != "no-cursor":
            page["next_cursor"] = CURSORS[start + 2]
        self.answer_json(200, page)

    def answer_json(self, status: int, value: object, *fields: tuple[str, str]) -> None:
        self.answer(status, json.dumps(value).encode(), "application/json", *fields)

    def answer(self, status: int, content: bytes, kind: str, *fields: tuple[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (("Content-Type", kind), *fields):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fault", default="")
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    Handler.fault, Handler.first = options.fault, options.first
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
