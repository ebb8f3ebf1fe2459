"""What the terminal shows while a run goes on.

On a terminal: a few live lines (progress and phase, the rate of each load, breaker states, faults that are on) under the
lines that stay. Elsewhere: only the lines that stay, one per phase, fault step and breaker transition, so that a log of a
nightly job reads as a story.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resilience.cli.terminal import Terminal
from resilience.plan import LoadedPlan

_MOST_ROWS = 6
_STATES = {"closed": ("●", "green"), "open": ("✘", "bold red"), "half_open": ("◐", "yellow")}
"""Sign and colour of a breaker's state; what else there may be gets a plain dot."""
_KEPT_S = 30
"""Workers tell of a second when it is over, and again for what ends late; nothing older is shown."""
_SHOWN_STEPS = ("injected", "healed", "verified", "unhealed", "expired", "failed")


class Progress:
    """Hears every event and message of the run; use as a context manager."""

    def __init__(self, loaded: LoadedPlan, console: Console | None = None) -> None:
        self._console = console or Terminal()
        self._loaded = loaded
        self._epoch_ns = 0
        self._phase = "starting"
        self._faults_on: list[str] = []
        self._states: dict[str, str] = {}
        self._rates: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        self._live = Live(
            get_renderable=self.view, console=self._console, transient=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        plan = self._loaded.plan
        seconds = self._loaded.timeline.duration_ns / 1e9
        # A terminal that is gone is no reason not to run, nor to lose how the run ended.
        with contextlib.suppress(OSError):
            self._console.print(Text(f"{plan.name}: {plan.purpose} ({seconds:.0f} s)"))
            if self._console.is_terminal:
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            if self._console.is_terminal:
                self._live.stop()

    def heard(self, event: dict[str, Any]) -> None:
        """Take one event of the record or one message of the load."""
        match event["kind"]:
            case "run" if event.get("state") == "epoch":
                self._epoch_ns = event["epoch_ns"]
            case "bins":
                self._count(self._rates[event["load"]], event["s"], event["n"])
            case "phase" if event["state"] == "started":
                self._phase = event["name"]
                self._say(f"phase {event['name']}")
            case "fault" if event["step"] in _SHOWN_STEPS:
                on = [event["id"]] if event["step"] == "injected" else []
                self._faults_on = [each for each in self._faults_on if each != event["id"]] + on
                error = event.get("detail", {}).get("error")
                self._say(f"fault {event['id']} {event['step']}{': ' + str(error) if error else ''}")
            case "breaker.transition":
                where = (
                    f"{event['breaker']}@{event['instance']}" if event.get("instance") else event["breaker"]
                )
                self._states[where] = event["to"]
                self._say(f"breaker {where}: {event['from']} -> {event['to']}")
            case "stimulus":
                whose = f" ({event['instance']})" if event.get("instance") else ""
                why = f", skipped: {event['why']}" if event.get("why") else ""
                self._say(f"stimulus{whose}: {event.get('part', 'over')}{why}")
            case "stack":
                detail = event.get("base_url") or event.get("what") or ""
                self._say(f"stack {event['state']}{': ' + detail if detail else ''}")
            case "abort":
                self._say(f"abort: {event['reason']}")
            case "log" if event.get("level") == "error":
                self._say(event["text"])

    def _count(self, seconds: dict[int, list[int]], second: int, counts: dict[str, int]) -> None:
        for over in [each for each in seconds if each < second - _KEPT_S]:
            del seconds[over]
        seconds[second][0] += counts.get("offered", 0)
        seconds[second][1] += counts.get("good", 0)

    def _now_s(self) -> float:
        return (time.monotonic_ns() - self._epoch_ns) / 1e9 if self._epoch_ns else 0.0

    def _say(self, text: str) -> None:
        stamp = f"{max(0.0, self._now_s()):6.1f} s" if self._epoch_ns else "        "
        self._console.print(Text(f"{stamp}  {text}"), soft_wrap=True)

    def view(self) -> Group:
        """The live lines as of now."""
        total_s = self._loaded.timeline.duration_ns / 1e9
        gone_s = min(max(0.0, self._now_s()), total_s)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"{gone_s:5.1f} / {total_s:.0f} s"),
            ProgressBar(total=total_s or 1.0, completed=gone_s, width=30),
            Text(self._phase, style="bold"),
        )
        lines: list[Table | Text] = [head]
        if self._rates:
            lines.append(self._loads())
        if self._states:
            lines.append(self._listed("breakers", [_state(*each) for each in sorted(self._states.items())]))
        on = [Text(name, style="yellow") for name in self._faults_on]
        if on:
            lines.append(self._listed("faults on", on))
        return Group(*lines)

    def _loads(self) -> Table:
        """The last whole second that every worker has reported, more or less: one that began two seconds ago."""
        second = int(self._now_s()) - 2
        grid = Table.grid(padding=(0, 2))
        for load, seconds in list(self._rates.items())[:_MOST_ROWS]:
            offered, good = seconds.get(second, [0, 0])
            style = "" if not offered or good >= 0.99 * offered else "yellow" if good else "bold red"
            grid.add_row(Text(load), Text(f"offered {offered}/s"), Text(f"good {good}/s", style=style))
        return grid

    @staticmethod
    def _listed(title: str, shown: list[Text]) -> Text:
        more = [Text(f"and {len(shown) - _MOST_ROWS} more")] if len(shown) > _MOST_ROWS else []
        line = Text(f"{title}  ", overflow="ellipsis", no_wrap=True)
        line.append_text(Text("  ").join([*shown[:_MOST_ROWS], *more]))
        return line


def _state(name: str, state: str) -> Text:
    sign, style = _STATES.get(state, ("·", ""))
    return Text(f"{sign} {name} {state.replace('_', '-')}", style=style)
