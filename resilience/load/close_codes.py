"""What it means for an operation that its WebSocket was closed in the middle of it, by the code of the close frame. Pure.

The codes are those of RFC 6455, 7.4.1, and of the IANA registry after it. Who hears 1000 while it waits for an answer was left
alone in good order, but left alone: a reset, like a connection that just ends. Codes that may not stand in a close frame make a
peer that sends them one that does not speak the protocol.
"""

from typing import Final

from resilience.metrics.outcomes import CLIENT_ERROR, PROTOCOL, RESET, SERVER_ERROR, SHED

_MEANING: Final = {
    1000: RESET,  # normal closure
    1001: RESET,  # going away
    1002: PROTOCOL,  # protocol error
    1003: CLIENT_ERROR,  # unsupported data
    1004: PROTOCOL,  # reserved, never to be sent
    1005: RESET,  # a close frame without a code
    1006: RESET,  # no close frame at all
    1007: CLIENT_ERROR,  # data that is not what it says it is
    1008: CLIENT_ERROR,  # policy violation: mostly, who this is may not do that
    1009: CLIENT_ERROR,  # message too big
    1010: CLIENT_ERROR,  # an extension is missing
    1011: SERVER_ERROR,  # internal error
    1012: RESET,  # service restart
    1013: SHED,  # try again later
    1014: SERVER_ERROR,  # bad gateway
    1015: PROTOCOL,  # a failed TLS handshake, never to be sent
}


def closed_outcome(code: int) -> str:
    """The category of an operation whose socket was closed with `code`; codes of applications (3000 to 4999) are resets."""
    return _MEANING.get(code, RESET if 3000 <= code <= 4999 else PROTOCOL)
