"""The live page in a real browser, beside a real run: it moves while the run goes on, and is the report when it has ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import browser

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(180)]

PLAN = Path(__file__).parents[1] / "data/short.yaml"
SEEN = """(() => {
  const titles = [...document.querySelectorAll(".timeline title")].map((each) => each.textContent);
  const good = document.querySelector(".timeline .good");
  return {verdict: (document.querySelector(".verdict") || {}).textContent || "", titles,
          rates: good ? good.getAttribute("d") : "", refresh: !!document.querySelector("meta[http-equiv=refresh]"),
          plots: !!document.querySelector("#plots:not([hidden]) .plot > *")};
})()"""


@contextlib.contextmanager
def run_of_short_plan(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """`chaos-spike run --live`, its page's address, and what it says from then on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resilience.cli.main", "run", str(PLAN), "--live", "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"live page: (http://\S+)", line):
                break
        else:
            raise AssertionError("".join(said))
        listener = threading.Thread(target=said.extend, args=(process.stdout,), daemon=True)
        listener.start()
        yield process, found[1], said
        process.wait(60)
        listener.join(10)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # it heals and takes its lab down
            process.wait(60)
        process.stdout.close()


def test_live_page_moves_during_a_run_and_ends_as_its_report(
    require: Callable[[str], str], tmp_path: Path
) -> None:
    """Rates and a breaker's lane change under the reader's eyes; nobody reloads by hand; at the end the plots are there."""
    states: set[str] = set()
    rates: set[str] = set()
    with (
        browser(require("chromium"), tmp_path) as tab,
        run_of_short_plan(tmp_path / "runs") as (process, url, said),
    ):
        tab.look(width=1280, height=900)
        tab.open(url)

        def finished() -> bool:
            seen = tab.ask(SEEN) or {}
            if "RUNNING" in seen.get("verdict", ""):
                rates.add(seen["rates"])
                now = {title.split(",")[0] for title in seen["titles"]} & {"closed", "open", "half_open"}
                if "open" in now and "open" not in states:
                    tab.picture("live-while-open")
                states.update(now)
                assert seen["refresh"]
            return bool(seen.get("verdict")) and not seen["refresh"]

        tab.until(finished, "the finished page", within_s=90)
        tab.until(lambda: (tab.ask(SEEN) or {}).get("plots"), "the plots of the report")
        tab.picture("live-afterwards")
        verdict = tab.ask(SEEN)["verdict"]
        elsewhere = [each for each in tab.requests if not each.startswith((url, "data:"))]
    assert process.returncode in (0, 1, 3), "".join(said)
    assert re.search(r"PASS|FAIL|INVALID|UNKNOWN", verdict), verdict
    assert {"closed", "open"} <= states, states
    assert len(rates - {""}) >= 4, "the rates stood still"
    assert elsewhere == []
    # Before there is a record the page answers 503, and the browser says so; nothing else is complained of.
    assert [each for each in tab.complaints if "503" not in each] == []
