"""What integration tests share: one lab, started at the first test that asks for it, and servers to be frozen and killed."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from served_process import Served

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


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers; they are gone after the test."""
    made: list[Served] = []

    def start(*flags: str) -> Served:
        made.append(Served(*flags))
        return made[-1]

    yield start
    for each in made:
        each.close()
