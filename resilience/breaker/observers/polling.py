"""Asks an address again and again, and lets a pure reader make lines of the answers.

A reader is told when the answer was asked for and when it had been read: what it says was true somewhere in between. It may remember earlier
answers (a ring, counters). Failed attempts are one gap, told when there is an answer again or observing ends; unless that answer tells
all that happened since the last one that was read (`Reader.complete`). Whoever did not answer may have been started anew, and count from
zero: for totals it is a gap all the same.

What happened after the last answer nobody has told: events are asked for once more when observing ends, and where nobody answers then, everything
since the last answer is a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp

from resilience.breaker.observers.base import TROUBLE, Emit, Missed, now_ns, session, whole

Line = dict[str, Any]
_ANSWER_S: Final = 2.0
_TOTAL: Final = "breaker.total"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose breaker is observed: our name for it, its name there, and the instance."""

    breaker: str
    name: str
    instance: str | None  # None: there is but one, or nobody knows


class Reader(Protocol):
    """Makes lines of the run record out of one answer."""

    @property
    def complete(self) -> bool:
        """Whether an answer tells all that happened since the last one, or owns up to what it cannot tell."""

    def read(self, text: str, at: tuple[int, int]) -> Iterable[Line]:
        """Lines of an answer that was asked for and read at `at`; ValueError, KeyError or TypeError where it is none."""


class PolledObserver:
    """Polls one address for one instance."""

    def __init__(self, reads: str, url: str, subject: Subject, reader: Reader, *, interval_s: float) -> None:
        self._reads = reads  # events, poll or totals: what is missing where answers are
        self._url = url
        self._subject = subject
        self._reader = reader
        self._interval_s = interval_s
        self._missed = Missed()
        self._answered = False
        self.known_until_ns = 0  # when the last answer was asked for; at first, when observing began

    @property
    def source(self) -> Mapping[str, str]:
        """What a gap of this observer is a gap of."""
        return source_of(self._reads, self._subject)

    async def run(self, emit: Emit) -> None:
        """Emit lines until cancelled; events are then asked for once more, for at most two seconds."""
        self.known_until_ns = now_ns()
        async with session(_ANSWER_S) as client:
            try:
                while True:
                    await self._once(client, emit)
                    await asyncio.sleep(self._interval_s)
            finally:
                if self._reads == "events" and not await self._once(client, emit):
                    emit({"kind": "gap", **self.source, "lost": None, "at": [self.known_until_ns, now_ns()]})
                self._missed.report(emit, self.source)

    async def _once(self, client: aiohttp.ClientSession, emit: Emit) -> bool:
        """Ask and read; whether there was an answer that made sense."""
        asked_ns = now_ns()
        try:
            async with client.get(self._url) as response:
                response.raise_for_status()
                body = await whole(response)
            lines = list(self._reader.read(body.decode("utf-8", "replace"), (asked_ns, now_ns())))
        except (*TROUBLE, AttributeError):
            self._missed.note(asked_ns)
            return False
        if not (self._reader.complete and self._answered):
            self._missed.report(emit, self.source)
        elif any(line["kind"] == _TOTAL for line in lines):
            self._missed.report(emit, source_of("totals", self._subject))
        self._missed.clear()
        self.known_until_ns, self._answered = asked_ns, True
        for line in lines:
            emit(line)
        return True


def source_of(reads: str, subject: Subject) -> Mapping[str, str]:
    """What a gap of an observer that reads `events`, states (`poll`) or `totals` is a gap of."""
    whose = {} if subject.instance is None else {"instance": subject.instance}
    return {"source": reads, "breaker": subject.breaker, **whose}


def state_line(subject: Subject, state: str, at: tuple[int, int], observer: str, **more: Any) -> Line:
    """A state that was read."""
    return {
        "kind": "breaker.state",
        "breaker": subject.breaker,
        "instance": subject.instance,
        "boot": None,
        "state": state,
        "at": list(at),
        "source": "poll",
        "observer": observer,
        **more,
    }


def transition_line(subject: Subject, before: str, after: str, at: tuple[int, int], observer: str) -> Line:
    """A change that was told."""
    return {
        "kind": "breaker.transition",
        "breaker": subject.breaker,
        "instance": subject.instance,
        "boot": None,
        "from": before,
        "to": after,
        "at": list(at),
        "source": "events",
        "observer": observer,
    }


def total_line(subject: Subject, name: str, value: int, at: tuple[int, int], observer: str) -> Line:
    """A total that was read; `name` is one of the history format's, and whose calls it counts beside ours nobody knows."""
    return {
        "kind": _TOTAL,
        "breaker": subject.breaker,
        "instance": subject.instance,
        "boot": None,
        "name": name,
        "value": value,
        "at": list(at),
        "source": "metrics",
        "observer": observer,
        "others": True,
    }


def gap_line(subject: Subject, at: tuple[int, int], observer: str) -> Line:
    """Events were lost, nobody knows how many."""
    return {
        "kind": "gap",
        "source": "events",
        "observer": observer,
        "breaker": subject.breaker,
        "instance": subject.instance,
        "lost": None,
        "at": list(at),
    }
