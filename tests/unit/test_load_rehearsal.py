"""What a worker allocates before its run, so that nothing of it looks like a leak afterwards."""

import subprocess
import sys

import pytest

FOLDING = """
import random
import psutil
from resilience.load.model import PhaseWindow
from resilience.load.recorder import rehearse
from resilience.load.tally import ROW, Tally

phases = (PhaseWindow("all", 0, 10**15),)
tally = Tally("load", phases, 10**9, 0)
dice = random.Random(1)

def fold(sizes):
    for size in sizes:
        tally.fold(ROW.pack(k, k, k, 0, k, k + dice.randrange(1, 10**6), dice.choice((0, 0, 0, 3, 5))) for k in range(size))
        list(tally.drain(0))

{rehearsal}
fold(dice.randrange(5000, 6000) for _ in range(40))
before = psutil.Process().memory_info().rss
fold(dice.randrange(1, 1200) for _ in range(700))
print(psutil.Process().memory_info().rss - before)
"""


def grown_bytes(rehearsal):
    """By how much a process grows that folds seconds of all sizes."""
    script = FOLDING.format(rehearsal=rehearsal)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="resident sizes are comparable on Linux only")
def test_rehearsal_leaves_nothing_for_the_run_to_allocate():
    """After it seconds of seven hundred different sizes take less than half of what they take without it."""
    rehearsed, unprepared = grown_bytes("rehearse(phases)"), grown_bytes("")
    assert rehearsed < unprepared / 2, (rehearsed, unprepared)
