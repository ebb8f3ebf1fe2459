"""What a test asserts of a breaker, and what its record says of that afterwards; all on a clock of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resilience.breaker.observation import Boot, Interval
from resilience.pytest_plugin.asserting import assert_conforms
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.records import write_record
from resilience.pytest_plugin.session import ChaosOptions, ChaosSession
from resilience.pytest_plugin.watching import Watched

AGREED = {"failures": 2, "wait_ms": 1000}


class OpenError(Exception):
    """Refused."""


class Breaker:
    """Opens after so many failures in a row, and lets one call try after a second; on `now`, in seconds."""

    def __init__(self, failures: int = 2) -> None:
        self.now = 0.0
        self.failures = failures
        self.state = "closed"
        self._row = 0
        self._opened_s = 0.0

    def call(self, function: Callable[[], None]) -> None:
        """A tenth of a second after the last one."""
        self.now += 0.1
        if self.state == "open":
            if self.now - self._opened_s < 1.0:
                raise OpenError
            self.state = "half_open"
        try:
            function()
        except ConnectionError:
            self._row += 1
            if self.state == "half_open" or self._row >= self.failures:
                self.state, self._opened_s = "open", self.now
            raise
        self._row, self.state = 0, "closed"


def fails() -> None:
    """What a dead dependency does."""
    raise ConnectionError


def works() -> None:
    """What a live one does."""


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    """The verbs, of which none here needs a proxy or a load."""
    session = ChaosSession(ChaosOptions(seed=7))
    yield Chaos(session)
    assert session.close() == []


def watched_in(chaos: Chaos, breaker: Any) -> Watched:
    """The breaker, watched as one of a library that nobody knows."""
    return chaos.watch(
        breaker,
        "prices",
        spec=AGREED,
        clock=lambda: breaker.now,
        method="call",
        refuses=(OpenError,),
        state=lambda: breaker.state,
    )


def recorded(folder: Path, chaos: Chaos, failure: str = "") -> tuple[dict[str, Any], str]:
    """The record's verdict on the breaker, and its page."""
    page = write_record(folder, "test_prices", chaos, chaos.timeline(), failure=failure)
    return json.loads((folder / "verdict.json").read_text())["prices"], page.read_text()


def test_history_that_exercised_no_rule_is_not_taken_for_health(chaos: Chaos, tmp_path: Path) -> None:
    """Nobody called the breaker: the assertion fails and says so, and so do the record's verdict and page."""
    at = Interval(0, 0)
    for history in ((), (Boot("a", at),)):
        with pytest.raises(AssertionError, match="no rule was exercised by this history"):
            assert_conforms(history, AGREED)
    watched = watched_in(chaos, Breaker())
    with pytest.raises(AssertionError, match="no rule was exercised by this history"):
        watched.assert_conforms()
    verdict, page = recorded(tmp_path / "record", chaos)
    assert (verdict["verdict"], verdict["reason"]) == ("unknown", "no rule was exercised by this history")
    assert "prices: unknown" in page
    assert "prices: pass" not in page


def test_history_that_settles_some_rule_passes_without_requirements(chaos: Chaos, tmp_path: Path) -> None:
    """It opened at the second failure, and refused: that is something to pass."""
    breaker = Breaker()
    watched = watched_in(chaos, breaker)
    watched.drive(breaker.call, fails, times=5, pause=0)
    assert watched.assert_conforms().verdict() == "pass"
    verdict, page = recorded(tmp_path / "record", chaos)
    assert verdict["verdict"] == "pass"
    assert "prices: pass" in page
