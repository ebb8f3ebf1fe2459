"""The fault session: the only way in which faults get injected, and where they are taken out again.

    enter:   sweep what dead runners left, hold the target, create the journal, start the guardian
    inject:  blast radius ─ prepare ─ blast radius ─ journal (fsync) ─ arm ─ LEASE ─ inject ─ verify
    heal:    heal ─ verify ─ tombstone (fsync) ─ disarm
    leave:   heal everything, let the guardian go, archive the journal

Invariants:
- Nothing is sent to a target before its exact inverse is on disk and in the guardian's hands.
- Between the look at the lease and the start of the injecting request there is no await. After the request the lease is
  looked at again; if it ran out meanwhile the fault is healed at once.
- A request whose fate is unknown (error, time-out, cancellation) is undone until the target is clean twice.
- An error while healing never hides another fault's healing. What cannot be healed here stays armed, and journaled.
- With the guardian gone, everything is healed at once by the session itself, and nothing goes in any more.

Events go to `on_event` as they are known. A callback that raises is logged and otherwise ignored: safety comes first.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from faults.blast_radius import BlastRadius, Reach
from faults.errors import (
    FaultError,
    FaultNotInjected,
    FaultRefused,
    FaultUnhealed,
    JournalError,
    TargetBusy,
)
from faults.guard import Guard
from faults.guardian import outcome_fields
from faults.holding import hold_target
from faults.journal import Journal, default_state_dir
from faults.live import LiveFault, outcome_of_message, take_out, words
from faults.nemesis import FaultEvent, Nemesis, Slow, Step
from faults.sweep import SweptFault, sweep
from faults.undo import Undo, UndoOutcome

__all__ = ["FaultSession", "SweptFault", "default_state_dir", "sweep"]

_PREPARE_S: Final = 5.0
_INJECT_S: Final = 2.5
_SETTLE_S: Final = 5.0

_log = logging.getLogger(__name__)


class FaultSession:
    """An async context manager around all faults of one run on one target."""

    def __init__(
        self,
        *,
        state_dir: Path,
        target: str,
        allow: BlastRadius,
        on_event: Callable[[FaultEvent], None],
        run_dir: Path | None = None,
    ) -> None:
        self.session = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"
        self._state_dir = state_dir.absolute()
        self._target = target
        self._allow = allow
        self._on_event = on_event
        self._run_dir = run_dir
        self._live: dict[str, LiveFault] = {}
        self._tickets: dict[int, LiveFault] = {}
        self._ticket = 0
        self._ended: set[str] = set()
        self._lock_fd = -1
        self._journal: Journal | None = None
        self._guard: Guard | None = None
        self._emergency: asyncio.Task[list[str]] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Open the session. Raises TargetBusy, JournalError, GuardianLost; then nothing is held or running."""
        try:
            await self._open()
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Heal everything and let go. Raises FaultUnhealed where no other error is on its way already."""
        unhealed: list[str] = []
        try:
            if self._emergency is not None:
                await asyncio.wait([self._emergency])
            unhealed = await self.heal_all()
        finally:
            if self._emergency is not None:
                self._emergency.cancel()
            # Also when healing was cancelled: closing its pipe makes the guardian heal what is still armed.
            await self._release()
        if unhealed and error is None:
            raise FaultUnhealed(f"not verified as healed: {', '.join(unhealed)}; run `chaos-spike undo`")

    @property
    def guardian_pid(self) -> int | None:
        """The guardian's process id while the session is open."""
        return None if self._guard is None else self._guard.pid

    async def inject(self, nemesis: Nemesis) -> None:
        """Put a fault in; return when the target has confirmed it.

        Raises FaultRefused (blast radius, or an equal fault is in place), JournalError, LeaseExpired, FaultNotInjected.
        Whatever it raises, the fault is not left in place, or it stays known and is healed with the rest.
        """
        guard, journal = self._opened()
        guard.require_guardian()
        undo = await self._admit(nemesis)
        live = self._journaled(journal, nemesis, undo)
        try:
            armed_from_ns = time.monotonic_ns()
            answered_ns = await guard.arm(live.ticket, live.fault_id, undo, live.deadline_ns)
            self._emit(live, "armed", (armed_from_ns, answered_ns), {"guardian": guard.pid})
            guard.require_lease()
        except FaultError as error:
            await self._withdraw(live, str(error))
            if isinstance(error, FaultNotInjected):
                raise
            raise FaultNotInjected(str(error)) from error
        await self._request(guard, live)

    async def heal(self, fault_id: str) -> None:
        """Take one fault out and verify it. A fault that has ended already is fine.

        Raises FaultUnhealed where it cannot be verified, FaultError where it was never injected here.
        """
        live = self._live.get(fault_id)
        if live is None:
            if fault_id in self._ended:
                return
            raise FaultError(f"no fault {fault_id!r} was injected in this session")
        if not await self._heal(live, "healed"):
            raise FaultUnhealed(
                f"the fault {fault_id!r} could not be verified as healed; the guardian keeps trying"
            )

    async def heal_all(self) -> list[str]:
        """Take out all faults side by side; return the ids of those that could not be verified as gone."""
        return await self._heal_all("heal_all")

    async def _open(self) -> None:
        left = await asyncio.to_thread(sweep, self._state_dir)
        self._lock_fd = await hold_target(self._state_dir, self._target, self.session)
        for fault in left:
            if fault.target == self._target and not fault.clean:
                raise TargetBusy(
                    f"the fault {fault.fault_id!r} of a dead session is still on {self._target!r} ({fault.error}); "
                    f"run `chaos-spike undo`. Its journal is {fault.journal}"
                )
        header = {"target": self._target, "pid": os.getpid(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self._journal = Journal.create(self._state_dir, self.session, header)
        if self._run_dir is not None:
            self._journal.link_into(self._run_dir)
        self._guard = await Guard.start(
            journal_fd=self._journal.fd,
            journal=self._journal.path,
            held_fds=(self._lock_fd,),
            log=self._log_path(),
            on_settled=self._on_settled,
            on_lost=self._on_lost,
        )

    def _opened(self) -> tuple[Guard, Journal]:
        if self._guard is None or self._journal is None or self._closed:
            raise FaultRefused("the fault session is not open")
        return self._guard, self._journal

    async def _admit(self, nemesis: Nemesis) -> Undo:
        """Ask the blast radius before anything is contacted, and again when all that is touched is known."""
        if nemesis.fault_id in self._live:
            raise FaultRefused(f"a fault {nemesis.fault_id!r} is in place already")
        self._require_radius(nemesis, nemesis.reach())
        try:
            async with asyncio.timeout(_PREPARE_S):
                reach = await nemesis.prepare()
        except FaultError:
            raise
        except Exception as error:
            raise FaultNotInjected(
                f"the target of {nemesis.fault_id!r} cannot be read: {words(error)}"
            ) from error
        self._require_radius(nemesis, reach)
        undo = nemesis.undo()
        if any(nemesis.fault_id == live.fault_id or undo == live.undo for live in self._live.values()):
            raise FaultRefused(
                f"a fault with the same id or the same inverse as {nemesis.fault_id!r} is in place already"
            )
        return undo

    def _require_radius(self, nemesis: Nemesis, reach: Reach) -> None:
        why = self._allow.refusal(reach, duration_ns=nemesis.max_duration_ns, active=len(self._live))
        if why is not None:
            raise FaultRefused(f"the fault {nemesis.fault_id!r} is outside the blast radius: {why}")

    def _journaled(self, journal: Journal, nemesis: Nemesis, undo: Undo) -> LiveFault:
        lo_ns = time.monotonic_ns()
        self._ticket += 1
        live = LiveFault(self._ticket, nemesis, undo, lo_ns + nemesis.max_duration_ns)
        try:
            journal.append(
                "intent",
                ticket=live.ticket,
                fault_id=live.fault_id,
                undo=undo.to_json(),
                fault=nemesis.describe(),
                deadline_ns=live.deadline_ns,
                at_ns=lo_ns,
            )
        except JournalError:
            # The record may have reached the disk all the same; nothing was sent, so nothing is to be undone.
            self._note("tombstone", live, {"by": "session", "reason": "not_journaled"})
            raise
        self._live[live.fault_id] = self._tickets[live.ticket] = live
        self._emit(live, "journaled", (lo_ns, time.monotonic_ns()), {"journal": str(journal.path)})
        return live

    async def _request(self, guard: Guard, live: LiveFault) -> None:
        """Send the injecting request. The caller has looked at the lease, and nothing was awaited since."""
        async with live.busy:  # healing waits for the request's answer: what it overtook would come back
            lo_ns = hi_ns = time.monotonic_ns()
            limit_s = live.nemesis.inject_timeout_s if isinstance(live.nemesis, Slow) else _INJECT_S
            try:
                async with asyncio.timeout(limit_s):
                    await live.nemesis.inject()
                    hi_ns = time.monotonic_ns()
                    confirmed = await live.nemesis.verify_injected()
                guard.require_lease()
                if not confirmed or live.done:
                    raise FaultNotInjected(
                        f"the target took {live.fault_id!r}, but does not show it any more"
                    )
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the fault must come out again
                failure = error
            else:
                live.certain = True
                self._step(live, "injected", (lo_ns, hi_ns), live.nemesis.describe())
                return
            # It counts as live again, even if the guardian has undone it meanwhile: this request may have come later.
            live.done = False
            self._live[live.fault_id] = self._tickets[live.ticket] = live
        await self._heal(live, "injection_failed")
        if isinstance(failure, FaultError):
            raise failure
        raise FaultNotInjected(f"injecting {live.fault_id!r} failed: {words(failure)}") from failure

    async def _withdraw(self, live: LiveFault, why: str) -> None:
        """End a fault for which no injecting request was ever sent."""
        self._bury(live, {"by": "session", "reason": "never_injected", "error": why})
        await self._disarm(live)
        self._forget(live)

    async def _heal_all(self, why: str) -> list[str]:
        lives = list(reversed(self._live.values()))
        healed = await asyncio.gather(*(self._heal(live, why) for live in lives))
        return sorted(live.fault_id for live, clean in zip(lives, healed, strict=True) if not clean)

    async def _heal(self, live: LiveFault, why: str) -> bool:
        async with live.busy:
            if live.done:
                return True
            outcome = await take_out(live)
            # The guardian may have been faster (a maximum duration), and has told so meanwhile.
            if not live.done:
                self._conclude(live, outcome, {"by": "session", "reason": why})
            if outcome.clean:
                await self._disarm(live)
                self._forget(live)
            return live.done

    def _conclude(self, live: LiveFault, outcome: UndoOutcome, detail: Mapping[str, Any]) -> bool:
        """Write down and tell how a healing ended; return whether the fault is gone."""
        now_ns = time.monotonic_ns()
        if not outcome.clean:
            self._step(live, "unhealed", (now_ns, now_ns), {**detail, "error": outcome.error})
            return False
        if outcome.remark is not None:
            _log.warning("healing %s: %s", live.fault_id, outcome.remark)
            detail = {**detail, "remark": outcome.remark}
        self._bury(live, {**detail, **outcome_fields(outcome)})
        self._emit(live, "healed", outcome.healed or (now_ns, now_ns), {**detail, "rounds": outcome.rounds})
        self._emit(live, "verified", outcome.verified or (now_ns, now_ns), detail)
        return True

    async def _disarm(self, live: LiveFault) -> None:
        if self._guard is None or self._guard.lost is not None or await self._guard.disarm(live.ticket):
            return
        # The guardian is undoing the same fault. An equal one put in before it has finished would be undone as well.
        try:
            async with asyncio.timeout(_SETTLE_S):
                await live.settled.wait()
        except TimeoutError:
            _log.warning("the guardian has not finished undoing %s", live.fault_id)

    def _on_settled(self, message: Mapping[str, Any]) -> None:
        """Take in that the guardian has undone a fault of its own accord."""
        live = self._tickets.get(int(message.get("ticket", 0)))
        if live is None:
            return
        live.settled.set()
        if live.done:
            return
        now_ns = time.monotonic_ns()
        detail = {"by": "guardian", "reason": message.get("reason")}
        outcome = outcome_of_message(message)
        began_ns = outcome.healed[0] if outcome.healed else now_ns
        since_ns = live.deadline_ns if message.get("reason") == "max_duration" else began_ns
        self._emit(live, "expired", (min(since_ns, began_ns), began_ns), detail)
        if self._conclude(live, outcome, detail):
            self._forget(live)

    def _forget(self, live: LiveFault) -> None:
        """Free a fault's id and inverse: from now on an equal fault may go in. Of what has ended its id stays, and no more."""
        self._ended.add(live.fault_id)
        self._tickets.pop(live.ticket, None)
        if self._live.get(live.fault_id) is live:
            del self._live[live.fault_id]

    def _on_lost(self, why: str) -> None:
        if self._closed or not self._live:
            return
        _log.error("healing everything: %s", why)
        self._emergency = asyncio.get_running_loop().create_task(
            self._heal_all("guardian_lost"), name="heal-all"
        )

    def _bury(self, live: LiveFault, fields: Mapping[str, Any]) -> None:
        live.done = True
        self._note("tombstone", live, fields)

    def _step(self, live: LiveFault, step: Step, at: tuple[int, int], detail: Mapping[str, Any]) -> None:
        """Tell a step and note it in the journal, where it helps people but decides nothing."""
        self._note(
            "unhealed" if step == "unhealed" else "step", live, {"step": step, "at": at, "detail": detail}
        )
        self._emit(live, step, at, detail)

    def _note(self, kind: str, live: LiveFault, fields: Mapping[str, Any]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.append(kind, **{**fields, "ticket": live.ticket, "fault_id": live.fault_id})
        except JournalError as error:
            # The fault is what it is; a missing tombstone makes the next sweep undo it again, harmlessly.
            _log.warning("%s", error)

    def _emit(self, live: LiveFault, step: Step, at: tuple[int, int], detail: Mapping[str, Any]) -> None:
        try:
            self._on_event(FaultEvent(live.fault_id, step, at, dict(detail)))
        except Exception:  # noqa: BLE001 - a listener's error is its own; faults must still come out
            _log.exception("on_event failed at %s of %s", step, live.fault_id)

    def _log_path(self) -> Path:
        return (self._run_dir or self._state_dir / "sessions").absolute() / f"guardian-{self.session}.log"

    async def _release(self) -> None:
        """Let go of guardian, journal and target, in this order; what is unhealed keeps its journal."""
        self._closed = True
        try:
            if self._guard is not None:
                await self._guard.close()
        finally:
            if self._journal is not None:
                if self._journal.retire(self._run_dir) and self._run_dir is None:
                    self._log_path().unlink(missing_ok=True)
                self._journal.close()
                self._journal = None
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1
