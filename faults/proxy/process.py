"""What every long-lived child process of ours does the same way.

One JSON line on stdout once it serves; logs on stderr; an end within two seconds of SIGTERM or SIGINT; and with
`die_with_parent`, an end when stdin reaches its end, because the parent holds the other end of that pipe and
the kernel closes it whatever happens to the parent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from faults.descriptors import raise_descriptor_limit

__all__ = ["Closeable", "log_to_stderr", "run_process"]

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "disabled": logging.CRITICAL + 1,
}
_CLOSE_S = 1.5


class Closeable(Protocol):
    """Something that serves until it is closed."""

    async def close(self) -> None:
        """Stop serving."""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname.lower(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(log_format: str, *, level: str | None = None) -> None:
    """Send logs to stderr as `json` or `text`, at $LOG_LEVEL in zerolog's words (info where it is not set)."""
    wanted = level or os.environ.get("LOG_LEVEL", "info")
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=_LEVELS.get(wanted.lower(), logging.INFO), handlers=[handler], force=True)
    if wanted.lower() not in _LEVELS:
        logging.getLogger(__name__).error("unknown LOG_LEVEL value: %r", wanted)


def run_process(
    start: Callable[[], Awaitable[Closeable]],
    describe: Callable[[Any], Mapping[str, object]],
    *,
    die_with_parent: bool,
) -> int:
    """Run until told to stop; return the exit status (1 where starting failed)."""
    raise_descriptor_limit()
    return _runner()(_serve(start, describe, die_with_parent=die_with_parent))


def _runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop  # noqa: PLC0415 - optional, and only processes need it
    except ImportError:
        return asyncio.run
    run: Callable[[Coroutine[Any, Any, int]], int] = uvloop.run
    return run


async def _serve(
    start: Callable[[], Awaitable[Closeable]],
    describe: Callable[[Any], Mapping[str, object]],
    *,
    die_with_parent: bool,
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if die_with_parent:
        _watch_stdin(loop, stop)
    try:
        served = await start()
    except OSError as error:
        logging.getLogger(__name__).critical("cannot start: %s", error)
        return 1
    _collect_seldom()
    sys.stdout.write(json.dumps({"ready": True, **describe(served)}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    try:
        await asyncio.wait_for(served.close(), timeout=_CLOSE_S)
    except TimeoutError:
        logging.getLogger(__name__).warning("closing took longer than %s s; leaving", _CLOSE_S)
    return 0


def _collect_seldom() -> None:
    """Keep collections from standing in the way: one over everything takes 100 ms where there are 1,000 connections.

    What the start left behind stays, and need not be looked at again. What comes later is freed by its references, since
    connections cut their circles; collections are for the rest.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop at the end of stdin; what is written to it is ignored."""
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    try:
        loop.add_reader(descriptor, readable)
    except (OSError, ValueError):
        # A regular file or /dev/null cannot be polled, and has nobody at its other end.
        stop.set()
