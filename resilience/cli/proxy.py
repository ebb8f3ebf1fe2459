"""`chaos-spike proxy`: the embedded Toxiproxy-compatible server, with toxiproxy-server's own flags.

Its flags are parsed by the server's own parser (Go's single dash is accepted), so that the command can stand in
toxiproxy-server's place; `chaos-spike proxy -help` lists them.
"""

from __future__ import annotations

import typer


def proxy(context: typer.Context) -> None:
    """Run the embedded Toxiproxy-compatible server (flags: see `chaos-spike proxy -h`)."""
    from faults.proxy.__main__ import main

    raise typer.Exit(main(context.args))
