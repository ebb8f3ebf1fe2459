"""Every breaker adapter keeps the adapters' common rules; and the log that their transitions go to."""

import asyncio

import pytest

from resilience.lab.breakers.base import CallRejected, StateWatch
from resilience.lab.breakers.registry import LIBRARIES, breaker_spec, check_breaker, make_breaker
from resilience.lab.breakers.transitions import TransitionLog
from resilience.lab.settings import BreakerSettings, SettingsError


class RefusedError(Exception):
    """A dependency's failure."""


async def fail():
    """A call that fails."""
    raise RefusedError


async def succeed():
    """A call that does not."""
    return 42


async def opened(library, emit):
    """A breaker of `library` that three failures have opened, for an hour."""
    breaker = await make_breaker("b", BreakerSettings(library, failures=3, wait_ms=3_600_000), emit)
    for _ in range(3):
        with pytest.raises(RefusedError):
            await breaker.guard(fail)
    return breaker


@pytest.mark.parametrize("library", LIBRARIES)
async def test_adapter_passes_results_and_failures_through(library):
    """A guarded call ends as it would have unguarded, and two failures of three leave the breaker closed."""
    seen = []
    breaker = await make_breaker("b", BreakerSettings(library, failures=3), lambda *event: seen.append(event))
    assert await breaker.guard(succeed) == 42
    for _ in range(2):
        with pytest.raises(RefusedError):
            await breaker.guard(fail)
    assert breaker.state() == "closed"
    assert await breaker.guard(succeed) == 42
    assert seen == []


@pytest.mark.parametrize("library", LIBRARIES)
async def test_adapter_opens_at_the_threshold_and_says_so_once(library):
    """The last failure comes out as itself, not as the library's error; one transition, with a sane interval."""
    seen = []
    breaker = await opened(library, lambda *event: seen.append(event))
    assert breaker.state() == "open"
    ((source, target, since_ns, at_ns),) = seen
    assert (source, target) == ("closed", "open")
    assert since_ns <= at_ns


@pytest.mark.parametrize("library", LIBRARIES)
async def test_adapter_rejects_without_calling(library):
    """An open breaker refuses by CallRejected and never begins the call."""
    breaker = await opened(library, lambda *_: None)
    begun = []

    async def call():
        begun.append(1)

    for _ in range(3):
        with pytest.raises(CallRejected):
            await breaker.guard(call)
    assert begun == []


@pytest.mark.parametrize("library", LIBRARIES)
async def test_adapter_does_not_gather_tracebacks_while_it_rejects(library):
    """An hour of refusals must not grow: no refusal hangs on to the one before."""
    breaker = await opened(library, lambda *_: None)
    lengths = []
    for _ in range(20):
        with pytest.raises(CallRejected) as caught:
            await breaker.guard(succeed)
        error, length = caught.value, 0
        while error is not None:
            trace = error.__traceback__
            while trace is not None:
                trace, length = trace.tb_next, length + 1
            error = error.__context__
        lengths.append(length)
    assert lengths[-1] == lengths[1]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_adapter_treats_a_nested_rejection_as_a_failure_of_the_call(library):
    """CallRejected is about this breaker: the same exception type raised by the call itself comes out untouched."""
    breaker = await make_breaker("b", BreakerSettings(library), lambda *_: None)

    async def inner():
        raise CallRejected("from within")

    with pytest.raises(CallRejected, match="from within"):
        await breaker.guard(inner)
    assert await breaker.guard(succeed) == 42


async def test_no_breaker_is_none():
    """The negative control has no breaker, and its spec says so."""
    settings = BreakerSettings("none")
    assert await make_breaker("b", settings, lambda *_: None) is None
    assert breaker_spec(settings) == {"dialect": "none", "timeout_ms": 300}


def test_breaker_spec_says_what_was_configured():
    """The verifier gets the configuration, in its own words."""
    assert breaker_spec(BreakerSettings("aiobreaker", 4, 900, 250)) == {
        "dialect": "aiobreaker",
        "failures": 4,
        "wait_ms": 900,
        "timeout_ms": 250,
        "successes": 1,
        "permitted": 1,
    }


@pytest.mark.parametrize(
    ("library", "successes", "word"), [("nonsense", 1, "purgatory"), ("purgatory", 2, "SUCCESSES")]
)
def test_breaker_that_cannot_be_is_refused(library, successes, word):
    """An unknown library, or one that cannot count successes, is a bad setting."""
    with pytest.raises(SettingsError, match=word):
        check_breaker(BreakerSettings(library, successes=successes))


def test_state_watch_reports_each_change_once_since_the_last_look():
    """The interval of a change reaches back to the look before."""
    states, seen = ["closed"], []
    watch = StateWatch(lambda: states[-1], lambda *event: seen.append(event))
    watch.look()
    states.append("open")
    watch.look()
    watch.look()
    ((source, target, since_ns, at_ns),) = seen
    assert (source, target) == ("closed", "open")
    assert since_ns <= at_ns


async def test_transition_log_numbers_without_gaps_and_replays():
    """A reader that was away gets what it missed, by number."""
    log = TransitionLog(size=3)
    for at_ns in range(5):
        log.record("pricing", "closed", "open", at_ns, at_ns)
    assert log.last_seq == 5
    assert [transition.seq for transition in log.after(0)] == [3, 4, 5]
    assert [transition.seq for transition in log.after(4)] == [5]
    assert await log.wait_after(5, 0.0) == []


async def test_transition_log_wakes_every_reader():
    """Two readers that wait are both told of the next transition."""
    log = TransitionLog()
    readers = [asyncio.create_task(log.wait_after(0, 5.0)) for _ in range(2)]
    await asyncio.sleep(0)
    log.record("pricing", "closed", "open", 1, 2)
    for transitions in await asyncio.gather(*readers):
        assert [transition.to_json("gateway-1", "boot") for transition in transitions] == [
            {
                "seq": 1,
                "breaker": "pricing",
                "instance": "gateway-1",
                "boot": "boot",
                "from": "closed",
                "to": "open",
                "at_ns": 2,
                "since_ns": 1,
            }
        ]
