"""Plays the active stimulus for real: one script for each instance found, calls over kept connections, rows for the run record.

Theory of operation. Before anything else the service is asked until a call has come through to the scripted dependency with its id; if
none does, `StimulusError` says what to change. Then a few connections tell which instances there are. Each instance gets the
whole script, all at the same time, on connections of its own; an answer of another instance is none, and the call is sent
again. Without an instance header there is one script, and whose the evidence is stays open.

Each call becomes a row like those of the load workers, with what the dependency was told to do behind it. The caller's view is
all that is in it: whether the call arrived is for the tap to say. Two outcomes are decided with knowledge that only the stimulus has: a
good answer to a call whose dependency was asked and failed is a fallback ("degraded"), and a call that we gave up is "cancelled". A good
answer without the dependency is a rejection only where the user's rule says so: else it stays what it looks like.

What it deliberately does not do: judge, retry a call that failed, or start and stop anything but its own connections.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Final

from resilience.breaker.spec import BreakerSpec
from resilience.load.identity import call_id
from resilience.load.judging import AnswerJudge
from resilience.load.model import request_id
from resilience.load.requests import HttpRequest
from resilience.load.stimulus import stimulus
from resilience.load.stimulus_actions import GOOD, Ended, Now, Part, Rest, Seen, Send
from resilience.load.stimulus_dependency import ScriptedDependency
from resilience.load.stimulus_lanes import CallFailedError, Lane, Lanes
from resilience.load.template import compile_request, target_of
from resilience.metrics.outcomes import DEGRADED, OK, TIMEOUT

CANCELLED: Final = "cancelled"
_SURVEY: Final = 8
"""Connections on which the same instance answers before it is taken for the only one."""
_LANES: Final = 24
"""Connections kept to each of several instances: more than any part of the script has calls running."""
_MOST_LANES: Final = 200
_KEPT_NS: Final = 60_000_000_000
_ELSEWHERE: Final = 20

Emit = Callable[[dict[str, Any]], None]


class StimulusError(Exception):
    """The service cannot be stimulated; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """How an answer tells that the breaker let nothing through; all that is given must hold.

    Nothing given: any answer to a call that never reached its dependency.
    """

    status: int | None = None
    header: tuple[str, str] | None = None

    def matches(self, status: int, headers: list[tuple[bytes, bytes]], *, arrived: bool) -> bool:
        """Whether an answer says so. `headers` have lower-case names."""
        if self.status is None and self.header is None:
            return not arrived
        if self.status is not None and status != self.status:
            return False
        if self.header is None:
            return True
        name, value = self.header[0].lower().encode("latin-1"), self.header[1].strip().lower()
        return any(key == name and text.decode("latin-1").strip().lower() == value for key, text in headers)


@dataclass(frozen=True, slots=True)
class Aim:
    """What is stimulated: the stream's name, the run's id, the request, and how to read its answers."""

    name: str
    run_id: str
    request: HttpRequest
    spec: BreakerSpec
    rejection: Rejection
    correlate: str = "X-Request-Id"
    timeout_ns: int = 10_000_000_000
    upstream: str = ""
    """Where the service is to find its dependency, for messages: host:port."""


@dataclass(slots=True)
class _Played:
    """One script that is being played, with its running calls."""

    instance: str | None
    calls: dict[int, asyncio.Task[Seen]] = field(default_factory=dict)


class StimulusDriver:
    """Drives one stimulus. `emit` gets the rows as "call" messages, and "stimulus" events about the parts and the end of each script."""

    def __init__(self, aim: Aim, dependency: ScriptedDependency, *, on_row: Emit, on_event: Emit) -> None:
        self._aim = aim
        self._dependency = dependency
        self._on_row = on_row
        self._on_event = on_event
        self._render = compile_request(
            aim.request, correlate=aim.correlate, run_id=aim.run_id, stream=aim.name
        )
        self._judge = AnswerJudge(aim.request)
        target = target_of(aim.request.url)
        self._lanes = Lanes(target, ssl.create_default_context() if target.tls else None)
        self._sent = 0
        self.patience_ns = 3 * aim.spec.wait_of(3)[1] + 5_000_000_000
        """How long a breaker that is open from before may take until it lets a call through."""

    async def prepare(self) -> list[str | None]:
        """Make sure that calls come through, and find the instances. Raises StimulusError, with nothing left open."""
        try:
            await self._comes_through()
            found = await self._survey()
        except BaseException:
            self._lanes.close()
            raise
        if len(found) > 1:
            self._lanes.idle_ns = _KEPT_NS
        return found

    async def run(self, instances: list[str | None]) -> None:
        """Play the whole script on each instance at once."""
        try:
            async with asyncio.TaskGroup() as group:
                for instance in instances:
                    group.create_task(self._play(instance))
        finally:
            self._lanes.close()

    def close(self) -> None:
        """Let go of every connection that is idle."""
        self._lanes.close()

    # ---- before

    async def _comes_through(self) -> None:
        """One call that reaches the dependency; a breaker that is open from before is given its time."""
        until_ns = monotonic_ns() + self.patience_ns
        while True:
            number, seen, status = await self._ask_once()
            if seen.arrived and seen.outcome == "ok":
                return
            if not seen.rejected or monotonic_ns() > until_ns:
                raise StimulusError(self._hint(number, seen, status))
            await asyncio.sleep(max(self._aim.spec.wait_ns / 5e9, 0.05))

    def _hint(self, number: int, seen: Seen, status: int | None) -> str:
        aim, where = self._aim, f"{self._aim.request.method} {self._aim.request.url}"
        said = f"{where} answered {status}" if status else f"{where} gave no answer ({seen.outcome})"
        sent = request_id(aim.run_id, aim.name, number, aim.correlate)
        if seen.arrived:
            return f"{said} although its dependency answered well: see the service's log, and whether the answer suits it (stimulus.{aim.name}.answer)"
        if self._dependency.strangers:
            return (
                f"{said}; its dependency was called without our id: the service must pass the header {aim.correlate} on "
                f"(it was {sent!r})"
            )
        if seen.rejected:
            return f"{said} again and again: the breaker does not let a single call through"
        return f"{said}, and nothing arrived at its dependency: the service must call http://{aim.upstream}"

    async def _ask_once(self, lane: Lane | None = None) -> tuple[int, Seen, int | None]:
        number = self._next()
        row, seen = await self._call(number, Send(GOOD), lane or await self._lane(None))
        return number, seen, row[6]

    async def _lane(self, instance: str | None) -> Lane:
        try:
            return await self._lanes.borrow(instance)
        except CallFailedError as error:
            raise StimulusError(f"{self._aim.request.url} cannot be reached ({error.outcome})") from error

    async def _survey(self) -> list[str | None]:
        """Every instance that answers, and connections to each if there are several."""
        if self._aim.request.instance_header is None or self._aim.spec.scope == "shared":
            return [None]  # one breaker, whoever answers
        lanes: dict[str | None, int] = {}
        opened = 0
        while opened < _MOST_LANES:
            lane = await self._open()
            await self._ask_once(lane)
            lanes[lane.instance] = lanes.get(lane.instance, 0) + 1
            opened += 1
            if len(lanes) == 1 and opened >= _SURVEY:
                break
            if len(lanes) > 1 and min(lanes.values()) >= _LANES:
                break
        named = sorted(name for name in lanes if name is not None)
        return list(named) or [None]

    async def _open(self) -> Lane:
        try:
            return await self._lanes.open()
        except CallFailedError as error:
            raise StimulusError(f"{self._aim.request.url} cannot be reached ({error.outcome})") from error

    # ---- the script

    async def _play(self, instance: str | None) -> None:
        played = _Played(instance)
        script: Generator[Any, Any, None] = stimulus(self._aim.spec)
        resume: Any = None
        try:
            while True:
                try:
                    action = script.send(resume)
                except StopIteration:
                    break
                resume = await self._do(played, action)
            await asyncio.gather(*played.calls.values())
            self._on_event({"load": self._aim.name, "instance": instance, "state": "ended"})
        finally:
            for task in played.calls.values():
                task.cancel()
            await asyncio.gather(*played.calls.values(), return_exceptions=True)

    async def _do(self, played: _Played, action: object) -> Any:
        match action:
            case Send():
                number = self._next()
                played.calls[number] = asyncio.create_task(self._called(played, number, action))
                # The call is to be under way before the script goes on.
                await asyncio.sleep(0)
                return number
            case Ended(number):
                return await played.calls[number]
            case Rest(for_ns):
                await asyncio.sleep(for_ns / 1e9)
            case Now():
                return monotonic_ns()
            case Part():
                self._on_event(part_event(self._aim.name, played.instance, action))
        return None

    async def _called(self, played: _Played, number: int, send: Send) -> Seen:
        """One call on a lane to the script's own instance; an answer from elsewhere does not count."""
        for _ in range(_ELSEWHERE):
            try:
                lane = await self._lanes.borrow(played.instance)
            except CallFailedError:
                return Seen(arrived=False, outcome="failed")
            row, seen = await self._call(number, send, lane)
            if played.instance is None or row[8] in (None, played.instance):
                return seen
            number = self._next()
        return seen

    def _next(self) -> int:
        self._sent += 1
        return self._sent - 1

    async def _call(self, number: int, send: Send, lane: Lane) -> tuple[list[Any], Seen]:
        aim = self._aim
        known_as = call_id(aim.run_id, aim.name, number, aim.correlate)
        self._dependency.announce(known_as, send.answer)
        status: int | None = None
        refused = False
        start_ns = monotonic_ns()
        limit_ns = aim.timeout_ns if send.give_up_ns is None else min(send.give_up_ns, aim.timeout_ns)
        try:
            async with asyncio.timeout(limit_ns / 1e9):
                answer = await lane.ask(self._render(number))
        except TimeoutError:
            outcome = TIMEOUT if send.give_up_ns is None else CANCELLED
            lane.close()
        except CallFailedError as error:
            outcome = error.outcome
            lane.close()
        except asyncio.CancelledError:
            lane.close()
            raise
        else:
            status, outcome = answer.status, self._judge.outcome(answer.status, answer.headers)
            lane.instance = self._judge.instance(answer.headers)
            arrived = self._dependency.arrived(known_as)
            refused = aim.rejection.matches(answer.status, answer.headers, arrived=arrived)
            if answer.keep_alive and not answer.surplus:
                self._lanes.give_back(lane)
            else:
                lane.close()
        done_ns = monotonic_ns()
        arrived = self._dependency.arrived(known_as)
        if status is not None and (refused or (arrived and outcome == OK and send.answer.kind != "ok")):
            outcome = DEGRADED
        row = [
            number,
            start_ns,
            start_ns,
            start_ns,
            None,
            done_ns,
            status,
            outcome,
            lane.instance,
            send.answer.kind,
        ]
        self._on_row({"kind": "call", "worker": 0, "load": aim.name, "rows": [row]})
        return row, Seen(arrived, _seen(outcome, arrived=arrived, refused=refused))


def part_event(stimulus: str, instance: str | None, part: Part) -> dict[str, Any]:
    """What the run record says of a part; `ended_early` only where it ended the script before its time."""
    event: dict[str, Any] = {"load": stimulus, "instance": instance, "part": part.name}
    if not part.skipped:
        return {**event, "state": "started"}
    early = {"ended_early": True} if part.ended_early else {}
    return {**event, "state": "skipped", "why": part.skipped, **early}


def _seen(outcome: str, *, arrived: bool, refused: bool) -> str:
    """The outcome in the script's words."""
    if refused and not arrived:
        return "rejected"
    if outcome == CANCELLED:
        return "gone"
    return "ok" if outcome == OK else "failed"
