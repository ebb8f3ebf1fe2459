"""The verdict on a terminal: first what fails and why, then everything that was expected, then where to look.

Readable at 80 columns, and as plain text when the output is not a terminal: every state is a word with a sign, colour
only repeats it. Texts of the target are printed as texts, never read as markup of the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resilience.report.headline import sign, word
from resilience.report.texts import at
from resilience.report.values import Breakage, Expectation, FaultLane, ReportModel

STYLES = {"pass": "green", "fail": "bold red", "unknown": "yellow", "declared": "cyan"}


def print_console(model: ReportModel, console: Console) -> None:
    """Print the whole verdict to `console`."""
    console.print(_heading(model), soft_wrap=False)
    if model.breakage:
        _print_breakage(model.breakage, model, console)
    _section("Expectations", console)
    for each in _worst_first(model.expectations):
        _print_expectation(each, console)
    if model.faults:
        _section("Faults", console)
        console.print(_faults(model.faults))
    _section("Measurement", console)
    console.print(_line(model.validity.state, "pass" if model.validity.state == "valid" else "fail"))
    for reason in model.validity.reasons:
        console.print(Padding(Text(reason), (0, 0, 0, 4)))
    _section("Where to look", console)
    for label, path in (
        ("page", f"{model.folder}/{model.file('report', 'html')}"),
        ("verdict", f"{model.folder}/{model.file('verdict', 'json')}"),
        ("again", model.reproduce),
    ):
        # Paths and commands are copied: they are never broken into lines by us.
        console.print(Text(f"  {label:<8} {path}"), soft_wrap=True)


def _heading(model: ReportModel) -> Text:
    head = Text()
    if model.notice:
        head.append(f"! {model.notice}\n", style="bold yellow")
    head.append(
        f"{sign(model.verdict)} {word(model.verdict)}", style=STYLES.get(model.verdict, "bold yellow")
    )
    head.append(f"  {model.name}", style="bold")
    facts = [model.stack, f"seed {model.seed}" if model.seed else "", f"{model.duration_s:.0f} s"]
    head.append(f"  ({', '.join(each for each in facts if each)})")
    if not model.breakage:  # else the next lines say it at length
        head.append(f"\n{model.sentence}")
    for verdict, reason in model.also:
        head.append(f"\nalso {word(verdict)}: {reason}")
    return head


def _print_breakage(broken: Breakage, model: ReportModel, console: Console) -> None:
    """Print which expectation, rule, instance and time; why; the proof; and the events around it."""
    _section("What fails first", console)
    row = next((each for each in model.expectations if each.id == broken.expectation), None)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in (
        ("expectation", broken.expectation),
        ("rule", broken.rule),
        ("instance", broken.instance),
        ("time", at(broken.at_s)),
        ("expected", row.expected if row else ""),
        ("observed", row.observed if row else ""),
        ("margin", row.margin if row else ""),
        ("because", "\n".join(broken.explanations)),
        ("proof", "\n".join(broken.proof)),
    ):
        if value:
            facts.add_row(Text(f"  {label}", style="dim"), Text(value))
    console.print(facts)
    if broken.witness:
        console.print()
        console.print(_timeline(broken))


def _timeline(broken: Breakage) -> Table:
    """Lay the events around the breakage out in time."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for each in broken.witness:
        here = each.kind == "broken"
        style = "bold red" if here else ""
        grid.add_row(
            Text(f"{each.at_s:10.3f} s", style), Text(">" if here else "|", style), Text(each.text, style)
        )
    return grid


def _print_expectation(each: Expectation, console: Console) -> None:
    first = _line(each.verdict, each.verdict)
    first.append(f"  {each.id}", style="bold")
    if each.at_s is not None:
        first.append(f"  at {at(each.at_s)}", style="dim")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in (("expected", each.expected), ("observed", each.observed), ("margin", each.margin)):
        if value:
            grid.add_row(Text(f"             {label:<8}", style="dim"), Text(value))
    console.print(first)
    console.print(grid)


def _faults(faults: tuple[FaultLane, ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in range(5):
        grid.add_column(overflow="fold")
    grid.add_row(*(Text(name, style="dim") for name in ("  fault", "injected", "healed", "verified", "")))
    for each in faults:
        healed = each.actual is not None and not each.note.startswith("not healed")
        absent = each.actual is None and not each.verified  # nothing was put in: there is nothing to take out
        grid.add_row(
            Text(f"  {each.id}"),
            Text(at(each.actual[0]) if each.actual else "never"),
            Text("-" if absent else at(each.actual[1]) if healed and each.actual else "no"),
            Text("-")
            if absent
            else Text(
                (at(each.verified_s) or "yes") if each.verified else "NO",
                style="" if each.verified else "bold red",
            ),
            Text(f"{each.kind} {each.target}".strip(), style="dim"),
        )
    return grid


def _worst_first(expectations: tuple[Expectation, ...]) -> Iterator[Expectation]:
    """Walk failed ones first, then those without a verdict, then the rest, each in the plan's order."""
    ranks = {"fail": 0, "unknown": 1, "pass": 3}
    yield from sorted(expectations, key=lambda each: ranks.get(each.verdict, 2))


def _line(shown: str, state: str) -> Text:
    style = STYLES.get(state, "bold yellow")
    return Text(f"  {sign(state)} {shown:<8}", style=style)


def _section(title: str, console: Console) -> None:
    console.print()
    console.print(Text(title, style="bold underline" if console.is_terminal else "bold"))
