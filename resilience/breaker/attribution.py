"""Whose an observation is: the (instance, boot) that it must be given to, or nobody's if more than one is possible.

A life of an instance (a boot) is known from a boot record, or from the boot ids that observations carry. Between the
last word of one life and the first of the next nobody knows which it was: what falls in between is nobody's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final, TypeAlias

from resilience.breaker.observation import Arrival, Boot, Call, Counter, Interval, State, Transition

FOREVER_NS: Final = 1 << 62

_Entry: TypeAlias = Call | Arrival | Transition | State | Counter


class Owners:
    """Which (instance, boot) an observation belongs to, given the boots that were seen."""

    def __init__(
        self,
        entries: Sequence[_Entry],
        boots: Sequence[Boot],
        instances: int = 1,
        everyone: Collection[str] | None = None,
    ) -> None:
        """`everyone`: the instances that the whole history names, where the entries are only part of it."""
        named = {e.instance for e in entries if e.instance is not None} if everyone is None else set(everyone)
        # With at most one name in the whole history, what is not named is that one's; but not where several were
        # started, or where the specification says that there are more.
        heard = named or {boot.instance for boot in boots}
        self.single = max(len(heard), instances) <= 1
        self.only = next(iter(named), None) if self.single else None
        first: dict[str | None, dict[str | None, int]] = defaultdict(dict)
        last: dict[str | None, dict[str | None, int]] = defaultdict(dict)
        self._booted: dict[tuple[str | None, str | None], Interval] = {}
        for e in entries:
            whose = e.instance or self.only
            if e.boot is not None and (whose is not None or self.single):
                t = e.start if isinstance(e, Call) else e.at
                first[whose][e.boot] = min(first[whose].get(e.boot, FOREVER_NS), t.lo_ns)
                last[whose][e.boot] = max(last[whose].get(e.boot, 0), t.hi_ns)
        unnamed = 0
        for boot in sorted(boots, key=lambda b: b.at):
            whose = boot.instance if named else None
            if whose is None and not self.single:
                continue
            if named and boot.instance not in named:
                continue
            unnamed += 1
            boot_id = boot.boot or f"boot-{unnamed}"
            first[whose][boot_id] = boot.at.lo_ns
            self._booted[whose, boot_id] = boot.at
        self.first = {i: sorted((t, b) for b, t in seen.items()) for i, seen in first.items()}
        self.last = last
        whom: Iterable[str | None] = sorted(named) if named else (None,)
        self._keys = [
            (i, b) for i in whom for b in ([None] if i not in self.first else self._boots_of(i, entries))
        ]

    def _boots_of(self, instance: str | None, entries: Sequence[_Entry]) -> list[str | None]:
        found: list[str | None] = [b for _, b in self.first[instance]]
        begin = self.first[instance][0]
        if (instance, begin[1]) in self._booted:
            began = [e.start if isinstance(e, Call) else e.at for e in entries if e.instance == instance]
            if any(at.hi_ns < begin[0] for at in began):
                found.insert(0, None)  # a life before the first boot that we were told of
        return found

    def all_keys(self) -> list[tuple[str | None, str | None]]:
        """Every (instance, boot) that was heard of."""
        return self._keys

    def booted(self, key: tuple[str | None, str | None]) -> Interval | None:
        """When this life began, if somebody said so."""
        return self._booted.get(key)

    def of_entry(self, e: Arrival | Transition | State | Counter) -> tuple[str | None, str | None] | None:
        """The owner of an observation of one instant."""
        return self.of(e.instance, e.boot, e.at.lo_ns, e.at.hi_ns)

    def of(
        self, instance: str | None, boot: str | None, from_ns: int, to_ns: int
    ) -> tuple[str | None, str | None] | None:
        """The owner of something that lasted [from_ns, to_ns]; None where more than one could be."""
        if instance is None:
            if not self.single:
                return None
            instance = self.only
        seen = self.first.get(instance)
        if boot is not None or not seen:
            return instance, boot
        index = bisect_right(seen, from_ns, key=lambda pair: pair[0]) - 1
        if index < 0 and (instance, None) not in self._keys:
            index = 0  # nothing came for certain before the first life that we know of
        if index + 1 < len(seen):
            upcoming, nearest = seen[index + 1]
            if (instance, nearest) in self._booted:
                safe_until = upcoming
            else:
                # A boot first heard of at `upcoming` began somewhere since the last word from the one before.
                safe_until = self.last[instance].get(seen[index][1], 0) if index >= 0 else FOREVER_NS
            if to_ns >= safe_until:
                return None
        return instance, None if index < 0 else seen[index][1]
