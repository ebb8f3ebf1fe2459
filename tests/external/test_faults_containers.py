"""Faults on real containers: each is put in, seen in the target, taken out, and the container is as it was.

Needs an engine and the image of the lab's Redis (`.ci/images` makes a stand-in where no registry is reachable).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
import redis
from docker.errors import ImageNotFound, NotFound
from redis.backoff import NoBackoff
from redis.retry import Retry

from faults.blast_radius import BlastRadius
from faults.containers import (
    DEFAULT_ENGINE,
    DisconnectFault,
    KillFault,
    PauseFault,
    RestartFault,
    StopFault,
    ThrottleFault,
)
from faults.errors import FaultNotInjected, FaultRefused
from faults.journal import live_intents, read_journal
from faults.nemesis import FaultEvent, Nemesis, Remarking
from faults.session import FaultSession
from faults.undo import UNDO_KINDS

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.timeout(180)]

S = 1_000_000_000
LABEL = "io.chaos-spike.test"
IMAGE = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", "redis:7.4.1-bookworm")
SUBNET = "10.213.77.0/24"
ADDRESS = "10.213.77.10"


@dataclass(frozen=True)
class Place:
    """An engine with a network of our own, and what starts containers in it."""

    engine: docker.DockerClient
    token: str
    network: Any
    containers: list[Any]

    @property
    def label(self) -> str:
        """The label of all that is ours."""
        return f"{LABEL}={self.token}"

    def start(self, name: str, **more: Any) -> Any:
        """Start a Redis in the network, under that alias."""
        kept = self.engine.containers.create(
            IMAGE,
            command=["redis-server", "--save", "", "--protected-mode", "no"],
            name=f"chaos-spike-test-{self.token}-{name}",
            labels={LABEL: self.token},
            ports={"6379/tcp": ("127.0.0.1", None)},
            **more,
        )
        self.containers.append(kept)
        address = ADDRESS if name == "cache" else None
        self.network.connect(kept, aliases=[name, f"{name}.alias"], ipv4_address=address)
        kept.start()
        return kept


@pytest.fixture
def place(require: Callable[[str], str]) -> Iterator[Place]:
    """Everything that was made here is gone afterwards."""
    require("docker")
    engine = docker.DockerClient(base_url=DEFAULT_ENGINE, timeout=30)
    try:
        try:
            engine.images.get(IMAGE)
        except ImageNotFound:
            pytest.skip(f"the image {IMAGE} is not here (.ci/images makes it)")
        token = secrets.token_hex(4)
        pool = docker.types.IPAMPool(subnet=SUBNET)
        network = engine.networks.create(
            f"chaos-spike-test-{token}",
            labels={LABEL: token},
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        )
        containers: list[Any] = []
        try:
            yield Place(engine, token, network, containers)
        finally:
            for each in containers:
                try:
                    each.remove(force=True, v=True)
                except NotFound:
                    continue
            network.remove()
    finally:
        engine.close()


@pytest.fixture
def cache(place: Place) -> Any:
    """A Redis that answers."""
    started = place.start("cache")
    assert soon(lambda: pings(started))
    return started


def soon(holds: Callable[[], bool], patience_s: float = 20.0) -> bool:
    """Ask again and again, until it holds or patience ends."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        if holds():
            return True
        time.sleep(0.05)
    return False


def pings(container: Any, timeout_s: float = 1.0) -> bool:
    """Whether it answers on its published port."""
    container.reload()
    published = container.ports.get("6379/tcp")
    if not published:
        return False
    port = int(published[0]["HostPort"])
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(port=port, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def run_id(container: Any) -> str:
    """What Redis calls its process: another one after each start."""
    return str(execute(container, "redis-cli", "info", "server").partition("run_id:")[2].split()[0])


def execute(container: Any, *words: str) -> str:
    """Run a command in the container; its output."""
    return str(container.exec_run(list(words)).output.decode())


def session(place: Place, tmp_path: Path, events: list[FaultEvent], **allow: Any) -> FaultSession:
    """A session that may hurt what bears our label."""
    allow = {"labels": frozenset([place.label]), **allow}
    radius = BlastRadius(**allow)
    return FaultSession(
        state_dir=tmp_path / "state", target=place.token, allow=radius, on_event=events.append
    )


def steps(events: list[FaultEvent]) -> list[str]:
    """What happened, in order."""
    return [event.step for event in events]


later = asyncio.to_thread
"""What waits for a target does so in a thread: a runner whose loop stands still for 3 s is healed by its guardian."""

WHOLE = ["journaled", "armed", "injected", "healed", "verified"]


async def test_pause_freezes_a_container(place: Place, cache: Any, tmp_path: Path) -> None:
    """Connections are taken and not answered; afterwards the same process answers."""
    events: list[FaultEvent] = []
    before = await later(run_id, cache)
    fault = PauseFault("paused", cache.name, 30 * S)
    assert isinstance(fault, Nemesis)
    assert isinstance(fault, Remarking)
    async with session(place, tmp_path, events) as faults:
        await faults.inject(fault)
        assert not await later(pings, cache)
        assert cache.status == "paused"
        await faults.heal("paused")
    assert await later(soon, lambda: pings(cache))
    assert await later(run_id, cache) == before
    assert steps(events) == WHOLE
    assert "remark" not in events[-1].detail


@pytest.mark.parametrize("kind", [KillFault, StopFault])
async def test_ended_container_is_started_again(kind: Any, place: Place, cache: Any, tmp_path: Path) -> None:
    """Nobody is there meanwhile; afterwards it answers, in the same container."""
    events: list[FaultEvent] = []
    before = await later(run_id, cache)
    async with session(place, tmp_path, events) as faults:
        await faults.inject(kind("ended", cache.name, 30 * S))
        assert not await later(pings, cache)
        assert cache.attrs["State"]["ExitCode"] == (137 if kind is KillFault else 0)
        assert ("destructive" in events[-1].detail) == (kind is KillFault)
        await faults.heal("ended")
    assert await later(soon, lambda: pings(cache))
    assert await later(run_id, cache) != before
    assert steps(events) == WHOLE


async def test_restart_replaces_the_process(place: Place, cache: Any, tmp_path: Path) -> None:
    """It answers again before anybody heals, as another process."""
    events: list[FaultEvent] = []
    before = await later(run_id, cache)
    async with session(place, tmp_path, events) as faults:
        await faults.inject(RestartFault("again", cache.name, 30 * S))
        assert await later(soon, lambda: pings(cache))
        assert await later(run_id, cache) != before
    assert steps(events) == WHOLE


async def test_disconnect_takes_a_container_out_of_a_network(
    place: Place, cache: Any, tmp_path: Path
) -> None:
    """Its names resolve no more; afterwards they do, all of them, to the address that it was given."""
    neighbour = place.start("neighbour")

    def reaches(name: str) -> bool:
        return "PONG" in execute(neighbour, "timeout", "3", "redis-cli", "-h", name, "ping")

    assert await later(soon, lambda: reaches("cache.alias"))
    events: list[FaultEvent] = []
    network = place.network.name
    async with session(place, tmp_path, events) as faults:
        await faults.inject(DisconnectFault("out", cache.name, 30 * S, network=network))
        assert not await later(reaches, "cache.alias")
        assert not await later(reaches, ADDRESS)
        with pytest.raises(FaultNotInjected, match="not in the network"):
            await faults.inject(DisconnectFault("twice", cache.name, 30 * S, network=network))
        await faults.heal("out")
    for name in ("cache", "cache.alias", ADDRESS):
        assert await later(soon, partial(reaches, name)), name
    assert steps(events) == WHOLE


def cpu_limit(container: Any) -> tuple[str, str]:
    """What the kernel enforces: quota and period in microseconds; cgroups of both versions."""
    look = "cd /sys/fs/cgroup; cat cpu.max 2>&- || cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us"
    quota, period = execute(container, "sh", "-c", look).split()
    return quota.replace("-1", "max"), period


def throttled(container: Any) -> int:
    """In how many periods the kernel did stop it."""
    stat = execute(container, "sh", "-c", "cd /sys/fs/cgroup; cat cpu.stat 2>&- || cat cpu/cpu.stat")
    return int(stat.partition("nr_throttled ")[2].split()[0])


@pytest.mark.parametrize(
    ("had", "limit"),
    [
        ({}, ("max", "100000")),
        ({"cpu_period": 50_000, "cpu_quota": 25_000}, ("25000", "50000")),
        ({"nano_cpus": 500_000_000}, ("50000", "100000")),
    ],
    ids=["unlimited", "quota", "cpus"],
)
async def test_throttle_sets_the_exact_former_limit_back(
    had: dict[str, int], limit: tuple[str, str], place: Place, tmp_path: Path
) -> None:
    """What the kernel enforces before, during and after; and the kernel did throttle."""
    limited = place.start("limited", **had)
    assert await later(soon, lambda: pings(limited))
    assert await later(cpu_limit, limited) == limit
    events: list[FaultEvent] = []
    async with session(place, tmp_path, events) as faults:
        await faults.inject(ThrottleFault("slow", limited.name, 30 * S, cpus=0.1))
        assert await later(cpu_limit, limited) == ("10000", "100000")
        before = await later(throttled, limited)
        await later(execute, limited, "sh", "-c", "timeout 1 sh -c 'while :; do :; done'")
        assert await later(throttled, limited) > before
        with pytest.raises(FaultNotInjected, match="no more than"):
            await faults.inject(ThrottleFault("more", limited.name, 30 * S, cpus=0.2))
        await faults.heal("slow")
    assert await later(cpu_limit, limited) == limit
    assert steps(events) == WHOLE


async def test_containers_without_the_label_are_left_alone(place: Place, cache: Any, tmp_path: Path) -> None:
    """No label of this run: refused, unless it is named; the control plane: refused even then."""
    events: list[FaultEvent] = []
    named = f"container:{cache.name}"
    fault = PauseFault("paused", cache.name, 30 * S)
    async with session(place, tmp_path, events, labels=frozenset(["other=label"])) as faults:
        with pytest.raises(FaultRefused, match="bears no label"):
            await faults.inject(fault)
    async with session(
        place, tmp_path, events, allow=frozenset([named]), control_plane=frozenset([f"container:{cache.id}"])
    ) as faults:
        with pytest.raises(FaultRefused, match="control plane"):
            await faults.inject(fault)
    assert events == []
    assert await later(pings, cache)
    async with session(place, tmp_path, events, labels=frozenset(), allow=frozenset([named])) as faults:
        await faults.inject(fault)
    assert steps(events) == WHOLE


async def test_faults_that_could_not_be_undone_are_refused(place: Place, tmp_path: Path) -> None:
    """A container that the engine removes when it ends, one that is paused by somebody else, one that does not run, and none at all."""
    fleeting = place.start("fleeting", auto_remove=True)
    other = place.start("other")
    other.pause()
    idle = place.start("idle")
    idle.kill()
    events: list[FaultEvent] = []
    async with session(place, tmp_path, events) as faults:
        for fault, words in (
            (KillFault("a", fleeting.name, S), "--rm"),
            (PauseFault("b", other.name, S), "paused already"),
            (StopFault("c", idle.name, S), "does not run"),
            (PauseFault("d", "no-such-container", S), "no container"),
            (PauseFault("e", other.name, S, engine="unix:///no/such.sock"), "Docker engine"),
        ):
            with pytest.raises(FaultNotInjected, match=words):
                await faults.inject(fault)
    assert events == []


async def test_container_that_is_removed_meanwhile_is_reported(
    place: Place, cache: Any, tmp_path: Path
) -> None:
    """Somebody removes it by hand in the middle of the fault: healed, with a remark, and nothing raised."""
    events: list[FaultEvent] = []
    async with session(place, tmp_path, events) as faults:
        await faults.inject(PauseFault("paused", cache.name, 30 * S))
        await later(partial(cache.remove, force=True, v=True))
    assert steps(events) == WHOLE
    assert "was removed" in events[-1].detail["remark"]


RUNNER = """
import asyncio, sys, time
from pathlib import Path
from faults.blast_radius import BlastRadius
from faults.containers import PauseFault
from faults.session import FaultSession

async def main(name, label, state):
    allow = BlastRadius(labels=frozenset([label]))
    async with FaultSession(state_dir=Path(state), target=name, allow=allow, on_event=lambda event: None) as session:
        await session.inject(PauseFault("paused", name, 60_000_000_000))
        print("in", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def test_pause_does_not_outlive_a_killed_runner(place: Place, cache: Any, tmp_path: Path) -> None:
    """The guardian unpauses."""
    state = str(tmp_path / "state")
    command = [sys.executable, "-c", RUNNER, cache.name, place.label, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"in\n"
        assert not pings(cache)
        runner.kill()
    assert soon(lambda: pings(cache), 10)


STOPPER = """
import asyncio, sys
from pathlib import Path
from faults.blast_radius import BlastRadius
from faults.containers import StopFault
from faults.session import FaultSession

async def main(name, label, state):
    allow = BlastRadius(labels=frozenset([label]))
    def tell(event):
        if event.step == "armed":
            print("in", flush=True)
    async with FaultSession(state_dir=Path(state), target=name, allow=allow, on_event=tell) as session:
        await session.inject(StopFault("stopped", name, 60_000_000_000, grace_s=4))

asyncio.run(main(*sys.argv[1:]))
"""


def test_stop_that_lands_after_its_runner_has_died_is_undone(place: Place, tmp_path: Path) -> None:
    """The engine goes on with the order: the container, which heeds no SIGTERM, is killed at the end of the grace, and started again."""
    deaf = place.engine.containers.create(
        IMAGE,
        command=["bash", "-c", "trap 'echo told' TERM; while :; do sleep 0.1; done"],
        labels={LABEL: place.token},
        name=f"chaos-spike-test-{place.token}-deaf",
    )
    place.containers.append(deaf)
    deaf.start()
    deaf.reload()
    before = deaf.attrs["State"]["StartedAt"]
    state = tmp_path / "state"
    command = [sys.executable, "-c", STOPPER, deaf.name, place.label, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"in\n"
        assert soon(lambda: b"told" in deaf.logs(), 10)
        runner.kill()

    def settled() -> bool:
        return all(not live_intents(read_journal(each)) for each in state.glob("*/*.jsonl"))

    assert soon(settled, 30)
    deaf.reload()
    assert deaf.attrs["State"]["Running"]
    assert deaf.attrs["State"]["StartedAt"] != before


def test_every_inverse_on_a_container_may_be_repeated(place: Place, cache: Any) -> None:
    """On a container as it was, and on one that is gone, there is nothing to undo."""
    gone = place.start("gone")
    gone.remove(force=True, v=True)
    cache.reload()
    joined = cache.attrs["NetworkSettings"]["Networks"][place.network.name]
    args = {
        "docker.unpause": {},
        "docker.start": {},
        "docker.stopped": {"started_at": cache.attrs["State"]["StartedAt"], "grace_s": 0},
        "docker.connect": {"network": joined["NetworkID"], "endpoint": {"Aliases": ["cache"]}},
        "docker.cpu": {"nano_cpus": 0, "period": 0, "quota": 0},
    }
    for kind, more in args.items():
        for container in (cache, gone):
            undo = UNDO_KINDS[kind]
            plain = KillFault("x", container.id, S).undo()
            plain = type(plain)(kind, {**plain.args, **more})
            assert undo.is_clean(plain), kind
            assert undo.undo(plain) is False, kind
