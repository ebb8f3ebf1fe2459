"""What `chaos-spike interpose --up` says when a signal stops it."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from resilience.cli.interpose import _apply
from resilience.interpose import standing
from resilience.interpose.composing import ComposeFiles
from resilience.interpose.journal import Note, write_note

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
