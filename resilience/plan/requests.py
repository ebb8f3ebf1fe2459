"""From a declarative request to what the load workers send, and whether it can be sent at all. Pure.

Requests are compiled here, long before a run, by the very function that the workers use: what passes the check is what
is sent. In a JSON body an unknown `{name}` is refused as well; a worker would send it as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urljoin

from resilience.load.requests import HttpRequest
from resilience.load.template import compile_request, target_of
from resilience.plan.problems import Path, Problem
from resilience.plan.schema import HttpLoad, Plan

NO_HOST = "http://system.invalid/"
"""Stands for a system whose address is known only once it is up."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def http_request(http: HttpLoad, base_url: str, instance_header: str | None = None) -> HttpRequest:
    """The request template of a load; a relative URL is taken from the system's. ValueError where it is no URL."""
    headers = dict(http.headers)
    body = None
    if http.json_body is not None:
        body = json.dumps(http.json_body, separators=(",", ":")).encode()
        headers.setdefault("Content-Type", "application/json")
    degraded = next(iter(http.degraded.header.items())) if http.degraded else None
    return HttpRequest(
        method=http.method,
        url=urljoin(base_url, http.url),
        headers=tuple(headers.items()),
        body=body,
        data=http.data if isinstance(http.data, tuple) else (),
        expect_status=tuple((status, status) for status in http.expect_status),
        degraded_header=degraded,
        instance_header=instance_header,
    )


def unsendable(plan: Plan) -> Iterator[Problem]:
    """What of the plan's addresses and requests cannot be sent; every variable must have been filled in."""
    yield from _addresses(plan)
    base_url = plan.external.base_url if plan.external else NO_HOST
    for path, http in _requests(plan):
        try:
            request = http_request(http, base_url)
            target_of(request.url)
        except ValueError as error:
            if not (plan.external and _address_problem(base_url)):
                yield Problem((*path, "url"), str(error))
            continue
        yield from _of_request(request, http, path)


def _requests(plan: Plan) -> Iterator[tuple[Path, HttpLoad]]:
    for name, stream in plan.load.items():
        yield ("load", name, "http"), stream.http
    for name, stimulus in plan.stimulus.items():
        yield ("stimulus", name, "http"), stimulus.http


def _of_request(request: HttpRequest, http: HttpLoad, path: Path) -> Iterator[Problem]:
    """Each part is compiled by itself, so that a problem has its place."""
    bare = HttpRequest(url=NO_HOST, data=request.data)
    parts: list[tuple[Path, HttpRequest]] = [
        ((*path, "method"), replace(bare, method=request.method)),
        ((*path, "url"), replace(bare, url=request.url)),
    ]
    parts += [
        ((*path, "headers", name), replace(bare, headers=((name, value),)))
        for name, value in http.headers.items()
    ]
    for place, part in parts:
        problem = _compile_problem(part)
        if problem:
            yield Problem(place, problem)
    if request.body is not None:
        used = set(_PLACEHOLDER.findall(request.body.decode())) - {"i"}
        for name in sorted(used):
            if not all(name in row for row in request.data or ({},)):
                known = ", ".join(request.data[0]) if request.data else "none"
                message = f"body: {{{name}}} is neither {{i}} nor a field of the data ({known})"
                yield Problem((*path, "json"), message)


def _compile_problem(request: HttpRequest) -> str:
    try:
        compile_request(request, correlate="X-Request-Id", run_id="check", stream="check")(0)
    except ValueError as error:
        return str(error)
    return ""


def _addresses(plan: Plan) -> Iterator[Problem]:
    external = plan.external
    if external is None:
        return
    found: list[tuple[Path, str | None]] = [(("base_url",), external.base_url)]
    for name, proxy in external.proxies.items():
        found.append((("proxies", name, "admin_url"), proxy.admin_url))
        found.append((("proxies", name, "tap_url"), proxy.tap_url))
    found += [
        (("instances", index, "admin_url"), instance.admin_url)
        for index, instance in enumerate(external.instances)
    ]
    for path, url in found:
        if url is not None and (problem := _address_problem(url)):
            yield Problem(("external", *path), problem)


def _address_problem(url: str) -> str:
    try:
        target_of(url)
    except ValueError as error:
        return str(error)
    return ""
