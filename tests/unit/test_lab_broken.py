"""The lab's mistakes on purpose: which there are, and that each is spelled as the documentation has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.lab.broken import VARIABLE, WAYS, broken_from
from resilience.lab.settings import SettingsError

DOCS = Path(__file__).parents[2] / "docs" / "lab.md"


def test_broken_lab_names_are_read_from_the_environment() -> None:
    """None, one, or several; spaces do no harm."""
    assert broken_from({}) == frozenset()
    assert broken_from({VARIABLE: "pool-waits"}) == {"pool-waits"}
    assert broken_from({VARIABLE: " pool-waits, never-scales "}) == {"pool-waits", "never-scales"}


def test_broken_lab_refuses_what_it_cannot_break() -> None:
    """A typo must not give a lab that is well, and a test that passes for it."""
    with pytest.raises(SettingsError, match=r"pool-wait is not one of .*pool-waits"):
        broken_from({VARIABLE: "pool-wait"})


def test_broken_lab_ways_are_documented() -> None:
    """Every one has its row."""
    text = DOCS.read_text(encoding="utf-8")
    assert [way for way in WAYS if f"| `{way}` |" not in text] == []
