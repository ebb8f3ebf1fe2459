"""The process that owns every process of the embedded lab: `python -m resilience.lab.supervisor`.

It runs in a session of its own, so that neither a Ctrl-C at the terminal nor the killing of the runner's process group
ends the lab before its faults are healed. Its owner holds the other end of its standard input:

    the owner writes "stop", or we get SIGTERM or SIGINT    end the lab now
    the owner's end closes (it died)                        end the lab after `linger_s`: the guardian heals in that
                                                            time, and can see on the proxies that it did
    `--detached`                                            no owner: only SIGTERM ends it (`lab down`)

On stdout it prints one JSON line: `{"ready": true, "system": {...}}`, or `{"ready": false, "error": "..."}` and ends with
status 1, with nothing left behind. With `--state-file` it writes that line there, too, for whoever comes later, and
holds a lock on `FILE.lock` while it lives; the file goes when the lab does.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resilience.lab.assembly import Assembly
from resilience.lab.broken import said_of_broken
from resilience.lab.handshake import STOP, error_line, ready_line
from resilience.lab.identity import ProcessId
from resilience.lab.options import LabOptions
from resilience.lab.priority import give_way
from resilience.lab.settings import BreakerSettings, lab_variables
from resilience.lab.system import LAB_FACT, NOTICE, StackError

LOG = logging.getLogger("chaos_spike.lab")


@dataclass(frozen=True, slots=True)
class Orders:
    """What the supervisor was started for."""

    options: LabOptions
    detached: bool
    state_file: Path | None


class Owner:
    """What our owner wants: that we go on, that we stop, or nothing any more."""

    def __init__(self, *, detached: bool) -> None:
        self.told_to_stop = asyncio.Event()
        self.gone = asyncio.Event()
        self._heard = b""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.told_to_stop.set)
        if not detached:
            os.set_blocking(sys.stdin.fileno(), False)
            loop.add_reader(sys.stdin.fileno(), self._hear)

    def _hear(self) -> None:
        try:
            heard = os.read(sys.stdin.fileno(), 4096)
        except BlockingIOError:
            return
        self._heard = (self._heard + heard)[-len(STOP) :]
        if self._heard == STOP:
            self.told_to_stop.set()
        if not heard:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.gone.set()

    async def leaves(self) -> None:
        """Until one of both."""
        tasks = [asyncio.create_task(event.wait()) for event in (self.told_to_stop, self.gone)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def supervise(orders: Orders) -> int:
    """Bring the lab up, keep it until the owner leaves, take it down; the exit status."""
    owner = Owner(detached=orders.detached)
    assembly = Assembly(orders.options, os.environ)
    leaving = asyncio.create_task(owner.leaves())
    starting = asyncio.create_task(assembly.up())
    await asyncio.wait((starting, leaving), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return 1
    try:
        system = starting.result()
    except StackError as error:
        leaving.cancel()
        _say(error_line(str(error)), None)
        return 1
    if orders.detached:
        # Whoever runs a plan against it later knows only what the state file says.
        system = replace(system, facts={**system.facts, **_told(orders.options)})
    try:
        _say(ready_line(system), orders.state_file)
        await leaving
        if not owner.told_to_stop.is_set():
            LOG.info("the owner is gone; ending in %g s", orders.options.linger_s)
            async with asyncio.timeout(orders.options.linger_s):
                await owner.told_to_stop.wait()
    except TimeoutError:
        pass
    finally:
        await assembly.down()
        if orders.state_file is not None:
            orders.state_file.unlink(missing_ok=True)
    return 0


def _told(options: LabOptions) -> dict[str, str]:
    """What this lab was started with, and that it is broken if it is."""
    usual = BreakerSettings().to_environ()
    breaker = {key: value for key, value in options.breaker.to_environ().items() if value != usual[key]}
    environ = {**os.environ, **breaker, **options.environ}
    said = said_of_broken(environ)
    return {LAB_FACT: json.dumps(lab_variables(environ)), **({NOTICE: said} if said else {})}


def _say(line: dict[str, Any], state_file: Path | None) -> None:
    """Tell the owner, who may be gone already, and leave word for others."""
    if state_file is not None:
        new = state_file.with_suffix(".new")
        new.unlink(missing_ok=True)
        owner = ProcessId.of(os.getpid())
        assert owner is not None  # we run
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({**line, "v": 1, "supervisor": owner.to_json()}, file)
        new.replace(state_file)
    try:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        LOG.info("nobody reads our standard output")


@contextmanager
def _lock(state_file: Path | None) -> Iterator[bool]:
    """Whether we are the only lab of this state file."""
    if state_file is None:
        yield True
        return
    state_file.parent.mkdir(parents=True, exist_ok=True)
    with state_file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def parse_orders(arguments: Sequence[str]) -> Orders:
    """Flags to orders; argparse ends the process on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m resilience.lab.supervisor")
    parser.add_argument("--options", type=json.loads, required=True, help="LabOptions as JSON")
    parser.add_argument("--detached", action="store_true", help="nobody holds our standard input")
    parser.add_argument("--state-file", type=Path)
    flags = parser.parse_args(arguments)
    return Orders(LabOptions.from_json(flags.options), flags.detached, flags.state_file)


def main(arguments: Sequence[str]) -> int:
    """Run the supervisor; its exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s supervisor %(message)s")
    orders = parse_orders(arguments)
    give_way()
    with _lock(orders.state_file) as alone:
        if not alone:
            _say(error_line("a lab is already up: `chaos-spike lab down` ends it"), None)
            return 1
        return asyncio.run(supervise(orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
