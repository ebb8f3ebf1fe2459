"""A real Chromium, driven over its DevTools protocol: what a page shows, what it asked the network for, what it complained of."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--no-pings", "--disable-domain-reliability", "--remote-debugging-port=0",
)  # fmt: skip
_STARTS_S = 40


@dataclass
class Tab:
    """One page. `requests` are the addresses that it asked for, `complaints` its warnings, errors and exceptions."""

    socket: ClientConnection
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _calls: int = 0
    _loaded: int = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer; what happens meanwhile is noted."""
        self._calls += 1
        self.socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=40))
            if message.get("id") == self._calls:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if told["type"] in {"warning", "error", "assert"}:
                self.complaints.append(json.dumps(told["args"])[:500])
            case "Log.entryAdded" if told["entry"]["level"] in {"warning", "error"}:
                self.complaints.append(json.dumps(told["entry"])[:500])
            case "Page.loadEventFired":
                self._loaded += 1

    def look(self, *, width: int, height: int, dark: bool = False, scripts: bool = True) -> None:
        """Be a screen of this size, of somebody who likes it light or dark, with JavaScript or without."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        before = self._loaded
        self.call("Page.navigate", url=url)
        self.until(lambda: self._loaded > before, "the page to load")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; None while the page is being replaced."""
        try:
            found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        except AssertionError as error:
            if "context" in str(error) or "navigated" in str(error):
                return None
            raise
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, holds: Any, what: str, within_s: float = 30) -> None:
        """Wait until a condition holds, going on hearing what the page does."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"waited {within_s} s for {what}"
            self.call("Runtime.enable")
            time.sleep(0.05)

    def picture(self, name: str) -> None:
        """Keep a screenshot of the whole page, if somebody wants to look: in the folder CHAOS_SPIKE_SCREENSHOTS."""
        folder = os.environ.get("CHAOS_SPIKE_SCREENSHOTS")
        if folder:
            shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser(chromium: str, folder: Path) -> Iterator[Tab]:
    """A Chromium with a fresh profile in `folder`, and one tab of it."""
    profile = folder / "profile"
    process = subprocess.Popen(
        [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(profile, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            (page,) = [each for each in json.load(answer) if each["type"] == "page"]
        with connect(page["webSocketDebuggerUrl"], max_size=None, ping_interval=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Network", "Runtime", "Log"):
                tab.call(f"{domain}.enable")
            yield tab
            with contextlib.suppress(ConnectionClosed, AssertionError):
                tab.call("Browser.close")
    finally:
        # Asked to close it ends its own children; one that does not is ended.
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    told = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _STARTS_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        with contextlib.suppress(OSError, ValueError):
            return int(told.read_text().splitlines()[0])
        time.sleep(0.05)
    raise AssertionError(f"chromium did not say its port within {_STARTS_S} s")
