"""What the terminal shows while a run goes on: live lines on a terminal, a story in a log."""

from __future__ import annotations

import io
import time

from rich.console import Console

from resilience.cli.progress import Progress
from resilience.cli.scenarios import load_or_exit


def heard(progress: Progress) -> None:
    """The events of a run that is four seconds old: a fault is on, one breaker is open."""
    now = time.monotonic_ns()
    progress.heard({"kind": "run", "state": "epoch", "epoch_ns": now - 4_500_000_000})
    progress.heard({"kind": "phase", "name": "spike", "state": "started"})
    for worker in (0, 1):
        progress.heard(
            {"kind": "bins", "worker": worker, "load": "quotes", "s": 2, "n": {"offered": 40, "good": 15}}
        )
    progress.heard({"kind": "fault", "id": "pricing-slow", "step": "injected"})
    for instance, state in (("gateway-1", "open"), ("gateway-2", "half_open")):
        progress.heard(
            {
                "kind": "breaker.transition",
                "breaker": "pricing",
                "instance": instance,
                "from": "x",
                "to": state,
            }
        )


def shown(*, terminal: bool) -> tuple[str, str]:
    """What stays, and the live lines, of the same run."""
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=terminal)
    progress = Progress(load_or_exit("breaker"), console)
    with progress:
        heard(progress)
        view = Console(file=io.StringIO(), width=80, color_system=None)
        view.print(progress.view())
    return out.getvalue(), view.file.getvalue()  # type: ignore[attr-defined]


def test_progress_shows_time_phase_rates_breakers_and_faults() -> None:
    """Both workers' rates of the last whole second are one rate; a state is a sign and a word."""
    view = shown(terminal=True)[1].splitlines()
    assert "/ 45 s" in view[0]
    assert view[0].rstrip().endswith("spike")
    assert view[1].split() == ["quotes", "offered", "80/s", "good", "30/s"]
    assert "✘ pricing@gateway-1 open  ◐ pricing@gateway-2 half-open" in view[2]
    assert view[3].split() == ["faults", "on", "pricing-slow"]


def test_progress_without_a_terminal_is_plain_lines_that_stay() -> None:
    """A nightly log has each happening once, and no escape sequence."""
    stays = shown(terminal=False)[0]
    assert "\x1b" not in stays
    for line in ("phase spike", "fault pricing-slow injected", "breaker pricing@gateway-1: x -> open"):
        assert stays.count(line) == 1


def test_progress_on_a_terminal_leaves_only_what_stays() -> None:
    """The live lines are taken away at the end: what is left reads like the log."""
    stays = shown(terminal=True)[0]
    assert "fault pricing-slow injected" in stays
    assert stays.rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K"))
