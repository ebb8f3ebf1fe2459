"""Where on our own monotonic clock an event lies that carries somebody else's wall clock. Pure.

Nobody's wall clock is trusted. But what was not there when we last asked and is there now happened in between: that bounds the offset
between the two clocks, whatever they show. Each event narrows the bounds, and is itself placed within what they have come to, so
a run's later events are known to a few milliseconds although each look at the breaker was a hundred apart. When the bounds contradict
each other, that clock was set: they begin anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

_FOREVER_NS: Final = 1 << 62
_NS_PER_S: Final = 1_000_000_000


@dataclass(slots=True)
class WallClock:
    """The offset (ours minus theirs) as an interval, in ns."""

    lo_ns: int = -_FOREVER_NS
    hi_ns: int = _FOREVER_NS

    def place(self, theirs: tuple[int, int], after_ns: int, before_ns: int) -> tuple[int, int]:
        """An event at `theirs` (an interval on their clock) that happened in [after_ns, before_ns] on ours, as narrow as is known."""
        lo, hi = after_ns - theirs[1], before_ns - theirs[0]
        if max(lo, self.lo_ns) > min(hi, self.hi_ns):
            self.lo_ns, self.hi_ns = lo, hi
        else:
            self.lo_ns, self.hi_ns = max(lo, self.lo_ns), min(hi, self.hi_ns)
        return max(after_ns, theirs[0] + self.lo_ns), min(before_ns, theirs[1] + self.hi_ns)


def wall_ns(text: str) -> tuple[int, int]:
    """An ISO 8601 time with its offset, as Java writes it (`...+01:00[Europe/Berlin]`, up to nanoseconds): the interval that it may mean.

    ValueError where it is none, or has no offset.
    """
    bare = text.partition("[")[0].strip()
    whole, _, rest = bare.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if rest else ""
    moment = datetime.fromisoformat(whole + zone)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    base = round(moment.timestamp()) * _NS_PER_S + int((digits + "0" * 9)[:9] or 0)
    # A time of n digits stands for all that begin with them.
    return base, base + 10 ** max(0, 9 - len(digits)) - 1
