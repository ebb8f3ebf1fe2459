"""`expect_opens` and `expect_recovers`: only what happens from the block's beginning on counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from resilience.breaker.spec import BreakerSpec
from resilience.lab.system import Instance, System
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.following import TargetBreaker
from resilience.pytest_plugin.portal import Portal
from resilience.pytest_plugin.session import ChaosOptions, ChaosSession
from resilience.pytest_plugin.watching import Watched

SOON_S = 0.0
LONG_S = 20.0


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    """The verbs, of which none here needs a proxy or a load."""
    session = ChaosSession(ChaosOptions(seed=7))
    verbs = Chaos(session)
    yield verbs
    assert verbs.close() == []
    assert session.close() == []


def watched_by_state(chaos: Chaos) -> tuple[Watched, SimpleNamespace]:
    """A breaker whose state the test sets."""
    breaker = SimpleNamespace(state="closed", call=lambda function: function())
    watched = chaos.watch(breaker, "b", spec={"failures": 1}, method="call", state=lambda: breaker.state)
    return watched, breaker


def goes(watched: Watched, breaker: SimpleNamespace, *states: str) -> None:
    """Through these states, each of them seen."""
    for state in states:
        breaker.state = state
        assert watched.state == state


def test_expecting_a_breaker_to_open_that_is_open_is_refused(chaos: Chaos) -> None:
    """The block is not even begun; nor where it is to close and is closed."""
    watched, breaker = watched_by_state(chaos)
    with (
        pytest.raises(ChaosSetupError, match="b is closed before"),
        chaos.expect_recovers(watched, within=SOON_S),
    ):
        pytest.fail("begun")
    breaker.state = "open"
    with pytest.raises(ChaosSetupError, match="b is open before"), chaos.expect_opens(watched, within=SOON_S):
        pytest.fail("begun")


def test_opening_before_the_block_is_not_the_blocks(chaos: Chaos) -> None:
    """It opened and closed, nobody waited for it, and then a block does nothing; the same for its closing."""
    watched, breaker = watched_by_state(chaos)
    goes(watched, breaker, "open", "half_open", "closed")
    with pytest.raises(AssertionError, match="b was not open"), chaos.expect_opens(watched, within=SOON_S):
        pass
    goes(watched, breaker, "open")
    with (
        pytest.raises(AssertionError, match="b was not closed"),
        chaos.expect_recovers(watched, within=SOON_S),
    ):
        pass


def test_opening_in_the_block_counts_though_it_is_over(chaos: Chaos) -> None:
    """Open in between, and waited for inside the block: both do not matter. A closing must have lasted."""
    watched, breaker = watched_by_state(chaos)
    with chaos.expect_opens(watched, within=SOON_S):
        goes(watched, breaker, "open")
        watched.wait_for("open", within=SOON_S)
        goes(watched, breaker, "half_open")
    with chaos.expect_recovers(watched, within=SOON_S):
        goes(watched, breaker, "closed")
    goes(watched, breaker, "open")
    with (
        pytest.raises(AssertionError, match="b was not closed"),
        chaos.expect_recovers(watched, within=SOON_S),
    ):
        goes(watched, breaker, "half_open", "closed", "open")


def test_opening_after_the_block_is_waited_for(chaos: Chaos) -> None:
    """Another thread opens it once the block has ended."""
    watched, breaker = watched_by_state(chaos)
    ended = threading.Event()

    def opens() -> None:
        ended.wait(LONG_S)
        breaker.state = "open"

    other = threading.Thread(target=opens)
    other.start()
    with chaos.expect_opens(watched, within=LONG_S):
        ended.set()
    other.join()
    assert watched.state == "open"


@pytest.fixture
def target() -> Iterator[TargetBreaker]:
    """A breaker in two instances that nobody serves: what they tell, the test says."""
    portal = Portal()
    system = System(
        stack="external",
        base_url="http://127.0.0.1:1",
        proxies={},
        instances=tuple(Instance("shop", name, "http://127.0.0.1:1") for name in ("a", "b")),
    )
    followed = TargetBreaker("price", BreakerSpec(), {}, system, portal, None)
    followed.stop()
    yield followed
    portal.close()


def told(target: TargetBreaker, instance: str, state: str, *, event: bool = True) -> None:
    """By an event, or by a poll."""
    line: dict[str, Any] = {"breaker": "price", "instance": instance}
    target._emit(
        {**line, "kind": "breaker.transition", "to": state}
        if event
        else {**line, "kind": "breaker.state", "state": state}
    )


def test_target_is_held_to_what_its_instances_tell_after_the_beginning(
    chaos: Chaos, target: TargetBreaker
) -> None:
    """An opening of before, and a first poll of an instance that was open all along, are none; an event or a changed poll is."""
    told(target, "a", "closed", event=False)
    told(target, "a", "open")
    told(target, "a", "closed")
    with pytest.raises(AssertionError, match="price was not open"), chaos.expect_opens(target, within=SOON_S):
        told(target, "b", "open", event=False)
    with (
        pytest.raises(ChaosSetupError, match=r"price is open before.*: a closed, b open"),
        chaos.expect_opens(target, within=SOON_S),
    ):
        pytest.fail("begun")
    with chaos.expect_recovers(target, within=SOON_S):
        told(target, "b", "closed", event=False)
    with (
        pytest.raises(ChaosSetupError, match="price is closed before"),
        chaos.expect_recovers(target, within=SOON_S),
    ):
        pytest.fail("begun")
    with chaos.expect_opens(target, within=SOON_S):
        told(target, "b", "open")
        told(target, "b", "half_open")
    with (  # noqa: PT012 - what happens in the block is what is asserted on
        pytest.raises(AssertionError, match="price was not closed"),
        chaos.expect_recovers(target, within=SOON_S),
    ):
        told(target, "a", "open")
        told(target, "b", "closed")
