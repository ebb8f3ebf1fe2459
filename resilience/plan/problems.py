"""What can be wrong with a plan, said once for every caller.

A problem names the place as a path of keys and indices (`("faults", 0, "start")`); the loader turns it into
source:line:column, the source being the plan, an overlay or a `--set`. `PlanInvalid` carries all problems that were
found, not only the first.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to write instead. An empty `source` is the plan itself."""

    path: Path
    message: str
    at_key: bool = False
    line: int = 0
    column: int = 0
    source: str = ""

    def __str__(self) -> str:
        return f"{'.'.join(str(part) for part in self.path)}: {self.message}" if self.path else self.message


class PlanInvalid(Exception):  # noqa: N818 - the verdict's word for it
    """A plan that cannot be run; nothing was started."""

    def __init__(self, problems: Iterable[Problem], source: str = "plan") -> None:
        self.problems = tuple(
            sorted(
                problems,
                key=lambda p: (p.source not in ("", source), p.source, p.line, p.column, str(p.path)),
            )
        )
        self.source = source
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line a problem: `source:line:column: path: message`."""
        return [
            f"{p.source or self.source}:{p.line}:{p.column}: {p}"
            if p.line
            else f"{p.source or self.source}: {p}"
            for p in self.problems
        ]


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or the list of what is known, for the end of a message."""
    names = sorted(set(known))
    begun = [name for name in names if word and name.startswith(word)]
    if len(begun) > 1:
        return f"; did you mean one of {', '.join(begun)}?"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
