"""Whether somebody else used the machine while a figure was taken, and taking it again if so.

On a shared machine a figure says as much about the neighbours as about what was measured, and two figures that are
compared need not have had the same ones. So the CPU time that went to *others* is counted: what the whole machine spent in
those seconds, less what the processes of the measurement did (`pids`, and children that were waited for), and without what programs did
that are niced: they give way to what is measured. Above
`TOLERATED_CORES` the figure is taken again, `TRIES` times at most; the least disturbed one counts. Before each figure it is waited for a moment
without neighbours. Both has a bound over the whole bench, so that on a machine that is never quiet figures are taken all the same. The rule is
the same for everything that is compared, and looks at the neighbours only, never at the figure. How often it applied is told with the figures.
"""

import contextlib
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import psutil

TOLERATED_CORES = 0.1
TRIES = 4
_MOMENT_S = 0.2
T = TypeVar("T")


@dataclass
class Neighbours:
    """What the others did over a whole bench. `budget` bounds the repetitions, `patience_s` the waiting."""

    budget: int = 40
    patience_s: float = 60.0
    taken: int = 0
    again: int = 0
    disturbed: int = 0
    shares: list[float] = field(default_factory=list)

    def quietly(self, take: Callable[[], T], pids: Iterable[int]) -> T:
        """Take a figure, again if others were busy meanwhile; return the least disturbed one."""
        return self.told_apart(take, pids)[0]

    def told_apart(self, take: Callable[[], T], pids: Iterable[int]) -> tuple[T, bool]:
        """Do the same, and say whether the figure is undisturbed."""
        self.taken += 1
        mine = list(pids)
        best, cores = self._once(take, mine)
        for _ in range(TRIES - 1):
            if cores <= TOLERATED_CORES or self.budget <= 0:
                break
            self.budget -= 1
            self.again += 1
            figure, others = self._once(take, mine)
            if others < cores:
                best, cores = figure, others
        self.disturbed += cores > TOLERATED_CORES
        self.shares.append(cores)
        return best, cores <= TOLERATED_CORES

    def _once(self, take: Callable[[], T], pids: list[int]) -> tuple[T, float]:
        while self.patience_s > 0:
            _, others = _watched(lambda: time.sleep(_MOMENT_S), pids)
            if others <= TOLERATED_CORES:
                break
            self.patience_s -= _MOMENT_S
        return _watched(take, pids)

    def told(self) -> str:
        """Say it in words."""
        return (
            f"{self.disturbed} of {self.taken} figures were taken while others used more than {TOLERATED_CORES:g} of a core, "
            f"after {self.again} repetitions; the worst with {max(self.shares, default=0):.2f} cores"
        )


def _watched(take: Callable[[], T], pids: list[int]) -> tuple[T, float]:
    """Take a figure; return it with the cores that others used meanwhile."""
    began, busy_s, own_s = time.perf_counter(), _busy_s(), _own_s(pids)
    figure = take()
    others_s = (_busy_s() - busy_s) - (_own_s(pids) - own_s)
    return figure, max(0.0, others_s / (time.perf_counter() - began))


def _busy_s() -> float:
    spent = psutil.cpu_times()
    return sum(getattr(spent, kind, 0.0) for kind in ("user", "system", "irq", "softirq", "steal"))


def _own_s(pids: list[int]) -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            spent += times.user + times.system
    return spent
