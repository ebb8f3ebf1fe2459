"""The guardian: a process of its own that takes faults out when their runner no longer can.

`python -m faults.guardian --journal-fd N --journal PATH`, started by `faults.guard` in its own session (no terminal, no
process group in common with the runner), with the runner's end of a pipe as standard input. It inherits the locked
journal and the target's lock, so both stay held until it is done.

    requests, one JSON object a line:  {"re": 1, "op": "arm"|"beat"|"disarm", "stamp_ns": ..., ...}
    answers:                           {"re": 1, "ok": true, "lease_until_ns": ...} | {"re": 1, "ok": false, "reason": "..."}
    of its own accord:                 {"event": "settled", "ticket": ..., "reason": ..., "clean": ..., ...}

It undoes what is armed on: end of file (the runner died, or let go), 3 s without a heartbeat (the runner is frozen), a
fault's maximum duration, SIGTERM. Each undo runs in a thread of its own, so one frozen target delays no other, and the
main thread keeps answering. Undoing ends with two clean looks 500 ms apart and a tombstone, or after a minute with an
`unhealed` record.

After end of file it exits when all is settled: 0, or 1 where something could not be verified. A runner that was only
frozen leaves it fenced, lingering until that runner's end: it grants nothing, and on the first sign of a thaw it looks
at every fault again, because a request that had passed the runner's own check may still come out.

It holds no library state: standard library only, no event loop, nothing shared with the runner but pipe and journal.
"""

import argparse
import contextlib
import json
import logging
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from faults.errors import JournalError
from faults.journal import Journal
from faults.lease import Armed, Due, Watch
from faults.undo import UNDO_KINDS, Undo, UndoKind, UndoOutcome, undo_until_clean

__all__ = ["Guardian", "main", "outcome_fields"]

_GIVE_UP_NS: Final = 60_000_000_000
_IDLE_POLL_NS: Final = 250_000_000
_BUSY_POLL_NS: Final = 20_000_000
_LINE_LIMIT: Final = 1 << 16

_log = logging.getLogger("faults.guardian")


def outcome_fields(outcome: UndoOutcome) -> dict[str, Any]:
    """Return an undo's outcome as fields of a journal record or a message."""
    remark = {} if outcome.remark is None else {"remark": outcome.remark}
    return {
        **remark,
        "clean": outcome.clean,
        "healed_at": outcome.healed,
        "verified_at": outcome.verified,
        "rounds": outcome.rounds,
        "fallback_used": outcome.fallback_used,
        "error": outcome.error,
    }


class Guardian:
    """The process around a `Watch`: reads lines, starts undo threads, writes answers and tombstones."""

    def __init__(
        self,
        *,
        journal: Journal,
        stdin_fd: int,
        stdout_fd: int,
        registry: Mapping[str, UndoKind] = UNDO_KINDS,
    ) -> None:
        self._journal = journal
        self._stdin_fd = stdin_fd
        self._stdout_fd = stdout_fd
        self._registry = registry
        self._watch = Watch(last_stamp_ns=time.monotonic_ns())
        self._outcomes: queue.SimpleQueue[tuple[Due, UndoOutcome]] = queue.SimpleQueue()
        self._buffer = b""
        self._released = False

    def release(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Heal everything and exit; what SIGTERM does, and what end of file does."""
        self._released = True

    def run(self) -> int:
        """Serve until the runner is gone and everything is settled; return the exit code."""
        self._say({"ready": True, "pid": os.getpid()})
        while True:
            self._read()
            if self._released:
                self._watch.release()
            now_ns = time.monotonic_ns()
            for due in self._watch.due(now_ns):
                reason = "end_of_file" if self._released and due.reason == "silence" else due.reason
                self._start(Due(due.armed, reason))
            self._collect()
            if self._released and not self._watch.armed:
                return 1 if self._watch.unverified else 0

    def _read(self) -> None:
        """Wait for input until something is due, then take in all there is: beats in the pipe count before silence."""
        if self._released:
            # A closed pipe is always readable: waiting on it would spin.
            time.sleep(_BUSY_POLL_NS / 1e9 if self._watch.healing else 0)
            return
        now_ns = time.monotonic_ns()
        limit_ns = _BUSY_POLL_NS if self._watch.healing else _IDLE_POLL_NS
        wake_ns = self._watch.wake_ns()
        wait_ns = limit_ns if wake_ns is None else min(limit_ns, max(0, wake_ns - now_ns))
        while select.select([self._stdin_fd], [], [], wait_ns / 1e9)[0]:
            wait_ns = 0
            data = os.read(self._stdin_fd, _LINE_LIMIT)
            if not data:
                _log.info("end of file: the runner is gone or has let go")
                self.release()
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            if len(self._buffer) > _LINE_LIMIT:
                self._buffer = b""
            for line in lines:
                self._obey(line)

    def _obey(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number, op, stamp_ns = int(request["re"]), str(request["op"]), int(request["stamp_ns"])
        except (ValueError, KeyError, TypeError):
            _log.error("not understood: %r", line[:200])
            return
        now_ns = time.monotonic_ns()
        lease_until_ns = self._watch.beat(stamp_ns, now_ns)
        if self._watch.fenced:
            for due in self._watch.recheck():
                self._start(due)
        refusal = self._act(op, request, lease_until_ns)
        answer: dict[str, Any] = {"re": number, "ok": refusal is None, "lease_until_ns": lease_until_ns}
        if refusal is not None:
            answer["reason"] = refusal
        self._say(answer)

    def _act(self, op: str, request: Mapping[str, Any], lease_until_ns: int | None) -> str | None:
        """Carry out one request; return why not, or None."""
        if op == "disarm":
            return None if self._watch.disarm(int(request.get("ticket", -1))) else "healing"
        if lease_until_ns is None:
            return "fenced"
        if op == "arm":
            return self._arm(request)
        return None if op == "beat" else f"unknown operation {op!r}"

    def _arm(self, request: Mapping[str, Any]) -> str | None:
        try:
            undo = dict(request["undo"])
            kind = Undo.from_json(undo).kind
            fault = Armed(
                ticket=int(request["ticket"]),
                fault_id=str(request["fault_id"]),
                undo=undo,
                deadline_ns=int(request["deadline_ns"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            return f"the fault is not understood: {error}"
        if kind not in self._registry:
            return f"no way to undo {kind!r} is known"
        return None if self._watch.arm(fault) else "ticket in use"

    def _start(self, due: Due) -> None:
        _log.warning("undoing %s (%s)", due.armed.fault_id, due.reason)
        threading.Thread(target=self._undo, args=(due,), name=f"undo-{due.armed.ticket}", daemon=True).start()

    def _undo(self, due: Due) -> None:
        outcome = undo_until_clean(
            Undo.from_json(due.armed.undo),
            registry=self._registry,
            clock_ns=time.monotonic_ns,
            sleep_s=time.sleep,
            give_up_ns=time.monotonic_ns() + _GIVE_UP_NS,
        )
        self._outcomes.put((due, outcome))

    def _collect(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                due, outcome = self._outcomes.get_nowait()
                self._settle(due, outcome)

    def _settle(self, due: Due, outcome: UndoOutcome) -> None:
        fault = due.armed
        fields = {
            "ticket": fault.ticket,
            "fault_id": fault.fault_id,
            "by": "guardian",
            "reason": due.reason,
            **outcome_fields(outcome),
        }
        if not outcome.clean:
            _log.error("%s could not be verified as gone: %s", fault.fault_id, outcome.error)
        try:
            self._journal.append("tombstone" if outcome.clean else "unhealed", **fields)
        except JournalError as error:
            # Healed is healed; without its tombstone the next sweep undoes it once more, which is harmless.
            _log.warning("%s", error)
        self._watch.settle(fault.ticket, verified=outcome.clean)
        self._say({"event": "settled", **fields})

    def _say(self, message: Mapping[str, Any]) -> None:
        # The pipe to a frozen runner may be full, to a dead one broken; neither may keep the guardian from healing.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._stdout_fd, json.dumps(message, separators=(",", ":")).encode() + b"\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the guardian process."""
    parser = argparse.ArgumentParser(
        prog="python -m faults.guardian", description="Undoes faults whose runner died."
    )
    parser.add_argument("--journal-fd", type=int, required=True, help="the inherited, locked journal")
    parser.add_argument("--journal", type=Path, required=True, help="its path")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s guardian %(levelname)s %(message)s", stream=sys.stderr
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.set_blocking(sys.stdout.fileno(), False)
    guardian = Guardian(
        journal=Journal.adopt(options.journal_fd, options.journal),
        stdin_fd=sys.stdin.fileno(),
        stdout_fd=sys.stdout.fileno(),
    )
    signal.signal(signal.SIGTERM, guardian.release)
    return guardian.run()


if __name__ == "__main__":
    sys.exit(main())
