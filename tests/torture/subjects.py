"""What gets broken: a real target of each kind of fault, and how to see from outside whether it is whole.

A subject makes its target once, says what a victim needs in order to break it, and is asked again and again whether it is as it was. It
looks with its own eyes (an HTTP request, a connection, the state of a process, the engine's word and a ping), never through
the code that heals.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from resilience.lab.ports import free_port

SHORT_S, LONG_S = 5.0, 8.0
"""The promise; where a container must be started again it is the longer one."""
IMAGE = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", "redis:7.4.1-bookworm")
LABEL = "io.chaos-spike.torture"
SERVER = """
import os, socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())
"""
"""Tells everybody who connects its pid."""


@dataclass(slots=True)
class Subject:
    """One target, broken over and over.

    `fault` is what a victim is told, asked anew each time; `whole` looks whether the target is as it was. `never` are boundaries that this
    kind of fault does not have; one that is `brief` ends by itself (a restart), so that it need not be seen in place.
    """

    name: str
    fault: Callable[[], dict[str, Any]]
    whole: Callable[[], bool]
    allow: Callable[[], dict[str, Any]] = field(default=lambda: {})  # noqa: PIE807 - a callable with that type
    promise_s: float = SHORT_S
    never: tuple[str, ...] = ()
    brief: bool = False
    look_every_s: float = 0.01


def toxiproxy_binary() -> str | None:
    """Shopify's server, if it is on this machine."""
    return shutil.which("toxiproxy-server")


@contextlib.contextmanager
def http_subject(name: str, kind: str, *, server: str | None = None, **where: Any) -> Iterator[Subject]:
    """A proxy `p` on a server of its own: the embedded one, or Shopify's at `server`."""
    with _server(server) as admin_url:
        body = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": True}
        _ask(f"{admin_url}/proxies", body)

        def whole() -> bool:
            proxy = _ask(f"{admin_url}/proxies")["p"]
            return bool(proxy["enabled"]) and not proxy["toxics"]

        yield Subject(name, lambda: {"kind": kind, "admin_url": admin_url, **where}, whole)


@contextlib.contextmanager
def _server(binary: str | None) -> Iterator[str]:
    port = free_port()
    flags = ["-host", "127.0.0.1", "-port", str(port)]
    command = (
        [binary, *flags] if binary else [sys.executable, "-m", "faults.proxy", *flags, "--die-with-parent"]
    )
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _until(lambda: _ask(f"{url}/version"))
            yield url
        finally:
            process.kill()


def _ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=5) as answer:
        return json.load(answer)


def _until(works: Callable[[], Any], patience_s: float = 20.0) -> Any:
    until_s = time.monotonic() + patience_s
    while True:
        try:
            if found := works():
                return found
        except (OSError, urllib.error.URLError):
            pass
        if time.monotonic() > until_s:
            raise AssertionError(f"not within {patience_s:g} s: {works}")
        time.sleep(0.02)


@contextlib.contextmanager
def process_subject(kind: str) -> Iterator[Subject]:
    """A server in a process of its own, which is frozen, killed or restarted."""
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]

    def answers() -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as sock:
            sock.settimeout(0.5)
            return int(sock.recv(100) or 0)

    def whole() -> bool:
        try:
            return psutil.Process(answers()).status() != psutil.STATUS_STOPPED
        except (OSError, ValueError, psutil.Error):
            return False

    def fault() -> dict[str, Any]:
        return {"kind": kind, "pid": _until(answers), "command": command, "ready": f"127.0.0.1:{port}"}

    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # It is our child: reaped as soon as somebody kills it, as init does with those that take its place.
    threading.Thread(target=first.wait, daemon=True).start()
    try:
        _until(answers)
        yield Subject(
            kind,
            fault,
            whole,
            lambda: {"processes": [_until(answers)]},
            # What is restarted comes back by itself: there is nothing to be sent, unless that failed.
            never=("heal.sent",) if kind == "restart" else (),
            brief=kind == "restart",
        )
    finally:
        with contextlib.suppress(OSError, ValueError, AssertionError):
            os.kill(_until(answers, 3.0), signal.SIGKILL)
        first.kill()


@contextlib.contextmanager
def container_subject(kind: str) -> Iterator[Subject]:
    """A Redis in a container, in a network of its own; the engine must be there."""
    import docker

    token = secrets.token_hex(4)
    engine = docker.DockerClient(base_url="unix:///var/run/docker.sock", timeout=60)
    network = engine.networks.create(f"chaos-spike-torture-{token}", labels={LABEL: token})
    kept = engine.containers.create(
        IMAGE,
        command=["redis-server", "--save", "", "--protected-mode", "no"],
        name=f"chaos-spike-torture-{token}",
        labels={LABEL: token},
        network=network.name,
        nano_cpus=1_500_000_000,
    )
    try:
        kept.start()
        network.reload()

        def state() -> tuple[Any, ...]:
            facts = engine.api.inspect_container(kept.id)
            joined = facts["NetworkSettings"]["Networks"].get(network.name)
            host = facts["HostConfig"]
            return (
                (facts["State"]["Running"], facts["State"]["Paused"]),
                (host["NanoCpus"], host["CpuPeriod"], host["CpuQuota"]),
                joined is not None and sorted(joined["Aliases"] or ()),
                joined is not None and _pings(joined["IPAddress"]),
            )

        _until(lambda: state()[-1])
        before = state()
        more: dict[str, Any] = {"disconnect": {"network": network.name}, "throttle": {"cpus": 0.2}}.get(
            kind, {}
        )
        yield Subject(
            kind,
            lambda: {"kind": kind, "container": kept.id, "more": more},
            lambda: state() == before,
            lambda: {"labels": [f"{LABEL}={token}"]},
            promise_s=LONG_S if kind in ("container-kill", "stop", "container-restart") else SHORT_S,
            never=("heal.sent",) if kind == "container-restart" else (),
            brief=kind == "container-restart",
            look_every_s=0.05,
        )
    finally:
        kept.remove(force=True, v=True)
        network.remove()
        engine.close()


def _pings(address: str) -> bool:
    try:
        with socket.create_connection((address, 6379), timeout=0.5) as sock:
            sock.settimeout(0.5)
            sock.sendall(b"PING\r\n")
            return sock.recv(10) == b"+PONG\r\n"
    except OSError:
        return False


HTTP_FAULT = {"type": "http", "stream": "upstream", "attributes": {"status": 503}}
LATENCY = {"type": "latency", "attributes": {"latency": 100}}

SUBJECTS: dict[str, Callable[[], contextlib.AbstractContextManager[Subject]]] = {
    "embedded-toxic": lambda: http_subject("embedded-toxic", "toxic", toxic=LATENCY),
    "embedded-http": lambda: http_subject("embedded-http", "toxic", toxic=HTTP_FAULT),
    "embedded-down": lambda: http_subject("embedded-down", "down"),
    "shopify-toxic": lambda: http_subject("shopify-toxic", "toxic", server=toxiproxy_binary(), toxic=LATENCY),
    "shopify-down": lambda: http_subject("shopify-down", "down", server=toxiproxy_binary()),
    **{kind: lambda kind=kind: process_subject(kind) for kind in ("freeze", "kill", "restart")},
    **{
        kind: lambda kind=kind: container_subject(kind)
        for kind in ("pause", "container-kill", "stop", "container-restart", "disconnect", "throttle")
    },
}
NEEDS_TOXIPROXY = ("shopify-toxic", "shopify-down")
NEEDS_ENGINE = ("pause", "container-kill", "stop", "container-restart", "disconnect", "throttle")
