"""What an HTTP answer amounts to: its category, and the instance that gave it. Pure.

An expected status is an answer: ok, or degraded where the target says so. Otherwise 429 and 503 are shed, other statuses of
400 and above are 4xx or 5xx, and an unexpected status below that is wrong data.
"""

from collections.abc import Sequence

from resilience.load.requests import HttpRequest
from resilience.metrics.outcomes import CLIENT_ERROR, DEGRADED, OK, SERVER_ERROR, SHED, WRONG_DATA

Headers = Sequence[tuple[bytes, bytes]]
_SHED_STATUSES = frozenset({429, 503})


class AnswerJudge:
    """Judges answers to one request template."""

    __slots__ = ("_degraded", "_instance", "_ranges")

    def __init__(self, request: HttpRequest) -> None:
        self._ranges = request.expect_status
        self._degraded: tuple[bytes, bytes] | None = None
        if request.degraded_header is not None:
            name, value = request.degraded_header
            self._degraded = (name.lower().encode("latin-1"), value.strip().lower().encode("latin-1"))
        header = request.instance_header
        self._instance = None if header is None else header.lower().encode("latin-1")

    def outcome(self, status: int, headers: Headers) -> str:
        """The category of an answer; `headers` have lower-case names."""
        if not any(low <= status <= high for low, high in self._ranges):
            return unexpected(status)
        if self._degraded is not None:
            name, value = self._degraded
            if any(key == name and text.strip().lower() == value for key, text in headers):
                return DEGRADED
        return OK

    def instance(self, headers: Headers) -> str | None:
        """The name of the instance that answered, if the plan says where it stands."""
        if self._instance is not None:
            for key, text in headers:
                if key == self._instance:
                    return text.decode("latin-1")
        return None


def unexpected(status: int) -> str:
    """The category of a status that the plan does not expect."""
    if status in _SHED_STATUSES:
        return SHED
    if status >= 500:
        return SERVER_ERROR
    return CLIENT_ERROR if status >= 400 else WRONG_DATA
