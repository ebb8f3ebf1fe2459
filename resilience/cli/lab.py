"""`chaos-spike lab`: start the reference system for your own experiments, and end it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, NoReturn

import typer

from resilience.run.ending import EXIT_CODES, Verdict

lab_app = typer.Typer(no_args_is_help=True, help="Start and stop the reference system by hand.")
PortList = Annotated[
    list[str] | None, typer.Option("--port", help="NAME=NUMBER fixes a port, for example gateway=8000.")
]


@lab_app.command("up")
def up(
    port: PortList = None,
    gateways: Annotated[int, typer.Option(min=1, max=16, help="Gateway processes.")] = 2,
    breaker: Annotated[
        str | None, typer.Option(help="purgatory, aiobreaker, circuitbreaker, hyx or none.")
    ] = None,
) -> None:
    """Start the lab in the background and print its addresses."""
    from resilience.lab.detached import lab_up
    from resilience.lab.embedded import options_from
    from resilience.lab.system import StackError

    try:
        chosen = replace(options_from(gateways=gateways, breaker=breaker), ports=_ports(port or []))
        system = asyncio.run(lab_up(chosen))
    except StackError as error:
        _fail(error)
    typer.echo(f"gateway   {system.base_url}")
    for name, point in system.proxies.items():
        typer.echo(
            f"{name:<9} toxic proxy {point.proxy!r} at {point.admin_url}, tap {point.tap!r} at {point.tap_url}"
        )
    for instance in system.instances:
        if instance.admin_url is not None:
            typer.echo(f"{instance.name:<9} admin {instance.admin_url}")
    typer.echo("run a plan against it: chaos-spike run breaker --target lab")
    typer.echo("stop it with: chaos-spike lab down")


@lab_app.command("down")
def down() -> None:
    """Stop the lab that `lab up` started."""
    from resilience.lab.detached import lab_down
    from resilience.lab.system import StackError

    try:
        ended = asyncio.run(lab_down())
    except StackError as error:
        _fail(error)
    typer.echo("the lab is down" if ended else "no lab was up")


def _ports(settings: list[str]) -> dict[str, int]:
    ports = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        if not number.isdigit():
            raise typer.BadParameter(
                f"{setting!r}: write NAME=NUMBER, for example gateway=8000", param_hint="--port"
            )
        ports[name] = int(number)
    return ports


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"chaos-spike: {error}", err=True)
    raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED])
