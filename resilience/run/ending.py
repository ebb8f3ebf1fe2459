"""How a run ended, as the record says it and as the exit code says it.

Several plans, or several reasons at once: the first of `PRECEDENCE` that applies decides. A nightly job may retry 6
and 3; never 1, 4, 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a run came to."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    ABORTED = "aborted"
    SETUP_FAILED = "setup_failed"
    UNHEALED = "unhealed"


EXIT_CODES = {
    Verdict.PASS: 0,
    Verdict.FAIL: 1,
    Verdict.UNKNOWN: 3,
    Verdict.INVALID: 3,
    Verdict.ABORTED: 4,
    Verdict.UNHEALED: 5,
    Verdict.SETUP_FAILED: 6,
}
EXIT_USAGE = 2
EXIT_SIGINT = 130
EXIT_SIGTERM = 143
PRECEDENCE = (
    Verdict.UNHEALED,
    Verdict.ABORTED,
    Verdict.INVALID,
    Verdict.FAIL,
    Verdict.SETUP_FAILED,
    Verdict.UNKNOWN,
    Verdict.PASS,
)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the run stopped.

    `reason`: completed; aborted (an abort condition); interrupted (a signal, a cancelled task); setup_failed; unhealed
    (a fault could not be taken out when the plan said so); record_failed (a full disk); crashed (an error of ours).
    `verified` are the faults that the runner has seen to be gone: what a full disk kept out of the record is known here.
    """

    reason: str
    detail: str = ""
    signal: int = 0
    verified: frozenset[str] = frozenset()

    @property
    def verdict(self) -> Verdict:
        """What is left to say of a run whose record cannot be judged."""
        return _UNJUDGED.get(self.reason, Verdict.ABORTED)


_UNJUDGED = {
    "completed": Verdict.UNKNOWN,
    "setup_failed": Verdict.SETUP_FAILED,
    "unhealed": Verdict.UNHEALED,
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that decides over several."""
    found = set(verdicts)
    return next((verdict for verdict in PRECEDENCE if verdict in found), Verdict.UNKNOWN)


def exit_code(verdict: Verdict, signal: int = 0) -> int:
    """Exit code of a run: 130 or 143 after healing on SIGINT or SIGTERM, unless a fault was left."""
    if signal and verdict is not Verdict.UNHEALED:
        return 128 + signal
    return EXIT_CODES[verdict]
