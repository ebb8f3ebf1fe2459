"""Recording calls at a breaker object: what is written down, what stays untouched, what is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from resilience.breaker.observation import Arrival, Boot, Call, Gap, Observation, Transition
from resilience.breaker.observers.in_process.recorder import Recorder, outcome_of, seconds_clock
from resilience.breaker.observers.in_process.registry import LIBRARIES, NotABreaker, attach, library_of
from resilience.breaker.report import Verdict
from resilience.breaker.sources.objects import spec_of_object
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify


class Ill(Exception):  # noqa: N818 - what the dependency is
    """The dependency failed."""


class Clock:
    """A clock that stands still until told otherwise."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def calls(history: tuple[Observation, ...]) -> list[Call]:
    """The calls of a history."""
    return [entry for entry in history if isinstance(entry, Call)]


def fails() -> None:
    """A function that fails."""
    raise Ill


@pytest.fixture
def pybreaker() -> Any:
    """The library."""
    return pytest.importorskip("pybreaker")


def test_recorder_gives_call_and_arrival_as_intervals_on_its_clock() -> None:
    """Decision, finish and end follow from the four things that an observer tells."""
    clock = Clock()
    recorder = Recorder("b", state="closed", fresh=True, clock=seconds_clock(clock))
    call = recorder.begin()
    clock.now_s = 101.0
    recorder.admitted(call)
    clock.now_s = 102.0
    recorder.done(call, "ok")
    clock.now_s = 103.0
    recorder.end(call)
    boot, made, arrival = recorder.history()
    assert isinstance(boot, Boot)
    assert isinstance(made, Call)
    assert isinstance(arrival, Arrival)
    assert (made.start.lo_ns, made.outcome) == (100 * 10**9, "ok")
    assert made.finish is not None
    assert (made.finish.lo_ns, made.finish.hi_ns) == (102 * 10**9, 103 * 10**9)
    assert (arrival.at.lo_ns, arrival.at.hi_ns, arrival.id) == (100 * 10**9, 101 * 10**9, made.id)


def test_recorder_forgets_the_oldest_calls_and_says_so() -> None:
    """Beyond the ring there is a gap, which makes verdicts that need those calls unknown."""
    recorder = Recorder("b", state="closed", fresh=True, ring=10)
    for _ in range(25):
        call = recorder.begin()
        recorder.admitted(call)
        recorder.done(call, "ok")
        recorder.end(call)
    history = recorder.history()
    (gap,) = [entry for entry in history if isinstance(entry, Gap)]
    assert (gap.source, gap.lost, len(calls(history))) == ("calls", 15, 10)
    assert gap.at is not None
    assert gap.at.hi_ns <= calls(history)[0].end.hi_ns  # type: ignore[union-attr]
    report = verify(history, BreakerSpec.from_mapping({"failures": 3, "wait_ms": 100}), required={"R3"})
    assert report.verdict() == "unknown"


def test_recorder_forgets_transitions_and_running_calls_too() -> None:
    """Both rings are bounded: events that were lost are a gap in the events, calls that never end one in the calls."""
    recorder = Recorder("b", state="closed", fresh=True, ring=4)
    for _ in range(4):
        recorder.transition("open")
        recorder.transition("closed")
        recorder.begin()
        recorder.begin()
    gaps = {gap.source: gap.lost for gap in recorder.history() if isinstance(gap, Gap)}
    assert gaps == {"events": 4, "calls": 4}


def test_recorder_has_no_boot_for_a_breaker_that_has_counted_already() -> None:
    """Attached late, nobody knows what was counted before: the history must not begin with a fresh breaker."""
    recorder = Recorder("b", state="closed", fresh=False)
    assert recorder.history() == ()


def test_recorder_wait_sees_a_state_that_has_passed_meanwhile() -> None:
    """A brief half-open between two waits is not missed, and is not counted twice."""
    recorder = Recorder("b", state="closed", fresh=True)
    recorder.transition("open")
    recorder.transition("half_open")
    recorder.transition("closed")
    assert recorder.wait_for("open", 0)
    assert recorder.wait_for("half_open", 0)
    assert recorder.wait_for("closed", 0)
    assert not recorder.wait_for("open", 0)


def test_outcome_words_for_how_a_function_ended() -> None:
    """Cancellation and interruption are neither failures nor successes of the dependency."""
    assert outcome_of(None) == "ok"
    assert outcome_of(Ill()) == "failure"
    assert outcome_of(TimeoutError()) == "timeout"
    assert outcome_of(Ill(), excluded=True) == "excluded"
    assert outcome_of(asyncio.CancelledError()) == "cancelled"
    assert outcome_of(KeyboardInterrupt()) == "cancelled"


def test_pybreaker_object_behaves_as_before_and_is_left_as_found(pybreaker: Any) -> None:
    """Results, errors and listeners are the library's own; detaching restores class and attributes."""
    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=60)
    kind, before = type(breaker), dict(vars(breaker))
    observer = attach(breaker, "b")

    @breaker
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42
    assert isinstance(breaker, pybreaker.CircuitBreaker)
    with pytest.raises(Ill):
        breaker.call(fails)
    with pytest.raises(pybreaker.CircuitBreakerError):
        breaker.call(fails)
    with pytest.raises(pybreaker.CircuitBreakerError):
        double(1)
    assert breaker.state.name == "open"
    observer.detach()
    assert type(breaker) is kind
    assert vars(breaker).keys() == before.keys()
    assert breaker.listeners == ()
    assert [c.outcome for c in calls(observer.recorder.history())] == ["ok", "failure", "failure", "rejected"]
    assert [t.to_state for t in observer.recorder.history() if isinstance(t, Transition)] == ["open"]


def test_pybreaker_excluded_errors_generators_and_manual_changes_are_told_apart(pybreaker: Any) -> None:
    """An excluded error, a `calling()` block and a hand on the switch each are what they are."""
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=60, exclude=[KeyError])
    observer = attach(breaker, "b")
    with pytest.raises(KeyError), breaker.calling():
        raise KeyError
    with contextlib.suppress(Ill), breaker.calling():
        raise Ill
    with breaker.calling():
        pass
    breaker.open()
    breaker.close()
    observer.detach()
    history = observer.recorder.history()
    assert [c.outcome for c in calls(history)] == ["excluded", "failure", "ok"]
    changes = [t for t in history if isinstance(t, Transition)]
    assert [(t.to_state, t.manual) for t in changes] == [("open", True), ("closed", True)]


async def test_pybreaker_around_async_def_is_seen_not_to_open(pybreaker: Any) -> None:
    """The library takes a coroutine for a success: the calls' real outcomes show that it opens too late (never)."""
    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=60)
    observer = attach(breaker, "b")

    async def fails_later() -> None:
        await asyncio.sleep(0.01)
        raise Ill

    for _ in range(6):
        with pytest.raises(Ill):
            await breaker.call(fails_later)
    observer.detach()
    report = verify(observer.recorder.history(), BreakerSpec.from_mapping(spec_of_object(breaker, "b")))
    assert report.instances[0].rules["R3"].verdict is Verdict.FAIL


async def test_aiobreaker_probe_is_one_call_and_decorated_functions_are_not_doubled() -> None:
    """The library passes its first probe, and what it has decorated, on to itself: each is recorded once."""
    aiobreaker = pytest.importorskip("aiobreaker")
    breaker = aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=timedelta(milliseconds=10))
    observer = attach(breaker, "b")

    @breaker
    async def works() -> str:
        return "yes"

    async def fails_async() -> None:
        raise Ill

    with pytest.raises(aiobreaker.CircuitBreakerError):
        await breaker.call_async(fails_async)
    with pytest.raises(aiobreaker.CircuitBreakerError):
        await works()
    await asyncio.sleep(0.02)
    assert await breaker.call_async(works) == "yes"
    observer.detach()
    history = observer.recorder.history()
    assert [c.outcome for c in calls(history)] == ["failure", "rejected", "ok"]
    states = [t.to_state for t in history if isinstance(t, Transition)]
    assert states == ["open", "half_open", "closed"]
    assert "call_async" not in vars(breaker)


def test_purgatory_half_open_is_recorded_from_the_first_admission() -> None:
    """Its half-open message comes when the probe ends; the interval reaches back to the probe's admission."""
    purgatory = pytest.importorskip("purgatory")
    factory = purgatory.SyncCircuitBreakerFactory(default_threshold=1, default_ttl=0.01)
    observer = attach(factory, "b")
    with pytest.raises(Ill), factory.get_breaker("b"):
        raise Ill
    import time

    time.sleep(0.02)
    with factory.get_breaker("b"):
        time.sleep(0.02)
    with factory.get_breaker("another"):
        pass
    observer.detach()
    history = observer.recorder.history()
    probe = calls(history)[1]
    half_open = next(t for t in history if isinstance(t, Transition) and t.to_state == "half_open")
    assert [c.outcome for c in calls(history)] == ["failure", "ok"]
    assert half_open.at.lo_ns == probe.start.lo_ns
    assert half_open.at.hi_ns - half_open.at.lo_ns >= 20_000_000
    assert "get_breaker" not in vars(factory)


def test_circuitbreaker_refusals_are_seen_with_and_without_a_fallback() -> None:
    """A decorated function refuses outside `call`; with a fallback the rejection is one that was answered."""
    circuitbreaker = pytest.importorskip("circuitbreaker")
    plain = circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=60, name="plain")
    kind = type(plain)
    observer = attach(plain, "b")
    guarded = plain(fails)
    with pytest.raises(Ill):
        guarded()
    with pytest.raises(circuitbreaker.CircuitBreakerError):
        guarded()
    assert plain.opened
    observer.detach()
    assert type(plain) is kind
    assert [(c.outcome, c.fallback) for c in calls(observer.recorder.history())] == [
        ("failure", None),
        ("rejected", None),
    ]
    soft = circuitbreaker.CircuitBreaker(failure_threshold=1, name="soft", fallback_function=lambda: "stale")
    observer = attach(soft, "b")
    guarded = soft(fails)
    with pytest.raises(Ill):
        guarded()
    assert guarded() == "stale"
    observer.detach()
    assert [(c.outcome, c.fallback) for c in calls(observer.recorder.history())][1] == ("rejected", True)


async def test_hyx_manager_is_followed_by_decorator_and_context_manager() -> None:
    """Both ways in are recorded once each, and every change of state with them."""
    hyx = pytest.importorskip("hyx.circuitbreaker")
    breaker = hyx.consecutive_breaker(
        exceptions=Ill, failure_threshold=2, recovery_time_secs=0.01, recovery_threshold=1
    )

    @breaker
    async def fails_async() -> None:
        raise Ill

    assert library_of(fails_async) == "hyx"
    observer = attach(fails_async, "b")
    with pytest.raises(Ill):
        await fails_async()
    with pytest.raises(Ill):
        async with breaker:
            raise Ill
    with pytest.raises(Exception, match="failing"):
        async with breaker:
            raise AssertionError("must not be reached")
    await asyncio.sleep(0.02)
    async with breaker:
        pass
    observer.detach()
    history = observer.recorder.history()
    assert [c.outcome for c in calls(history)] == ["failure", "failure", "rejected", "ok"]
    states = [t.to_state for t in history if isinstance(t, Transition)]
    assert states == ["open", "half_open", "closed"]


class OwnBreaker:
    """A user's own breaker on a clock that it is given."""

    def __init__(self, clock: Clock, *, failures: int = 3, wait_s: float = 5.0) -> None:
        self.clock, self.failures, self.wait_s = clock, failures, wait_s
        self.count, self.opened_at = 0, -1e9
        self.state = "closed"

    def call(self, func: Any) -> Any:
        """Call, or refuse."""
        if self.state == "open":
            if self.clock() < self.opened_at + self.wait_s:
                raise PermissionError("open")
            self.state = "half_open"
        try:
            result = func()
        except Exception:
            self.count += 1
            if self.state == "half_open" or self.count >= self.failures:
                self.state, self.opened_at, self.count = "open", self.clock(), 0
            raise
        self.state, self.count = "closed", 0
        return result


def drive_on(clock: Clock, breaker: OwnBreaker) -> Iterator[str]:
    """Twenty seconds of failures, now and then two, and back to health: an hour of it in no time."""
    for number in range(3600):
        clock.now_s += 1.0
        with contextlib.suppress(Ill, PermissionError):
            breaker.call(fails if number % 100 < 20 or number % 100 in {50, 51} else lambda: None)
        yield breaker.state


@pytest.mark.parametrize(("really", "verdict"), [(3, "pass"), (4, "fail")])
def test_own_breaker_is_judged_on_its_virtual_clock(really: int, verdict: str) -> None:
    """An hour on the breaker's own clock passes at once; one that opens a failure late is found."""
    clock = Clock()
    breaker = OwnBreaker(clock, failures=really)
    observer = attach(
        breaker, "b", clock=seconds_clock(clock), refuses=(PermissionError,), state=lambda: breaker.state
    )
    assert "open" in set(drive_on(clock, breaker))
    observer.detach()
    spec = BreakerSpec.from_mapping({"failures": 3, "wait_ms": 5000})
    report = verify(observer.recorder.history(), spec, required={"R2", "R3", "R4", "R5"})
    assert report.verdict() == verdict, report.reason()


def test_attach_refuses_what_is_no_breaker_with_the_way_out() -> None:
    """The message names the libraries and how to follow an object of one's own."""
    with pytest.raises(NotABreaker, match=r"pybreaker, aiobreaker.*refuses"):
        attach(object(), "b")
    assert len({library.name for library in LIBRARIES}) == len(LIBRARIES)
