"""The breaker services around libraries of npm, Go and Java keep the same contract as those around Python's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.builds import TOOLS
from tests.conformance.candidates import CANDIDATES, Candidate
from tests.conformance.contract import ends_when_told, keeps_the_contract, refuses_bad_settings

pytestmark = [
    pytest.mark.external,
    # The first test of a language builds its services, which fetches the libraries.
    pytest.mark.timeout(400),
]

FOREIGN = [candidate for candidate in CANDIDATES if candidate.language != "python"]
ONE_EACH = [next(c for c in FOREIGN if c.language == language) for language in ("node", "go", "java")]

Require = Callable[[str], str]


def tools(candidate: Candidate, require: Require) -> None:
    """Skips, or fails where the language is required, if one of its tools is missing."""
    for tool in TOOLS[candidate.language]:
        require(tool)


@pytest.mark.parametrize("candidate", FOREIGN, ids=lambda c: c.name)
async def test_conformance_foreign_service_keeps_the_contract(candidate: Candidate, require: Require) -> None:
    """Ready line, calls, refusals, time-out, breakers and events are as the runs need them."""
    tools(candidate, require)
    await keeps_the_contract(candidate)


@pytest.mark.parametrize("how", ["signal", "input"])
@pytest.mark.parametrize("candidate", ONE_EACH, ids=lambda c: c.language)
async def test_conformance_foreign_service_ends_when_told(
    candidate: Candidate, how: str, require: Require
) -> None:
    """In each language it ends in time although somebody reads its events and a call hangs."""
    tools(candidate, require)
    await ends_when_told(candidate, how)


@pytest.mark.parametrize("candidate", ONE_EACH, ids=lambda c: c.language)
async def test_conformance_foreign_service_refuses_bad_settings(
    candidate: Candidate, require: Require
) -> None:
    """One line that names the variable, and nothing started."""
    tools(candidate, require)
    await refuses_bad_settings(candidate)
