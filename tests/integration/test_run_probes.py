"""Probes of abort conditions: one path of a real server, asked until nobody is there any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from resilience.run.probes import watch_path

pytestmark = pytest.mark.integration


async def until(found: list[dict[str, Any]], wanted: object) -> None:
    """Wait for an answer of that status."""
    async with asyncio.timeout(20):
        while wanted not in [each["status"] for each in found]:  # noqa: ASYNC110 - what a listener collects is awaited
            await asyncio.sleep(0.05)


async def test_probe_tells_each_answer_and_its_absence() -> None:
    """A good answer, a bad one, a redirect that is not followed, and nobody there: status or null, each with its interval."""
    answers = {"status": 200}

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=answers["status"], headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found: list[dict[str, Any]] = []
    asking = asyncio.create_task(watch_path(f"http://{host}:{port}/", "/health", found.append))
    try:
        for status in (200, 503, 302):
            answers["status"] = status
            await until(found, status)
        await runner.cleanup()
        await until(found, None)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await runner.cleanup()
    assert {each["status"] for each in found} == {200, 503, 302, None}
    assert all(each["kind"] == "probe" and each["path"] == "/health" for each in found)
    assert all(each["at"][0] <= each["at"][1] for each in found)
