"""Where the command prints. A reader that goes away (`chaos-spike run | head`) ends no run and changes no exit code."""

from __future__ import annotations

import contextlib
import os
import sys

import typer
from rich.console import Console


class Terminal(Console):
    """A console on standard output that falls silent when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Let everything that is still printed go nowhere; rich itself would end the process with 1, a "fail"."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def complain(message: object) -> None:
    """Say on standard error what went wrong, if somebody is there."""
    with contextlib.suppress(OSError):
        typer.echo(f"chaos-spike: {message}", err=True)
