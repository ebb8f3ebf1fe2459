"""What an HTTP answer amounts to: its category, and the instance that gave it. Pure.

An expected status is an answer: wrong data if a header or a JSON value that the plan expects is not there, degraded if the target
says so, else ok. Otherwise 429 and 503 are shed, other statuses of 400 and above are 4xx or 5xx, and an unexpected status below
that is wrong data.
"""

import json

from resilience.load.requests import HttpRequest
from resilience.load.sources import Headers, document_of, value_at
from resilience.metrics.outcomes import CLIENT_ERROR, DEGRADED, OK, SERVER_ERROR, SHED, WRONG_DATA

_SHED_STATUSES = frozenset({429, 503})


class AnswerJudge:
    """Judges answers to one request template."""

    __slots__ = ("_degraded", "_headers", "_instance", "_json", "_ranges", "reads_body")

    def __init__(self, request: HttpRequest) -> None:
        self._ranges = request.expect_status
        self._headers = [_field(name, value) for name, value in request.expect_headers]
        self._json = [(path.split("."), json.loads(text)) for path, text in request.expect_json]
        self._degraded = None if request.degraded_header is None else _field(*request.degraded_header)
        header = request.instance_header
        self._instance = None if header is None else header.lower().encode("latin-1")
        self.reads_body: bool = bool(self._json or request.record or request.extract)
        """The judgement, or a note, needs the answer itself: every one has to be read, none can be known by its head."""

    def outcome(self, status: int, headers: Headers, body: bytes = b"") -> str:
        """The category of an answer; `headers` have lower-case names."""
        if not any(low <= status <= high for low, high in self._ranges):
            return unexpected(status)
        if not all(_has(headers, wanted) for wanted in self._headers):
            return WRONG_DATA
        degraded = self._degraded is not None and _has(headers, self._degraded, any_case=True)
        if self._json and not degraded and not self._body_fits(body):
            return WRONG_DATA
        return DEGRADED if degraded else OK

    def instance(self, headers: Headers) -> str | None:
        """The name of the instance that answered, if the plan says where it stands."""
        if self._instance is not None:
            for key, text in headers:
                if key == self._instance:
                    return text.decode("latin-1")
        return None

    def _body_fits(self, body: bytes) -> bool:
        document = document_of(body)
        return all(value_at(document, path) == wanted for path, wanted in self._json)


def unexpected(status: int) -> str:
    """The category of a status that the plan does not expect."""
    if status in _SHED_STATUSES:
        return SHED
    if status >= 500:
        return SERVER_ERROR
    return CLIENT_ERROR if status >= 400 else WRONG_DATA


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode("latin-1"), value.strip().encode("latin-1")


def _has(headers: Headers, wanted: tuple[bytes, bytes], *, any_case: bool = False) -> bool:
    name, value = wanted
    if any_case:
        value = value.lower()
    return any(
        key == name and (text.strip().lower() if any_case else text.strip()) == value for key, text in headers
    )
