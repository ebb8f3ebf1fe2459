"""An undo: the exact inverse of one fault, as data that survives its runner. Pure.

`kind` names an entry of the closed registry in `faults.undo`; `args` are its JSON arguments. `fallback` is a second
undo that is executed, once, when the first one's target does not answer (restart the frozen proxy's container), after
which the first is verified again. `secret` travels to the guardian over its pipe and is never written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Undo"]


@dataclass(frozen=True, slots=True)
class Undo:
    """The inverse of one fault."""

    kind: str
    args: Mapping[str, Any]
    fallback: "Undo | None" = None
    secret: str | None = field(default=None, repr=False, compare=False)

    def to_json(self, *, with_secrets: bool = False) -> dict[str, Any]:
        """Return the undo as a JSON object; secrets only where asked for (the pipe, never a file)."""
        value: dict[str, Any] = {"kind": self.kind, "args": dict(self.args)}
        if self.fallback is not None:
            value["fallback"] = self.fallback.to_json(with_secrets=with_secrets)
        if with_secrets and self.secret is not None:
            value["secret"] = self.secret
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, secret: str | None = None) -> "Undo":
        """Return the undo of a JSON object. `secret` stands in where the object has none.

        Raises ValueError where the object is no undo.
        """
        kind, args, fallback = value.get("kind"), value.get("args"), value.get("fallback")
        if not isinstance(kind, str) or not isinstance(args, Mapping):
            raise ValueError("an undo needs a `kind` and `args`")  # noqa: TRY004 - one error for all of malformed JSON
        own = value.get("secret")
        return cls(
            kind=kind,
            args=dict(args),
            fallback=None if fallback is None else cls.from_json(fallback, secret=secret),
            secret=own if isinstance(own, str) else secret,
        )
