"""What can be broken in the lab on purpose, by the value of CHAOS_SPIKE_LAB_BROKEN. Pure.

A test that cannot fail proves nothing: each built-in plan has a lab that must fail it. Several names are joined with commas. The
breakages themselves stand where they break something, each in a class of its own: the lab as it is runs none of their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilience.lab.settings import PREFIX, SettingsError

VARIABLE: Final = f"{PREFIX}BROKEN"

NO_FALLBACK: Final = "no-fallback"
BREAKER_STAYS_OPEN: Final = "breaker-stays-open"
POOL_WAITS: Final = "pool-waits"
ACKNOWLEDGES_EARLY: Final = "acknowledges-early"
NO_INVALIDATION: Final = "no-invalidation"
NEVER_SCALES: Final = "never-scales"
LEAKS_SOCKETS: Final = "leaks-sockets"
DROPS_SOCKETS: Final = "drops-sockets"
LOGINS_FAIL: Final = "logins-fail"

WAYS: Final[Mapping[str, str]] = {
    NO_FALLBACK: "a quote that pricing did not give is a 503",
    BREAKER_STAYS_OPEN: "the breaker, once open, lets nothing through any more",
    POOL_WAITS: "a caller waits for a database connection for as long as it takes",
    ACKNOWLEDGES_EARLY: "an order is acknowledged before it is written",
    NO_INVALIDATION: "a changed item stays in the cache as it was",
    NEVER_SCALES: "the autoscaler looks, and does nothing",
    LEAKS_SOCKETS: "each socket leaves a megabyte behind",
    DROPS_SOCKETS: "a gateway with more than 8 sockets drops the oldest for each new one",
    LOGINS_FAIL: "3 of every 50 users cannot log in: 30 of 500",
}
"""Every way in which the lab can be broken, and what is then wrong with it."""


def said_of_broken(environ: Mapping[str, str]) -> str:
    """What is to be said, before anything else, of a lab with these variables; empty for one as it is."""
    names = sorted(broken_from(environ))
    ways = "; ".join(WAYS[name] for name in names)
    return f"the lab is broken on purpose ({VARIABLE}={','.join(names)}): {ways}." if names else ""


def broken_from(environ: Mapping[str, str]) -> frozenset[str]:
    """The breakages that are asked for; SettingsError for one that there is not."""
    names = frozenset(name for name in environ.get(VARIABLE, "").replace(" ", "").split(",") if name)
    if unknown := names - set(WAYS):
        raise SettingsError(f"{VARIABLE}: {', '.join(sorted(unknown))} is not one of {', '.join(WAYS)}")
    return names
