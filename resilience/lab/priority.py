"""The lab shares its host with the load generator, and gives way to it.

When the two compete for a core, the generator must be the one that gets it: a target that is a little slower is what the
run measures, a generator that is late spoils the run. So the supervisor lowers its own priority, and every process of
the lab inherits it. Linux schedules each session as a group of its own, inside which `nice` only orders its members;
where that is so, the group's weight is lowered, too. Both need no privilege, and a kernel without them changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NICE: Final = 5
"""About a third of the weight of a process at 0."""


def give_way() -> None:
    """Lower the priority of this process, of its session's group, and of all that they start."""
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{NICE}\n", encoding="ascii")
