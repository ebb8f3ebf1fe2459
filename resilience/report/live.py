"""The page while the run goes on: a process of its own that reads the record and shows it, and changes nothing.

    python -m resilience.report.live RUN [--port N] [--die-with-parent]

It prints one JSON line with its address and serves one page, `GET /`. Until the run is judged that is the report as far as it
goes, drawn statically (a page of plots every two seconds would cost the machine more than the run may spare), and the browser
is told to ask again; from then on it is `report.html` itself, and the browser stops asking.

It runs beside the run, never in it: nothing that a browser does can keep the runner from its heartbeats. It asks the kernel
for the lowest priority. It binds loopback, answers to no foreign `Host` (a web page elsewhere must not read it), and sends
nothing but this page. With `--die-with-parent` it ends when standard input does, but first gives a browser that has been
asking the finished page, if there is one: for at most `FAREWELL_S`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from resilience.report.html import render_html
from resilience.report.model import build_model
from resilience.run.record import RecordError, RunReader

REFRESH_S = 2
FAREWELL_S = 6.0
_NICE = 19
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def running_page(folder: Path, now_ns: int) -> str:
    """The page of a run that is not judged yet, as far as its record goes; RecordError where there is no record yet."""
    reader = RunReader(folder)
    timeline, environment = reader.timeline(), reader.environment()
    epoch_ns = reader.epoch_ns
    planned_s = float(timeline.get("duration_ns") or 0) / 1e9
    gone_s = max(0.0, (now_ns - epoch_ns) / 1e9) if epoch_ns else 0.0
    verdict: dict[str, Any] = {
        "verdict": "running",
        "name": timeline.get("name"),
        "reason": f"{min(gone_s, planned_s):.0f} of {planned_s:.0f} s" if epoch_ns else "starting",
        "duration_s": min(gone_s, planned_s) or 1.0,
        "stack": environment.get("stack"),
        "seed": environment.get("seed", ""),
        "started": environment.get("started"),
    }
    return render_html(build_model(reader, verdict), refresh_s=REFRESH_S)


class LivePage(ThreadingHTTPServer):
    """Serves one run's page. `finished_served` is set once a browser has got the finished one."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.asked = threading.Event()
        self.finished_served = threading.Event()
        self._lock = threading.Lock()
        self._page = ""
        self._drawn_at_s = -REFRESH_S * 1.0

    def page(self) -> tuple[str, bool]:
        """The page and whether it is the finished one. Several browsers share one drawing."""
        with contextlib.suppress(OSError):
            return (self.folder / "report.html").read_text(encoding="utf-8"), True
        with self._lock:
            if time.monotonic() - self._drawn_at_s >= REFRESH_S / 2:
                self._page = running_page(self.folder, time.monotonic_ns())
                self._drawn_at_s = time.monotonic()
            return self._page, False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: LivePage
    timeout = 10
    server_version = "chaos-spike"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, to whoever asks this machine by one of its own names."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in {"127.0.0.1", "localhost"}:
            self._answer(
                403, "this page is for browsers on this machine: ask http://127.0.0.1\n", "text/plain"
            )
            return
        if (
            self.path == "/favicon.ico"
        ):  # a browser asks for it beside "not yet"; a 404 would be an error on its console
            self.send_response(204)
            self.end_headers()
            return
        if self.path != "/":
            self._answer(404, "there is one page here: /\n", "text/plain")
            return
        self.server.asked.set()
        try:
            page, finished = self.server.page()
        except RecordError as error:
            self.send_response(503)
            self._rest(f"not yet: {error}\n".encode(), "text/plain", ("Refresh", str(REFRESH_S)))
            return
        # The finished page carries its own policy, which allows its own scripts by hash.
        policy = () if finished else (("Content-Security-Policy", _POLICY),)
        self.send_response(200)
        self._rest(page.encode(), "text/html", *policy)
        if finished:
            self.server.finished_served.set()

    def _answer(self, status: int, text: str, kind: str) -> None:
        self.send_response(status)
        self._rest(text.encode(), kind)

    def _rest(self, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends or a signal comes; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m resilience.report.live", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("run", type=Path, help="the folder of the run, which may not be there yet")
    parser.add_argument("--port", type=int, default=0, help="port on loopback, 0 for any")
    parser.add_argument("--die-with-parent", action="store_true", help="end when stdin ends")
    arguments = parser.parse_args(argv)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    try:
        server = LivePage(arguments.run, arguments.port)
    except OSError as error:
        sys.stderr.write(f"no live page on port {arguments.port}: {error.strerror}\n")
        return 1
    sys.stdout.write(
        json.dumps({"ready": True, "url": f"http://127.0.0.1:{server.server_address[1]}/"}) + "\n"
    )
    sys.stdout.flush()
    if arguments.die_with_parent:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    return 0


def _end_with_stdin(server: LivePage) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    if server.asked.is_set() and (server.folder / "report.html").is_file():
        server.finished_served.wait(FAREWELL_S)
    server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
