"""aiohttp client sessions for load: with the traps of a convenient client switched off.

An aiohttp client holds 100 connections at most and lets the rest of a herd wait inside the generator; sends idempotent requests
again, unasked, when a kept connection turns out dead, which hides failures and doubles load; and takes proxies from the
environment only if told to. Here: no limit, no second sending, no time-out of its own (the stream has one).
"""

import ssl
from typing import Final

import aiohttp

from resilience.load.requests import HttpRequest

NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


def open_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """A session with a cookie jar of its own, on a connector that it shares and does not close."""
    session = aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        cookie_jar=aiohttp.CookieJar(unsafe=True),  # targets under test are addresses as often as names
        timeout=NO_TIMEOUT,
        auto_decompress=False,
    )
    # There is no public switch; aiohttp's own test client does the same.
    session._retry_connection = False  # noqa: SLF001 - see above
    return session


def open_connector(request: HttpRequest | None = None) -> aiohttp.TCPConnector:
    """A connector without a limit, which trusts what the request says. Connections are shared by all of a stream's users."""
    context: ssl.SSLContext | bool = True
    if request is not None and request.insecure:
        context = False
    elif request is not None and request.ca_file is not None:
        context = ssl.create_default_context(cafile=request.ca_file)
    return aiohttp.TCPConnector(
        limit=0, limit_per_host=0, ssl=context, use_dns_cache=True, ttl_dns_cache=3600
    )
