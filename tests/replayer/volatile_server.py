"""A build that answers a little differently each time: a sample, a set, a share of its calls.

The third argument makes it behave differently for good.
"""

import http.client
import json
import os
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NEW = sys.argv[2:] == ["--new"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        tags = ["a", "b", "c", "d", "e", "f", "g", "h"]
        random.shuffle(tags)
        value = {"name": "new" if NEW else "old", "tags": tags, "score": random.randrange(10**6)}
        value["price"] = self.ask({"sample": random.randrange(10**6)})
        content = json.dumps(value).encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def ask(self, content: object) -> object:
        parts = urlsplit(os.environ["UPSTREAM_URL"])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        connection.request(
            "POST", "/prices", json.dumps(content), {"Content-Type": "application/json"}
        )
        return json.loads(connection.getresponse().read()).get("price")

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
