"""`chaos-spike verify-trace`: judge a history of a breaker that was recorded anywhere, in the documented format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resilience.cli.scenarios import fail_usage

if TYPE_CHECKING:
    from resilience.breaker.observation import Observation

MOST_LINE_CHARACTERS = 1_000_000
MOST_SPEC_BYTES = 1_000_000


def verify_trace(
    trace: Annotated[Path, typer.Argument(help="The history, JSON Lines (docs/history-format.md).")],
    spec: Annotated[Path, typer.Option(help="The breaker's specification, YAML (docs/breakers.md).")],
    require: Annotated[
        list[str] | None, typer.Option(help="A rule that must be settled, repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Accept no declared deviations.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Judge a recorded history against a specification: exit 0 pass, 1 fail, 3 unknown, 2 unusable input."""
    from resilience.breaker.history import HistoryError
    from resilience.breaker.spec import SpecError
    from resilience.breaker.trace import render, to_json
    from resilience.breaker.trace import verify_trace as judge_trace

    mapping = _specification(spec)
    try:
        report, code = judge_trace(_history(trace), mapping, strict, required=require or ())
    except HistoryError as error:
        fail_usage(f"{trace}: {error}")
    except SpecError as error:
        fail_usage(f"{spec}: {error}")
    except OSError as error:
        fail_usage(f"{trace} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        fail_usage(f"{trace} is not UTF-8 text")
    except ValueError as error:
        fail_usage(str(error))
    typer.echo(json.dumps(to_json(report), indent=1) if as_json else render(report))
    raise typer.Exit(code)


def _history(path: Path) -> Iterable[Observation]:
    """What comes from a pipe can be read once only, and is kept."""
    trace = _Trace(path)
    return trace if path.is_file() else list(trace)


class _Trace:
    """A file of observations, read anew each time: however long it is, it is never held in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Observation]:
        from resilience.breaker.history import parse_lines

        return parse_lines(self._lines())

    def _lines(self) -> Iterator[str]:
        from resilience.breaker.history import HistoryError

        with self._path.open(encoding="utf-8") as file:
            number = 0
            while line := file.readline(MOST_LINE_CHARACTERS + 1):
                number += 1
                if len(line) > MOST_LINE_CHARACTERS:
                    raise HistoryError(number, f"longer than {MOST_LINE_CHARACTERS} characters")
                yield line


def _specification(path: Path) -> dict[str, Any]:
    from resilience.plan.problems import PlanInvalid
    from resilience.plan.texts import parse_value

    try:
        mapping = parse_value(_read(path), str(path))
    except PlanInvalid as error:
        fail_usage(str(error).splitlines()[0])
    if not isinstance(mapping, dict):
        fail_usage(f"{path}: a specification is a mapping, for example: dialect: purgatory")
    return mapping


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_SPEC_BYTES:
            fail_usage(f"{path} is larger than {MOST_SPEC_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail_usage(f"{path} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        fail_usage(f"{path} is not UTF-8 text")
