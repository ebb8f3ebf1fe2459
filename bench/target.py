"""What the benches drive: one nginx on loopback, and the cores that generator and target have for themselves.

Where there is no nginx an aiohttp server serves instead; every row says which it was. With two cores or more the generator has
the first and the target the last, so that neither waits for the other; with one they share it, and the figures say less.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_NGINX = """
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 32768; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  log_format answered '$msec'; access_log {log}; keepalive_requests 1000000000; keepalive_timeout 3600; client_body_temp_path {home}; proxy_temp_path {home};
  fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello world"; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is running: where, what it is, and its process."""

    url: str
    name: str
    pid: int
    log: Path | None = None
    """Where it writes down the instant of each answer, a second late at most, if it was asked to and can."""

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://").rstrip("/")


def generator_core() -> set[int]:
    """The core that generators run on."""
    return {min(os.sched_getaffinity(0))}


def target_core() -> set[int]:
    """The core that targets run on."""
    return {max(os.sched_getaffinity(0))}


@contextlib.contextmanager
def target(*, logging: bool = False) -> Iterator[Served]:
    """Serve on loopback, away from the generator's core; `logging` has it write down when it answered (seconds since 1970)."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as home:
        nginx = shutil.which("nginx")
        if nginx is not None:
            config = Path(home) / "nginx.conf"
            log = Path(home) / "answered"
            kept = f"{log} answered buffer=1m flush=1s" if logging else "off"
            config.write_text(_NGINX.format(home=home, port=port, log=kept))
            command, name = [nginx, "-e", "stderr", "-p", home, "-c", str(config)], "nginx"
        else:
            command, name, log = [sys.executable, "-m", "bench.target", str(port)], "aiohttp", None
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                os.sched_setaffinity(server.pid, target_core())
                _await_port(port, server)
                yield Served(f"http://127.0.0.1:{port}/", name, server.pid, log if logging else None)
            finally:
                server.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_port(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the target did not start")


def main() -> None:
    """Serve with aiohttp, for machines without nginx."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello world")

    app = web.Application()
    app.router.add_get("/", hello)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        print=None,
        access_log=None,
        backlog=4096,
        keepalive_timeout=3600,
    )


if __name__ == "__main__":
    main()
