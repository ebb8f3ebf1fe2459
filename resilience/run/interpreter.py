"""The interpreter: the only place that joins load, faults and observers, and the only one that follows the clock.

Life of a run, each step undone by the one after it in reverse order, whatever happens:

    record -> stack up -> fault session (journal, guardian) -> load workers prepared -> observers -> epoch
           -> operations of the timeline, each at its offset -> load drained -> everything healed -> evidence drained
           -> observers off -> fault session closed -> stack down -> record closed

It decides nothing about the system: it writes down what happened and how the run itself ended (`Ending`). Judging is
done afterwards, from the record alone. Stopping early (a signal, an abort condition, a full disk, a fault that could
not be put in) goes through one event, `Stop`, and takes the same way out: heal first, then everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.errors import FaultError
from faults.session import FaultSession
from resilience.lab.system import Stack, StackError, System
from resilience.load.engine import EngineError, LoadEngine
from resilience.plan import LoadedPlan, Operation
from resilience.run.abort import AbortWatch
from resilience.run.clock import now_ns, sleep_until
from resilience.run.ending import Ending
from resilience.run.environment import describe_environment
from resilience.run.faulting import blast_radius, nemesis_for
from resilience.run.observing import Observation, observe
from resilience.run.record import RecordError, RunRecorder
from resilience.run.streams import load_phases, load_streams

log = logging.getLogger("chaos_spike.run")

LEAD_NS = 300_000_000
"""From "everything is ready" to the epoch: time for every worker to read the epoch and wait for it."""
DRAIN_MARGIN_S = 5.0
"""How much longer than the longest time-out the load may take to drain."""

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside its plan."""

    folder: Path
    state_dir: Path
    seed: int
    run_id: str
    workers: int = 2
    strict: bool = False
    command: str = ""


@dataclass(slots=True)
class Stop:
    """The one way to end a run early; the first reason given stays."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    ending: Ending | None = None

    def request(self, ending: Ending) -> None:
        """Ask the run to heal and stop; harmless when it has been asked already."""
        if self.ending is None:
            self.ending = ending
        self.event.set()


async def run_plan(
    loaded: LoadedPlan, stack: Stack, options: RunOptions, *, stop: Stop, listen: Listener
) -> Ending:
    """Run a compiled plan on a stack and leave its record in `options.folder`.

    Raises `RecordError` only where the folder cannot be made: then nothing was started.
    """
    recorder = RunRecorder(options.folder)
    try:
        recorder.text("plan.yaml", loaded.recorded)
        recorder.json("timeline.json", loaded.timeline.to_json())
        recorder.event(
            "run", state="started", run_id=options.run_id, seed=options.seed, strict=options.strict
        )
        run = _Run(loaded, stack, options, recorder, stop, listen)
        ending = await run.execute()
        recorder.event("run", state="ended", reason=ending.reason, detail=ending.detail, signal=ending.signal)
    except RecordError as error:
        log.exception("the record cannot be written")
        ending = Ending("record_failed", str(error))
    finally:
        with contextlib.suppress(RecordError):
            recorder.close()
    return ending


class _Run:
    """One execution; methods in the order in which they are used."""

    def __init__(
        self,
        loaded: LoadedPlan,
        stack: Stack,
        options: RunOptions,
        recorder: RunRecorder,
        stop: Stop,
        listen: Listener,
    ) -> None:
        self.plan = loaded.plan
        self.timeline = loaded.timeline
        self.stack = stack
        self.options = options
        self.recorder = recorder
        self.stop = stop
        self.listen = listen
        self.aborts = AbortWatch(loaded.plan.abort)
        self.epoch_ns = 0

    async def execute(self) -> Ending:
        """Everything between the first and the last line of the record."""
        try:
            self._tell("stack", state="starting", what=self.stack.describe())
            system = await self._unless_stopped(self.stack.up())
            if system is None:
                return self.stop.ending or Ending("interrupted")
            self._environment(system)
            self._tell("stack", state="up", base_url=system.base_url)
            await self._with_system(system)
        except StackError as error:
            self.stop.request(Ending("setup_failed", str(error)))
        except (FaultError, EngineError) as error:
            self.stop.request(Ending("setup_failed", str(error)))
        finally:
            self._tell("stack", state="stopping")
            try:
                await self.stack.down()
            except StackError as error:
                self._tell("log", level="error", text=f"the stack did not stop cleanly: {error}")
            self._tell("stack", state="down")
        return self.stop.ending or Ending("completed")

    async def _with_system(self, system: System) -> None:
        async with (
            FaultSession(
                state_dir=self.options.state_dir,
                target=system.base_url,
                allow=blast_radius(self.plan, system),
                on_event=self._fault_event,
                run_dir=self.options.folder,
            ) as faults,
            self._engine(system) as engine,
            observe(self.plan, self.stack, system, self._observed) as observation,
            self._each_second(),
        ):
            await engine.prepare()
            self.epoch_ns = now_ns() + LEAD_NS
            self._tell("run", state="epoch", epoch_ns=self.epoch_ns)
            await engine.start(self.epoch_ns)
            try:
                await self._operations(faults, system)
            finally:
                # Healing comes before anything that could fail or take time.
                self._unhealed(await faults.heal_all())
            await self._drain(engine, observation)

    async def _operations(self, faults: FaultSession, system: System) -> None:
        for operation in self.timeline.operations:
            if await self._stopped_before(self.epoch_ns + operation.at_ns):
                return
            try:
                await self._perform(operation, faults, system)
            except FaultError as error:
                self._tell("fault", id=operation.subject, step="failed", detail={"error": str(error)})
                message = f"the fault {operation.subject!r} could not be put in or taken out: {error}"
                self.stop.request(Ending("setup_failed", message))
                return

    async def _perform(self, operation: Operation, faults: FaultSession, system: System) -> None:
        match operation.kind:
            case "phase.start":
                self._tell("phase", name=operation.subject, state="started")
            case "phase.end":
                self._tell("phase", name=operation.subject, state="ended")
            case "fault.inject":
                fault = next(f for f in self.plan.faults if f.id == operation.subject)
                self._tell("fault", id=fault.id, step="planned", detail={"proxy": fault.proxy})
                await faults.inject(nemesis_for(fault, system))
            case "fault.heal":
                await faults.heal(operation.subject)
            case "load.start" | "heal.all":
                # The workers carry the schedule; `heal_all` runs when this loop has ended, however it ends.
                pass

    async def _drain(self, engine: LoadEngine, observation: Observation) -> None:
        if self.stop.ending is not None:
            await engine.abort()
        longest_s = max(stream.http.timeout for stream in self.plan.load.values()) / 1e9
        await engine.finish(longest_s + DRAIN_MARGIN_S)
        await observation.drain()

    async def _stopped_before(self, deadline_ns: int) -> bool:
        """Wait for the deadline; True if the run was asked to stop first."""
        waiting = asyncio.ensure_future(sleep_until(deadline_ns))
        stopping = asyncio.ensure_future(self.stop.event.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(waiting, stopping)
        return self.stop.event.is_set()

    async def _unless_stopped(self, coroutine: Any) -> Any:
        """The coroutine's result, or None (with the coroutine cancelled) if the run is asked to stop."""
        working = asyncio.ensure_future(coroutine)
        stopping = asyncio.ensure_future(self.stop.event.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            await _cancel(working, stopping)

    def _engine(self, system: System) -> LoadEngine:
        return LoadEngine(
            load_streams(self.plan, self.timeline, system.base_url, self.options.seed),
            load_phases(self.timeline),
            workers=self.options.workers,
            run_id=self.options.run_id,
            on_message=self._message,
        )

    @contextlib.asynccontextmanager
    async def _each_second(self) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                await asyncio.sleep(1.0)
                try:
                    self.recorder.flush()
                except RecordError as error:
                    self.stop.request(Ending("record_failed", str(error)))
                if self.epoch_ns and (
                    reason := self.aborts.tripped((now_ns() - self.epoch_ns) // 1_000_000_000)
                ):
                    self._tell("abort", reason=reason)
                    self.stop.request(Ending("aborted", reason))

        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            await _cancel(ticking)

    def _environment(self, system: System) -> None:
        self.recorder.json(
            "environment.json",
            describe_environment(
                system,
                seed=self.options.seed,
                run_id=self.options.run_id,
                workers=self.options.workers,
                strict=self.options.strict,
                command=self.options.command,
            ),
        )

    def _unhealed(self, fault_ids: list[str]) -> None:
        for fault_id in fault_ids:
            self._tell("fault", id=fault_id, step="unhealed", detail={})

    def _fault_event(self, event: Any) -> None:
        self._tell("fault", id=event.fault_id, step=event.step, at=list(event.at), detail=dict(event.detail))

    def _observed(self, observation: dict[str, Any]) -> None:
        self._guarded(lambda: self.listen(self.recorder.observed(observation)))

    def _message(self, message: dict[str, Any]) -> None:
        self.aborts.feed(message)
        self._guarded(lambda: self.recorder.message(message))
        self.listen(message)

    def _tell(self, kind: str, **fields: Any) -> None:
        self._guarded(lambda: self.listen(self.recorder.event(kind, **fields)))

    def _guarded(self, write: Callable[[], None]) -> None:
        # Called from callbacks of the fault session and the load workers: a full disk must stop the run, not them.
        try:
            write()
        except RecordError as error:
            self.stop.request(Ending("record_failed", str(error)))


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
