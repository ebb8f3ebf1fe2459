"""A dask cluster as somebody would start it: a scheduler and workers as processes of their own, on loopback, gone afterwards."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

SHIFTED = Path(__file__).parents[1] / "data" / "shifted_clock"
"""A folder that, put on PYTHONPATH, gives every Python there a clock of its own: see its sitecustomize.py."""
_UP_S = 60


class Cluster:
    """A scheduler; workers are added one by one, in the order in which their stripes are wanted."""

    def __init__(self, folder):
        self._folder = folder
        self.workers = []
        ready = folder / "scheduler.json"
        self._scheduler = self._spawn(
            "scheduler",
            [
                "dask_scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                str(ready),
            ],
        )
        self.address = _waited_for(lambda: json.loads(ready.read_text())["address"], self._log("scheduler"))

    def add(self, port, **environ):
        """Start a worker that listens on a port; the ports' order is the order of the stripes."""
        name = f"worker-{len(self.workers)}"
        process = self._spawn(
            name,
            [
                *(
                    "dask_worker",
                    self.address,
                    "--no-nanny",
                    "--no-dashboard",
                    "--nthreads",
                    "1",
                    "--name",
                    name,
                ),
                *("--host", "127.0.0.1", "--worker-port", str(port), "--local-directory", str(self._folder)),
            ],
            **environ,
        )
        _waited_for(lambda: "Registered to" in self._log(name).read_text() or None, self._log(name))
        self.workers.append(process)
        return process

    def children(self):
        """Processes that the workers have started."""
        found = []
        for process in self.workers:
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(process.pid).children(recursive=True)
        return found

    def close(self):
        """End everything; nobody here has anything to save."""
        for process in (*self.workers, self._scheduler):
            process.kill()
        for process in (*self.workers, self._scheduler):
            process.wait()

    def _log(self, name):
        return self._folder / f"{name}.log"

    def _spawn(self, name, words, **environ):
        module, *rest = words
        with self._log(name).open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *rest],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environ},
            )


@contextlib.contextmanager
def dask_cluster(folder):
    """A cluster without workers yet."""
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def _waited_for(look, log):
    deadline = time.monotonic() + _UP_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not up within {_UP_S} s: {log.read_text()}")
