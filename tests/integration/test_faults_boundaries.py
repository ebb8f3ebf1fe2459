"""SIGKILL at the boundaries between two steps of a fault's life, by name, for each kind of fault: nothing stays in place.

Here are those at which most is under way: four for one kind that is steered over HTTP and one on a process in `make test`, and two for each
other kind in `make test-all`. Every boundary of each kind, some four hundred deaths, is `make torture`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))
from steps import die_at
from subjects import NEEDS_ENGINE, NEEDS_TOXIPROXY, SUBJECTS, Subject

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

BUSIEST = ("inject.sent", "heal.sent")
"""In the middle of the two requests that change the target."""
BUSY = ("intent.written", *BUSIEST, "tombstone.written")
QUICK = ("embedded-http", "kill")
ELSEWHERE = tuple(kind for kind in SUBJECTS if kind not in QUICK)


def cases() -> Iterator[Any]:
    """What dies where, and what that needs."""
    for kind, boundary in (*product(QUICK, BUSY), *product(ELSEWHERE, BUSIEST)):
        external = kind in NEEDS_ENGINE + NEEDS_TOXIPROXY
        marks = [pytest.mark.external] if external else [pytest.mark.slow] if kind in ELSEWHERE else []
        yield pytest.param(kind, boundary, marks=marks, id=f"{kind}-{boundary}")


@pytest.fixture(scope="module")
def subjects() -> Iterator[Any]:
    """The target of one kind after the other; each is made once, and gone when the next is asked for."""
    made: dict[str, tuple[Any, Subject]] = {}

    def end() -> None:
        for manager, _ in made.values():
            manager.__exit__(None, None, None)
        made.clear()

    def subject(kind: str) -> Subject:
        if kind not in made:
            end()
            manager = SUBJECTS[kind]()
            made[kind] = (manager, manager.__enter__())
        return made[kind][1]

    yield subject
    end()


@pytest.mark.parametrize(("kind", "boundary"), list(cases()))
def test_no_fault_outlives_a_runner_that_dies_at(
    kind: str, boundary: str, subjects: Any, require: Any
) -> None:
    """Whole within the promise, verified by the guardian, and nothing live in any journal."""
    if kind in NEEDS_TOXIPROXY:
        require("toxiproxy")
    if kind in NEEDS_ENGINE:
        require("docker")
    subject = subjects(kind)
    # What is restarted comes back by itself: there is no request to heal it.
    death = die_at("heal.answered" if boundary in subject.never else boundary, subject)
    assert not death.problem, death
