"""`chaos-spike lab`: start the reference system for your own experiments, and end it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from resilience.cli.scenarios import fail_usage, load_or_exit
from resilience.run.ending import EXIT_CODES, Verdict

lab_app = typer.Typer(no_args_is_help=True, help="Start and stop the reference system by hand.")
PortList = Annotated[
    list[str] | None, typer.Option("--port", help="NAME=NUMBER fixes a port, for example gateway=8000.")
]


@lab_app.command("up")
def up(
    port: PortList = None,
    gateways: Annotated[
        int | None, typer.Option(min=1, max=16, help="Gateway processes (default: the plan's, else 2).")
    ] = None,
    breaker: Annotated[
        str | None, typer.Option(help="purgatory, aiobreaker, circuitbreaker, hyx or none.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="A plan, file or built-in: the lab becomes what its `lab:` asks for.")
    ] = None,
    overlay: Annotated[list[Path] | None, typer.Option(help="A YAML file laid over the plan.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE in the plan, such as lab.settings.db_pool=4.")
    ] = None,
) -> None:
    """Start the lab in the background and print its addresses."""
    from resilience.cli.labs import checked_lab, with_ports
    from resilience.lab.detached import lab_up
    from resilience.lab.system import NOTICE, StackError
    from resilience.run.probes import AUTOSCALER

    # Any plan of the lab as it is will do to lay settings over.
    wanted = load_or_exit(plan or "breaker", overlays=overlay or (), settings=setting or ()).plan.lab
    if wanted is None:
        fail_usage(f"{plan} is not written for the lab: it has no `lab:` that could be started")
    given = {"gateways": gateways, "breaker": breaker}
    asked = wanted.model_copy(update={key: value for key, value in given.items() if value is not None})
    options = with_ports(checked_lab(asked), _ports(port or []))
    try:
        system = asyncio.run(lab_up(options))
    except StackError as error:
        _fail(error)
    if NOTICE in system.facts:
        typer.echo(f"chaos-spike: {system.facts[NOTICE]}", err=True)
    typer.echo(f"gateway   {system.base_url}")
    for name, point in system.proxies.items():
        typer.echo(
            f"{name:<9} toxic proxy {point.proxy!r} at {point.admin_url}, tap {point.tap!r} at {point.tap_url}"
        )
    for instance in system.instances:
        if instance.admin_url is not None:
            typer.echo(f"{instance.name:<9} admin {instance.admin_url}")
    if AUTOSCALER in system.facts:
        typer.echo(f"scaling   {system.facts[AUTOSCALER]}/scaling")
    typer.echo(f"run a plan against it: chaos-spike run {plan or 'breaker'} --target lab")
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
