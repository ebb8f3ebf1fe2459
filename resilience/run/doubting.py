"""What a stack itself holds against a run: reasons why what was measured says nothing about the system."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Doubted(Protocol):
    """A stack that can tell, once the load is over and before it goes down, why a run on it proves nothing."""

    async def doubts(self) -> tuple[str, ...]:
        """Every reason, one sentence each; none where all is well."""


async def doubts_of(stack: object) -> tuple[str, ...]:
    """The reasons of a stack that may have some. A proof that cannot be made is a reason."""
    if not isinstance(stack, Doubted):
        return ()
    try:
        return await stack.doubts()
    except Exception as error:  # noqa: BLE001 - whatever it is: what was not proved is not taken for proved
        return (f"it cannot be proved that the run was what it should be: {type(error).__name__}: {error}",)
