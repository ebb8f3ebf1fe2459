"""What a test asserts of a breaker, and what its record says of that afterwards; all on a clock of the test's own."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from resilience.breaker.observation import Boot, Interval
from resilience.breaker.spec import BreakerSpec
from resilience.cli.main import app
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
    assert "prices: pass (the test&#39;s own assertion)" in page


def opened_and_closed(chaos: Chaos, failures: int = 2) -> tuple[Watched, Breaker]:
    """A breaker that opened at so many failures, refused, and closed at the next success."""
    breaker = Breaker(failures)
    watched = watched_in(chaos, breaker)
    watched.drive(breaker.call, fails, times=5, pause=0)
    breaker.now += 2
    watched.drive(breaker.call, works, times=3, pause=0)
    return watched, breaker


def again(folder: Path, page: str) -> tuple[str, int]:
    """Verdict and exit code of the command that the page shows."""
    shown = re.findall(r"<pre>chaos-spike (verify-trace .*?)</pre>", page)
    assert len(shown) == 1
    _, history, *options = shlex.split(shown[0])
    options[options.index("--spec") + 1] = str(folder / options[options.index("--spec") + 1])
    ended = CliRunner().invoke(app, ["verify-trace", str(folder / history), *options])
    return ended.output.splitlines()[-1], ended.exit_code


def test_record_says_what_the_test_asserted_and_gives_it_again(chaos: Chaos, tmp_path: Path) -> None:
    """It fails for want of a rule that it required: so do the record's verdict and page, and so does the command on the page."""
    watched, _ = opened_and_closed(chaos)
    with pytest.raises(AssertionError, match="R11 not exercised") as failed:
        watched.assert_conforms(require=["R11", "R3"], strict=True)
    verdict, page = recorded(tmp_path / "record", chaos, failure=str(failed.value))
    assert (verdict["verdict"], verdict["required"], verdict["strict"]) == ("unknown", ["R3", "R11"], True)
    assert verdict["asserted"]
    assert "prices: unknown (the test&#39;s own assertion)" in page
    last, code = again(tmp_path / "record", page)
    assert (code, last.startswith("unknown: prices@in-process: R11 not exercised")) == (3, True), last


def test_record_holds_to_the_specification_that_the_test_gave(chaos: Chaos, tmp_path: Path) -> None:
    """A BreakerSpec object that asks for five failures: broken, and broken again from the files; calls after it are not in them."""
    watched, breaker = opened_and_closed(chaos)
    with pytest.raises(AssertionError, match="R2 not early"):
        watched.assert_conforms(spec=BreakerSpec.from_mapping({**AGREED, "failures": 5}))
    watched.drive(breaker.call, works, times=3, pause=0)
    verdict, page = recorded(tmp_path / "record", chaos, failure="R3")
    assert verdict["spec"]["failures"] == 5
    assert "prices: fail (the test&#39;s own assertion)" in page
    last, code = again(tmp_path / "record", page)
    assert (code, last.startswith("fail: ")) == (1, True), last


def test_record_of_a_breaker_that_was_not_asserted_on_says_so(chaos: Chaos, tmp_path: Path) -> None:
    """The test failed for another reason: nobody shall read that it asserted a pass."""
    opened_and_closed(chaos)
    verdict, page = recorded(tmp_path / "record", chaos, failure="assert 1 == 2")
    assert (verdict["verdict"], verdict["asserted"]) == ("pass", False)
    assert "prices: pass (the test asserted nothing of it)" in page
    assert again(tmp_path / "record", page)[1] == 0


def test_record_without_a_written_form_says_why(chaos: Chaos, tmp_path: Path) -> None:
    """A specification with deviations of its own: no file that would say something else, and none of an earlier run."""
    watched, _ = opened_and_closed(chaos)
    recorded(tmp_path / "record", chaos)
    assert (tmp_path / "record" / "spec-prices.yaml").exists()
    watched.assert_conforms(spec=replace(watched.spec, deviations={"R1": "its own"}))
    _, page = recorded(tmp_path / "record", chaos)
    assert "this BreakerSpec has no written form" in page
    assert not (tmp_path / "record" / "spec-prices.yaml").exists()
