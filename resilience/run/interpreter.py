"""The interpreter: the only place that joins load, faults and observers, and the only one that follows the clock.

Life of a run, each step undone by the one after it in reverse order, whatever happens:

    record -> stack up -> fault session (journal, guardian) -> load workers prepared -> observers -> epoch
           -> operations of the timeline, each at its offset, and stimuli beside them -> load drained -> everything healed -> evidence drained
           -> observers off -> fault session closed -> stack down -> record closed

It decides nothing about the system: it writes down what happened and how the run itself ended (`Ending`). Judging is
done afterwards, from the record alone. Stopping early (a signal, an abort condition, a full disk, a fault that could
not be put in) goes through one event, `Stop`, and takes the same way out: heal first, then everything else. So does an
error that nobody foresaw: it becomes an `Ending`, too, after healing and after the stack is down.

A stimulus adapts to what it sees, so nobody knows how long it takes: its phase says how long it may. Where nothing but stimuli is
planned, the run is over when they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faults.errors import FaultError
from faults.redact import redact
from faults.session import FaultSession
from resilience.lab.system import Stack, StackError, System
from resilience.load.cluster import ClusterEngine
from resilience.load.engine import LoadEngine
from resilience.load.requests import on_loopback
from resilience.plan import LoadedPlan, Operation
from resilience.run.abort import AbortWatch
from resilience.run.clock import now_ns, sleep_until
from resilience.run.doubting import doubts_of
from resilience.run.ending import Ending
from resilience.run.endings import ending_of, first_of, in_words
from resilience.run.environment import describe_environment, describe_system
from resilience.run.faulting import blast_radius, nemesis_for
from resilience.run.garbage import collecting
from resilience.run.locating import with_pids_now
from resilience.run.observing import Observation, observe
from resilience.run.record import RecordError, RunRecorder
from resilience.run.stimulating import Stimulation, stimulation
from resilience.run.stop import Stop, Stopped, cancelled
from resilience.run.streams import load_phases, load_streams, missing_addresses
from resilience.run.telling import Listener, Teller

LEAD_NS = 300_000_000
"""From "everything is ready" to the epoch: time for every worker to read the epoch and wait for it."""
TICK_S = 1.0
"""How often the record is flushed and abort conditions are asked."""
DRAIN_MARGIN_S = 5.0
"""How much longer than the longest time-out the load may take to drain."""

Engine = LoadEngine | ClusterEngine


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside its plan."""

    folder: Path
    state_dir: Path
    seed: int
    run_id: str
    workers: int = 2
    """Of a cluster's 0 means all."""
    cluster: str = ""
    """The address of a dask scheduler whose workers drive the load; empty: processes of this machine do."""
    strict: bool = False
    command: str = ""


async def run_plan(
    loaded: LoadedPlan, stack: Stack, options: RunOptions, *, stop: Stop, listen: Listener
) -> Ending:
    """Run a compiled plan on a stack and leave its record in `options.folder`.

    Raises `RecordError` only where the folder cannot be made or not even the plan can be written to it: then nothing
    was started. Whatever goes wrong later is in the `Ending`, and in the record if it could be written.
    """
    recorder = RunRecorder(options.folder)
    try:
        recorder.text("plan.yaml", loaded.recorded)
        recorder.json("timeline.json", loaded.timeline.to_json())
        run = _Run(loaded, stack, options, recorder, stop, listen)
        try:
            ending = await run.execute()
        except asyncio.CancelledError:
            _write_end(recorder, stop.ending or Ending("interrupted", "the run was cancelled"))
            raise
        return _write_end(recorder, ending)
    finally:
        with contextlib.suppress(RecordError):  # by now the ending says it
            recorder.close()


def _write_end(recorder: RunRecorder, ending: Ending) -> Ending:
    """Write the last line and close the record; a run that went well but cannot be written down did not go well."""
    try:
        try:
            recorder.flush()
        except RecordError as error:
            ending = first_of(ending, ending_of(error))
        recorder.event("run", state="ended", reason=ending.reason, detail=ending.detail, signal=ending.signal)
        recorder.close()
    except RecordError as error:
        ending = first_of(ending, ending_of(error))
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
        self.aborts = AbortWatch(
            loaded.plan.abort, {name: stream.call.deadline for name, stream in loaded.plan.load.items()}
        )
        self.teller = Teller(recorder, self.aborts, stop, listen)
        self.environment: dict[str, Any] = {}
        self.epoch_ns = 0

    async def execute(self) -> Ending:
        """Everything between the first and the last line of the record; raises nothing but a cancellation."""
        try:
            self.teller.tell(
                "run",
                state="started",
                run_id=self.options.run_id,
                seed=self.options.seed,
                strict=self.options.strict,
            )
            self._environment()
            self.teller.tell("stack", state="starting", what=redact(self.stack.describe()))
            system = await self.stop.unless(self.stack.up())
            self._environment(system)
            self.teller.tell("stack", state="up", base_url=redact(system.base_url))
            await self._with_system(system)
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must be wound up and the record say it
            self.teller.failed(error)
        finally:
            await self._stack_down()
        return replace(self.stop.ending or Ending("completed"), verified=frozenset(self.teller.verified))

    async def _stack_down(self) -> None:
        for text in await doubts_of(self.stack):
            self.teller.tell("doubt", text=redact(text))
        self.teller.tell("stack", state="stopping")
        self.teller.guarded(self.recorder.flush)  # nobody ticks any more while a stack goes down
        try:
            await self.stack.down()
        except Exception as error:  # noqa: BLE001 - a stack that did not go down is never a pass
            ending = Ending("crashed", f"the stack did not stop cleanly: {in_words(error)}")
            self.teller.tell("log", level="error", text=ending.detail)
            self.stop.request(ending)
        else:
            self.teller.tell("stack", state="down")

    async def _with_system(self, system: System) -> None:
        if missing := missing_addresses(self.plan, system.base_url, system.addresses):
            names = ", ".join(f"{{{name}}}" for name in missing)
            raise StackError(f"the load wants {names}, which this stack does not offer to callers")
        async with (
            FaultSession(
                state_dir=self.options.state_dir,
                target=system.base_url,
                allow=blast_radius(self.plan, system),
                on_event=self.teller.fault,
                run_dir=self.options.folder,
            ) as faults,
            self._engine(system) as engine,
            stimulation(
                self.plan, system, self.options.run_id, on_row=self.teller.message, tell=self.teller.tell
            ) as stimuli,
            observe(self.plan, self.stack, system, self.teller.observed) as observation,
            self._each_second(),
            collecting(),
        ):
            if engine is not None:
                await self.stop.unless(engine.prepare())
            self.epoch_ns = now_ns() + getattr(engine, "lead_ns", LEAD_NS)
            self.teller.tell("run", state="epoch", epoch_ns=self.epoch_ns)
            if engine is not None:
                await engine.start(self.epoch_ns)
            try:
                async with self._stimulated(stimuli) as over:
                    await self._operations(faults, system, over)
            finally:
                # Healing comes before anything that could fail or take time.
                self._unhealed(await faults.heal_all())
            await self._drain(engine, observation)

    @contextlib.asynccontextmanager
    async def _stimulated(self, stimuli: Stimulation) -> AsyncIterator[asyncio.Event]:
        """Stimuli are played while inside; the event is set once nothing else is planned either."""
        over = asyncio.Event()

        async def play() -> None:
            await sleep_until(self.epoch_ns)
            try:
                await stimuli.run()
            except Exception as error:  # noqa: BLE001 - it ends the run, in good order
                self.teller.failed(error)
            if not self.plan.load and not self.plan.faults:
                over.set()

        playing = asyncio.create_task(play()) if stimuli.drivers else None
        try:
            yield over
        finally:
            if playing is not None:
                if not playing.done():
                    self.teller.tell("stimulus", state="cut", why="the run was over before the script")
                await cancelled(playing)

    async def _operations(self, faults: FaultSession, system: System, over: asyncio.Event) -> None:
        for operation in self.timeline.operations:
            waiting = asyncio.ensure_future(self._due(operation.at_ns, over))
            try:
                if await self.stop.before(waiting):
                    return
            finally:
                await cancelled(waiting)
            try:
                await self._perform(operation, faults, system)
            except FaultError as error:
                ending = ending_of(error)
                self.teller.tell(
                    "fault", id=operation.subject, step="failed", detail={"error": ending.detail}
                )
                message = f"the fault {operation.subject!r} could not be put in or taken out: {ending.detail}"
                self.stop.request(replace(ending, detail=message))
                return

    async def _due(self, at_ns: int, over: asyncio.Event) -> None:
        """Until an offset, or until nothing is left to wait for."""
        ending = asyncio.ensure_future(over.wait())
        sleeping = asyncio.ensure_future(sleep_until(self.epoch_ns + at_ns))
        try:
            await asyncio.wait((ending, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(ending)
            await cancelled(sleeping)

    async def _perform(self, operation: Operation, faults: FaultSession, system: System) -> None:
        match operation.kind:
            case "phase.start":
                self.teller.tell("phase", name=operation.subject, state="started")
            case "phase.end":
                self.teller.tell("phase", name=operation.subject, state="ended")
            case "fault.inject":
                fault = next(f for f in self.plan.faults if f.id == operation.subject)
                self.teller.tell(
                    "fault", id=fault.id, step="planned", detail={fault.on: fault.target, "kind": fault.kind}
                )
                await faults.inject(nemesis_for(fault, await with_pids_now(system, fault)))
            case "fault.heal":
                await faults.heal(operation.subject)
            case "load.start" | "heal.all":
                # The workers carry the schedule; `heal_all` runs when this loop has ended, however it ends.
                pass

    async def _drain(self, engine: Engine | None, observation: Observation) -> None:
        if engine is not None:
            await self._drain_load(engine)
        await observation.drain()

    async def _drain_load(self, engine: Engine) -> None:
        longest_s = max(stream.call.timeout for stream in self.plan.load.values()) / 1e9
        finishing = asyncio.ensure_future(engine.finish(longest_s + DRAIN_MARGIN_S))
        try:
            if await self.stop.before(finishing):
                # Not cancelled: the last messages are delivered either way.
                await engine.abort()
            await finishing
        finally:
            await cancelled(finishing)

    def _engine(self, system: System) -> contextlib.AbstractAsyncContextManager[Engine | None]:
        if not self.plan.load:
            return contextlib.nullcontext()
        streams = load_streams(self.plan, self.timeline, system.base_url, self.options.seed, system.addresses)
        phases, options = load_phases(self.timeline), self.options
        if not options.cluster:
            return LoadEngine(
                streams,
                phases,
                workers=options.workers,
                run_id=options.run_id,
                on_message=self.teller.message,
            )
        return ClusterEngine(
            streams,
            phases,
            address=options.cluster,
            workers=options.workers,
            run_id=options.run_id,
            on_message=self.teller.message,
            this_host=on_loopback(system.base_url),
        )

    @contextlib.asynccontextmanager
    async def _each_second(self) -> AsyncIterator[None]:
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            await cancelled(ticking)

    async def _tick(self) -> None:
        """Once a second: what was written goes to the operating system, and abort conditions are asked."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self.recorder.flush()
                if not self.epoch_ns:
                    continue
                if reason := self.aborts.tripped((now_ns() - self.epoch_ns) // 1_000_000_000):
                    self.teller.tell("abort", reason=reason)
                    self.stop.request(Ending("aborted", reason))
        except Exception as error:  # noqa: BLE001 - nobody else flushes and watches: without this the run must end
            self.teller.failed(error)

    def _environment(self, system: System | None = None) -> None:
        """Write down where and how it is run: what is known at the start, and later with the system that is up."""
        if system is None:
            self.environment = describe_environment(
                seed=self.options.seed,
                run_id=self.options.run_id,
                workers=self.options.workers,
                cluster=redact(self.options.cluster),
                strict=self.options.strict,
                command=self.options.command,
            )
        else:
            self.environment |= describe_system(system)
        self.recorder.json("environment.json", self.environment)

    def _unhealed(self, fault_ids: list[str]) -> None:
        for fault_id in fault_ids:
            self.teller.tell("fault", id=fault_id, step="unhealed", detail={})
