"""Sessions as JSON Web Tokens, signed links, and who may see what. The key is new at each start."""

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from typing import Any

from serving import Answer, Request, backwards, options, serve

GIVEN = options()
CHANGE = GIVEN.change
KEY = secrets.token_bytes(32)
HOUR = 3600
ROLES = {"ada": "admin", "bob": "reader"}
ENDED: set[str] = set()


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(text: str) -> bytes:
    return hmac.new(KEY, text.encode(), hashlib.sha256).digest()


def token_of(user: str) -> tuple[str, dict[str, Any]]:
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": user if "sub-other" not in CHANGE else "ada",
        "role": ROLES[user] if "role-admin" not in CHANGE else "admin",
        "iat": now,
        "exp": now + HOUR * (2 if "expires-late" in CHANGE else 1),
        "jti": str(uuid.uuid4()) if "jti-constant" not in CHANGE else str(uuid.UUID(int=1 << 78)),
    }
    if "no-expiry" in CHANGE:
        del claims["exp"]
    if "claims-order" in CHANGE:
        claims = backwards(claims)
    head = {"alg": "HS256" if "alg-none" not in CHANGE else "none", "typ": "JWT"}
    body = ".".join(packed(json.dumps(p, separators=(",", ":")).encode()) for p in (head, claims))
    return f"{body}.{packed(signature(body))}", claims


def claims_of(request: Request) -> dict[str, Any] | None:
    token = request.fields.get("Authorization", "").removeprefix("Bearer ")
    body, _, signed = token.rpartition(".")
    if not signed or signed != packed(signature(body)):
        return None
    part = body.partition(".")[2]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if claims["jti"] in ENDED and "ended-accepted" not in CHANGE:
        return None
    return claims


def handle(request: Request) -> Answer:
    refused = Answer(401, {"error": "who are you?"}, {"WWW-Authenticate": 'Bearer realm="passes"'})
    if request.method == "POST" and request.path == ("sessions",):
        asked = request.json
        if asked["user"] not in ROLES or asked["password"] != "sesame":
            return refused
        token, claims = token_of(asked["user"])
        return Answer(201, {"token": token, "expires_in": HOUR, "id": claims["jti"]})
    if request.method == "GET" and request.path[0] == "files":
        return file_of(request)
    claims_found = claims_of(request)
    if claims_found is None:
        return refused
    return handle_known(request, claims_found)


def handle_known(request: Request, claims: dict[str, Any]) -> Answer:
    match request.method, request.path:
        case "GET", ("me",):
            return Answer(200, {"user": claims["sub"], "until": claims.get("exp")})
        case "GET", ("users", name):
            allowed = claims["role"] == "admin" or claims["sub"] == name
            if not allowed and "all-allowed" not in CHANGE:
                return Answer(403, {"error": "not yours"})
            return Answer(200, {"user": name, "role": ROLES[name]})
        case "POST", ("links",):
            expires = int(time.time()) + HOUR * (2 if "link-late" in CHANGE else 1)
            text = f"/files/{request.json['file']}?expires={expires}"
            return Answer(201, {"url": f"{text}&signature={signature(text).hex()}"})
        case "DELETE", ("sessions", "current"):
            ENDED.add(claims["jti"])
            return Answer(204)
        case _:
            return Answer(404, {"error": "nothing here"})


def file_of(request: Request) -> Answer:
    text = f"/files/{request.path[1]}?expires={request.query.get('expires')}"
    if request.query.get("signature") != signature(text).hex() and "unsigned" not in CHANGE:
        return Answer(403, {"error": "the link is not ours"})
    return Answer(200, f"{request.path[1]} in full\n".encode(), {"Content-Type": "text/plain"})


serve(handle, GIVEN.port, CHANGE)
