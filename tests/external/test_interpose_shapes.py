"""Real compose files, as people have them, interposed, proved, and put back exactly; and what is found when something goes past.

Needs an engine and the images (`.ci/images` makes stand-ins). Each shape runs under one of the composes of this machine, by turns.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from resilience.interpose.composing import ComposeFiles, compose_files
from resilience.interpose.engine import sockets_from_here
from resilience.interpose.journal import Note, read_note, read_notes
from resilience.interpose.looking import prove
from resilience.interpose.model import InterposeRefused, Wanted
from resilience.interpose.standing import Site, apply, prepare, restore

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.timeout(240)]

DATA = Path(__file__).parents[1] / "data" / "interpose"
COMPOSES = ("docker compose", "docker-compose")
COMMAND = (sys.executable, "-m", "resilience.cli.main")


def composes() -> list[str]:
    """The composes of this machine."""
    return [
        words
        for words in COMPOSES
        if subprocess.run(["sh", "-c", f"{words} version"], capture_output=True, check=False).returncode == 0
    ]


@dataclass(frozen=True)
class Place:
    """A project of our own, and how to look at it."""

    site: Site
    engine: docker.DockerClient
    project: str
    compose: str
    environ: dict[str, str]

    def files(self, name: str, *, profiles: Sequence[str] = ()) -> ComposeFiles:
        """A file of the data folder, under our project."""
        return compose_files([DATA / name], project=self.project, profiles=profiles, environ=self.environ)

    def compose_up(self, name: str) -> None:
        """Start a file by compose alone, as its owner does."""
        words = [*self.compose.split(), "-f", str(DATA / name), "-p", self.project, "up", "-d"]
        subprocess.run(words, check=True, capture_output=True, env=self.environ, timeout=120)

    def containers(self) -> list[Any]:
        """The project's containers."""
        wanted = {"label": f"com.docker.compose.project={self.project}"}
        return self.engine.containers.list(all=True, filters=wanted)

    def container(self, service: str) -> Any:
        """The container of a service."""
        (found,) = (c for c in self.containers() if c.labels["com.docker.compose.service"] == service)
        return found

    def snapshot(self) -> dict[str, Any]:
        """All of the project that its owner has decided; not what the engine draws anew for each container."""
        wanted = {"label": f"com.docker.compose.project={self.project}"}
        return {
            "containers": {c.name: described(c.attrs) for c in self.containers()},
            "networks": sorted(n.name for n in self.engine.networks.list(filters=wanted)),
            "volumes": sorted(v.name for v in self.engine.volumes.list(filters=wanted)),
        }


def described(facts: dict[str, Any]) -> dict[str, Any]:
    """What stays the same of a container that is created anew from the same words."""
    label = facts["Config"]["Labels"].get
    return {
        "service": label("com.docker.compose.service"),
        "hash": label("com.docker.compose.config-hash"),
        "files": label("com.docker.compose.project.config_files"),
        "state": facts["State"]["Status"],
        "image": facts["Config"]["Image"],
        "environment": sorted(facts["Config"]["Env"]),
        "command": facts["Config"]["Cmd"],
        "ports": facts["HostConfig"]["PortBindings"],
        "mounts": sorted(
            (m["Type"], m.get("Name", m.get("Source")), m["Destination"]) for m in facts["Mounts"]
        ),
        "networks": {
            name: sorted(alias for alias in joined["Aliases"] or () if not facts["Id"].startswith(alias))
            for name, joined in facts["NetworkSettings"]["Networks"].items()
        },
    }


@pytest.fixture
def place(require: Callable[[str], str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Everything of the project is gone afterwards, and nothing else was touched."""
    require("docker")
    there = composes()
    compose = there[getattr(request, "param", 0) % len(there)]
    state_dir = tmp_path / "state"
    environ = {**os.environ, "CHAOS_SPIKE_COMPOSE": compose, "CHAOS_SPIKE_STATE_DIR": str(state_dir)}
    site = Site.open(environ, state_dir)
    engine = docker.DockerClient(base_url=site.engine.address, timeout=30)
    project = f"interpose-test-{secrets.token_hex(3)}"
    try:
        yield Place(site, engine, project, compose, environ)
    finally:
        site.engine.remove_looks(project)
        site.engine.remove_project(project)
        site.engine.close()
        left = inventory(engine, project)
        engine.close()
    assert left == []


def inventory(engine: docker.DockerClient, project: str) -> list[str]:
    """Every container, network and volume of the project, ours that looked into it included."""
    wanted = {"label": f"com.docker.compose.project={project}"}
    looks = engine.containers.list(all=True, filters={"label": f"io.chaos-spike.look={project}"})
    found = [*engine.containers.list(all=True, filters=wanted), *looks, *engine.networks.list(filters=wanted)]
    return [each.id for each in (*found, *engine.volumes.list(filters=wanted))]


def counters(note: Note) -> dict[str, int]:
    """How much each tap has seen."""
    found = {}
    for front in note.fronts:
        with urllib.request.urlopen(f"http://127.0.0.1:{front.tap_port}/taps", timeout=5) as answer:
            found |= {name: tap["next_seq"] for name, tap in json.load(answer).items()}
    return found


def soon(holds: Callable[[], bool], within_s: float = 20) -> bool:
    """Whether something comes to hold."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def command(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """`chaos-spike ...` to its end."""
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, env=place.environ, timeout=120, check=False
    )


SHAPES = [
    pytest.param(1, "links.yml", (Wanted("cache"),), (), id="links"),
    pytest.param(0, "networks.yml", (Wanted("pricing"), Wanted("cache")), (), id="networks"),
    pytest.param(1, "env.yml", (Wanted("cache", name="store"),), (), id="env-file"),
    pytest.param(0, "profiles.yml", (Wanted("cache"),), ("cached",), id="profiles"),
    pytest.param(1, "extends.yml", (Wanted("cache"),), (), id="extends"),
]


@pytest.mark.parametrize(("place", "file", "wanted", "profiles"), SHAPES, indirect=["place"])
def test_interpose_shape_is_proved_carries_its_calls_and_is_put_back(
    place: Place, file: str, wanted: tuple[Wanted, ...], profiles: tuple[str, ...]
) -> None:
    """A project that was down: up with proxies, no doubt, calls pass each of them; then down again, with nothing left."""
    before = place.snapshot()
    note = apply(place.site, prepare(place.site, place.files(file, profiles=profiles), wanted))
    first = {front.gates[0].name for front in note.fronts}
    started = counters(note)
    assert soon(lambda: all(counters(note)[name] > started[name] + 2 for name in first)), place.container(
        "web"
    ).logs()[-500:]
    assert prove(place.site, note) == ()
    if file == "env.yml":
        environment = place.container("web").attrs["Config"]["Env"]
        assert "COSTS=5$" in environment
    restore(place.site, note)
    assert place.snapshot() == before
    assert read_notes(place.site.state_dir) == ()


def test_interpose_running_project_finds_a_bypass_and_is_put_back_exactly(place: Place) -> None:
    """A named container with its port, data and healthcheck: kept; a call to an address instead of a name: found, exit 3."""
    place.compose_up("named.yml")
    place.container("db").exec_run(["redis-cli", "set", "kept", "yes"])
    before = place.snapshot()
    words = ("interpose", str(DATA / "named.yml"), "--project", place.project)
    done = command(place, *words, "--up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "proved: every name of db leads to its proxy" in done.stdout
    published = place.container("chaos-db").attrs["NetworkSettings"]["Ports"]
    assert published["6379/tcp"][0]["HostIp"] == "127.0.0.1"
    real = place.container("db--real")
    (address,) = (joined["IPAddress"] for joined in real.attrs["NetworkSettings"]["Networks"].values())
    script = f"import socket; s = socket.create_connection(('{address}', 6379)); s.sendall(b'PING\\r\\n'); s.recv(9)"
    assert place.container("web").exec_run(["python", "-c", script]).exit_code == 0
    found = command(place, *words, "--prove")
    assert found.returncode == 3, found.stdout + found.stderr
    assert re.search(r"web.1 .*has a connection to db past the proxy", found.stderr)
    undone = command(place, "undo")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert "put back as it was" in undone.stdout
    assert place.snapshot() == before
    assert place.container("db").exec_run(["redis-cli", "get", "kept"]).output.strip() == b"yes"


@pytest.mark.parametrize("place", [1], indirect=True, ids=["the-other-compose"])
def test_interpose_killed_half_way_is_put_back_by_undo(place: Place) -> None:
    """SIGKILL between the removal of the dependency and the end: `undo` finds the note, and the project is as it was."""
    place.compose_up("named.yml")
    before = place.snapshot()
    words = [*COMMAND, "interpose", str(DATA / "named.yml"), "--project", place.project, "--up"]
    with subprocess.Popen(
        words, env=place.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as runner:
        assert soon(lambda: "db" not in services(place), 90)
        runner.send_signal(signal.SIGKILL)
    note = read_note(place.site.state_dir, place.project)
    assert note is not None
    assert (place.site.state_dir / "interposed" / f"{place.project}.json").stat().st_mode & 0o077 == 0
    undone = command(place, "undo")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert place.snapshot() == before


def services(place: Place) -> set[str]:
    """The services that have a container now."""
    wanted = {"label": f"com.docker.compose.project={place.project}"}
    return {
        row["Labels"]["com.docker.compose.service"]
        for row in place.engine.api.containers(all=True, filters=wanted)
    }


def test_interpose_refuses_data_without_a_name_and_touches_nothing(place: Place) -> None:
    """The image's own volume would be lost with the container: exit 2, the reason, the way out, and every container as it was."""
    file = place.site.state_dir.parent / "docker-compose.yml"
    image = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", "redis:7.4.1-bookworm")
    file.write_text(
        f"services:\n  web: {{image: '{image}', depends_on: [db], tmpfs: [/data]}}\n  db: {{image: '{image}'}}\n"
    )
    words = [*place.compose.split(), "-f", str(file), "-p", place.project, "up", "-d"]
    subprocess.run(words, check=True, capture_output=True, env=place.environ, timeout=120)
    before = [(c.id, c.attrs["State"]["StartedAt"]) for c in place.containers()]
    done = command(place, "interpose", str(file), "--project", place.project, "--up")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "volume without a name (/data)" in done.stderr
    assert "way out: give that volume a name" in done.stderr
    assert [(c.id, c.attrs["State"]["StartedAt"]) for c in place.containers()] == before


def test_interpose_that_cannot_come_up_puts_the_project_back(place: Place, monkeypatch: Any) -> None:
    """The proxy's image ends at once: exit 6 with its last words, and the project runs as before."""
    place.compose_up("named.yml")
    before = place.snapshot()
    place.environ["CHAOS_SPIKE_IMAGE_LAB"] = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", "redis:7.4.1-bookworm")
    done = command(place, "interpose", str(DATA / "named.yml"), "--project", place.project, "--up")
    assert done.returncode == 6, done.stdout + done.stderr
    assert place.snapshot() == before
    assert read_notes(place.site.state_dir) == ()


def test_sockets_of_a_container_are_read_from_this_host_as_from_inside(place: Place) -> None:
    """Both ways of looking see the same listening port."""
    place.compose_up("links.yml")
    (member,) = (m for m in place.site.engine.members(place.project) if m.service == "cache")
    here = sockets_from_here(member)
    if here is None:
        pytest.skip("the engine's processes are not this host's")
    assert any(each.local_port == 6379 and each.state == "0A" for each in here)


def test_interpose_unknown_service_is_refused(place: Place) -> None:
    """What the file does not have is said with what it has."""
    with pytest.raises(InterposeRefused, match=r"is no service of this file \(cache, web\)"):
        prepare(place.site, place.files("links.yml"), [Wanted("database")])
