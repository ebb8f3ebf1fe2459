"""`make bench`: run every comparison and write `build/bench.json`.

Each row is {name, ours, peer, peer_name, ratio, unit, rounds}; a comparison whose peer is not on this machine is a row with
`skipped` and its reason. The figure of a row is the median of its rounds, which take turns.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench import engine, passthrough, toxiproxy

BENCHES = {"engine": engine.main, "passthrough": passthrough.main, "toxiproxy": toxiproxy.main}


def main() -> None:
    """Run the chosen comparisons (default: all) and write the rows."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="comparisons (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in chosen.names or BENCHES:
        for row in BENCHES[name](chosen.rounds):
            rows.append(row)
            print(_shown(row), flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"written: {chosen.out}")


def _shown(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{row['name']}: skipped, {row['skipped']}"
    return f"{row['name']}: {row['ours']} against {row['peer']} ({row['peer_name']}), ratio {row['ratio']} [{row['unit']}]"


if __name__ == "__main__":
    main()
