"""What a stimulus script says to whoever runs it, and what it is told: the vocabulary of the dialogue. Values only.

A script is a generator: it yields actions and is resumed with what each one says below. See `stimulus`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from resilience.breaker.spec import NS_PER_MS

GOOD_NS: Final = 2 * NS_PER_MS
"""How long the dependency takes for an ordinary answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the dependency does with one call: after `after_ns` it answers well, fails, or (`hang`) drops the connection."""

    kind: str = "ok"  # ok | failure | hang
    after_ns: int = GOOD_NS


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call now and go on at once; resumed with its number. `give_up_ns`: the caller goes away after that long."""

    answer: Answer
    give_up_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Wait until a call has ended; resumed with what was `Seen` of it."""

    number: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Send nothing for a while."""

    for_ns: int


@dataclass(frozen=True, slots=True)
class Now:
    """Resumed with the runner's clock, in ns."""


@dataclass(frozen=True, slots=True)
class Part:
    """A heading: what the following calls are for. `skipped`: why there are none; `ended_early`: nor any of the parts after it."""

    name: str
    skipped: str = ""
    ended_early: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a call: let through to the dependency or not, and how it ended for its caller."""

    arrived: bool
    outcome: str  # ok | failed | rejected | gone

    @property
    def rejected(self) -> bool:
        """Turned away by the breaker, as far as anybody can tell."""
        return self.outcome == "rejected" and not self.arrived


Action = Send | Ended | Rest | Now | Part
T = TypeVar("T")
Script = Generator[Action, Any, T]

GOOD: Final = Answer()
BAD: Final = Answer("failure")
