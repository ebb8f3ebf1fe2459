"""Undoing by way of the Docker engine, synchronously and with time-outs, on `http.client` alone.

    docker.restart    kill and start a container: the last resort for a Toxiproxy whose admin API has frozen. Its toxics are in memory
                      only, so it comes back without them, with the proxies of its configuration file, on the ports that it had
    docker.unpause    let a paused container run on
    docker.start      start a container that was killed
    docker.stopped    start a container that was told to stop. The engine goes on with that order when whoever gave it has died: a container that has run on
                      since `args.started_at` is watched for `args.grace_s` and a moment more, and started when it has ended after all
    docker.connect    join a network again, under the aliases and addresses that `args.endpoint` holds
    docker.cpu        set the CPU limit back to `args.nano_cpus`, or to `args.period` and `args.quota`

Every operation looks first and is idempotent. A container that is gone counts as done, and so does, for `docker.connect`, a network that is
gone. Speaks to the engine's socket file, or to a plain TCP address. Containers are named by id: a name may be somebody else's by now.
"""

import http.client
import json
import socket
import time
from typing import Any, Final
from urllib.parse import quote, urlsplit

from faults.undo.model import Undo
from faults.undo.toxiproxy import MAX_ANSWER_BYTES, UndoFailed

__all__ = [
    "connect",
    "has_cpu_limit",
    "is_connected",
    "is_running",
    "is_unpaused",
    "restart",
    "set_cpu_limit",
    "start",
    "start_stopped",
    "unpause",
]

_TIMEOUT_S: Final = 4.0
_LANDED_S: Final = 1.0
"""How much longer than its grace a stop may take to be seen."""
_LOOK_EVERY_S: Final = 0.1
_GONE: Final = 404
_AS_IT_IS: Final = 304
_UNLIMITED: Final = -1


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
    """Kill and start the container; False if there is no such container."""
    # No grace: what is frozen will not listen.
    return _order(undo, "restarting the container", "/restart?t=0")


def start(undo: Undo) -> bool:
    """Start the container; False if it runs, or is gone."""
    return not is_running(undo) and _order(undo, "starting the container", "/start")


def start_stopped(undo: Undo) -> bool:
    """Start the container once its stop has landed; False if there was none to wait for, it was started since, or it is gone."""
    until_s = time.monotonic() + float(undo.args["grace_s"]) + _LANDED_S
    while True:
        facts = _inspect(undo)
        if facts is None:
            return False
        if not facts["State"]["Running"]:
            return _order(undo, "starting the container", "/start")
        if facts["State"].get("StartedAt") != undo.args["started_at"] or time.monotonic() > until_s:
            return False
        time.sleep(_LOOK_EVERY_S)


def is_running(undo: Undo) -> bool:
    """Ask whether the container runs, or is gone."""
    facts = _inspect(undo)
    return facts is None or bool(facts["State"]["Running"])


def unpause(undo: Undo) -> bool:
    """Let the container run on; False if it does, or is gone."""
    return not is_unpaused(undo) and _order(undo, "unpausing the container", "/unpause")


def is_unpaused(undo: Undo) -> bool:
    """Ask whether the container is not paused, or is gone."""
    facts = _inspect(undo)
    return facts is None or not facts["State"]["Paused"]


def connect(undo: Undo) -> bool:
    """Join the network again; False if the container is in it, or one of them is gone."""
    if is_connected(undo):
        return False
    body = {"Container": undo.args["container"], "EndpointConfig": undo.args["endpoint"]}
    status, answer = _call(
        undo, "POST", f"/networks/{quote(str(undo.args['network']), safe='')}/connect", body
    )
    if status == _GONE:
        return False
    _require(status, answer, "joining the network again")
    return True


def is_connected(undo: Undo) -> bool:
    """Ask whether the container is in the network under all its aliases, or one of them is gone."""
    facts = _inspect(undo)
    if facts is None:
        return True
    network = str(undo.args["network"])
    for joined in (facts["NetworkSettings"]["Networks"] or {}).values():
        # The id of a network that a stopped container will join is not filled in before it starts.
        if joined.get("NetworkID") == network:
            return set(undo.args["endpoint"].get("Aliases") or ()) <= set(joined.get("Aliases") or ())
    status, answer = _call(undo, "GET", f"/networks/{quote(network, safe='')}")
    if status != _GONE:
        _require(status, answer, "asking for the network")
    return status == _GONE


def set_cpu_limit(undo: Undo) -> bool:
    """Set the former limit; False if it holds, or the container is gone."""
    if has_cpu_limit(undo):
        return False
    nano_cpus, period, quota = _cpu_limit(undo.args["nano_cpus"], undo.args["period"], undo.args["quota"])
    body = {"NanoCpus": nano_cpus} if nano_cpus else {"CpuPeriod": period, "CpuQuota": quota}
    return _order(undo, "setting the CPU limit back", "/update", body)


def has_cpu_limit(undo: Undo) -> bool:
    """Ask whether the limit is the former one, or the container is gone."""
    facts = _inspect(undo)
    if facts is None:
        return True
    now = facts["HostConfig"]
    return _cpu_limit(now["NanoCpus"], now["CpuPeriod"], now["CpuQuota"]) == _cpu_limit(
        undo.args["nano_cpus"], undo.args["period"], undo.args["quota"]
    )


def _cpu_limit(nano_cpus: Any, period: Any, quota: Any) -> tuple[int, int, int]:
    """Return a limit such that equal ones are equal: no quota is 0 or -1 to the engine, and its period then says nothing.

    It cannot be told 0, which it takes for "as it is".
    """
    if nano_cpus:
        return int(nano_cpus), 0, 0
    if int(quota or 0) <= 0:
        return 0, 0, _UNLIMITED
    return 0, int(period or 100_000), int(quota)


def _inspect(undo: Undo) -> dict[str, Any] | None:
    status, body = _call(undo, "GET", f"{_container(undo)}/json")
    if status == _GONE:
        return None
    try:
        facts: dict[str, Any] = json.loads(body)
        bool(facts["State"]["Running"])  # not an answer of an engine without it
    except (ValueError, KeyError, TypeError) as error:
        raise UndoFailed(f"the engine's answer {status} is not understood") from error
    return facts


def _order(undo: Undo, what: str, path: str, body: dict[str, Any] | None = None) -> bool:
    """Make the engine do something with the container; False if it is gone, or nothing had to be done."""
    status, answer = _call(undo, "POST", _container(undo) + path, body)
    if status in {_GONE, _AS_IT_IS}:
        return False
    _require(status, answer, what)
    return True


def _require(status: int, body: bytes, what: str) -> None:
    if status not in {200, 204}:
        raise UndoFailed(f"{what} answered {status}: {body[:200].decode('utf-8', 'replace')}")


def _container(undo: Undo) -> str:
    return f"/containers/{quote(str(undo.args['container']), safe='')}"


def _call(undo: Undo, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    connection = _connection(str(undo.args["engine"]))
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
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
