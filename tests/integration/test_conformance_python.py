"""The breaker services around Python's libraries keep the contract that the conformance runs rely on."""

from __future__ import annotations

import pytest

from tests.conformance.candidates import CANDIDATES, Candidate
from tests.conformance.contract import ends_when_told, keeps_the_contract, refuses_bad_settings

pytestmark = pytest.mark.integration

PYTHON = [candidate for candidate in CANDIDATES if candidate.language == "python"]


@pytest.mark.parametrize("candidate", PYTHON, ids=lambda c: c.name)
async def test_conformance_service_keeps_the_contract(candidate: Candidate) -> None:
    """Ready line, calls, refusals, time-out, breakers and events are as the runs need them."""
    await keeps_the_contract(candidate)


@pytest.mark.parametrize("how", ["signal", "input"])
@pytest.mark.parametrize("name", ["pybreaker", "aiobreaker"])
async def test_conformance_service_ends_when_told(name: str, how: str) -> None:
    """With threads or without, it ends in time although somebody reads its events and a call hangs."""
    (candidate,) = (c for c in PYTHON if c.name == name)
    await ends_when_told(candidate, how)


async def test_conformance_service_refuses_bad_settings() -> None:
    """One line that names the variable, and nothing started."""
    await refuses_bad_settings(PYTHON[0])
