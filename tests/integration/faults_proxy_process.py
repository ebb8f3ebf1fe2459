"""A proxy server in a process of its own, for tests that would otherwise measure their own event loop."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ServerProcess:
    """A running server; `port` is its API's."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Make a request on a connection of its own; status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def proxied(self, name: str, upstream_port: int) -> int:
        """Make a proxy; return its port."""
        body = {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream_port}"}
        status, answer = self.call("POST", "/proxies", body)
        assert status == 201, answer
        return int(json.loads(answer)["listen"].rpartition(":")[2])

    def add(self, proxy: str, body: dict[str, Any]) -> None:
        """Add a toxic."""
        status, answer = self.call("POST", f"/proxies/{proxy}/toxics", body)
        assert status == 200, answer

    def rss_bytes(self) -> int:
        """Return what it has in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def server_process(*flags: str, log: Path | None = None) -> Iterator[ServerProcess]:
    """Run a server; it must still be there at the end."""
    command = [sys.executable, "-m", "faults.proxy", "-port", "0", "--die-with-parent", *flags]
    with (log or Path("/dev/null")).open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield ServerProcess(process, int(ready["admin"].rpartition(":")[2]))
            assert process.poll() is None, "the server is gone"
        finally:
            process.stdin.close()
            process.stdout.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
