"""Exit codes and abort conditions."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from resilience.plan.schema import Abort
from resilience.run.abort import AbortWatch
from resilience.run.ending import PRECEDENCE, Ending, Verdict, exit_code, worst


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("pass", 0),
        ("fail", 1),
        ("unknown", 3),
        ("invalid", 3),
        ("aborted", 4),
        ("unhealed", 5),
        ("setup_failed", 6),
    ],
)
def test_exit_code_is_the_documented_one(verdict: str, code: int) -> None:
    """README's table."""
    assert exit_code(Verdict(verdict)) == code


def test_signals_exit_as_shells_expect_unless_a_fault_was_left() -> None:
    """130 and 143 after healing; 5 if something was left."""
    assert exit_code(Verdict.ABORTED, signal=2) == 130
    assert exit_code(Verdict.ABORTED, signal=15) == 143
    assert exit_code(Verdict.UNHEALED, signal=15) == 5


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        ("completed", "unknown"),
        ("setup_failed", "setup_failed"),
        ("unhealed", "unhealed"),
        ("interrupted", "aborted"),
        ("record_failed", "aborted"),
        ("crashed", "aborted"),
    ],
)
def test_ending_alone_never_says_pass_or_fail(reason: str, verdict: str) -> None:
    """Where the record cannot be judged, how the run ended is all that is known."""
    assert Ending(reason).verdict is Verdict(verdict)


def test_worst_follows_the_precedence_for_every_pair() -> None:
    """Of two verdicts the one that stands earlier decides."""
    for first, second in itertools.combinations(PRECEDENCE, 2):
        assert worst([second, first]) is first
    assert worst([]) is Verdict.UNKNOWN


def watching(deadline_s: float = 1.0) -> AbortWatch:
    """A watch on one condition of a stream."""
    condition = Abort.model_validate({"load": "orders", "errors": "> 20%", "for": "3s"})
    return AbortWatch([condition], {"orders": int(deadline_s * 1e9)})


def told(watch: AbortWatch, second: int, **counts: int) -> None:
    """One message of a load worker."""
    watch.feed({"kind": "bins", "load": "orders", "s": second, "n": counts})


def watch(shares: list[float]) -> str | None:
    """Ask about one condition, after one second for each error share."""
    found = watching()
    for second, share in enumerate(shares):
        told(found, second, offered=100, ok=100 - int(share * 100), **{"5xx": int(share * 100)})
    return found.tripped(len(shares) + 2)


def test_abort_trips_when_the_condition_held_long_enough() -> None:
    """Three bad seconds trip a condition `for: 3s`, and the reason says what was seen."""
    assert "orders > 20% for 3 s" in (watch([0, 0.5, 0.5, 0.5]) or "")


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0, 0.5, 0.5], [0.2, 0.2, 0.2], []])
def test_abort_does_not_trip_early(shares: list[float]) -> None:
    """Too short, interrupted, or just at the bound."""
    assert watch(shares) is None


def test_abort_trips_on_a_target_that_never_answers() -> None:
    """Operations that only hang have failed once they are past their deadline: no outcome is ever reported."""
    found = watching()
    tripped = []
    for now in range(12):
        if found.tripped(now):
            tripped.append(now)
        told(found, now, offered=100)
    assert tripped[0] == 5  # three seconds that ended two seconds ago


def test_abort_trips_on_failures_that_are_reported_long_after_their_second() -> None:
    """Time-outs of 10 s reach the watch when their seconds are long gone from the window; hanging was enough."""
    found = watching()
    tripped = False
    for now in range(20):
        tripped = tripped or found.tripped(now) is not None
        told(found, now, offered=100, ok=60)
        if now >= 10:
            told(found, now - 10, timeout=40)
    assert tripped


def test_abort_waits_for_the_deadline_of_a_slow_stream() -> None:
    """A stream whose deadline is 4 s may take 3.9 s to answer: that is no error."""
    found = watching(deadline_s=4.0)
    for now in range(20):
        assert found.tripped(now) is None, now
        told(found, now, offered=100)
        if now >= 4:
            told(found, now - 4, ok=100)


def test_abort_takes_back_what_is_answered_late_after_all() -> None:
    """The window is counted with what is known now: answers that came since are answers."""
    found = watching()
    for second in range(5):
        told(found, second, offered=100)
    for second in range(5):
        told(found, second, degraded=100)
    assert found.tripped(7) is None


def test_abort_is_not_missed_by_a_question_that_comes_late() -> None:
    """Exactly three bad seconds, and the second in which they fill the window is not asked about."""
    found = watching()
    for second, ok in enumerate([100, 0, 0, 0, 100, 100]):
        told(found, second, offered=100, ok=ok)
    assert found.tripped(5) is None
    assert found.tripped(7) is not None


def holding(**condition: str) -> AbortWatch:
    """A watch on one condition that is looked at."""
    return AbortWatch([Abort.model_validate({**condition, "for": "3s"})], {})


def looked(watch: AbortWatch, second: float, **seen: object) -> None:
    """One look at that second, which took a millisecond."""
    at_ns = int(second * 1e9)
    watch.observe({**seen, "at": [at_ns, at_ns + 1_000_000]})


def memory(watch: AbortWatch, second: float, rss_mb: float | None, pid: int = 7) -> None:
    """One look at a process of the gateway; None: it has ended."""
    seen = {"gone": True} if rss_mb is None else {"rss_bytes": rss_mb * 1e6}
    looked(watch, second, kind="resource", service="gateway", pid=pid, **seen)


def test_abort_on_memory_trips_when_one_process_held_too_much_for_long() -> None:
    """Four looks at 600 MB over 3.1 s; the reason says what was seen last."""
    watch = holding(service="gateway", memory="> 500MB")
    for second in (0, 1, 2):
        memory(watch, second, 600)
        assert watch.tripped(2) is None
    memory(watch, 3.1, 600)
    assert watch.tripped(3) == "memory of gateway > 500MB (last seen 600.0 MB) for 3 s"


@pytest.mark.parametrize(
    "looks",
    [
        [(0, 600, 7), (1, 400, 7), (2, 600, 7), (4, 600, 7)],  # it went down meanwhile
        [(0, 600, 7), (1, None, 7), (3.5, 600, 8)],  # it has ended, and another one is new
        [(0, 600, 7), (2, 600, 7)],  # too short, and nobody looked any more
        [(0, 300, 7), (0, 300, 8), (4, 300, 7), (4, 300, 8)],  # not one of them
    ],
)
def test_abort_on_memory_does_not_trip_without_a_process_that_held_it(
    looks: list[tuple[float, float | None, int]],
) -> None:
    """What one process held is never added to what another did, and a break begins the time anew."""
    watch = holding(service="gateway", memory="> 500MB")
    for second, rss_mb, pid in looks:
        memory(watch, second, rss_mb, pid)
    looked(watch, 9, kind="resource", service="pricing", pid=9, rss_bytes=9e9)
    assert watch.tripped(9) is None


@pytest.mark.parametrize(("status", "said"), [(None, "no answer"), (503, "last answer 503")])
def test_abort_on_a_probe_trips_when_no_good_answer_came_for_long(status: int | None, said: str) -> None:
    """A probe that is answered badly, or not at all, for three seconds; a good answer in between starts anew."""
    watch = holding(probe="/health")
    for second, given in enumerate([status, status, 204, status, status, status]):
        looked(watch, second, kind="probe", path="/health", status=given)
        looked(watch, second, kind="probe", path="/other", status=None)
    assert watch.tripped(5) is None
    looked(watch, 6.5, kind="probe", path="/health", status=status)
    assert watch.tripped(7) == f"probe /health without a good answer ({said}) for 3 s"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"load": "orders"},
        {"memory": "> 500MB"},
        {"probe": "/health", "load": "orders", "errors": "> 20%"},
        {"probe": "/health", "service": "gateway"},
        {"probe": "http://elsewhere/"},
        {"probe": "/health?token=x"},
    ],
)
def test_abort_names_exactly_one_condition(given: dict[str, str]) -> None:
    """Halves, two at once, and probes that leave the system are refused."""
    with pytest.raises(ValidationError):
        Abort.model_validate({**given, "for": "3s"})
