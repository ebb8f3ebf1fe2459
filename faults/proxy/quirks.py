"""What Toxiproxy 2.12 does with connections that we do otherwise on purpose: one switch each, all off by default."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NO_QUIRKS", "TOXIPROXY_QUIRKS", "Quirks"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How connections are treated."""

    hides_resets: bool = False
    """A reset, or a refused upstream, reaches the other side as an orderly end."""
    closes_on_fin: bool = False
    """A half-close closes the other side: a reply after it is lost."""
    lingers_from_start: bool = False
    """`reset_peer` decides when a connection starts: with one on the proxy, whatever its toxicity, every later close
    is a reset; one that is added to an open connection ends it in good order."""
    timeout_removal_closes_all: bool = False
    """Removing a `timeout` closes the connections that its dice had spared, too."""


NO_QUIRKS = Quirks()
TOXIPROXY_QUIRKS = Quirks(True, True, True, True)
