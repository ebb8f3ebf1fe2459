"""Whether something that was typed is the address of an HTTP service. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_http_address(text: str) -> bool:
    """Whether `text` has a scheme, a host and, where it names one, a port that there can be."""
    try:
        parts = urlsplit(text)
        # Reading the port checks it; an unclosed bracket is an error of `urlsplit` itself.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
