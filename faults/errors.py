"""Why a fault was not put in, or could not be taken out: one small hierarchy.

It stands alone, so that the guardian process, which must start fast and hold no library state, can raise these
errors without importing an HTTP client. `faults.nemesis` re-exports every name.
"""

__all__ = [
    "FaultError",
    "FaultNotInjected",
    "FaultRefused",
    "FaultUnhealed",
    "GuardianLost",
    "JournalError",
    "LeaseExpired",
    "TargetBusy",
]


class FaultError(Exception):
    """Something about putting a fault in, or taking it out, went wrong."""


class FaultNotInjected(FaultError):  # noqa: N818 - it states an outcome; "FaultNotInjectedError" says it twice
    """The fault is not in place: it was never requested, or its request failed and was undone."""


class FaultRefused(FaultNotInjected):
    """The blast radius, or the session's state, forbids this fault. Nothing was sent."""


class LeaseExpired(FaultNotInjected):
    """The guardian no longer vouches for this runner, so nothing may be injected any more."""


class GuardianLost(LeaseExpired):
    """The guardian process is gone. Live faults are healed by the session; nothing new goes in."""


class JournalError(FaultNotInjected):
    """The undo journal could not be written (disk full, no permission). No journal, no injection."""


class TargetBusy(FaultError):  # noqa: N818 - it states an outcome
    """Another session holds this target, or left faults on it that could not be undone."""


class FaultUnhealed(FaultError):  # noqa: N818 - it states an outcome
    """A fault could not be verified as gone. `chaos-spike undo` tries again; the guardian still does."""
