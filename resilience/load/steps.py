"""One step of a user's way on an aiohttp session: a request filled in, its answer, and what later steps take from it.

Values are percent-encoded in URLs and escaped in JSON and form bodies, whether they come from data rows or from earlier answers: a
token with a quote in it breaks out of nothing.

What it deliberately does not do: retry, or judge the answer.
"""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from resilience.load.fields import fill, fill_body, fill_url
from resilience.load.requests import HttpRequest, Pairs
from resilience.load.sources import Heard, Reader, parse_source


async def take_step(
    session: aiohttp.ClientSession,
    step: HttpRequest,
    i: int,
    row: Mapping[str, str],
    *,
    id_header: tuple[str, str],
    operation: Any = None,
) -> Heard:
    """Send one request and read its answer whole. `operation` is stamped by the session's tracing. Raises what aiohttp does."""
    headers = {name: fill(value, i, row) for name, value in step.headers}
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    async with session.request(
        step.method,
        # What is filled in is encoded already: yarl is not to look at it again.
        URL(fill_url(step.url, i, row), encoded=True),
        headers={**headers, id_header[0]: id_header[1]},
        data=None if step.body is None else fill_body(step.body, content_type, i, row),
        trace_request_ctx=operation,
    ) as response:
        if operation is not None:
            operation.hears()
        body = await response.read()
        return Heard(response.status, [(name.lower(), value) for name, value in response.raw_headers], body)


def extracted(extract: Pairs, heard: Heard) -> dict[str, str] | None:
    """The values that later steps use, by their names; None where the answer lacks one."""
    reader = Reader(heard)
    found: dict[str, str] = {}
    for name, place in extract:
        value = reader.value(parse_source(place, "http"))
        if value is None:
            return None
        found[name] = value if isinstance(value, str) else json.dumps(value)
    return found
