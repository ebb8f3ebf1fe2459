"""Everything that a run says goes through here: into the record, to the abort conditions, to whoever listens.

Called from callbacks of the fault session and of the load workers, which must not suffer for a full disk: an error while
something is written down, or while a condition looks at it, ends the run in good order through `Stop`. Who listens is not part of
the run: a listener that raises (a closed pipe) is not asked again, and the run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from resilience.run.abort import AbortWatch
from resilience.run.endings import ending_of, in_words
from resilience.run.record import RunRecorder
from resilience.run.stop import Stop

log = logging.getLogger("chaos_spike.run")

Listener = Callable[[dict[str, Any]], None]


class Teller:
    """Writes down what happens, shows it to the abort conditions and tells it. `verified` are the faults that are seen to be gone."""

    def __init__(self, recorder: RunRecorder, aborts: AbortWatch, stop: Stop, listen: Listener) -> None:
        self._recorder = recorder
        self._aborts = aborts
        self._stop = stop
        self._listen: Listener | None = listen
        self.verified: set[str] = set()

    def tell(self, kind: str, **fields: Any) -> None:
        """One event of the run itself."""
        self.guarded(lambda: self._heard(self._recorder.event(kind, **fields)))

    def fault(self, event: Any) -> None:
        """One event of the fault session."""
        (self.verified.add if event.step == "verified" else self.verified.discard)(event.fault_id)
        self.tell("fault", id=event.fault_id, step=event.step, at=list(event.at), detail=dict(event.detail))

    def observed(self, observation: dict[str, Any]) -> None:
        """What an observer saw."""
        self.guarded(lambda: self._aborts.observe(observation))
        self.guarded(lambda: self._heard(self._recorder.observed(observation)))

    def message(self, message: dict[str, Any]) -> None:
        """One message of the load or of a stimulus; it is told even where it cannot be written down."""
        self.guarded(lambda: self._recorder.message(message))
        self.guarded(lambda: self._aborts.feed(message))
        self._heard(message)

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something whose failure must stop the run, and not whoever calls."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it ends the run, in good order
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """End the run because of an error. The first of its kind is logged: a full disk is met by every message."""
        ending = ending_of(error)
        met = self._stop.ending.reason if self._stop.ending else None
        if ending.reason != met and ending.reason in ("crashed", "record_failed"):
            log.error(
                "the run ends: %s", ending.detail, exc_info=error if ending.reason == "crashed" else None
            )
        self._stop.request(ending)

    def _heard(self, event: dict[str, Any]) -> None:
        if self._listen is None:
            return
        try:
            self._listen(event)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a terminal that is gone ends no run
            self._listen = None
            log.warning("the run's progress is not shown any more: %s", in_words(error))
