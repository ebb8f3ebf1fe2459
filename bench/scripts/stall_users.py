"""Locust, a closed loop: users who ask, and pause after each answer. Leaves when each was asked for, and how long its answer took, in seconds."""

import json
import os
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

_TOOK: list[tuple[float, float]] = []


class Visitor(FastHttpUser):
    """Asks, waits for the answer, pauses."""

    wait_time = constant(float(os.environ["BENCH_PAUSE"]))
    network_timeout = connection_timeout = 60.0

    @task
    def ask(self) -> None:
        """One request."""
        self.client.get("/")


@events.request.add_listener
def _request(start_time: float, response_time: float, exception: BaseException | None, **_: Any) -> None:
    if exception is None:
        _TOOK.append((start_time, response_time / 1000))


@events.quitting.add_listener
def _quitting(**_: Any) -> None:
    Path(os.environ["BENCH_OUT"]).write_text(json.dumps({"took": _TOOK}))
