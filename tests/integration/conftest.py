"""The one lab that the integration tests share: started at the first test that asks for it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from resilience.lab.embedded import EmbeddedStack
from resilience.lab.options import LabOptions
from resilience.lab.system import System


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab() -> AsyncIterator[System]:
    """The embedded lab: two gateways, purgatory with its published settings. Leave it healed and its breakers closed."""
    stack = EmbeddedStack(LabOptions())
    system = await stack.up()
    yield system
    await stack.down()
