"""The two ways in which a chaos test says nothing about the system; an AssertionError says that the system is wrong."""

from __future__ import annotations


class ChaosSetupError(Exception):
    """A fault could not be put in or taken out, or a part (proxy, lab, target, observer) is not there."""


class InvalidRun(Exception):  # noqa: N818 - it states an outcome
    """The load generator did not do what it was asked to, so its figures say nothing about the system."""
