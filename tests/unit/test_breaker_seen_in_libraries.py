"""What real libraries were seen to do in recorded runs, as the smallest histories that show it."""

from __future__ import annotations

import json

from resilience.breaker.history import parse_jsonl
from resilience.breaker.report import InstanceReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify


class Story:
    """A history told call by call, in seconds; each call is seen on the wire."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = [{"kind": "boot", "instance": "i", "at": 0, "boot": "x"}]
        self.calls = 0

    def call(self, start: float, end: object, outcome: str = "ok", *, arrives: float | None = None) -> None:
        """One call; rejected ones do not arrive."""
        self.calls += 1
        about = {"breaker": "b", "instance": "i", "id": self.calls}
        rejected = outcome == "rejected"
        self.lines.append(
            {"kind": "call", **about, "start": start, "end": end, "outcome": outcome, "fallback": rejected}
        )
        if not rejected:
            at = start + 0.001 if arrives is None else arrives
            self.lines.append({"kind": "arrival", **about, "at": at, "done": end})

    def event(self, at: float, before: str, after: str) -> None:
        """A transition that the breaker reports."""
        self.lines.append(
            {"kind": "transition", "breaker": "b", "instance": "i", "from": before, "to": after, "at": at}
        )

    def opened(self) -> None:
        """Three failures, and an opening at 0.13 s."""
        for number in range(3):
            self.call(0.1 * number + 0.1, 0.1 * number + 0.11, "failure")
        self.event(0.311, "closed", "open")
        self.call(0.4, 0.401, "rejected")

    def judged(self, **spec: object) -> InstanceReport:
        """The verdict on it for three failures and a wait of one second."""
        history = parse_jsonl("\n".join(json.dumps(line) for line in self.lines))
        found = BreakerSpec.from_mapping({"failures": 3, "wait_ms": 1000, "timeout_ms": 500, **spec})
        (instance,) = verify(history, found).instances
        return instance


def failing(report: InstanceReport) -> list[str]:
    """The rules that fail."""
    return [rule for rule, found in report.rules.items() if found.verdict is Verdict.FAIL]


def test_breaker_an_outcome_of_unknown_kind_may_have_broken_the_row() -> None:
    """A cancelled call that may count as a success explains why the third failure did not open it, whenever it ended."""
    story = Story()
    story.call(0.1, 0.11, "failure")
    story.call(0.2, 0.21, "failure")
    story.call(0.3, [0.31, 0.6], "cancelled")
    story.call(0.8, 0.81, "failure")
    story.call(0.9, 0.91)
    assert failing(story.judged(cancelled_as="any")) == []
    assert failing(story.judged(cancelled_as="failure")) != []


def test_breaker_a_late_success_may_close_it_where_the_dialect_says_so() -> None:
    """Open to closed is no illegal edge then, and the calls that follow are no leak and no early half-open."""
    story = Story()
    story.call(0.05, 0.55)
    story.opened()
    story.event(0.551, "open", "closed")
    story.call(0.6, 0.61)
    spec = {"stale": "counted", "success_while_open_closes": True}
    assert failing(story.judged(**spec)) == []
    assert {"R1", "R13"} <= set(failing(story.judged()))


def test_breaker_a_late_probe_may_open_a_closed_one_where_the_dialect_says_so() -> None:
    """One failure, of a probe that outlived half-open, opens it again at once."""
    story = Story()
    story.opened()
    story.event(1.401, "open", "half_open")
    story.call(1.4, 1.8, "failure")
    story.call(1.45, 1.5)
    story.event(1.501, "half_open", "closed")
    story.call(1.6, 1.61)
    story.event(1.801, "closed", "open")
    story.call(1.9, 1.901, "rejected")
    spec = {"permitted": "unbounded", "stale": "either"}
    assert failing(story.judged(**spec, late_failure_opens=True)) == []
    assert failing(story.judged(**spec)) != []


def test_breaker_a_probe_without_a_result_gives_its_permit_back() -> None:
    """Permits counted in total: the one of a cancelled probe is free again, that of a failing one is not."""
    story = Story()
    story.opened()
    story.event(1.401, "open", "half_open")
    story.call(1.4, [1.41, 1.42], "cancelled")
    story.call(1.6, 1.61)
    story.event(1.611, "half_open", "closed")
    assert "R8" not in failing(story.judged(probes="total"))
    assert "R8" in failing(story.judged(probes="total", cancelled_as="failure", reopen_on_failure=False))


def test_breaker_a_caller_that_waits_is_not_in_half_open() -> None:
    """Where callers wait for the probe, one that came during it and was let in after it is no second probe."""
    story = Story()
    story.opened()
    story.event(1.401, "open", "half_open")
    story.call(1.4, 1.6)
    story.call(1.45, 1.72, arrives=1.62)
    story.event(1.6005, "half_open", "closed")
    rule = story.judged(excess="queues").rules["R8"]
    assert rule.verdict is Verdict.PASS, rule.reason
    assert story.judged().rules["R8"].verdict is not Verdict.PASS


def test_breaker_a_call_that_counts_from_its_start_counts_once() -> None:
    """Three failures open it where three calls are the least: one that asks for four is refuted, the call that just ended is no fourth."""
    story = Story()
    story.opened()
    for number in range(12):
        story.call(0.41 + 0.02 * number, 0.411 + 0.02 * number, "rejected")
    report = story.judged(
        dialect="opossum", window_ms=1000, bucket_ms=100, minimum_calls=3, cancelled_as="failure"
    )
    assert failing(report) == []
    # What is left open is the share, of which three failures out of three say nothing.
    assert report.rules["R3"].reason.endswith("(would also be explained if ratio = 0.625)")
