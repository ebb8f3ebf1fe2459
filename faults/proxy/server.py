"""The embedded server as one thing to start and stop: control, admin API, config file.

`serve(options)` returns a running `ProxyServer`; `run(options)` is the process around it (`process.py` has what
all our child processes share: ready line, signals, dying with the parent). The command line is in `__main__`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.proxy.addresses import format_address
from faults.proxy.api import Api, Guard
from faults.proxy.control import Control, ControlOptions
from faults.proxy.wire import Route

__all__ = ["ProxyServer", "ServerOptions", "serve"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve. `config` is a file with the array of /populate."""

    host: str = "127.0.0.1"
    port: int = 8474
    config: Path | None = None
    control: ControlOptions = field(default_factory=ControlOptions)
    guard: Guard = field(default_factory=Guard)


class ProxyServer:
    """A running server. `admin_url` is where its API is."""

    def __init__(self, control: Control, api: Api, host: str, port: int) -> None:
        self.control = control
        self.host = host
        self.port = port
        self._api = api

    @property
    def admin_url(self) -> str:
        """The base of the API, without a slash at its end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{format_address(host, self.port)}"

    async def close(self) -> None:
        """Stop the API, then every proxy; returns when their sockets are gone."""
        await self._api.close()
        await self.control.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def serve(options: ServerOptions) -> ProxyServer:
    """Start a server in the running loop. Raises OSError where the API cannot listen.

    A config file that cannot be read or applied is logged and the server runs on, as Toxiproxy's does.
    """
    control = Control(options.control)
    if options.config is not None:
        await _populate(control, options.config)
    wants_metrics = options.control.proxy_metrics or options.control.runtime_metrics
    api = Api(control, options.guard, metrics=wants_metrics)
    try:
        addresses = await api.start(options.host, options.port)
    except BaseException:
        await api.close()
        await control.close()
        raise
    host, port = addresses[0]
    _log.info("the admin API listens on %s", format_address(host, port))
    return ProxyServer(control, api, host, port)


async def _populate(control: Control, config: Path) -> None:
    try:
        body = config.read_bytes()  # noqa: ASYNC240 - once, before anything is served
    except OSError as error:
        _log.error("cannot read the config file %s: %s", config, error.strerror)
        return
    answer = await control.answer(Route("populate"), body)
    if answer.status != 201:
        _log.error("cannot populate from the config file %s: %s", config, answer.body.decode())
