"""Was every acknowledged order kept, exactly once? Acknowledgements against the ledger read afterwards. Pure.

Each order carries a reference of its own. Afterwards the ledger says how often each reference is there:

- acknowledged: exactly once. None is lost, none doubled.
- refused: the caller was told that it did not happen; it must not be there.
- unsettled (time-out, broken connection): at most once; whether it happened is not known to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ACKNOWLEDGED, REFUSED, UNSETTLED = "acknowledged", "refused", "unsettled"


@dataclass(frozen=True, slots=True)
class OrdersAudit:
    """References by what is wrong with them; empty tuples are good. `acknowledged` says how much there was to keep."""

    acknowledged: int
    refused: int
    unsettled: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    refused_but_there: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Every acknowledged order is there exactly once and nothing is there that must not be."""
        return not (self.lost or self.doubled or self.refused_but_there)


def audit_orders(placed: Mapping[str, str], ledger: Mapping[str, int]) -> OrdersAudit:
    """Hold what callers were told (reference to acknowledged, refused or unsettled) against how often each is there."""

    def told(what: str) -> list[str]:
        return [ref for ref, outcome in placed.items() if outcome == what]

    return OrdersAudit(
        acknowledged=len(told(ACKNOWLEDGED)),
        refused=len(told(REFUSED)),
        unsettled=len(told(UNSETTLED)),
        lost=tuple(sorted(ref for ref in told(ACKNOWLEDGED) if not ledger.get(ref, 0))),
        doubled=tuple(sorted(ref for ref in placed if ledger.get(ref, 0) > 1)),
        refused_but_there=tuple(sorted(ref for ref in told(REFUSED) if ledger.get(ref, 0))),
    )


def from_notes(
    notes: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, str], dict[str, int] | None]:
    """(reference to outcome, reference to count) from notes; no ledger when nobody has read it.

    An order's note is written twice: "unsettled" before it is sent, so that one that never came back is known, then its outcome.
    """
    placed: dict[str, str] = {}
    ledger: dict[str, int] | None = None
    for note in notes:
        match note.get("what"):
            case "order":
                ref, outcome = str(note["ref"]), str(note["outcome"])
                if outcome != UNSETTLED or ref not in placed:
                    placed[ref] = outcome
            case "ledger":
                ledger = {} if ledger is None else ledger
                for ref, count in note["orders"].items():
                    # Read more than once: what a later reading does not find is gone, what it finds counts.
                    ledger[str(ref)] = int(count)
    return placed, ledger
