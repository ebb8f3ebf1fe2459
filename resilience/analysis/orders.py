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

from resilience.metrics.outcomes import CLIENT_ERROR, CONNECT, DEGRADED, DROPPED, OK

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

    def those(what: str) -> list[str]:
        return [ref for ref, outcome in placed.items() if outcome == what]

    return OrdersAudit(
        acknowledged=len(those(ACKNOWLEDGED)),
        refused=len(those(REFUSED)),
        unsettled=len(those(UNSETTLED)),
        lost=tuple(sorted(ref for ref in those(ACKNOWLEDGED) if not ledger.get(ref, 0))),
        doubled=tuple(sorted(ref for ref in placed if ledger.get(ref, 0) > 1)),
        refused_but_there=tuple(sorted(ref for ref in those(REFUSED) if ledger.get(ref, 0))),
    )


def placed_from(notes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Reference to what its caller was told, from an order load's notes. The reference is the request id."""
    return {str(note["id"]): told(str(note.get("outcome"))) for note in notes if note.get("what") == "order"}


def told(outcome: str) -> str:
    """What an outcome of a call tells its caller of the order.

    Only what was certainly never done counts as refused: a 503 may come from a database that broke off after it had committed.
    """
    if outcome in (OK, DEGRADED):
        return ACKNOWLEDGED
    return REFUSED if outcome in (CLIENT_ERROR, CONNECT, DROPPED) else UNSETTLED


def ledger_from(notes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Reference to how often it is there, from the notes of whoever looked them up; the latest look counts."""
    looks = [note for note in notes if note.get("what") == "ledger" and note.get("count") is not None]
    return {str(note["ref"]): int(note["count"]) for note in sorted(looks, key=lambda n: n["at"][1])}
