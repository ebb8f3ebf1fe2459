"""What the gateway's routes share: who this process is, and how answers and refusals are shaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

INSTANCE_HEADER = "X-Instance"
REQUEST_ID_HEADER = "X-Request-Id"
DEGRADED_HEADER = "X-Degraded"
BREAKER_HEADER = "X-Breaker"
CACHE_HEADER = "X-Cache"

# Typed request keys came with aiohttp 3.14, which warns of plain ones.
REQUEST_ID: Any = web.RequestKey("request_id", str) if hasattr(web, "RequestKey") else "request_id"


@dataclass(frozen=True, slots=True)
class Identity:
    """The process that answers: its configured name, and a value that no other start of it has."""

    instance: str
    boot: str


def refusal(status: int, error: str, *, retry_after_s: int | None = None) -> web.Response:
    """An error answer: JSON with one sentence, never a traceback."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.json_response({"error": error}, status=status, headers=headers)


def bad_request(error: str) -> web.HTTPBadRequest:
    """A 400 to raise, in the shape of `refusal`."""
    return web.HTTPBadRequest(text=json.dumps({"error": error}), content_type="application/json")


async def json_object(request: web.Request) -> Mapping[str, Any]:
    """The request's body as a JSON object, or a 400."""
    try:
        body = await request.json()
    except (ValueError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return body
