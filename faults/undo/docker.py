"""Undoing by way of the Docker engine, synchronously and with time-outs, on `http.client` alone.

One operation so far: restarting a container, the last resort for a Toxiproxy whose admin API has frozen. Its toxics are in
memory only, so it comes back without them, with the proxies of its configuration file, on the ports that it had.
A container that is gone counts as done. Speaks to the engine's socket file, or to a plain TCP address on loopback.
"""

import http.client
import json
import socket
from typing import Any, Final
from urllib.parse import quote, urlsplit

from faults.undo.model import Undo
from faults.undo.toxiproxy import MAX_ANSWER_BYTES, UndoFailed

__all__ = ["is_running", "restart"]

_TIMEOUT_S: Final = 4.0
_GONE: Final = 404


class _SocketFile(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def restart(undo: Undo) -> bool:
    """Kill and start `args.container` through the engine at `args.engine`; False if there is no such container."""
    # No grace: what is frozen will not listen.
    status, body = _call(undo, "POST", "/restart?t=0")
    if status == _GONE:
        return False
    if status != 204:
        raise UndoFailed(
            f"restarting the container answered {status}: {body[:200].decode('utf-8', 'replace')}"
        )
    return True


def is_running(undo: Undo) -> bool:
    """Ask whether `args.container` runs, or is gone."""
    status, body = _call(undo, "GET", "/json")
    if status == _GONE:
        return True
    try:
        return bool(json.loads(body)["State"]["Running"])
    except (ValueError, KeyError, TypeError) as error:
        raise UndoFailed(f"the engine's answer {status} is not understood") from error


def _call(undo: Undo, method: str, path: str) -> tuple[int, bytes]:
    connection = _connection(str(undo.args["engine"]))
    try:
        connection.request(method, f"/containers/{quote(str(undo.args['container']), safe='')}{path}")
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise UndoFailed(f"the Docker engine: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _connection(engine: str) -> Any:
    parts = urlsplit(engine)
    if parts.scheme == "unix":
        return _SocketFile(parts.path)
    if parts.scheme in {"tcp", "http"} and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=_TIMEOUT_S)
    raise UndoFailed(f"no way to speak to an engine at {parts.scheme}://")
