"""The toxiproxy-python client, pointed at a server for as long as a test needs it.

Its host and port are globals of its module, and it has no time-outs: it is handed to tests that want it, and nothing of ours
stands on it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit


@contextlib.contextmanager
def toxiproxy_client(admin_url: str) -> Iterator[Any]:
    """A `toxiproxy.Toxiproxy` of the server at `admin_url`."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what the library's own dependencies warn of at import is not the test's matter
        from toxiproxy import Toxiproxy  # noqa: PLC0415 - only where it is asked for
        from toxiproxy.api import APIConsumer  # noqa: PLC0415 - as above
    before = APIConsumer.host, APIConsumer.port
    parts = urlsplit(admin_url)
    APIConsumer.host, APIConsumer.port = parts.hostname, parts.port
    try:
        yield Toxiproxy()
    finally:
        APIConsumer.host, APIConsumer.port = before
