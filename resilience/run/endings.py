"""How a run ended that an error ended, and which of two endings counts."""

from __future__ import annotations

from faults.errors import FaultError, FaultUnhealed
from faults.redact import redact
from resilience.lab.system import StackError
from resilience.load.engine import EngineError
from resilience.load.stimulus_driver import StimulusError
from resilience.run.ending import Ending
from resilience.run.record import RecordError


def ending_of(error: Exception) -> Ending:
    """How a run ended that an error ended. Its text may name an address, and the address a user."""
    text = str(redact(str(error)))
    if isinstance(error, RecordError):
        return Ending("record_failed", text)
    if isinstance(error, FaultUnhealed):
        return Ending("unhealed", text)
    if isinstance(error, (StackError, FaultError, EngineError, StimulusError)):
        return Ending("setup_failed", text)
    return Ending("crashed", in_words(error))


def first_of(ending: Ending, later: Ending) -> Ending:
    """What went wrong first; a run that was complete until then ended as it did later."""
    return later if ending.reason == "completed" else ending


def in_words(error: BaseException) -> str:
    """Kind and text of an error, without secrets."""
    return f"{type(error).__name__}: {redact(str(error))}"
