"""What keeps one process healthy: the budget of held bytes, and turns."""

from __future__ import annotations

from faults.proxy.held import HeldBudget
from faults.proxy.turns import TURN_BYTES, Turns


class Holder:
    """A link, as the budget sees it."""

    def __init__(self, budget: HeldBudget) -> None:
        self.budget = budget
        self.held_bytes = 0
        self.paused = False

    def hold(self, held_bytes: int) -> None:
        """Hold that much from now on."""
        before_bytes, self.held_bytes = self.held_bytes, held_bytes
        self.budget.change(self, before_bytes, held_bytes)

    def hold_for_budget(self) -> None:
        """Stop."""
        self.paused = True

    def release_for_budget(self) -> None:
        """Go on."""
        self.paused = False


def test_budget_pauses_those_that_grow_beyond_it():
    """At three quarters all go on again."""
    budget = HeldBudget(10_000_000)
    first, second = Holder(budget), Holder(budget)
    first.hold(9_000_000)
    second.hold(2_000_000)
    assert (first.paused, second.paused) == (False, True)
    first.hold(5_500_000)
    assert not second.paused
    assert budget.total_bytes == 7_500_000


def test_budget_lets_small_holders_go_on():
    """One that has next to nothing is not stopped by the others; one that has shrunk to it goes on."""
    budget = HeldBudget(10_000_000)
    big, small = Holder(budget), Holder(budget)
    big.hold(20_000_000)
    small.hold(200_000)
    assert (big.paused, small.paused) == (True, False)
    small.hold(300_000)
    assert small.paused
    small.hold(100_000)
    assert (big.paused, small.paused) == (True, False)


class Reader:
    """A side, as turns see it."""

    def __init__(self) -> None:
        self.parked = 0

    def park(self) -> None:
        """Stop."""
        self.parked += 1

    def unpark(self) -> None:
        """Go on."""
        self.parked -= 1


async def test_turns_park_a_crowd_and_let_a_few_go_on_at_a_time():
    """Two turns' worth is free in a round; beyond it readers wait, and come back some at a time, first come first."""
    turns, readers = Turns(), [Reader() for _ in range(40)]
    for reader in readers:
        turns.left_bytes -= TURN_BYTES // 2
        if turns.left_bytes < 0:
            turns.exhausted(reader)
    parked = [reader for reader in readers if reader.parked]
    assert 30 <= len(parked) < 40
    turns._next()
    assert 0 < len([reader for reader in parked if not reader.parked]) < len(parked)
    assert not parked[0].parked
    assert parked[-1].parked
    for _ in range(len(readers)):
        turns._next()
    assert not any(reader.parked for reader in readers)
    assert turns.left_bytes == TURN_BYTES


async def test_turns_let_more_go_on_where_those_before_had_little_to_read():
    """A crowd with full reads comes back one by one; one that reads next to nothing in ever larger numbers."""

    def rounds(read_bytes: int) -> int:
        turns, readers = Turns(), [Reader() for _ in range(200)]
        turns.exhausted(readers[0])
        turns.left_bytes = -1
        for reader in readers:
            turns.exhausted(reader)
        count = 0
        while parked := sum(reader.parked for reader in readers):
            turns._next()
            turns.left_bytes -= read_bytes * (parked - sum(reader.parked for reader in readers))
            count += 1
        return count

    assert rounds(TURN_BYTES) == 200
    assert rounds(10) < 10
