"""Interposing and putting back, on an engine and a compose that are a dictionary: what is left of a project, wherever it stops."""

# ruff: noqa: D102 - what a method does is said where the real one is
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from resilience.interpose import standing
from resilience.interpose.composing import ComposeFiles, Composer, FilesInvalid
from resilience.interpose.engine import Member
from resilience.interpose.journal import Note, forget_note, read_note, read_notes, write_note
from resilience.interpose.looking import prove
from resilience.interpose.model import InterposeRefused, Wanted
from resilience.interpose.proving import View
from resilience.interpose.standing import Site, apply, prepare, restore, undo_notes
from resilience.lab.compose.command import ComposeCommand
from resilience.lab.identity import ProcessId
from resilience.lab.system import StackError

FILE = "/shop/docker-compose.yml"
SERVICES: dict[str, Any] = {
    "db": {"image": "postgres:16", "expose": ["5432"]},
    "web": {"image": "web", "depends_on": ["db"]},
    "other": {"image": "other"},
}


@dataclass
class Machine:
    """An engine and a compose in one: containers by service, volumes by name. `before_up` runs when compose creates."""

    services: dict[str, Any]
    containers: dict[str, Member] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    before_up: Callable[[], None] = lambda: None
    stop: threading.Event = field(default_factory=threading.Event)
    numbers: Any = field(default_factory=lambda: count(1))
    address: str = "unix:///nowhere.sock"
    environ: Mapping[str, str] = field(default_factory=dict)
    separator: str = "_"

    # compose

    def resolve(self, files: ComposeFiles) -> tuple[ComposeFiles, Any]:
        return replace(files, project="shop"), {"services": self.services}

    def hashes(self, _files: ComposeFiles) -> dict[str, str]:
        return {name: json.dumps(said) for name, said in self.services.items()}

    def up(self, model: Any, _files: Any, names: Sequence[str] = (), *, start: bool = True) -> None:
        self._up(model["services"], "", names, start=start)

    def up_files(self, _files: Any, names: Sequence[str], *, start: bool = True) -> None:
        self._up(self.services, FILE, names, start=start)

    def _up(self, services: Any, files: str, names: Sequence[str], *, start: bool) -> None:
        self.before_up()
        self.volumes |= {"shop_data"}
        for name in names or services:
            text = json.dumps(services[name])
            old = self.containers.get(name)
            if old is None or old.config_hash != text:
                self.containers[name] = self.made(name, text, files)
            if start:
                self.containers[name] = replace(self.containers[name], running=True)

    def made(self, name: str, text: str, files: str, **changes: Any) -> Member:
        """A container that was created and not started."""
        return Member(
            **{
                "id": f"{name}-{next(self.numbers)}",
                "name": name,
                "service": name,
                "running": False,
                "health": None,
                "exit_code": 0,
                "config_hash": text,
                "files": files,
                "directory": "/shop",
                "anonymous": (),
                "addresses": frozenset(),
                "stop_grace_s": 1,
                "pid": 0,
                "interposed": "",
                **changes,
            }
        )

    # engine

    def members(self, _project: str) -> tuple[Member, ...]:
        return tuple(self.containers.values())

    def exposed(self, _image: str) -> tuple[str, ...]:
        return ()

    def kept(self, _project: str) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(self.volumes), frozenset()

    def remove_looks(self, _project: str) -> None: ...

    def remove_networks(self, _project: str, _ending: str) -> None: ...

    def remove_rest(self, _project: str, volumes: frozenset[str], _networks: frozenset[str]) -> None:
        self.volumes &= volumes

    def remove_members(self, members: Iterable[Member], _graces: Any, *, with_volumes: bool) -> None:
        assert with_volumes in {True, False}
        for each in members:
            self.containers.pop(each.service, None)

    def restart_members(self, _members: Iterable[Member], _graces: Any) -> None: ...

    def stop_members(self, members: Iterable[Member], _graces: Any) -> None:
        for each in members:
            self.containers[each.service] = replace(self.containers[each.service], running=False)

    def last_words(self, _member: Member) -> str:
        return ""

    def owners(self, _project: str) -> dict[str, str]:
        return {}

    def views(self, _project: str, _image: str, members: Sequence[Member], _names: Any) -> tuple[View, ...]:
        return tuple(
            View(each.service, each.name, each.addresses, {"db": ("10.0.0.3",)}, ())
            for each in members
            if each.running
        )

    def look(self, _project: str, _image: str, _member: Member, _what: str, targets: Any) -> Any:
        return {"dialled": dict.fromkeys(targets, "")}

    def close(self) -> None: ...

    # its owner

    def owner_up(self, *names: str, running: bool = True) -> None:
        """What its owner has created from the file."""
        self.up_files(None, names, start=running)

    def snapshot(self) -> dict[str, tuple[bool, str, str]]:
        """What is there, whether it runs, and what made it."""
        return {name: (each.running, each.config_hash, each.files) for name, each in self.containers.items()}


FILES = ComposeFiles((Path(FILE),))
DB = [Wanted("db")]


@pytest.fixture(autouse=True)
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our image is there, and nothing has to settle."""
    monkeypatch.setattr(standing, "provide_own_image", lambda *_: "ours:1")
    monkeypatch.setattr(standing, "_SETTLE_S", 0)


def site_of(machine: Machine, state_dir: Path) -> Site:
    """The machine as a site."""
    return Site(cast("Any", machine), cast("Any", machine), state_dir)


def there_and_back(machine: Machine, state_dir: Path) -> dict[str, Member]:
    """Interpose db and restore; the containers of in between."""
    site = site_of(machine, state_dir)
    note = apply(site, prepare(site, FILES, DB))
    between = dict(machine.containers)
    restore(site, note)
    assert read_notes(state_dir) == ()
    return between


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("names", [("db", "web", "other"), ("db", "web"), ("other",), ()])
def test_restore_leaves_a_project_as_it_was(running: bool, names: tuple[str, ...], tmp_path: Path) -> None:
    """Running, stopped or in parts: the same containers, from the same files, running or not as before."""
    machine = Machine(SERVICES)
    if names:
        machine.owner_up(*names, running=running)
    before = machine.snapshot()
    assert {"chaos-db", "db--real"} <= set(there_and_back(machine, tmp_path))
    assert machine.snapshot() == before


def test_restore_creates_anew_what_lives_in_the_dependency(tmp_path: Path) -> None:
    """Docker-compose 1.29 does not say that they depend on it; they must not stay with a container that is gone."""
    leaning = {
        "side": {"image": "s", "network_mode": "service:db"},
        "backup": {"image": "s", "volumes_from": ["service:db:ro"]},
        "tracer": {"image": "s", "pid": "service:db"},
    }
    machine = Machine({**SERVICES, **leaning})
    machine.owner_up(*machine.services)
    before = machine.snapshot()
    between = there_and_back(machine, tmp_path)
    assert all("db--real" in between[name].config_hash for name in leaning)
    assert machine.snapshot() == before


@pytest.mark.parametrize("down", [False, True], ids=["stands", "taken-down"])
def test_undo_keeps_volumes_of_a_project_that_its_owner_has_taken_down(down: bool, tmp_path: Path) -> None:
    """A run died; its owner took the project down and used it for a week, down again: an undo must not take the data along."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)
    note = apply(site, prepare(site, FILES, DB))
    if down:
        machine.containers.clear()
    restore(site, replace(note, owner=ProcessId(1, 1)))
    assert machine.containers == {}
    assert machine.volumes == ({"shop_data"} if down else set())


def test_apply_looks_again_after_the_image_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner has started the project meanwhile: it is up afterwards; what would lose data is refused."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)

    def build(*_: object) -> str:
        machine.owner_up("db", "web")
        return "ours:1"

    monkeypatch.setattr(standing, "provide_own_image", build)
    restore(site, apply(site, prepare(site, FILES, DB)))
    assert {name: running for name, (running, *_) in machine.snapshot().items()} == {"db": True, "web": True}

    machine.containers.clear()
    prepared = prepare(site, FILES, DB)

    def build_and_fill(*_: object) -> str:
        machine.containers["db"] = machine.made("db", "", FILE, running=True, anonymous=("/data",))
        return "ours:1"

    monkeypatch.setattr(standing, "provide_own_image", build_and_fill)
    with pytest.raises(InterposeRefused, match="volume without a name"):
        apply(site, prepared)
    assert set(machine.containers) == {"db"}


def test_apply_leaves_a_project_to_who_was_faster(tmp_path: Path) -> None:
    """Two have prepared the same project: the second touches nothing, and the first one's note can still put it back."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)
    note = Note.from_json(apply(site, prepare(site, FILES, DB)).to_json())
    restore(site, note)
    prepared = prepare(site, FILES, DB)
    write_note(tmp_path, replace(note, before={"theirs": True}))
    with pytest.raises(StackError, match="by somebody else"):
        apply(site, prepared)
    assert machine.containers == {}
    left = read_note(tmp_path, "shop")
    assert left is not None
    assert left.before == {"theirs": True}


def test_prepare_refuses_what_was_scaled_by_hand(tmp_path: Path) -> None:
    """Compose would bring three containers down to the one of the file; where the file says three, they are."""
    for said, refused in (({}, True), ({"scale": 3}, False), ({"deploy": {"replicas": 3}}, False)):
        machine = Machine({**SERVICES, "web": {**SERVICES["web"], **said}})
        machine.owner_up("db", "web")
        web = machine.containers["web"]
        machine.containers |= {f"web-{number}": replace(web, id=f"more-{number}") for number in (2, 3)}
        if not refused:
            prepare(site_of(machine, tmp_path), FILES, DB)
            continue
        with pytest.raises(InterposeRefused, match="web: has 3 containers, and its file says 1") as why:
            prepare(site_of(machine, tmp_path), FILES, DB)
        assert why.value.refusals[0].way_out.endswith("web: {scale: 3}")


def test_restore_of_what_the_engine_does_not_let_go_ends_and_stays_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal that is "in progress" for good: an error that names the container, and the next undo tries again."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)
    note = apply(site, prepare(site, FILES, DB))
    monkeypatch.setattr(standing, "_REMOVAL_S", 0)
    with monkeypatch.context() as stuck:
        stuck.setattr(Machine, "remove_members", lambda *_, **__: None)
        with pytest.raises(StackError, match="chaos-db, db--real cannot be removed"):
            restore(site, note)
    assert read_note(tmp_path, "shop") is not None
    restore(site, note)
    assert machine.containers == {}


def test_undo_tells_of_a_note_that_it_cannot_read(tmp_path: Path) -> None:
    """Of another version, or torn: not "nothing to undo"; and nobody interposes over it."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)
    note = apply(site, prepare(site, FILES, DB))
    file = tmp_path / "interposed" / "shop.json"
    file.write_text(json.dumps({**note.to_json(), "v": 99}))
    (undone,) = undo_notes({}, tmp_path, all_of_them=True)
    assert (undone.project, str(file) in str(undone.error)) == ("shop", True)
    assert undo_notes({}, tmp_path, all_of_them=False) == []
    machine.containers.clear()
    with pytest.raises(StackError, match="by somebody else"):
        apply(site, prepare(site, FILES, DB))
    assert machine.containers == {}


@pytest.mark.parametrize("spelled", [FILE, "docker-compose.yml", "shop/docker-compose.yml"])
def test_prepare_knows_its_files_however_compose_spelled_them(spelled: str, tmp_path: Path) -> None:
    """The second generation by absolute paths, 1.29 as its owner did, from the folder itself or from the one above it."""
    machine = Machine(SERVICES)
    machine.owner_up(*SERVICES)
    machine.containers = {
        name: replace(each, files=spelled, directory="/shop") for name, each in machine.containers.items()
    }
    note = apply(site_of(machine, tmp_path), prepare(site_of(machine, tmp_path), FILES, DB))
    assert note.files.started_in is not None
    assert note.files.started_in / note.files.files[0] == Path(FILE)
    assert str(note.files.files[0]) == spelled
    machine.containers["web"] = replace(machine.containers["web"], files="/shop/other.yml")
    machine.containers = {"web": machine.containers["web"]}
    forget_note(tmp_path, "shop")
    with pytest.raises(InterposeRefused, match=r"runs from other files: /shop/other\.yml"):
        prepare(site_of(machine, tmp_path), FILES, DB)


def test_prove_tells_where_there_is_nobody_to_look_from(tmp_path: Path) -> None:
    """With a caller that runs there is nothing to say; without one, nothing is proved."""
    machine = Machine(SERVICES)
    site = site_of(machine, tmp_path)
    note = apply(site, prepare(site, FILES, DB))
    proxy = machine.containers["chaos-db"]
    machine.containers["chaos-db"] = replace(proxy, addresses=frozenset({"10.0.0.3"}))
    assert prove(site, note) == ()
    for name in ("web", "other"):
        machine.containers[name] = replace(machine.containers[name], running=False)
    (doubt,) = prove(site, note)
    assert doubt.is_unseen


def test_resolve_refuses_a_name_that_an_old_compose_would_change() -> None:
    """Capitals, and what leads out of the folder of notes: before compose is asked."""
    composer = Composer(ComposeCommand(("false",), "1.29.2"), {})
    for name in ("Shop", "../shop", ""):
        with pytest.raises(FilesInvalid, match="no name of a compose project"):
            composer.resolve(replace(FILES, project=name))
