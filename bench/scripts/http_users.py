"""Locust: users who ask without a pause. Says at the end how many requests there were and what CPU time the test took."""

import json
import os
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

_BEGAN: dict[str, float] = {}


class Visitor(FastHttpUser):
    """Asks again as soon as it is answered."""

    wait_time = constant(0)

    @task
    def ask(self) -> None:
        """One request."""
        self.client.get("/")


@events.test_start.add_listener
def _start(**_: Any) -> None:
    _BEGAN["cpu_s"] = time.process_time()


@events.test_stop.add_listener
def _stop(environment: Any, **_: Any) -> None:
    said = {"requests": environment.stats.total.num_requests, "cpu_s": time.process_time() - _BEGAN["cpu_s"]}
    Path(os.environ["BENCH_OUT"]).write_text(json.dumps(said))
