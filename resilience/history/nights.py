"""Which runs of a history may be held against one another: the same plan on the same kind of machine, fit to measure by.

Pure: from stored runs to stored runs. A run that was invalid, aborted or never set up measured nothing, so it is no night.
"""

from __future__ import annotations

from collections.abc import Sequence

from resilience.history.store import StoredRun

TRENDED = frozenset({"pass", "fail", "unknown"})
"""Verdicts of runs whose figures mean something."""


def alike(runs: Sequence[StoredRun], last: StoredRun) -> list[StoredRun]:
    """Give the runs of the last one's plan and kind of machine that measured something, oldest first."""
    return [
        run
        for run in runs
        if (run.plan, run.plan_hash, run.fingerprint) == (last.plan, last.plan_hash, last.fingerprint)
        and run.verdict in TRENDED
    ]


def comparable(runs: Sequence[StoredRun], last: StoredRun) -> list[StoredRun]:
    """Give those of `alike` from where the reference begins: what was before an accepted change is no measure any more."""
    like = alike(runs, last)
    begins = max((place for place, run in enumerate(like) if run.reference_from), default=0)
    return like[begins:]
