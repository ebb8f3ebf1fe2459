"""A small slice of the hostile inputs that `make fuzz` throws a hundred thousand of at everything that reads what others wrote."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))
import deeds
from deeds import Deeds, HangError, hang_alarm
from hostile import CORPUS, READERS, SPEC, inputs
from wounds import wounded

from resilience.breaker.report import Verdict
from resilience.breaker.trace import verify_trace

DEEDS = Deeds(Path(tempfile.gettempdir()))
"""A record is judged in a folder of the temporary directory; nothing else may be written anywhere."""
SLOW = {"plan": 60, "record": 20}


@pytest.mark.parametrize("reader", READERS)
def test_reader_survives_hostile_inputs(reader: str) -> None:
    """Understood or refused as promised, soon, without a file, a process or a connection, and without telling a secret."""
    DEEDS.found.clear()
    cases = inputs(reader)

    @settings(
        max_examples=SLOW.get(reader, 150),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def survives(data: bytes) -> None:
        with hang_alarm():
            DEEDS.watching = True
            try:
                READERS[reader](data)
            finally:
                DEEDS.watching = False

    survives()
    assert DEEDS.found == []


@pytest.mark.parametrize("which", range(len(CORPUS["trace"]())))
def test_trace_that_is_to_be_wounded_is_a_sound_one(which: int) -> None:
    """Each history is understood to its end before it is wounded: where the first line is refused nothing behind it is tried."""
    history = CORPUS["trace"]()[which].decode()
    report, _ = verify_trace(history, SPEC)
    assert [name for name, rule in report.instances[0].rules.items() if rule.verdict is Verdict.FAIL] == []
    assert sum(report.instances[0].observations.values()) >= len(history.splitlines()) - 2


@pytest.mark.parametrize("stuck", [lambda: all(True for _ in iter(int, 1)), lambda: time.sleep(60)])
def test_hang_is_seen(monkeypatch: pytest.MonkeyPatch, stuck: Callable[[], object]) -> None:
    """The alarm rings for one that works without end, and for one that waits."""
    monkeypatch.setattr(deeds, "HANG_S", 0.05)
    monkeypatch.setattr(deeds, "STUCK_S", 0.5)
    with pytest.raises(HangError), hang_alarm():
        stuck()


def test_deeds_are_seen(tmp_path: Path) -> None:
    """The watch is no blind one: a file, a program and a connection are noticed."""
    import socket
    import subprocess

    watch = Deeds(tmp_path / "allowed")
    watch.watching = True
    try:
        (tmp_path / "elsewhere").write_text("x")
        subprocess.run(["true"], check=True)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
    finally:
        watch.watching = False
    seen = {found.split()[0] for found in watch.found}
    assert {"wrote", "subprocess.Popen", "socket.connect"} <= seen


@given(st.binary(max_size=50), st.integers(1, 3))
def test_wounds_of_nothing_are_no_error(document: bytes, times: int) -> None:
    """Every wound fits every document, the empty one too."""
    for kind in ("cut", "drop", "double", "move"):
        wounded(document, [(kind, 0.5, 0.9)] * times)
    wounded(document, [("byte", 0.99, 7), ("splice", 0.1, b"x"), ("instead", 0.3, b"y")])
