"""The compose stack's decisions and files, without an engine: names, images, messages, journal, the compose file itself."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import docker
import pytest
from ruamel.yaml import YAML

from resilience.lab.compose import command, creation, journal
from resilience.lab.compose.engine import Container, Engine, engine_address, explain_no_engine
from resilience.lab.compose.images import compose_folder, context_hash, named_images, stage_context
from resilience.lab.identity import ProcessId
from resilience.lab.replica import replica_name
from resilience.lab.system import StackError

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose" / "docker-compose.yml").read_text()
SERVICES = YAML(typ="safe", pure=True).load(COMPOSE)["services"]


def container(**changes: object) -> Container:
    """A healthy container, changed."""
    facts = {
        "id": "1",
        "name": "p-redis-1",
        "service": "redis",
        "number": 1,
        "image": "redis",
        "state": "running",
        "health": "healthy",
        "exit_code": 0,
        "pid": 7,
        "ports": {},
    }
    return Container(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("172.18.0.9      chaos-spike-1a_gateway_2.chaos-spike-1a_default\n", "gateway-2"),
        ("172.18.0.9      chaos-spike-1a-gateway-12.chaos-spike-1a_default\n", "gateway-12"),
        ("172.18.0.9      3f2a91c0d1e2.chaos-spike-1a_default\n", None),
        ("172.18.0.9      p-supergateway-2.p_default\n", None),
        ("", None),
    ],
)
def test_replica_name_reads_both_generations_of_compose(answer: str, name: str | None) -> None:
    """The number compose gave the replica, whichever way it joins names."""
    assert replica_name(answer, "gateway") == name


def test_compose_file_publishes_on_loopback_only() -> None:
    """Whatever a port is set to, it is published on 127.0.0.1."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 8
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_compose_file_has_a_healthcheck_and_a_label_on_every_service() -> None:
    """No service without a check of its own, none without the project's label."""
    assert len(SERVICES) == 9
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert service["labels"]["io.chaos-spike.lab"] == "true", name


def test_compose_file_puts_one_toxiproxy_and_a_tap_before_each_dependency() -> None:
    """Gateways know the tap only; the tap knows Toxiproxies only; each of those knows one dependency."""
    known = " ".join(str(value) for value in SERVICES["gateway"]["environment"].values())
    assert set(re.findall(r"(?://|@)([a-z-]+):\d+", known)) == {"tap"}
    taps = YAML(typ="safe", pure=True).load((ROOT / "compose" / "taps.json").read_text())
    assert {tap["upstream"].partition(":")[0] for tap in taps} == {
        name for name in SERVICES if name.startswith("toxiproxy-")
    }
    for name in ("pricing", "db", "cache"):
        (proxy,) = YAML(typ="safe", pure=True).load(
            (ROOT / "compose" / "toxiproxy" / f"{name}.json").read_text()
        )
        assert proxy["name"] == name
        assert proxy["upstream"].partition(":")[0] in SERVICES


def test_images_are_pinned_and_each_has_its_variable() -> None:
    """Every image is named with a version that does not move, and a variable replaces it."""
    images = named_images(COMPOSE, {})
    assert set(images) == {
        f"CHAOS_SPIKE_IMAGE_{name}" for name in ("HAPROXY", "POSTGRES", "REDIS", "TOXIPROXY")
    }
    assert all(re.search(r":\d+\.\d+", image) for image in images.values())
    assert COMPOSE.count("image:") == COMPOSE.count("CHAOS_SPIKE_IMAGE_") - 1  # one is the base of ours
    assert named_images(COMPOSE, {"CHAOS_SPIKE_IMAGE_REDIS": "mine:1"})["CHAOS_SPIKE_IMAGE_REDIS"] == "mine:1"


def test_container_requirements_are_the_projects_own() -> None:
    """What the image installs is asked for in the same words as in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {line.partition(";")[0].strip() for line in project["dependencies"]}
    known |= {line.partition(";")[0].strip() for line in project["optional-dependencies"]["lab"]}
    lines = (ROOT / "compose" / "requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert wanted <= known


def test_build_context_changes_its_hash_with_the_source(tmp_path: Path) -> None:
    """Same source, same image; one byte or another base image, another one."""
    stage_context(tmp_path, compose_folder())
    first = context_hash(tmp_path, "python:3")
    assert context_hash(tmp_path, "python:3") == first
    assert context_hash(tmp_path, "python:4") != first
    assert not list(tmp_path.rglob("__pycache__"))
    (tmp_path / "resilience" / "__init__.py").write_text("# changed\n")
    assert context_hash(tmp_path, "python:3") != first


def test_missing_engine_and_missing_permission_are_different_messages() -> None:
    """Each says what to do about it."""
    missing = explain_no_engine("unix:///x.sock", FileNotFoundError(2, "No such file or directory"))
    assert "no Docker engine answers at unix:///x.sock (No such file or directory)" in missing
    denied = explain_no_engine("unix:///x.sock", PermissionError(13, "Permission denied"))
    assert "may not be used by this user" in denied
    assert "group docker" in denied


def test_engine_address_prefers_docker_host() -> None:
    """As every Docker client does."""
    assert engine_address({"DOCKER_HOST": "tcp://127.0.0.1:1"}) == "tcp://127.0.0.1:1"
    assert engine_address({})


def test_services_come_up_after_what_they_call() -> None:
    """All of the file, in two steps: without the engine's healthchecks in between nothing else keeps the order."""
    assert sorted((*creation.CALLED, *creation.CALLERS)) == sorted(SERVICES)
    called = set(creation.CALLED)
    assert not [name for name in called if set(SERVICES[name].get("depends_on", {})) & set(creation.CALLERS)]
    assert set(SERVICES["gateway"]["depends_on"]) == called


@pytest.mark.parametrize(("given", "interval"), [({}, "30s"), ({creation.INTERVAL_VARIABLE: "2s"}, "2s")])
async def test_engine_is_told_to_check_seldom_while_a_plan_runs(
    tmp_path: Path, given: dict[str, str], interval: str
) -> None:
    """Nothing waits for its healthchecks, and they take time from what is measured; whoever sets the interval has it."""
    program = tmp_path / "compose"
    program.write_text(f'#!/bin/sh\necho "${creation.INTERVAL_VARIABLE}" "$@"\n')
    program.chmod(0o755)
    compose = command.ComposeCommand((str(program),), "2.39.4")
    with Engine(docker.DockerClient("unix:///none.sock", version="1.41"), "unix:///none.sock") as engine:
        made = creation.Creation(engine, compose, (tmp_path / "a.yml",), "p", 3)
        for services, scaled in ((creation.CALLED, ""), (creation.CALLERS, "--scale gateway=3 ")):
            with (tmp_path / "said").open("w+b") as said:
                process = await made._start({"PATH": os.environ["PATH"], **given}, services, said)
                assert await process.wait() == 0
                said.seek(0)
                words = f"-f {tmp_path}/a.yml -p p up -d --no-build --no-deps {scaled}{' '.join(services)}"
                assert said.read().decode() == f"{interval} {words}\n"


def test_container_trouble_tells_ended_from_unhealthy() -> None:
    """An ended container is said to have ended, even if its last check failed, too."""
    assert container().trouble is None
    assert container().serves
    assert container(health="starting").trouble is None
    assert not container(health="starting").serves
    assert container(health="unhealthy").trouble == "did not get healthy"
    ended = container(state="exited", exit_code=3, health="unhealthy")
    assert ended.trouble == "ended at its start (exit 3)"


def test_compose_that_is_named_and_missing_is_said(tmp_path: Path) -> None:
    """CHAOS_SPIKE_COMPOSE is taken at its word."""
    with pytest.raises(StackError, match=r"CHAOS_SPIKE_COMPOSE='no-such-compose'"):
        command.find_compose({"PATH": str(tmp_path), "CHAOS_SPIKE_COMPOSE": "no-such-compose"})
    with pytest.raises(StackError, match="Way out"):
        command.find_compose({"PATH": str(tmp_path)})


@pytest.mark.parametrize(("said", "accepted"), [("1.29.2", True), ("v2.39.4", True), ("1.21.0", False)])
def test_compose_version_decides(tmp_path: Path, said: str, accepted: bool) -> None:
    """1.27 is the oldest that reads our file."""
    program = tmp_path / "docker-compose"
    program.write_text(f"#!/bin/sh\necho {said}\n")
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin", "CHAOS_SPIKE_COMPOSE": "docker-compose"}
    if accepted:
        assert command.find_compose(environ).version == said.removeprefix("v")
    else:
        with pytest.raises(StackError, match="too old"):
            command.find_compose(environ)


def test_journal_keeps_projects_of_the_living(tmp_path: Path) -> None:
    """A project whose runner lives is left alone; forgotten, it is gone; nonsense is no project."""
    own = ProcessId.of(os.getpid())
    assert own is not None
    project = journal.Project("chaos-spike-1", "unix:///none.sock", own)
    journal.write_project(tmp_path, project)
    (tmp_path / "stacks" / "torn.json").write_text("{")
    assert journal.read_projects(tmp_path) == (project,)
    assert journal.sweep_projects(tmp_path, {}) == []
    journal.forget_project(tmp_path, "chaos-spike-1")
    assert journal.read_projects(tmp_path) == ()


def test_journal_keeps_a_dead_runners_project_while_no_engine_answers(tmp_path: Path) -> None:
    """What could not be taken down stays noted, and the reason is told."""
    address = f"unix://{tmp_path}/none.sock"
    own = ProcessId.of(os.getpid())
    assert own is not None
    dead = ProcessId(own.pid, own.start + 1)
    journal.write_project(tmp_path, journal.Project("chaos-spike-2", address, dead))
    (swept,) = journal.sweep_projects(tmp_path, {})
    assert swept.name == "chaos-spike-2"
    assert swept.error is not None
    assert "no Docker engine answers" in swept.error
    assert len(journal.read_projects(tmp_path)) == 1


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_fixed_port_that_is_none_is_said(port: str) -> None:
    """It names the variable."""
    with pytest.raises(StackError, match="CHAOS_SPIKE_PORT_GATEWAY"):
        creation._check_fixed("GATEWAY", port)
