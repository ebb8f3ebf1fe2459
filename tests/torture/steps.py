"""Runners that die at every boundary between two steps, by name, for each kind of fault.

One trial: a victim is started, dies at its boundary (SIGKILL by its own hand; a victim that gets past it has failed the
trial), and from that instant the target is watched until it is whole and stays so. Then the guardian must have ended, a sweep must have nothing
that it could not heal, and the journal no fault without a tombstone. Before the guardian was told of the fault
nothing had been sent to the target, so nothing needs healing; the sweep closes the journal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from aftermath import gone, records_of, verified_after_s
from boundaries import BOUNDARIES, IN_PLACE, NOT_YET
from subjects import SUBJECTS, Subject

from faults.journal import live_intents
from faults.sweep import sweep

VICTIM = Path(__file__).with_name("victim.py")
SETTLED_S = 0.8
"""How long a target must stay whole: longer than a guardian waits between its two looks."""
_VICTIM_S = 60.0


@dataclass(frozen=True, slots=True)
class Death:
    """One trial: who died where, whether the fault was in place then, and the seconds until the target was whole, and verified to be.

    `whole_s` is what was seen from outside, `verified_s` the guardian's own word in the journal (on the same clock); None where it
    had nothing to heal.
    """

    kind: str
    boundary: str
    faulted: bool = False
    whole_s: float = 0.0
    verified_s: float | None = None
    problem: str = ""


def die_at(boundary: str, subject: Subject) -> Death:
    """One trial."""
    with tempfile.TemporaryDirectory(prefix="chaos-spike-torture-") as name:
        specification = {
            "at": boundary,
            "state_dir": name,
            "target": f"{subject.name}-{boundary}",
            "allow": subject.allow(),
            "fault": subject.fault(),
        }
        guardian, faulted, died_ns, errors = _victim(specification, subject)
        if died_ns is None:
            return Death(subject.name, boundary, problem=f"never reached: {errors[-300:]}")
        whole_s = _whole_after_s(subject, died_ns)
        if guardian is not None:
            gone(guardian)
        swept = sweep(Path(name))
        records = records_of(Path(name))
        verified_s = verified_after_s(records, died_ns)
        problem = _first(
            (boundary in IN_PLACE and not faulted and not subject.brief, "the fault was not in place"),
            (boundary in NOT_YET and faulted, "the fault was in place too early"),
            (whole_s > subject.promise_s, f"whole only after {whole_s:.1f} s"),
            ((verified_s or 0.0) > subject.promise_s, f"verified only after {verified_s} s"),
            (boundary in IN_PLACE and verified_s is None, "nobody but the sweep verified it"),
            (any(not each.clean for each in swept), f"the sweep could not heal: {swept}"),
            (bool(live_intents(records)), f"the journal still has {live_intents(records)}"),
            (not subject.whole(), "it did not stay whole"),
        )
        return Death(subject.name, boundary, faulted, round(whole_s, 3), verified_s, problem)


def _first(*found: tuple[bool, str]) -> str:
    return next((words for wrong, words in found if wrong), "")


def _victim(specification: dict[str, Any], subject: Subject) -> tuple[int | None, bool, int | None, str]:
    """Let one live until its boundary: its guardian's pid, whether the fault was in place, when it died, what it complained of."""
    words: dict[str, Any] = {}
    faulted = False
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [sys.executable, str(VICTIM), json.dumps(specification)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            words |= json.loads(line)
            if "reached" in words and "died" not in words and not words["reached"].endswith(".sent"):
                faulted = not subject.whole()
                process.stdin.write(b".")
                process.stdin.flush()
        process.wait(_VICTIM_S)
        complaints.seek(0)
        told = complaints.read().decode(errors="replace") or f"exit {process.returncode}"
    return words.get("guardian"), faulted, words.get("died"), told


def _whole_after_s(subject: Subject, died_ns: int) -> float:
    """The seconds until the target was whole for good; infinite if that takes longer than anybody waits."""
    since_ns: int | None = None
    limit_ns = died_ns + int((subject.promise_s + 10) * 1e9)
    first = True
    while True:
        asked_ns = time.monotonic_ns()
        if not subject.whole():
            since_ns = None
            if asked_ns > limit_ns:
                return float("inf")
        elif since_ns is None:
            since_ns = died_ns if first else asked_ns
        elif asked_ns - since_ns >= SETTLED_S * 1e9:
            return (since_ns - died_ns) / 1e9
        first = False
        time.sleep(subject.look_every_s)


def run_steps(kinds: Iterable[str], at_once: int) -> list[Death]:
    """Every boundary for each kind; kinds side by side, the boundaries of one after the other on one target."""

    def all_of(kind: str) -> list[Death]:
        with SUBJECTS[kind]() as subject:
            return [die_at(each, subject) for each in BOUNDARIES if each not in subject.never]

    with ThreadPoolExecutor(at_once) as pool:
        return [death for deaths in pool.map(all_of, kinds) for death in deaths]


def report_steps(deaths: list[Death]) -> dict[str, Any]:
    """Figures for people and for build/torture.json."""
    by_kind = {}
    for kind in dict.fromkeys(death.kind for death in deaths):
        mine = [death for death in deaths if death.kind == kind]
        verified = [death.verified_s for death in mine if death.verified_s is not None]
        slowest = max(mine, key=lambda death: max(death.whole_s, death.verified_s or 0.0))
        by_kind[kind] = {
            "deaths": len(mine),
            "with_the_fault_in_place": sum(death.faulted for death in mine),
            "longest_until_whole_s": max(death.whole_s for death in mine),
            "longest_until_verified_s": max(verified, default=None),
            "slowest_at": slowest.boundary,
        }
    problems = [f"{each.kind} at {each.boundary}: {each.problem}" for each in deaths if each.problem]
    return {
        "deaths": len(deaths),
        "boundaries": list(BOUNDARIES),
        "by_kind": by_kind,
        "problems": problems,
    }
