"""The runner's side of the guardian: starts it, arms faults, beats, and knows whether injecting is still allowed.

The guardian is started through `subprocess` in a session of its own. Requests are written without waiting (a line is
far smaller than the pipe); answers arrive through the event loop's reader. Heartbeats come from the event loop, not
from a thread, on purpose: a loop that is stuck cannot heal, so it must not claim to be alive.

`require_lease` is synchronous and looks at nothing but the clock, the last lease, and whether the guardian lives:
call it directly before a request that injects. A lease counts from the moment a heartbeat was *sent*.

The guardian's death is noticed by the end of its output, its freezing by a lease that stays unrenewed. `on_lost` is then called
once, as it is when the guardian says that it has fenced this runner off. A `Guard` never starts a second guardian: faults
that the first may have undone would be armed again.
"""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import faults
from faults.errors import FaultError, GuardianLost, LeaseExpired
from faults.lease import HEARTBEAT_NS, SILENCE_NS, lease_end_ns, lease_holds
from faults.undo import Undo

__all__ = ["Guard"]

_ANSWER_S: Final = 2.0
_START_S: Final = 10.0
_CLOSE_S: Final = 2.0
_PIPE_LINE_BYTES: Final = 4096  # POSIX's lower bound for PIPE_BUF on Linux: written whole or not at all

_log = logging.getLogger(__name__)

Message = dict[str, Any]


class Guard:
    """A live guardian process. Made by `start`; ended by `close`, which heals nothing that was disarmed."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        on_settled: Callable[[Message], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._process = process
        self._on_settled = on_settled
        self._on_lost = on_lost
        self._lost: str | None = None
        self._lease_until_ns = 0
        self._numbers = 0
        self._stamps: dict[int, int] = {}
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._beating: asyncio.Task[None] | None = None
        self._closing = False
        assert process.stdin is not None
        assert process.stdout is not None
        self._in_fd, self._out_fd = process.stdin.fileno(), process.stdout.fileno()

    @classmethod
    async def start(
        cls,
        *,
        journal_fd: int,
        journal: Path,
        held_fds: tuple[int, ...],
        log: Path,
        on_settled: Callable[[Message], None],
        on_lost: Callable[[str], None],
    ) -> Self:
        """Start a guardian and wait until it serves and has granted a first lease.

        `held_fds` are further descriptors it keeps open (locks). `log` takes its standard error: not the runner's,
        which a test harness may be waiting on. Raises GuardianLost.
        """
        try:
            process = _spawn(journal_fd, journal, held_fds, log)
        except OSError as error:
            raise GuardianLost(f"the guardian could not be started: {error}") from error
        guard = cls(process, on_settled=on_settled, on_lost=on_lost)
        try:
            os.set_blocking(guard._in_fd, False)
            os.set_blocking(guard._out_fd, False)
            asyncio.get_running_loop().add_reader(guard._out_fd, guard._read)
            async with asyncio.timeout(_START_S):
                await guard._ready
            await guard._ask("beat")
        except BaseException as error:
            await guard.close()
            if isinstance(error, TimeoutError):
                raise GuardianLost(
                    f"the guardian did not get ready within {_START_S:g} s; see {log}"
                ) from error
            raise
        guard._beating = asyncio.create_task(guard._beat(), name="guardian-heartbeat")
        return guard

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """Why the guardian no longer vouches for this runner, or None."""
        return self._lost

    def require_guardian(self) -> None:
        """Raise GuardianLost unless the guardian lives and has not fenced this runner off, as far as is known here."""
        if self._lost is None and self._process.poll() is not None:
            self._lose(f"the guardian ended with status {self._process.returncode}")
        if self._lost is not None:
            raise GuardianLost(f"{self._lost}; nothing more is injected in this session")

    def require_lease(self) -> None:
        """Raise LeaseExpired or GuardianLost unless an injection may start at this very moment."""
        self.require_guardian()
        now_ns = time.monotonic_ns()
        if not lease_holds(self._lease_until_ns, now_ns):
            late_ms = (now_ns - self._lease_until_ns) / 1e6
            raise LeaseExpired(
                f"the guardian's lease ran out {late_ms:.0f} ms ago: this runner was stopped or stalled"
            )

    async def arm(self, ticket: int, fault_id: str, undo: Undo, deadline_ns: int) -> int:
        """Put a fault under guard; return when the guardian's answer was read. Raises FaultError, LeaseExpired."""
        await self._ask(
            "arm",
            ticket=ticket,
            fault_id=fault_id,
            undo=undo.to_json(with_secrets=True),
            deadline_ns=deadline_ns,
        )
        return time.monotonic_ns()

    async def disarm(self, ticket: int) -> bool:
        """Release a healed fault; False while the guardian itself is busy undoing it (it will tell when done)."""
        try:
            await self._ask("disarm", ticket=ticket)
        except LeaseExpired:
            return True
        except FaultError:
            return False
        return True

    async def close(self) -> None:
        """Let go of the guardian. It heals what is still armed and exits; waited for up to 2 s, never killed."""
        self._closing = True
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        asyncio.get_running_loop().remove_reader(self._out_fd)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            end_ns = time.monotonic_ns() + int(_CLOSE_S * 1e9)
            while self._process.poll() is None and time.monotonic_ns() < end_ns:  # noqa: ASYNC110 - a process has no event to wait on
                await asyncio.sleep(0.01)
        finally:
            self._drain()
            self._process.stdout.close()
            self._fail_waiting("the guardian was let go")

    async def _beat(self) -> None:
        while self._lost is None:
            with contextlib.suppress(FaultError):
                await self._ask("beat")
            if time.monotonic_ns() > self._lease_until_ns + SILENCE_NS:
                self._lose("the guardian does not answer any more")
            await asyncio.sleep(HEARTBEAT_NS / 1e9)

    async def _ask(self, op: str, **fields: Any) -> Message:
        """Send one request and wait for its answer, which renews the lease from the time of sending."""
        if self._lost is not None:
            raise GuardianLost(self._lost)
        self._numbers += 1
        number = self._numbers
        stamp_ns = time.monotonic_ns()
        line = json.dumps({"re": number, "op": op, "stamp_ns": stamp_ns, **fields}).encode() + b"\n"
        if len(line) > _PIPE_LINE_BYTES:
            raise FaultError(f"a request of {len(line)} bytes is too long for the guardian")
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._stamps[number] = stamp_ns
        try:
            self._write(line)
            async with asyncio.timeout(_ANSWER_S):
                message: Message = await answer
        except TimeoutError as error:
            raise LeaseExpired(f"the guardian did not answer {op!r} within {_ANSWER_S:g} s") from error
        finally:
            self._waiting.pop(number, None)
            self._stamps.pop(number, None)
        if message.get("ok") is not True:
            if message.get("reason") == "fenced":
                self._lose("the guardian found this runner frozen, healed its faults and fenced it off")
                raise LeaseExpired(str(self._lost))
            raise FaultError(f"the guardian refused {op!r}: {message.get('reason')}")
        return message

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._in_fd, line)
        except BlockingIOError as error:
            raise LeaseExpired("the guardian has stopped reading") from error
        except OSError as error:
            self._lose(f"the guardian is gone ({error.strerror})")
            raise GuardianLost(str(self._lost)) from error

    def _read(self) -> None:
        if not self._drain():
            asyncio.get_running_loop().remove_reader(self._out_fd)
            self._lose("the guardian has ended")

    def _drain(self) -> bool:
        """Take in what the guardian has said; False at the end of its output."""
        try:
            while data := os.read(self._out_fd, 1 << 16):
                *lines, self._buffer = (self._buffer + data).split(b"\n")
                for line in lines:
                    self._take(line)
        except BlockingIOError:
            return True
        except OSError:
            _log.debug("the guardian's output failed", exc_info=True)
        return False

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            _log.warning("the guardian said %r", line[:200])
            return
        if message.get("ready") and not self._ready.done():
            self._ready.set_result(None)
        elif message.get("event") == "settled":
            self._on_settled(message)
        else:
            self._answer(message)

    def _answer(self, message: Message) -> None:
        number = message.get("re")
        stamp_ns = self._stamps.get(number) if isinstance(number, int) else None
        if stamp_ns is None or not isinstance(number, int):
            return
        granted = message.get("lease_until_ns")
        if isinstance(granted, int):
            # Whatever was granted, never more than this side computes from its own sending time.
            ours_ns = lease_end_ns(stamp_ns, time.monotonic_ns())
            self._lease_until_ns = max(self._lease_until_ns, min(granted, ours_ns))
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(message)

    def _lose(self, why: str) -> None:
        if self._lost is not None:
            return
        self._lost = why
        self._lease_until_ns = 0
        self._fail_waiting(why)
        if not self._closing:
            _log.error("%s", why)
            self._on_lost(why)

    def _fail_waiting(self, why: str) -> None:
        pending: list[asyncio.Future[Any]] = [*self._waiting.values(), self._ready]
        for future in pending:
            if not future.done():
                future.set_exception(GuardianLost(why))
                future.exception()  # retrieved: nobody may be waiting any more


def _spawn(journal_fd: int, journal: Path, held_fds: tuple[int, ...], log: Path) -> subprocess.Popen[bytes]:
    # The guardian must be this very package, wherever the runner was started: a user's repository may have a
    # folder of the same name (-P keeps the working directory out; the path names ours first).
    ours = str(Path(faults.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ours, inherited] if inherited else [ours])}
    with log.open("ab") as stderr:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "faults.guardian"),
                *("--journal-fd", str(journal_fd), "--journal", str(journal)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=(journal_fd, *held_fds),
            start_new_session=True,
            cwd="/",
            env=environment,
            bufsize=0,
        )
