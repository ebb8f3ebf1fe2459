"""`python -m faults.proxy.front`: taps and toxic proxies of one dependency in one process, to stand in its place on a network.

    caller ──▶ tap (at the dependency's own ports) ──▶ toxic proxy (loopback) ──▶ dependency

Everything is said on the command line, so that a container needs no file and comes back as it was when it is restarted: with its
proxies, without toxics. The proxies listen below the range from which the kernel takes ports for outgoing connections: one that was
cut off finds its port free when it is healed.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from faults.proxy.control import ControlOptions
from faults.proxy.process import log_to_stderr, run_process
from faults.proxy.server import ProxyServer, ServerOptions, serve
from faults.proxy.tap import TapServer, TapSpec, serve_taps
from faults.proxy.wire import Route

__all__ = ["FrontServer", "Point", "main", "parse_point", "serve_front"]

_FIRST_PORT = 21_000


@dataclass(frozen=True, slots=True)
class Point:
    """One port: the name of its tap and of its proxy, where the tap listens, and what is behind both ("host:port")."""

    name: str
    listen_port: int
    upstream: str
    protocol: str = "tcp"
    correlate: str | None = None


def parse_point(text: str) -> Point:
    """Read `NAME,PORT,HOST:PORT,PROTOCOL[,HEADER]`; raise ValueError for anything else."""
    parts = text.split(",")
    if len(parts) not in {4, 5} or not all(parts[:4]) or parts[3] not in {"tcp", "http"}:
        raise ValueError(f"{text!r}: write NAME,PORT,HOST:PORT,tcp or NAME,PORT,HOST:PORT,http[,HEADER]")
    name, port, upstream, protocol = parts[:4]
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{port!r} is no port: 1 to 65535")
    return Point(name, int(port), upstream, protocol, parts[4] if len(parts) == 5 else None)


class FrontServer:
    """Both servers of a front, running."""

    def __init__(self, proxies: ProxyServer, taps: TapServer) -> None:
        self.proxies = proxies
        self.taps = taps

    async def close(self) -> None:
        """Stop the taps, then the proxies behind them."""
        await self.taps.close()
        await self.proxies.close()


async def serve_front(
    points: Sequence[Point], *, host: str, admin_port: int, tap_port: int, listen_host: str
) -> FrontServer:
    """Start proxies and taps in the running loop; OSError where one cannot listen.

    `host` is where both control APIs listen, `listen_host` where the taps do.
    """
    options = ServerOptions(
        host, admin_port, control=ControlOptions(seed=secrets.randbits(63), proxy_metrics=True)
    )
    proxies = await serve(options)
    try:
        taken = {admin_port, tap_port, *(point.listen_port for point in points)}
        inner = [port for port in range(_FIRST_PORT, _FIRST_PORT + 2 * len(points) + 2) if port not in taken]
        behind = {point.name: f"127.0.0.1:{port}" for point, port in zip(points, inner, strict=False)}
        body = [{"name": p.name, "listen": behind[p.name], "upstream": p.upstream} for p in points]
        answer = await proxies.control.answer(Route("populate"), json.dumps(body).encode())
        if answer.status != 201:
            raise OSError(answer.body.decode(errors="replace"))
        specs = [
            TapSpec(p.name, f"{listen_host}:{p.listen_port}", behind[p.name], p.protocol, p.correlate)
            for p in points
        ]
        return FrontServer(proxies, await serve_taps(specs, host=host, port=tap_port))
    except BaseException:
        await proxies.close()
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m faults.proxy.front", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="host for both control APIs (default %(default)s)")
    add("--admin-port", type=int, default=8474, help="port of the proxies' API (default %(default)s)")
    add("--tap-port", type=int, default=9100, help="port of the taps' API (default %(default)s)")
    add("--listen-host", default="127.0.0.1", help="host for the taps to listen on (default %(default)s)")
    add("--point", action="append", required=True, metavar="NAME,PORT,HOST:PORT,tcp|http[,HEADER]")
    add("--log-format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    log_to_stderr(arguments.log_format)
    try:
        points = [parse_point(text) for text in arguments.point]
    except ValueError as error:
        parser.error(str(error))

    async def start() -> FrontServer:
        return await serve_front(
            points,
            host=arguments.host,
            admin_port=arguments.admin_port,
            tap_port=arguments.tap_port,
            listen_host=arguments.listen_host,
        )

    def describe(front: FrontServer) -> dict[str, object]:
        return {"admin": front.proxies.admin_url, "control": front.taps.control_url}

    return run_process(start, describe, die_with_parent=False)


if __name__ == "__main__":
    raise SystemExit(main())
