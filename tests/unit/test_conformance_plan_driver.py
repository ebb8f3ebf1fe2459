"""What the stimulus makes of one answer (a fallback, a rejection by the user's own rule, or neither), and what it tells of its script."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from resilience.breaker.spec import BreakerSpec
from resilience.breaker.wire import from_record
from resilience.load import stimulus_driver
from resilience.load.identity import call_id
from resilience.load.requests import HttpRequest
from resilience.load.stimulus_actions import BAD, GOOD, Answer, Part, Rest, Script, Seen, Send
from resilience.load.stimulus_dependency import Healthy, ScriptedDependency
from resilience.load.stimulus_driver import Aim, Rejection, StimulusDriver
from resilience.load.stimulus_lanes import Lane

KNOWN_AS = call_id("r", "calls", 0, "X-Request-Id")


class Service:
    """The other end of a connection: it asks its dependency or not, and has one answer."""

    def __init__(self, status: int, dependency: ScriptedDependency, *, asks: bool) -> None:
        self.reader = asyncio.StreamReader()
        self.answer = b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n\r\n" % status
        self.dependency = dependency
        self.asks = asks

    def write(self, request: bytes) -> None:
        """Take a request: the dependency has seen the call's id if it was asked."""
        assert KNOWN_AS.encode() in request
        if self.asks:
            self.dependency._arrived.add(KNOWN_AS)
        self.reader.feed_data(self.answer)

    async def drain(self) -> None:
        """Nothing is in the way."""

    def lane(self) -> Lane:
        """A connection to it."""
        return Lane(self.reader, cast("asyncio.StreamWriter", self))


async def answered(status: int, told: Answer, *, asks: bool, rejection: Rejection) -> tuple[str, Seen, str]:
    """The outcome in the row, what the script sees, and what the verifier takes from the row and the wire."""
    rows: list[dict[str, Any]] = []
    dependency = ScriptedDependency(Healthy())
    request = HttpRequest("http://127.0.0.1:1/call", expect_status=((200, 200),))
    aim = Aim("calls", "r", request, BreakerSpec.from_mapping({"failures": 3}), rejection)
    driver = StimulusDriver(aim, dependency, on_row=rows.append, on_event=rows.append)
    row, seen = await driver._call(0, Send(told), Service(status, dependency, asks=asks).lane())
    at = [row[3], row[3]]
    wire = [
        {"what": "arrival", "n": 0, "id": KNOWN_AS, "at": at},
        {"what": "done", "n": 0, "status": 200 if told is GOOD else 500, "end": "response", "at": at},
    ]
    calls = from_record(breaker="b", run_id="r", calls=rows, wire=wire if asks else [])
    (outcome,) = [call.outcome for call in calls if hasattr(call, "outcome")]
    return row[7], seen, outcome


BY_STATUS, BY_ABSENCE = Rejection(status=503), Rejection()


@pytest.mark.parametrize(
    ("status", "told", "asks", "rejection", "row", "seen", "judged"),
    [
        (200, GOOD, True, BY_STATUS, "ok", "ok", "ok"),
        (200, BAD, True, BY_STATUS, "degraded", "failed", "failure"),  # a fallback
        (503, BAD, False, BY_STATUS, "degraded", "rejected", "rejected"),
        (503, BAD, True, BY_STATUS, "degraded", "failed", "failure"),  # a 503 for other reasons
        (200, BAD, False, BY_STATUS, "ok", "ok", "unknown"),  # from a cache, perhaps: not what the user calls a rejection
        (200, GOOD, False, BY_STATUS, "ok", "ok", "unknown"),
        (200, BAD, False, BY_ABSENCE, "degraded", "rejected", "rejected"),
        (200, GOOD, False, BY_ABSENCE, "degraded", "rejected", "rejected"),
    ],
)  # fmt: skip
async def test_conformance_plan_driver_takes_for_rejected_what_the_user_calls_so(
    status: int, told: Answer, asks: bool, rejection: Rejection, row: str, seen: str, judged: str
) -> None:
    """A good answer without the dependency is no rejection unless the rule says so, whatever the dependency would have done."""
    found = await answered(status, told, asks=asks, rejection=rejection)
    assert (found[0], found[1].outcome, found[2]) == (row, seen, judged)


PARTS = (
    Part("one"),
    Part("two", skipped="it cannot be played"),
    Part("three", skipped="the service is gone", ended_early=True),
)


async def test_conformance_plan_driver_tells_of_each_part_and_of_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each instance's script is over when it says so, and one that was ended early says that as well."""

    def script(_: BreakerSpec) -> Script[None]:
        yield from PARTS

    monkeypatch.setattr(stimulus_driver, "stimulus", script)
    events: list[dict[str, Any]] = []
    request = HttpRequest("http://127.0.0.1:1/call", expect_status=((200, 200),))
    aim = Aim("calls", "r", request, BreakerSpec.from_mapping({"failures": 3}), BY_STATUS)
    driver = StimulusDriver(aim, ScriptedDependency(Healthy()), on_row=events.append, on_event=events.append)
    await driver.run(["a", "b"])
    for instance in ("a", "b"):
        own = [event for event in events if event["instance"] == instance]
        assert {event["load"] for event in own} == {"calls"}
        assert [event["state"] for event in own] == ["started", "skipped", "skipped", "ended"]
        assert [event.get("why") for event in own][1:3] == ["it cannot be played", "the service is gone"]
        assert [event for event in own if event.get("ended_early")] == [own[2]]


async def test_conformance_plan_driver_tells_of_no_end_where_it_was_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script that is cancelled in the middle did not come to its end."""
    events: list[dict[str, Any]] = []

    def script(_: BreakerSpec) -> Script[None]:
        yield Part("one")
        playing.cancel()
        yield Rest(60_000_000_000)

    monkeypatch.setattr(stimulus_driver, "stimulus", script)
    request = HttpRequest("http://127.0.0.1:1/call", expect_status=((200, 200),))
    aim = Aim("calls", "r", request, BreakerSpec.from_mapping({"failures": 3}), BY_STATUS)
    driver = StimulusDriver(aim, ScriptedDependency(Healthy()), on_row=events.append, on_event=events.append)
    playing = asyncio.create_task(driver.run([None]))
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert [event["state"] for event in events] == ["started"]
