"""What `chaos-spike interpose --up` says when a signal stops it, and which plans of compose files are refused before anything starts."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from resilience.cli.interpose import _apply, _say_proof
from resilience.cli.interposed import check_interposable
from resilience.cli.main import app
from resilience.interpose import journal, looking, standing
from resilience.interpose.composing import ComposeFiles
from resilience.interpose.journal import Note, write_note
from resilience.interpose.model import Front
from resilience.interpose.proving import View, unseen
from resilience.lab.system import StackError
from resilience.plan import load_text

FILES = ComposeFiles((Path("docker-compose.yml"),), "shop")
NOTE = Note(
    files=FILES, engine="unix:///nowhere", image="i", owner=None, before={}, volumes=frozenset(), networks=frozenset(), fronts=(),
    model={},
)  # fmt: skip


@pytest.mark.parametrize(("left", "told"), [(False, "everything was put back"), (True, "chaos-spike undo")])
def test_interpose_stopped_says_put_back_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], left: bool, told: str
) -> None:
    """A note that stands after the signal means that something is left: that is said, with the command that puts it back."""

    def apply(_site: Any, _prepared: Any) -> Note:
        if left:  # the restoring on the way out failed, or the signal came when all of it stood
            write_note(tmp_path, NOTE)
        signal.raise_signal(signal.SIGTERM)
        return NOTE

    monkeypatch.setattr(standing, "apply", apply)
    site: Any = SimpleNamespace(state_dir=tmp_path)
    prepared: Any = SimpleNamespace(files=FILES)
    with pytest.raises(typer.Exit) as stopped:
        _apply(site, prepared)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert told in said
    assert ("everything was put back" in said) is not left


def test_interpose_whose_note_cannot_be_kept_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when everything stands: exit 6 says that it was put back, and so it is."""
    back: list[Note] = []

    def no_space(*_: object) -> None:
        raise StackError("no space left")

    monkeypatch.setattr(standing, "apply", lambda *_: NOTE)
    monkeypatch.setattr(standing, "restore", lambda _site, note: back.append(note))
    monkeypatch.setattr(journal, "write_note", no_space)
    site: Any = SimpleNamespace(state_dir=tmp_path)
    prepared: Any = SimpleNamespace(files=FILES)
    with pytest.raises(StackError, match="no space left"):
        _apply(site, prepared)
    assert back == [NOTE]


def test_interpose_that_could_not_be_looked_at_is_not_said_to_be_put_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands: exit 3, and not the 6 of what was put back; nor is it said to be proved."""

    def cannot(*_: object) -> None:
        raise StackError("the network of web cannot be looked into")

    monkeypatch.setattr(looking, "prove", cannot)
    site: Any = SimpleNamespace()
    with pytest.raises(typer.Exit) as ended:
        _say_proof(site, NOTE)
    assert ended.value.exit_code == 3
    said = capsys.readouterr()
    assert "could not be proved: the network of web" in said.err
    assert "proved:" not in said.out


def test_interpose_that_nobody_could_look_at_is_not_said_to_be_proved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two dependencies one has no caller that runs: that is told, and the other one alone is proved."""
    fronts = tuple(
        Front(name, f"{name}--real", f"chaos-{name}", (name,), (), (), (), 1, 2) for name in ("db", "cache")
    )
    view = View("web", "shop-web-1", frozenset({"10.0.0.4"}), {}, ())
    assert unseen(fronts[0], [view]) == ()
    found = unseen(fronts[1], [])
    assert [doubt.is_grave for doubt in found] == [False]
    site: Any = SimpleNamespace()
    monkeypatch.setattr(looking, "prove", lambda *_: found)
    _say_proof(site, replace(NOTE, fronts=fronts))
    said = capsys.readouterr().out
    assert "nobody runs who could call cache: none of its names was looked up" in said
    assert "proved: every name of db leads" in said
    _say_proof(site, replace(NOTE, fronts=fronts[1:]))
    assert "proved:" not in capsys.readouterr().out


PLAN = """
version: 1
name: shop
system:
  compose: {files: [docker-compose.yml]}
  ready: {url: "http://127.0.0.1:8080/health"}
  watch: [WATCHED]
proxies:
  db: {service: postgres}
phases: [{name: spike, duration: 10s}]
load:
  quotes: {http: {url: "/quote"}, rate: {default: 5/s}}
faults:
  - {id: frozen, container: FAULTED, pause: true, start: spike+1s, duration: 2s}
expect:
  answered: {load: quotes, phase: spike, errors: "< 5%"}
allow: {services: [db, FAULTED]}
"""


@pytest.mark.parametrize(
    ("watched", "faulted", "said"),
    [
        ("web", "postgres", None),
        ("web", "postgre", "the fault 'frozen': no service 'postgre'; did you mean 'postgres'?"),
        ("web", "db", "the fault 'frozen': no service 'db'"),
        ("wbe", "postgres", "system.watch: no service 'wbe'; did you mean 'web'?"),
    ],
)
def test_plan_of_compose_files_names_services_that_they_have(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    watched: str,
    faulted: str,
    said: str | None,
) -> None:
    """A misspelt container, or a proxy's name for one, is exit 2 before anything is started; not 6 when all of it is up."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path))
    site = SimpleNamespace(engine=SimpleNamespace(close=lambda: None))
    model: dict[str, Any] = {"services": {"web": {}, "postgres": {}}}
    monkeypatch.setattr(standing.Site, "open", lambda *_: site)
    monkeypatch.setattr(standing, "prepare", lambda *_: SimpleNamespace(model=model))
    (tmp_path / "docker-compose.yml").touch()
    text = PLAN.replace("WATCHED", watched).replace("FAULTED", faulted)
    loaded = load_text(text, source=str(tmp_path / "shop.yaml"), environment={})
    if said is None:
        check_interposable(loaded)
        return
    with pytest.raises(typer.Exit) as refused:
        check_interposable(loaded)
    assert refused.value.exit_code == 2
    assert said in capsys.readouterr().err


def test_undo_does_not_pass_over_a_note_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may stand interposed by it: "nothing to undo" would be untrue, and so would exit 0."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path))
    assert CliRunner().invoke(app, ["undo"]).exit_code == 0
    write_note(tmp_path, NOTE)
    file = tmp_path / "interposed" / "shop.json"
    file.write_text(file.read_text().replace('"v": 1', '"v": 2'))
    done = CliRunner().invoke(app, ["undo"])
    assert done.exit_code == 6
    assert "compose project shop" in done.output
    assert done.output.count("NOT put back") == 1
    assert "nothing to undo" not in done.output
    assert file.exists()
