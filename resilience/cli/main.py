"""The command `chaos-spike`: one module per command, joined here; nothing is decided here.

Every command imports its edge when it runs, so that `--help` answers at once. Errors that a user can cause end in one
message and an exit code (README, "Exit codes"); a traceback means a bug of ours.
"""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from resilience.cli.doctor import doctor
from resilience.cli.history import compare, history_app
from resilience.cli.interpose import interpose
from resilience.cli.judge import judge, report
from resilience.cli.lab import lab_app
from resilience.cli.logs import LogFormat, configure_logs
from resilience.cli.plan import plan_app
from resilience.cli.proxy import proxy
from resilience.cli.run import run
from resilience.cli.undo import undo
from resilience.cli.verify_trace import verify_trace

app = typer.Typer(
    name="chaos-spike",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does your system protect itself when a dependency degrades in a traffic spike, and does it come back?",
)
app.command()(run)
app.command()(judge)
app.command()(report)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(proxy)
app.command()(interpose)
app.command()(undo)
app.command()(verify_trace)
app.command()(doctor)
app.command()(compare)
app.add_typer(lab_app, name="lab")
app.add_typer(history_app, name="history")
app.add_typer(plan_app, name="plan")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chaos-spike {metadata.version('chaos-spike')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback has done everything by now
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="Form of the log lines on stderr.")] = LogFormat.TEXT,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Take the options that all commands share."""
    if log_level.lower() not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter("write debug, info, warning or error", param_hint="--log-level")
    configure_logs(log_format, log_level)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
