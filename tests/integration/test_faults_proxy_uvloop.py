"""The processes run on uvloop and the other tests on asyncio's own loop: what may differ between them runs here again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import test_faults_proxy_better as better
import test_faults_proxy_data as data
import test_faults_proxy_leaks as leaks
import uvloop

pytestmark = pytest.mark.integration

SCENARIOS: tuple[Callable[[], Awaitable[None]], ...] = (
    data.test_proxy_passes_a_reply_after_half_close,
    data.test_proxy_keeps_bytes_while_toxics_come_and_go_under_traffic,
    data.test_proxy_holds_a_bounded_amount_for_a_client_that_does_not_read,
    data.test_latency_holds_no_more_than_its_cap,
    data.test_limit_data_passes_exactly_its_bytes_then_closes,
    data.test_reset_peer_resets,
    data.test_moving_the_upstream_keeps_the_port,
    better.test_better_an_upstream_reset_stays_a_reset,
    better.test_better_one_slow_dial_stalls_nobody,
    *(
        lambda kind=kind: leaks.test_connections_that_break_leave_nothing(kind)
        for kind in ("latency", "slicer")
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_on_uvloop(scenario: Callable[[], Awaitable[None]]):
    """The same holds on uvloop."""

    async def run() -> None:
        await scenario()

    uvloop.run(run())
