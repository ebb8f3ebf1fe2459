"""As many open files as this process may have.

Most systems start a process with a soft limit of 1,024 descriptors and a hard one far above it. A proxy or a load worker
needs one or two a connection, and a spike is exactly the moment at which it must not run out. Servers written in Go raise
the limit when they start; so do ours. Called by processes that we own, at their start, never at import.
"""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one; return the limit that holds from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # Some systems call the hard limit infinite and still refuse it.
        return soft
    return hard
