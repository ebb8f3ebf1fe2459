"""`python -m faults.proxy`: the embedded server as a process, with the flags of toxiproxy-server and our own.

Flags are accepted with one dash or two, as Go's are.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from faults.proxy.api import Guard
from faults.proxy.control import ControlOptions
from faults.proxy.process import log_to_stderr, run_process
from faults.proxy.server import ProxyServer, ServerOptions, serve

__all__ = ["build_parser", "main", "options_from"]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; `chaos-spike proxy` uses it too."""
    parser = argparse.ArgumentParser(
        prog="chaos-spike proxy", description="A Toxiproxy-compatible proxy server."
    )
    add = parser.add_argument
    add("-host", "--host", default="127.0.0.1", help="host for the API to listen on (default %(default)s)")
    add("-port", "--port", type=int, default=8474, help="port for the API, 0 for any (default %(default)s)")
    add("-config", "--config", type=Path, help="JSON file containing proxies to create on startup")
    add("-seed", "--seed", type=int, help="seed for randomizing toxics with (default: random, and logged)")
    add("-proxy-metrics", "--proxy-metrics", action="store_true", help="serve proxy metrics on /metrics")
    add(
        "-runtime-metrics", "--runtime-metrics", action="store_true", help="serve process metrics on /metrics"
    )
    add("-version", "--version", action="store_true", help="print the version")
    add("--compat", action="store_true", help="answer as Toxiproxy 2.12 does wherever we differ on purpose")
    add("--token", help="require `Authorization: Bearer TOKEN` on every request")
    add("--allow-host", action="append", default=[], metavar="NAME", help="accept this Host header too")
    add("--die-with-parent", action="store_true", help="end when stdin ends")
    add("--log-format", choices=("text", "json"), default="text", help="format of the log on stderr")
    return parser


def options_from(arguments: argparse.Namespace) -> ServerOptions:
    """Turn parsed flags into options."""
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(63)
    guard = Guard(
        strict=not arguments.compat,
        allow_hosts=frozenset(name.lower() for name in [*arguments.allow_host, arguments.host]),
        token=arguments.token,
    )
    control = ControlOptions(
        compat=arguments.compat,
        seed=seed,
        proxy_metrics=arguments.proxy_metrics,
        runtime_metrics=arguments.runtime_metrics,
    )
    return ServerOptions(arguments.host, arguments.port, arguments.config, control, guard)


def _without_boolean_values(argv: Sequence[str]) -> list[str]:
    """Let `-proxy-metrics=true` be `-proxy-metrics`, and drop `=false`, as Go's flag package does."""
    kept = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        is_boolean = name.lstrip("-") in {"proxy-metrics", "runtime-metrics", "version"} and bool(equals)
        if not is_boolean:
            kept.append(argument)
        elif value.lower() in {"1", "t", "true"}:
            kept.append(name)
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; return its exit status."""
    arguments = build_parser().parse_args(_without_boolean_values(sys.argv[1:] if argv is None else argv))
    options = options_from(arguments)
    if arguments.version:
        sys.stdout.write(f"toxiproxy-server version {options.control.version}\n")
        return 0
    log_to_stderr(arguments.log_format)

    def describe(server: ProxyServer) -> dict[str, object]:
        return {"admin": server.admin_url, "seed": options.control.seed}

    return run_process(lambda: serve(options), describe, die_with_parent=arguments.die_with_parent)


if __name__ == "__main__":
    sys.exit(main())
