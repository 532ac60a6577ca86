"""Asks a server over TLS: `tls_client.py PORT CONNECTIONS REQUESTS SIZE`, all connections at once.

Each asks one thing after the other on its connection; whatever each asks and is answered has a mark
of its own. Every connection's first request goes as soon as all are open; the others when a line
comes on standard input. "first" is written to standard output when the first ones are answered.
"""

import http.client
import ssl
import sys
import threading


def main() -> None:
    port, connections, requests, size = map(int, sys.argv[1:])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opened = threading.Barrier(connections)
    asked_first = threading.Barrier(connections + 1)
    go_on = threading.Event()
    failed = []

    def ask(number: int) -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        connection.connect()
        opened.wait()
        for n in range(requests):
            mark = f"mark-{number}-{n}."
            target = f"/{mark}?{size + n}"
            if n % 2:
                body = (mark.encode() * size)[:size]
                connection.request("POST", target, body)
            else:
                connection.request("GET", target)
            content = connection.getresponse().read()
            if content != (mark.encode() * (size + n))[: size + n]:
                failed.append(target)
            if n == 0:
                asked_first.wait()
                go_on.wait()
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    asked_first.wait()
    print("first", flush=True)
    sys.stdin.readline()
    go_on.set()
    for thread in threads:
        thread.join()
    assert not failed, failed
    print("done", flush=True)


if __name__ == "__main__":
    main()
