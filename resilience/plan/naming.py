"""The names that a load's templates may use, and what is said of others. Pure.

Known are `{i}`, the fields that every row of the data has, variables, what a driver adds (`{user}`), and what earlier steps extract. Where
names grow with the steps, a variable is looked at in each place that uses it: only there it is certain what is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from resilience.load.requests import Row
from resilience.plan.calls import rows_of
from resilience.plan.schema.calls import AnyCall, SessionLoad, WebSocketLoad
from resilience.plan.templates import placeholders

_STAND_IN: Final = "1"
"""For what an answer will give: a value that is fine in a URL, a header, a number."""


class Names:
    """What the templates of one load may use; `known` grows as steps extract values."""

    def __init__(self, call: AnyCall, extra: Collection[str] = (), *, grow: bool = False) -> None:
        self.rows: tuple[Row, ...] = rows_of(call.data)
        fields = set.intersection(*(set(row) for row in self.rows)) if self.rows else set()
        self.variables: Mapping[str, str] = getattr(call, "variables", {})
        self.known = {"i", *fields, *extra}
        self.grow = grow
        self.said = ", ".join(sorted({*fields, *extra, *self.variables})) or "none"

    def unknown(self, texts: Iterable[str], *more: str) -> Iterator[str]:
        """What is wrong with templates that use other names."""
        used: set[str] = set()
        for name in placeholders(texts):
            if name not in self.variables:
                used.add(name)
            elif self.grow:
                used |= placeholders((self.variables[name],))
        for name in sorted(used - self.known - set(more)):
            yield f"{{{name}}} is neither {{i}} nor a field of the data ({self.said})"

    def filled(self) -> tuple[Row, ...]:
        """The rows with what all of them have, and stand-ins for what only an answer will give."""
        extra = dict.fromkeys(self.known - {"i"}, _STAND_IN)
        rows = self.rows or ({},)
        return tuple({**extra, **{name: row[name] for name in row if name in self.known}} for row in rows)


def names_of(call: AnyCall) -> Names:
    """The names that a call begins with."""
    steps = isinstance(call, SessionLoad | WebSocketLoad)
    return Names(call, ("user",) if steps else (), grow=steps)
