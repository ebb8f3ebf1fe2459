"""A service as somebody else would write it after docs/external.md: the standard library alone, a breaker of its own, a thread a call.

`python breaker_service.py PORT UPSTREAM [unlimited]` prints "ready" once it serves and ends with its standard input. The breaker is correct (permits
carry a generation, so late outcomes change nothing); `unlimited` makes it let any number of probes through.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAILURES, WAIT_S, TIME_LIMIT_S = 3, 0.4, 0.9


class Breaker:
    """Three failures in a row open it, after the wait one probe is let through, its success closes."""

    def __init__(self, *, unlimited: bool) -> None:
        self.unlimited = unlimited
        self.lock = threading.Lock()
        self.state, self.failures, self.opened_s, self.probing, self.generation = "closed", 0, 0.0, False, 0

    def enter(self, state: str) -> None:
        """Change state: whatever was begun before is of the past."""
        self.state, self.failures, self.probing = state, 0, False
        self.generation += 1
        if state == "open":
            self.opened_s = time.monotonic()

    def permit(self) -> int | None:
        """The generation that a call belongs to; None: not permitted."""
        with self.lock:
            if self.state == "open" and time.monotonic() - self.opened_s >= WAIT_S:
                self.enter("half-open")
            if self.state == "open" or (self.probing and not self.unlimited):
                return None
            self.probing = self.state == "half-open"
            return self.generation

    def told(self, generation: int, *, ok: bool) -> None:
        """How a call ended."""
        with self.lock:
            if generation != self.generation:
                return
            if self.state == "half-open":
                self.enter("closed" if ok else "open")
            elif self.state == "closed":
                self.failures = 0 if ok else self.failures + 1
                if self.failures >= FAILURES:
                    self.enter("open")


def call(upstream: str, request_id: str) -> bool:
    """One call to the dependency within its time limit, with the id that came with the request."""
    target = urlsplit(upstream)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=TIME_LIMIT_S)
    try:
        connection.request("GET", "/", headers={"X-Request-Id": request_id})
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def main() -> None:
    """Serve until standard input ends."""
    port, upstream = int(sys.argv[1]), sys.argv[2]
    breaker = Breaker(unlimited="unlimited" in sys.argv[3:])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Anything but /call is only to show that somebody is there."""
            if self.path != "/call":
                return self.answer(404)
            generation = breaker.permit()
            if generation is None:
                return self.answer(503)
            ok = call(upstream, self.headers["X-Request-Id"] or "")
            breaker.told(generation, ok=ok)
            return self.answer(200 if ok else 502)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not a word."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """Callers may go away."""

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
