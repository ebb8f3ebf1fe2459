"""A hundred thousand hostile inputs: at every reader of ours, at the control API and at the data port of a running proxy.

For each reader hypothesis makes wounded documents (see `hostile`); where atheris is there, it goes on with each reader that is quick, guided by
coverage. The proxy is a process of its own, in an empty folder, with a token: at the end it must be alive, answer at once, have logged no
traceback and not the token, and its folder must be empty.
"""

# ruff: noqa: T201 - it takes minutes, and says where it is

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from deeds import HANG_S, Deeds, hang_alarm
from faults_proxy_process import ServerProcess, server_process
from hostile import READERS, SECRET, inputs

SHARES = {
    "plan": 0.10,
    "trace": 0.14,
    "spec": 0.10,
    "answer": 0.12,
    "frames": 0.08,
    "messages": 0.08,
    "api-body": 0.08,
    "observed": 0.10,
    "journal": 0.04,
    "words": 0.04,
    "record": 0.02,
    "control-api": 0.05,
    "data-port": 0.05,
}
GUIDED = ("answer", "frames", "messages", "api-body", "journal")
ROOT = Path(__file__).parents[2]


def run_fuzz(count: int, number: int) -> dict[str, Any]:
    """Throw `count` inputs, with that seed; figures, and what was found."""
    problems: list[str] = []
    thrown: dict[str, int] = {}
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-spike-fuzz-") as folder:
        deeds = Deeds(Path(tempfile.gettempdir()))
        with contextlib.chdir(folder):
            for name, read in READERS.items():
                wanted = max(1, round(count * SHARES[name]))
                thrown[name], slowest[name] = _throw(name, read, wanted, number, deeds, problems)
                print(f"{name}: {thrown[name]} inputs, slowest {slowest[name]:.3f} s", flush=True)
            problems += sorted(set(deeds.found))
            problems += [f"a file appeared: {path}" for path in Path().iterdir()]
        for name, throw in (("control-api", _throw_at_api), ("data-port", _throw_at_port)):
            wanted = max(1, round(count * SHARES[name]))
            try:
                slowest[name] = _at_server(throw, wanted, number, Path(folder))
                thrown[name] = wanted
                print(f"{name}: {wanted} inputs, slowest {slowest[name]:.3f} s", flush=True)
            except Exception as error:  # noqa: BLE001 - it is what we are looking for
                problems.append(f"{name}: {type(error).__name__}: {str(error)[-1500:]}")
        guided = _guided(max(1, count // 20), number, Path(folder), problems)
    return {
        "inputs": sum(thrown.values()),
        "by_reader": thrown,
        "slowest_s": {name: round(took, 3) for name, took in slowest.items()},
        "hang_is_s": HANG_S,
        "guided_inputs": guided,
        "problems": problems,
    }


def _throw(
    name: str, read: Callable[[bytes], None], count: int, number: int, deeds: Deeds, problems: list[str]
) -> tuple[int, float]:
    """Let hypothesis have its way with one reader: how many inputs it was given, and the longest time it took."""
    took = [0.0]
    thrown = 0
    cases = inputs(name)

    # Equal inputs are not thrown twice, and shrinking one that was found throws more: what is counted is what was read.
    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def survives(data: bytes) -> None:
        nonlocal thrown
        thrown += 1
        began = time.process_time()
        with hang_alarm():
            deeds.watching = True
            try:
                read(data)
            finally:
                deeds.watching = False
        took.append(time.process_time() - began)

    try:
        survives()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        problems.append(f"{name}: {type(error).__name__}: {error}; {getattr(error, '__notes__', '')}"[:2000])
    return thrown, max(took)


def _at_server(
    throw: Callable[[ServerProcess, int, int], float], count: int, number: int, folder: Path
) -> float:
    log, place = folder / "server.log", folder / "server"
    place.mkdir(exist_ok=True)
    with contextlib.chdir(place), server_process("--token", SECRET, log=log) as server:
        slowest = throw(server, count, number)
        began = time.perf_counter()
        assert _call(server, "GET", "/version")[0] == 200
        slowest = max(slowest, time.perf_counter() - began)
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text[-3000:]
    assert SECRET not in text, "the token stands in the log"
    assert not list(place.iterdir()), "the server has written files"
    assert slowest < HANG_S, f"an answer took {slowest:.1f} s"
    return slowest


def _call(server: ServerProcess, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG_S)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {SECRET}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _throw_at_api(server: ServerProcess, count: int, number: int) -> float:
    """Malformed requests, as they are; no answer has a 5xx but the contract's, and none has the token."""
    import test_faults_proxy_hostile as hostile_api

    took = [0.0]
    _make_proxy(server, 9)

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile_api.requests)
    def survives(request: tuple[str, str, bytes]) -> None:
        method, path, body = request
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", server.port), timeout=HANG_S) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(head.encode() + body)
            answer = http.client.HTTPResponse(sock, method=method)
            answer.begin()
            text = answer.read()
        took.append(time.perf_counter() - began)
        assert answer.status < 500 or any(word.encode() in text for word in hostile_api.CONTRACT_500), text
        assert SECRET.encode() not in text

    survives()
    return max(took)


def _make_proxy(server: ServerProcess, upstream_port: int) -> None:
    body = f'{{"name":"p","listen":"127.0.0.1:0","upstream":"127.0.0.1:{upstream_port}"}}'.encode()
    assert _call(server, "POST", "/proxies", body)[0] == 201


def _throw_at_port(server: ServerProcess, count: int, number: int) -> float:
    """Wounded HTTP and noise through a proxy whose toxics look at what passes, in both directions."""
    import json

    import test_faults_proxy_hostile as hostile_api

    dice = random.Random(number)
    took = [0.0]
    with hostile_api.echo_server() as port:
        _make_proxy(server, port)
        for kind, stream, more in (
            ("http", "upstream", {"path": "/a*", "status": 503}),
            ("corrupt", "downstream", {"per_million": 5}),
            ("slicer", "downstream", {"average_size": 50}),
        ):
            body = json.dumps({"type": kind, "stream": stream, "attributes": more}).encode()
            assert _call(server, "POST", "/proxies/p/toxics", body)[0] == 200
        listen = json.loads(_call(server, "GET", "/proxies/p")[1])["listen"]
        where = ("127.0.0.1", int(listen.rpartition(":")[2]))

        @seed(number)
        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(inputs("messages"))
        def survives(data: bytes) -> None:
            began = time.perf_counter()
            with socket.create_connection(where, timeout=HANG_S) as sock:
                sock.settimeout(0.02)
                with contextlib.suppress(OSError):
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR) if dice.random() < 0.5 else sock.recv(4096)
            took.append(time.perf_counter() - began)

        survives()
    return max(took)


def _guided(count: int, number: int, folder: Path, problems: list[str]) -> dict[str, int]:
    """Go on with atheris, where it is there: inputs by reader."""
    if importlib.util.find_spec("atheris") is None:
        return {}
    done = {}
    for name in GUIDED:
        place = folder / f"guided-{name}"
        place.mkdir()
        command = [sys.executable, str(Path(__file__).with_name("guided.py")), name, str(count), str(number)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=1800, check=False
        )
        done[name] = count
        if ran.returncode:
            problems.append(f"guided {name}: exit {ran.returncode}: {(ran.stdout + ran.stderr)[-1500:]}")
    return done
