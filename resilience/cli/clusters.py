"""`--cluster` and `--workers`: what can be said of where the load is to come from before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from resilience.cli.scenarios import fail_usage
from resilience.plan import LoadedPlan

MOST_WORKERS_HERE = 256
"""Load processes on one machine: each takes some 50 MB, and a runner keeps up with about 300."""
_SCHEMES = ("tcp", "tls", "ws", "wss")


def check_cluster(
    address: str | None, jobs: int, workers: int | None = None, plans: Sequence[LoadedPlan] = ()
) -> None:
    """Exit with 2 where no load can be driven from a cluster of this address, or a plan has none; or from so many processes without one."""
    if address is None:
        if workers is not None and workers > MOST_WORKERS_HERE:
            fail_usage(
                f"--workers {workers}: this machine drives at most {MOST_WORKERS_HERE} of them; --cluster has room for more"
            )
        return
    try:
        parts = urlsplit(address)
        complete = parts.scheme in _SCHEMES and parts.hostname and parts.port
    except ValueError:  # a port that is none
        complete = False
    if not complete:
        fail_usage(
            f"--cluster {address!r} is no address of a dask scheduler; write it as the scheduler does, "
            "for example tcp://10.0.0.5:8786"
        )
    for loaded in plans:
        if not loaded.plan.load:
            fail_usage(
                f"--cluster drives load, and {loaded.source} has none: a stimulus is played from this machine. Leave --cluster out"
            )
    if jobs > 1:
        fail_usage("--cluster gives each of its workers one stripe of one run; leave it or --jobs out")
    if find_spec("distributed") is None:
        fail_usage("--cluster needs dask: pip install 'chaos-spike[cluster]'")
