"""One reader under a fuzzer that is guided by coverage: `python guided.py READER RUNS SEED`, in a folder of its own.

Needs atheris, which has wheels for some Pythons only. A crash, a hang or a secret that is told ends the process with an exit code.
"""

from __future__ import annotations

import atexit
import signal
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
from deeds import HANG_S

with atheris.instrument_imports(include=["faults", "resilience"], enable_loader_override=False):
    import hostile


def main() -> None:
    """Fuzz; atheris ends the process."""
    name, runs, seed = sys.argv[1:]
    # The fuzzer's own alarm goes on ringing while the process ends, when nobody hears it any more: on a busy machine it ended in that.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
    folder = Path("corpus")
    folder.mkdir()
    for number, document in enumerate(hostile.CORPUS[name]()):
        (folder / str(number)).write_bytes(document)
    arguments = [
        sys.argv[0],
        f"-atheris_runs={runs}",
        f"-seed={seed}",
        f"-timeout={HANG_S}",
        "-max_len=4096",
    ]
    atheris.Setup([*arguments, "-verbosity=0", "-close_fd_mask=0", str(folder)], hostile.READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
