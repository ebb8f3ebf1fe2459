"""The command on docker-compose: the same verdicts as embedded, and nothing left, whatever happens.

Needs an engine and the images (`.ci/images` makes stand-ins). Runs under each compose that is at hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.timeout(480)]

SHORT = Path(__file__).parents[1] / "data" / "short.yaml"
COMMAND = (sys.executable, "-m", "resilience.cli.main")
COMPOSES = ("docker compose", "docker-compose")


def inventory() -> dict[str, list[str]]:
    """Every container, network and volume that the engine knows."""
    asked = {
        "containers": ["ps", "--all", "--quiet"],
        "networks": ["network", "ls", "--quiet"],
        "volumes": ["volume", "ls", "--quiet"],
    }
    return {
        kind: sorted(
            subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.split()
        )
        for kind, words in asked.items()
    }


def composes() -> list[str]:
    """The composes of this machine."""
    return [
        words
        for words in COMPOSES
        if subprocess.run(["sh", "-c", f"{words} version"], capture_output=True, check=False).returncode == 0
    ]


@pytest.fixture(autouse=True)
def nothing_left(require: Callable[[str], str]) -> Iterator[None]:
    """Around each test: an engine that answers, and afterwards nothing on it that was not there before."""
    require("docker")
    before = inventory()
    yield
    assert inventory() == before


def run(*words: str, state_dir: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """`chaos-spike ...` to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "CHAOS_SPIKE_STATE_DIR": str(state_dir), **extra},
        timeout=240,
        check=False,
    )


def short(tmp_path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """The short plan on compose."""
    out = str(tmp_path / "out")
    return run("run", str(SHORT), "--stack", "compose", "--out", out, state_dir=tmp_path / "state", **extra)


def verdict_in(out: Path) -> dict[str, Any]:
    """The verdict of the only run under a folder."""
    (folder,) = out.iterdir()
    return json.loads((folder / "verdict.json").read_text())


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 6 with one message that has these words, and no traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == 6, said
    flat = " ".join(said.split())
    for word in words:
        assert word in flat, said
    assert "Traceback" not in said


@pytest.mark.parametrize("compose", COMPOSES)
def test_lab_without_breaker_fails_as_embedded_does(tmp_path: Path, compose: str) -> None:
    """The negative control, under each compose: exit 1, by the same expectation."""
    if compose not in composes():
        pytest.skip(f"`{compose}` is not on this machine")
    done = short(tmp_path, CHAOS_SPIKE_LAB_BREAKER="none", CHAOS_SPIKE_COMPOSE=compose)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = verdict_in(tmp_path / "out")
    assert verdict["verdict"] == "fail"
    assert verdict["reason"].startswith("protected:")


def _background(tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "run", str(SHORT), "--stack", "compose", "--out", str(tmp_path / "out")],
        env={**os.environ, "CHAOS_SPIKE_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _lines(tmp_path: Path) -> list[dict[str, Any]]:
    for path in (tmp_path / "out").glob("*/events.jsonl"):
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return []


def _wait_for(
    tmp_path: Path, found: Callable[[dict[str, Any]], bool], process: subprocess.Popen[bytes]
) -> None:
    deadline = time.monotonic() + 120
    while not any(found(line) for line in _lines(tmp_path)):
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() < deadline, "not within 120 s"
        time.sleep(0.05)


def _wait_until_creating(noted: Path) -> None:
    """Until compose is in the middle of its work."""
    deadline = time.monotonic() + 60
    while not list(noted.glob("*.json")):
        assert time.monotonic() < deadline, "no project was noted within 60 s"
        time.sleep(0.05)
    time.sleep(1.5)


async def _toxics(admin_urls: list[str]) -> int | None:
    """How many toxics and disabled proxies the servers have; `None` while one does not answer."""
    count = 0
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client:
            for url in admin_urls:
                async with client.get(f"{url}/proxies") as response:
                    proxies = await response.json(content_type=None)
                    count += sum(len(p["toxics"]) + (not p["enabled"]) for p in proxies.values())
    except (aiohttp.ClientError, TimeoutError):
        return None
    return count


@pytest.mark.parametrize("frozen", [False, True], ids=["answering", "frozen"])
async def test_killed_runner_is_healed_and_undo_takes_the_stack_down(tmp_path: Path, frozen: bool) -> None:
    """SIGKILL in the fault: within 8 s no toxic on any Toxiproxy, seen by asking; then `undo` removes the containers.

    Frozen: the Toxiproxy with the toxic stands still as well, and can only be restarted.
    """
    process = _background(tmp_path)
    try:
        _wait_for(tmp_path, lambda e: e["kind"] == "fault" and e["step"] == "injected", process)
        (path,) = (tmp_path / "out").glob("*/environment.json")
        points = json.loads(path.read_text())["system"]["proxies"]
        admin_urls = [point["admin_url"] for point in points.values()]
        assert await _toxics(admin_urls) == 1
        if frozen:
            stop = ["docker", "kill", "--signal", "STOP", points["pricing"]["container"]]
            await asyncio.to_thread(subprocess.run, stop, check=True, capture_output=True)
        killed = time.monotonic()
        process.kill()
        process.wait()
        while await _toxics(admin_urls) != 0:
            assert time.monotonic() - killed < 8, "a toxic was still there after 8 s"
            await asyncio.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        # The guardian may still be looking a second time; then it lets its journal go.
        await asyncio.sleep(2)
        undone = run("undo", state_dir=tmp_path / "state")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert "taken down" in undone.stdout
    again = run("undo", state_dir=tmp_path / "state")
    assert "nothing to undo" in again.stdout


def test_next_run_sweeps_what_a_dead_one_left(tmp_path: Path) -> None:
    """A runner killed while its stack was coming up: the next start takes the remains down."""
    process = _background(tmp_path)
    noted = tmp_path / "state" / "stacks"
    _wait_until_creating(noted)
    process.kill()
    process.wait()
    left = list(noted.glob("*.json"))
    assert left
    # Any start sweeps; this one ends early.
    done = short(tmp_path, CHAOS_SPIKE_IMAGE_REDIS="registry.invalid/redis:7")
    assert done.returncode == 6
    assert not list(noted.glob("*.json"))


def test_interrupt_while_coming_up_leaves_nothing(tmp_path: Path) -> None:
    """SIGINT before the lab is up: exit 130, and nothing stays."""
    process = _background(tmp_path)
    try:
        _wait_until_creating(tmp_path / "state" / "stacks")
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - asked < 20, "it waited for the lab to come up"
    finally:
        process.kill()
        process.wait()


def test_no_engine_is_one_message(tmp_path: Path) -> None:
    """DOCKER_HOST points at nothing."""
    done = short(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    refused(done, "no Docker engine answers", "none.sock", "--stack embedded")


def test_image_that_cannot_be_pulled_is_one_message(tmp_path: Path) -> None:
    """It names the image and the variable that names another."""
    done = short(tmp_path, CHAOS_SPIKE_IMAGE_REDIS="registry.invalid/redis:7")
    refused(done, "registry.invalid/redis:7", "cannot be pulled", "CHAOS_SPIKE_IMAGE_REDIS")


def test_port_in_use_is_one_message(tmp_path: Path) -> None:
    """It names the port and the variable that fixed it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = short(tmp_path, CHAOS_SPIKE_PORT_GATEWAY=port)
    refused(done, port, "in use", "CHAOS_SPIKE_PORT_GATEWAY")


@contextmanager
def cache_that(tmp_path: Path, script: str) -> Iterator[str]:
    """An image in the place of the cache's, with this to run; its name."""
    folder = tmp_path / "cache"
    folder.mkdir()
    compose = (Path(__file__).parents[2] / "compose" / "docker-compose.yml").read_text()
    found = re.search(r"CHAOS_SPIKE_IMAGE_REDIS:-([^}]+)", compose)
    assert found is not None
    base = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", found[1])
    (folder / "Dockerfile").write_text(f'FROM {base}\nENTRYPOINT ["sh", "-c", "{script}"]\n')
    tag = f"chaos-spike-test-cache:{os.getpid()}"
    subprocess.run(["docker", "build", "--quiet", "--tag", tag, str(folder)], check=True, capture_output=True)
    try:
        yield tag
    finally:
        subprocess.run(["docker", "rmi", "--force", tag], check=True, capture_output=True)


def test_container_that_ends_shows_its_last_lines(tmp_path: Path) -> None:
    """A cache that refuses to serve: its own words are in the message."""
    with cache_that(tmp_path, "echo not today; exit 3") as image:
        done = short(tmp_path, CHAOS_SPIKE_IMAGE_REDIS=image)
    refused(done, "redis", "ended at its start (exit 3)", "not today")


def test_container_that_never_gets_healthy_shows_its_last_lines(tmp_path: Path) -> None:
    """A cache that only talks: its last log lines, and what its healthcheck said."""
    with cache_that(tmp_path, "echo stuck on purpose; exec sleep 600") as image:
        done = short(tmp_path, CHAOS_SPIKE_IMAGE_REDIS=image, CHAOS_SPIKE_HEALTH_INTERVAL="500ms")
    refused(done, "redis", "did not get healthy", "stuck on purpose", "Connection refused")
