"""Where a runner can be killed: the boundaries between the steps of a fault's life, by name, and how one is reached.

A boundary is the instant after one step has had its effect and before the next one begins, or the middle of a step that has two
halves (a line that is written and not yet synced, a request that is sent and not yet answered). `instrument` puts marks around the
product's own functions, in the process that is to die and nowhere else: the product knows nothing of this, and runs
the same code in the same order. At the boundary that was asked for the process says so, waits for a word on standard input (so that
somebody can look at the target as it is at that very moment), and kills itself with SIGKILL. In the middle of a
request it does not wait: what is on its way then is what this is about.

    enter   held ─ headed ─ guarded
    inject  prepare.before ─ prepare.after ─ intent.before ─ intent.written ─ intent.synced ─ arm.before ─ arm.sent ─ arm.answered
            ─ lease.seen ─ inject.sent ─ inject.answered ─ inject.verified ─ step.written ─ step.synced
    heal    heal.before ─ heal.sent ─ heal.answered ─ heal.verified ─ tombstone.before ─ tombstone.written ─ tombstone.synced
            ─ disarm.sent ─ disarm.answered
    leave   released ─ retired
"""

from __future__ import annotations

import asyncio.selector_events
import contextlib
import functools
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import faults.session
import faults.undo.processes
from faults.guard import Guard
from faults.journal import Journal

ENTER = ("held", "headed", "guarded")
INJECT = (
    *("prepare.before", "prepare.after", "intent.before", "intent.written", "intent.synced"),
    *("arm.before", "arm.sent", "arm.answered", "lease.seen", "inject.sent", "inject.answered"),
    *("inject.verified", "step.written", "step.synced"),
)
HEAL = (
    *("heal.before", "heal.sent", "heal.answered", "heal.verified"),
    *("tombstone.before", "tombstone.written", "tombstone.synced", "disarm.sent", "disarm.answered"),
)
LEAVE = ("released", "retired")
BOUNDARIES = (*ENTER, *INJECT, *HEAL, *LEAVE)


IN_PLACE = ("inject.answered", "inject.verified", "step.written", "step.synced", "heal.before")
"""Where the fault must be seen to be in place, before its runner dies."""
NOT_YET = (*ENTER, *INJECT[: INJECT.index("inject.sent")])
"""Where nothing can have been sent yet."""


def say(**word: Any) -> None:
    """Tell the parent something, in one write."""
    os.write(sys.stdout.fileno(), json.dumps(word).encode() + b"\n")


class Boundaries:
    """The one boundary at which this process is to die, and what it is doing at the moment."""

    def __init__(self, at: str) -> None:
        if at not in BOUNDARIES:
            raise ValueError(f"there is no boundary {at!r}")
        self.at = at
        self.doing = ""

    def reach(self, name: str) -> None:
        """Die here, if it is here."""
        if name == self.at:
            say(reached=name)
            if not name.endswith(".sent"):
                os.read(sys.stdin.fileno(), 1)
            say(died=time.monotonic_ns())
            signal.raise_signal(signal.SIGKILL)

    @contextlib.contextmanager
    def while_doing(self, what: str) -> Any:
        """Name what goes on inside, for marks that are met by several steps."""
        before, self.doing = self.doing, what
        try:
            yield
        finally:
            self.doing = before


def instrument(marks: Boundaries, nemesis: type) -> None:
    """Put marks around everything that a session does with a nemesis of that class, in this process."""
    _session(marks)
    _journal(marks)
    _guard(marks)
    _nemesis(marks, nemesis)
    _requests(marks)


def _session(marks: Boundaries) -> None:
    hold = faults.session.hold_target

    @functools.wraps(hold)
    async def held(*args: Any) -> int:
        descriptor = await hold(*args)
        marks.reach("held")
        return descriptor

    faults.session.hold_target = held


def _journal(marks: Boundaries) -> None:
    create, append, retire, sync = Journal.create.__func__, Journal.append, Journal.retire, os.fsync

    def created(cls: type[Journal], *args: Any) -> Journal:
        journal: Journal = create(cls, *args)
        marks.reach("headed")
        return journal

    def appended(self: Journal, kind: str, **fields: Any) -> None:
        marks.reach(f"{kind}.before")
        with marks.while_doing(kind):
            append(self, kind, **fields)
        marks.reach(f"{kind}.synced")

    def synced(descriptor: int) -> None:
        marks.reach(f"{marks.doing}.written")
        sync(descriptor)

    def retired(self: Journal, copy_to: Any) -> bool:
        done = retire(self, copy_to)
        marks.reach("retired")
        return done

    Journal.create = classmethod(created)
    Journal.append = appended
    Journal.retire = retired
    os.fsync = synced


def _guard(marks: Boundaries) -> None:
    start, arm, disarm, close, write = (
        Guard.start.__func__,
        Guard.arm,
        Guard.disarm,
        Guard.close,
        Guard._write,
    )
    require = Guard.require_lease

    async def started(cls: type[Guard], **options: Any) -> Guard:
        guard: Guard = await start(cls, **options)
        # Whoever waits for the guardian's end must know of it, however early its runner dies.
        say(guardian=guard.pid)
        marks.reach("guarded")
        return guard

    def written(self: Guard, line: bytes) -> None:
        write(self, line)
        marks.reach(f"{json.loads(line)['op']}.sent")

    async def armed(self: Guard, *args: Any) -> int:
        marks.reach("arm.before")
        answered_ns: int = await arm(self, *args)
        marks.reach("arm.answered")
        return answered_ns

    async def disarmed(self: Guard, ticket: int) -> bool:
        done: bool = await disarm(self, ticket)
        marks.reach("disarm.answered")
        return done

    def required(self: Guard) -> None:
        require(self)
        marks.reach("lease.seen")

    async def closed(self: Guard) -> None:
        await close(self)
        marks.reach("released")

    Guard.start = classmethod(started)
    Guard._write = written
    Guard.arm, Guard.disarm, Guard.close, Guard.require_lease = armed, disarmed, closed, required


def _nemesis(marks: Boundaries, nemesis: type) -> None:
    steps = {
        "prepare": ("prepare", "prepare.before", "prepare.after"),
        "inject": ("inject", "", "inject.answered"),
        "verify_injected": ("", "", "inject.verified"),
        "heal": ("heal", "heal.before", "heal.answered"),
        "verify_healed": ("", "", "heal.verified"),
    }
    for method, (doing, before, after) in steps.items():
        setattr(nemesis, method, _marked(marks, getattr(nemesis, method), doing, before, after))


def _marked(
    marks: Boundaries, step: Callable[..., Any], doing: str, before: str, after: str
) -> Callable[..., Any]:
    @functools.wraps(step)
    async def marked(self: Any) -> Any:
        marks.reach(before)
        with marks.while_doing(doing):
            result = await step(self)
        marks.reach(after)
        return result

    return marked


def _requests(marks: Boundaries) -> None:
    """`inject.sent` and `heal.sent`: what changes the target is on its way, and nothing is known of it yet."""
    transport = asyncio.selector_events._SelectorSocketTransport
    transport.write = _after(marks, transport.write, lambda _, data: not bytes(data).startswith(b"GET "))
    http.client.HTTPConnection.getresponse = _before(marks, http.client.HTTPConnection.getresponse)
    os.kill = _after(marks, os.kill, lambda pid, number: pid != os.getpid() and number != 0)
    faults.undo.processes._start = _after(marks, faults.undo.processes._start, lambda *_: True)


def _after(
    marks: Boundaries, function: Callable[..., Any], counts: Callable[..., bool]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def marked(*args: Any) -> Any:
        result = function(*args)
        if marks.doing in ("inject", "heal") and counts(*args):
            marks.reach(f"{marks.doing}.sent")
        return result

    return marked


def _before(marks: Boundaries, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def marked(self: http.client.HTTPConnection) -> Any:
        if marks.doing in ("inject", "heal") and self._method != "GET":  # type: ignore[attr-defined]
            marks.reach(f"{marks.doing}.sent")
        return function(self)

    return marked
