"""`python -m tests.torture [PART ...]`: what takes too long for `make test`, with figures in build/torture.json.

Parts: `kills` (runners killed at random moments), `steps` (runners that die at every boundary, by name, for each kind of fault that this
machine has the parts for), `compose` (real runs on docker-compose, killed), `fuzz` (hostile inputs), `soak`
(twenty minutes of spikes and faults). Without a name: kills and steps. Figures of other parts that stand in the file stay there.
Exit code 1 if a promise broke.
"""

# ruff: noqa: T201 - it prints its figures

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
PARTS = ("kills", "steps", "compose", "fuzz", "soak")


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--kills", type=int, default=200, help="runners to kill at random moments")
    parser.add_argument("--compose", type=int, default=20, help="runs on compose to kill")
    parser.add_argument("--inputs", type=int, default=100_000, help="hostile inputs")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the soak")
    parser.add_argument("--kinds", default="", help="kinds of faults for `steps`, separated by commas")
    parser.add_argument("--at-once", type=int, default=4, help="trials at the same time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(20))
    parser.add_argument("--out", type=Path, default=Path("build/torture.json"))
    options = parser.parse_args()
    parts = options.parts or ["kills", "steps"]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    run: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "kills": _kills,
        "steps": _steps,
        "compose": _compose,
        "fuzz": _fuzz,
        "soak": _soak,
    }
    broken = False
    for part in parts:
        print(f"{part}, seed {options.seed}", flush=True)
        began = time.monotonic()
        figures = {"seed": options.seed, **run[part](options), "took_s": round(time.monotonic() - began)}
        _keep(options.out, part, figures)
        print(
            json.dumps({key: value for key, value in figures.items() if key != "series"}, indent=1),
            flush=True,
        )
        broken = broken or bool(figures["problems"])
    return 1 if broken else 0


def _keep(path: Path, part: str, figures: dict[str, Any]) -> None:
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {name: value for name, value in known.items() if name in PARTS}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**kept, part: figures}, indent=1) + "\n", encoding="utf-8")


def _kills(options: argparse.Namespace) -> dict[str, Any]:
    from kills import report, run_kills

    return report(run_kills(options.kills, options.seed, options.at_once))


def _steps(options: argparse.Namespace) -> dict[str, Any]:
    from steps import report_steps, run_steps
    from subjects import NEEDS_ENGINE, NEEDS_TOXIPROXY, SUBJECTS

    wanted = [kind for kind in options.kinds.split(",") if kind] or list(SUBJECTS)
    missing = []
    if shutil.which("toxiproxy-server") is None:
        missing += NEEDS_TOXIPROXY
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        missing += NEEDS_ENGINE
    left_out = [kind for kind in wanted if kind in missing]
    kinds = [kind for kind in wanted if kind not in missing]
    return {**report_steps(run_steps(kinds, options.at_once)), "left_out": left_out}


def _compose(options: argparse.Namespace) -> dict[str, Any]:
    from compose_kills import run_compose_kills

    return run_compose_kills(options.compose, options.seed)


def _fuzz(options: argparse.Namespace) -> dict[str, Any]:
    from fuzz import run_fuzz

    return run_fuzz(options.inputs, options.seed)


def _soak(options: argparse.Namespace) -> dict[str, Any]:
    from soak import soak

    return soak(options.minutes, warm_up_s=min(300.0, options.minutes * 15))


if __name__ == "__main__":
    sys.exit(main())
