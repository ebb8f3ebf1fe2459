"""The pytest plugin as a user has it: projects of their own, run by a pytest of their own, in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from plugin_projects import ROOT, command, environment, run_project, write_project

from faults.model import ProxySpec
from faults.toxiproxy import ToxiproxyClient
from resilience.pytest_plugin.layers import EmbeddedServer

pytestmark = pytest.mark.integration

EXAMPLE = ROOT / "docs/examples/pytest"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The documented example project, copied to where it can be changed."""
    pytest.importorskip("pybreaker")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "shop"))


def test_example_project_passes_on_two_workers(example: Path) -> None:
    """Five tests on the project's own breaker, side by side; nothing is left behind."""
    ended = run_project(example, "-q", "-n", "2")
    assert (ended.code, "5 passed" in ended.output) == (0, True), ended.output
    assert not list((example / "state/sessions").glob("*.jsonl"))
    assert len(list((example / "state/done").glob("*.jsonl"))) == 2, "each worker had a journal of its own"
    assert not (example / ".chaos-spike").exists()


def test_example_project_fails_with_a_readable_timeline_when_its_breaker_is_broken(example: Path) -> None:
    """Two failures late: the rule, the calls, the specification, the timeline and the record are in the output."""
    source = example / "shop/prices.py"
    source.write_text(source.read_text().replace("fail_max=FAILURES", "fail_max=FAILURES + 2"))
    ended = run_project(example, "-q", "-k", "third_failure", "--chaos-seed", "7")
    assert ended.code == 1
    for words in (
        "R3 not late",
        "held to: dialect pybreaker, 3 failures, wait 0.5 s",
        "chaos timeline",
        "prices: closed to open",
        "R3 is broken",
        "again with --chaos-seed 7",
    ):
        assert words in ended.output, f"{words!r} is missing in:\n{ended.output}"
    assert re.search(r"^violation +[.!]*!+[.!]* R3$", ended.output, re.MULTILINE), ended.output
    (page,) = (example / ".chaos-spike").rglob("report.html")
    assert "R3" in page.read_text()
    history = page.parent / "history-prices.jsonl"
    assert history.read_text().startswith('{"kind":"boot"')
    again = [
        "resilience.cli.main",
        "verify-trace",
        str(history),
        "--spec",
        str(page.parent / "spec-prices.yaml"),
    ]
    judged = subprocess.run(
        [sys.executable, "-m", *again], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (judged.returncode, "R3" in judged.stdout) == (1, True), judged.stdout + judged.stderr


OWN_FOLDERS = """
import resilience
def test_theirs():
    assert resilience.OURS == 1
"""
WANTS_CHAOS = """
def test_wants(chaos):
    assert chaos
"""


def test_plugin_steps_aside_in_a_repository_with_its_own_resilience(tmp_path: Path) -> None:
    """Their tests run on their package; one line says so, and only a test that asks for `chaos` fails, with that line."""
    project = write_project(tmp_path, test_theirs=OWN_FOLDERS, test_wants=WANTS_CHAOS)
    (project / "resilience").mkdir()
    (project / "resilience/__init__.py").write_text("OURS = 1\n")
    ended = run_project(project)
    assert "1 passed" in ended.output
    assert "1 error" in ended.output
    lines = [line for line in ended.output.splitlines() if "chaos-spike steps aside" in line]
    assert lines[0].startswith("chaos-spike steps aside: this project has its own 'resilience'")
    assert "Traceback" not in ended.output


MIXED = """
import socket
import pytest
from chaos_spike_pytest import ChaosSetupError, Spec, down, latency, timeout

class Container:
    '''Looks like a container of testcontainers: it tells its host, and the host's port for one of its own.'''
    def __init__(self, port): self.port = port
    def get_container_host_ip(self): return "127.0.0.1"
    def get_exposed_port(self, port): return str(self.port if port == 8474 else port)

def connects(address):
    try:
        socket.create_connection(address, 2).close()
    except OSError:
        return False
    return True

@pytest.fixture
def upstream():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"

def test_leaves_a_fault(chaos, upstream):
    with chaos.proxy(upstream) as proxy:
        pass
    proxy = chaos.proxy(upstream).__enter__()
    chaos.fault(proxy, latency(10), name="forgotten").inject()

def test_finds_nothing_of_the_last(chaos, chaos_toxiproxy):
    assert chaos_toxiproxy.proxies() == {}

def test_takes_a_proxy_of_toxiproxy_python(chaos, chaos_toxiproxy, upstream):
    proxy = chaos_toxiproxy.create(upstream=upstream, name="theirs")
    host, port = proxy.listen.split(":")
    with chaos.fault(proxy, down()):
        assert not connects((host, int(port)))
    assert connects((host, int(port)))
    chaos_toxiproxy.destroy(proxy)

def test_takes_a_container_as_its_proxy_layer(chaos, upstream):
    port = int(chaos.session.admin_url().rsplit(":", 1)[1])
    with chaos.proxy(upstream, layer=Container(port)) as proxy:
        with chaos.fault(proxy, down()) as fault:
            assert not connects((proxy.host, proxy.port))
        assert connects((proxy.host, proxy.port))

def test_refuses_foreign_hosts(chaos):
    with chaos.proxy("198.51.100.1:80") as proxy:
        with pytest.raises(ChaosSetupError, match="name it under `allow`"):
            chaos.fault(proxy, latency(10)).inject()

@pytest.mark.chaos(max_duration=0.5)
def test_guardian_ends_what_lasts_too_long(chaos, upstream):
    import time
    with chaos.proxy(upstream) as proxy:
        fault = chaos.fault(proxy, down())
        fault.inject()
        until = time.monotonic() + 8
        while not connects((proxy.host, proxy.port)) and time.monotonic() < until:
            time.sleep(0.05)
        assert connects((proxy.host, proxy.port))
        fault.heal()
        with pytest.raises(ChaosSetupError, match="another"):
            fault.inject()

def test_recovers(chaos, upstream):
    import pybreaker
    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0.1)
    with chaos.proxy(upstream) as proxy:
        watched = chaos.watch(breaker)
        def connect():
            socket.create_connection((proxy.host, proxy.port), 2).close()
        with chaos.fault(proxy, down()), chaos.expect_opens(watched, within=1):
            watched.drive(breaker.call, connect, times=4)
        with chaos.expect_recovers(watched, within=1):
            watched.drive(breaker.call, connect, until="closed", within=5)
        with pytest.raises(AssertionError, match="was not half_open within 0.1 s: it is closed"):
            watched.wait_for("half-open", within=0.1)
    assert watched.states == ("open", "half_open", "closed")
    assert chaos.watch(breaker) is watched
    watched.assert_conforms(require=["R1", "R4", "R5"])

def test_says_what_it_needs(chaos, tmp_path):
    with pytest.raises(ChaosSetupError, match="chaos_target"):
        chaos.load.http("/relative", rate=1)
    with pytest.raises(ChaosSetupError, match="follow your own"):
        chaos.watch(object(), spec={"failures": 3})
    with pytest.raises(ChaosSetupError, match="spec.failurs: unknown key"):
        chaos.watch(object(), spec={"failurs": 3})
    with pytest.raises(ChaosSetupError, match="cannot be read"):
        Spec.resilience4j(tmp_path / "no.yml", "pricing")
    with pytest.raises(ChaosSetupError, match="no Toxiproxy answers"):
        with chaos.proxy(name="x", layer="127.0.0.1:1"):
            pass
"""


def test_plugin_heals_what_is_forgotten_and_takes_foreign_proxies(tmp_path: Path) -> None:
    """A forgotten fault fails its own test and no other; toxiproxy-python and containers serve as proxies."""
    pytest.importorskip("pybreaker")
    ended = run_project(
        write_project(tmp_path, test_mixed=MIXED), "-q", "--chaos-keep", "--chaos-report", "kept"
    )
    assert "8 passed" in ended.output, ended.output
    kept = tmp_path / "kept/test_mixed.py_test_recovers"
    assert {path.name for path in kept.iterdir()} >= {
        "report.html",
        "history-breaker-1.jsonl",
        "spec-breaker-1.yaml",
    }
    assert "PASS" in (kept / "report.html").read_text()
    assert "1 error" in ended.output
    assert "the fault forgotten was left in place (healed now)" in ended.output
    assert "ERROR test_mixed.py::test_leaves_a_fault" in ended.output


ASYNC = """
import asyncio
from datetime import timedelta
import aiobreaker
import pytest
from chaos_spike_pytest import assert_conforms, down

class Client:
    def __init__(self, proxy):
        self.proxy = proxy
        self.breaker = aiobreaker.CircuitBreaker(fail_max=3, timeout_duration=timedelta(seconds=0.3), name="cache")

    async def get(self):
        return await self.breaker.call_async(self._get)

    async def _get(self):
        reader, writer = await asyncio.open_connection(self.proxy.host, self.proxy.port)
        try:
            writer.write(b"x")
            if not await reader.read(1):
                raise ConnectionError
        finally:
            writer.close()

@pytest.mark.asyncio
async def test_async(achaos):
    async def echo(reader, writer):
        writer.write(await reader.read(1))
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with achaos.proxy(upstream=f"127.0.0.1:{port}") as proxy:
        client = Client(proxy)
        watched = achaos.watch(client.breaker)
        await watched.drive(client.get, times=4)
        async with achaos.fault(proxy, down()), achaos.expect_opens(watched, within=2):
            await watched.drive(client.get, times=20)
        await watched.drive(client.get, until="closed", within=5)
        await watched.drive(client.get, times=3, concurrently=3)
    server.close()
    assert watched.states == ("open", "half_open", "closed")
    report = assert_conforms(watched, require=["R1", "R3", "R4", "R5", "R10", "R15"])
    assert report.spec["dialect"] == "aiobreaker"
"""


def test_plugin_serves_async_tests_beside_their_own_loop(tmp_path: Path) -> None:
    """The same verbs awaited, under pytest-asyncio in its strict mode, with a coroutine breaker."""
    pytest.importorskip("aiobreaker")
    ended = run_project(write_project(tmp_path, test_async=ASYNC), "-q", asyncio=True)
    assert (ended.code, "1 passed" in ended.output) == (0, True), ended.output


STAYS = """
import os, time
from chaos_spike_pytest import latency
def test_stays(chaos):
    with chaos.proxy(name="theirs", layer=os.environ["LAYER"]) as proxy, chaos.fault(proxy, latency(500)):
        print("IN PLACE", flush=True)
        time.sleep(60)
"""


@pytest.fixture
async def foreign() -> AsyncIterator[str]:
    """A proxy server that outlives the tests that use it, with one proxy."""
    server = EmbeddedServer(seed=1)
    admin_url = await server.start()
    async with ToxiproxyClient(admin_url) as client:
        await client.create(ProxySpec("theirs", "127.0.0.1:0", "127.0.0.1:9"))
    yield admin_url
    await server.stop()


@contextlib.contextmanager
def staying(project: Path, admin_url: str) -> Iterator[subprocess.Popen[str]]:
    """A pytest run that stands in the middle of a fault.

    Ctrl-C means to it what it means on a terminal, also where a job runs us in the background and has it ignored.
    """
    heeds = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    run = subprocess.Popen(
        [sys.executable, "-c", heeds, *command("-q", "-s")],
        cwd=project,
        env={**environment(project / "state"), "LAYER": admin_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert run.stdout is not None
    try:
        for line in run.stdout:
            if "IN PLACE" in line:
                break
        yield run
    finally:
        run.kill()
        run.stdout.close()
        run.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_no_fault_outlives_an_interrupted_or_killed_run(
    tmp_path: Path, foreign: str, number: signal.Signals
) -> None:
    """Ctrl-C heals on the way out; after SIGKILL the guardian does, within its promise of five seconds."""
    project = write_project(tmp_path, test_stays=STAYS)
    async with ToxiproxyClient(foreign) as client:
        with staying(project, foreign) as run:
            assert len(await client.toxics("theirs")) == 1
            run.send_signal(number)
            until_s = time.monotonic() + 8
            # Another process heals: there is nothing to await.
            while await client.toxics("theirs") and time.monotonic() < until_s:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.05)
            assert await client.toxics("theirs") == ()
            if number is signal.SIGINT:
                assert await asyncio.to_thread(run.wait, 20) == 2
