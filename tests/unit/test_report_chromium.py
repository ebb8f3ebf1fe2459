"""The page in a real browser: nothing of the target's runs, nothing leaves, nothing is complained of.

Chromium is given a proxy that counts connections: whatever the page, or anything in it, tried to fetch would arrive there.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from report_sample import MemorySource, failed_run, hostile_run

from resilience.report.html import render_html
from resilience.report.model import build_model

pytestmark = pytest.mark.external


@contextmanager
def counting_proxy() -> Iterator[tuple[int, list[bytes]]]:
    """A port that takes connections, remembers how each began, and answers none."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            listener.settimeout(0.1)
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    try:
                        asked.append(connection.recv(300))
                    except TimeoutError:
                        asked.append(b"")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            over.set()
            thread.join()


def browse(chromium: str, page: Path, folder: Path, *flags: str) -> tuple[str, str, list[bytes]]:
    """Open a page; what its document became, what the console said, and who was asked for anything."""
    with counting_proxy() as (port, asked):
        done = subprocess.run(
            [
                *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
                *("--disable-sync", "--disable-default-apps", "--no-pings", "--disable-domain-reliability"),
                *(f"--user-data-dir={folder / 'profile'}", f"--proxy-server=127.0.0.1:{port}"),
                *("--proxy-bypass-list=<-loopback>", "--enable-logging=stderr", "--virtual-time-budget=5000"),
                *(*flags, "--dump-dom", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=110,
            check=True,
        )
    console = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE:" in line)
    return done.stdout, console, asked


def targets(asked: list[bytes]) -> list[bytes]:
    """Requests that the page could have made: the browser's own housekeeping goes to its maker's hosts."""
    own = re.compile(rb"google|gvt1|chromium|gstatic", re.IGNORECASE)
    return [each for each in asked if not own.search(each)]


def written(folder: Path, run: tuple[MemorySource, dict[str, Any]]) -> Path:
    """Write the page of a run; gives its file."""
    file = folder / "report.html"
    file.write_text(render_html(build_model(*run)), encoding="utf-8")
    return file


def test_page_of_a_hostile_target_runs_nothing_and_asks_nobody(
    require: Callable[[str], str], tmp_path: Path
) -> None:
    """Script in every field that a target controls stays text; no request leaves the browser."""
    document, console, asked = browse(require("chromium"), written(tmp_path, hostile_run()), tmp_path)
    assert "evil.example" in document, "the attack is not on the page at all"
    assert "<script src=http" not in document
    assert targets(asked) == []
    assert "evil" not in console


def test_page_draws_without_complaint(require: Callable[[str], str], tmp_path: Path) -> None:
    """Bokeh says that it is done, the static drawing has made room, and the console has no warning and no error."""
    document, console, asked = browse(require("chromium"), written(tmp_path, failed_run()), tmp_path)
    assert re.search(r"\[bokeh [\d.]+\] document idle", console), console
    assert '<div id="plots">' in document
    assert not re.search(r":(WARNING|ERROR|SEVERE):CONSOLE|Uncaught|Refused|violates", console), console
    assert targets(asked) == []
