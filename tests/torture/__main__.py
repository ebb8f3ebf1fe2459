"""`python -m tests.torture`: what takes too long for `make test`, with figures in build/torture.json. Exit code 1 if a promise broke."""

# ruff: noqa: T201 - it prints its figures

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from kills import report, run_kills


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="runners to kill at random moments")
    parser.add_argument("--at-once", type=int, default=4, help="trials at the same time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(20))
    parser.add_argument("--out", type=Path, default=Path("build/torture.json"))
    arguments = parser.parse_args()
    print(f"killing {arguments.kills} runners, seed {arguments.seed}", flush=True)
    figures = {
        "seed": arguments.seed,
        **report(run_kills(arguments.kills, arguments.seed, arguments.at_once)),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return 1 if figures["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
