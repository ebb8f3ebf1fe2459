"""Whether what a plan wants sent can be sent at all: requests, templates, addresses, places in answers. Pure.

Requests are compiled here, long before a run, by the very functions that the workers use: what passes the check is what
is sent. A `{name}` that nothing defines is refused, also in bodies and messages, where a worker would send it as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from resilience.load.noting import RESERVED, WHAT, Noting
from resilience.load.requests import HttpRequest
from resilience.load.sources import SourceError, parse_source
from resilience.load.template import compile_request, target_of
from resilience.plan.addresses import NO_HOST, stand_ins
from resilience.plan.calls import http_request, request_of
from resilience.plan.naming import Names, names_of
from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import Plan
from resilience.plan.schema.calls import (
    AnyCall,
    Exchange,
    HttpLoad,
    PostgresLoad,
    RedisLoad,
    SessionLoad,
    SessionStep,
    WebSocketLoad,
)
from resilience.plan.templates import leading_name, placeholders

__all__ = ["NO_HOST", "http_request", "unsendable"]


def unsendable(plan: Plan) -> Iterator[Problem]:
    """What of the plan's addresses and requests cannot be sent; every variable must have been filled in."""
    yield from _addresses(plan)
    addresses = stand_ins(plan)
    for name, stream in plan.load.items():
        path: Path = ("load", name, stream.driver)
        problems = list(_of_call(stream.call, path, plan, addresses))
        yield from problems
        if not problems and not _address_problem(addresses["base"]):
            try:
                request_of(stream, addresses)
            except ValueError as error:
                yield Problem(path, str(error))
    for name, stimulus in plan.stimulus.items():
        yield from _of_exchange(
            stimulus.http, ("stimulus", name, "http"), names_of(stimulus.http), plan, addresses
        )


def _of_call(call: AnyCall, path: Path, plan: Plan, addresses: Mapping[str, str]) -> Iterator[Problem]:
    names = names_of(call)
    yield from _variables(path, names)
    match call:
        case HttpLoad():
            yield from _of_exchange(call, path, names, plan, addresses)
        case SessionLoad():
            for index, step in enumerate(call.steps):
                place: Path = (*path, "steps", index)
                yield from _of_exchange(step, place, names, plan, addresses)
                yield from _extracted(step, place, names)
        case WebSocketLoad():
            yield from _of_websocket(call, path, names, plan, addresses)
        case PostgresLoad():
            yield from _located(call.dsn, (*path, "dsn"), addresses, ("postgres", "postgresql"))
            for index, statement in enumerate(call.all()):
                at: Path = (
                    (*path, "params") if call.sql is not None else (*path, "statements", index, "params")
                )
                yield from (Problem(at, text) for text in names.unknown(statement.params))
            yield from _record(call.record, (*path, "record"), "postgres", names)
        case RedisLoad():
            yield from _located(call.url, (*path, "url"), addresses, ("redis", "rediss"))
            for index, command in enumerate(call.all()):
                at = (*path, "command") if call.command is not None else (*path, "commands", index)
                yield from (Problem(at, text) for text in names.unknown(command))
            yield from (Problem((*path, "expect"), text) for text in names.unknown((call.expect or "",)))
            yield from _record(call.record, (*path, "record"), "redis", names)
        case _:
            pass  # a script is looked at when its file is read


def _variables(path: Path, names: Names) -> Iterator[Problem]:
    for name, text in names.variables.items():
        place: Path = (*path, "variables", name)
        if name in {"i", "n", "user"} or any(name in row for row in names.rows):
            yield Problem(place, f"{name!r} stands for something else already", at_key=True)
        nested = placeholders((text,)) & set(names.variables)
        if nested:
            yield Problem(place, f"a variable holds no other one: {', '.join(sorted(nested))}")
            continue
        if not names.grow:
            yield from (Problem(place, problem) for problem in names.unknown((text,)))


def _of_websocket(
    call: WebSocketLoad, path: Path, names: Names, plan: Plan, addresses: Mapping[str, str]
) -> Iterator[Problem]:
    if call.login is not None:
        yield from _of_exchange(call.login, (*path, "login"), names, plan, addresses)
        yield from _extracted(call.login, (*path, "login"), names)
    texts: list[tuple[Path, Iterable[str]]] = [
        ((*path, "headers", name), (value,)) for name, value in call.headers.items()
    ]
    texts += [((*path, "first", index), (text,)) for index, text in enumerate(call.first)]
    texts.append(
        (
            (*path, "url"),
            (call.url,) if leading_name(call.url) not in addresses else (call.url.partition("}")[2],),
        )
    )
    wanted = {"welcome": call.welcome or {}, "pushes": call.pushes.json_body if call.pushes else {}}
    texts += [
        ((*path, key, name), _texts_in(value))
        for key, found in wanted.items()
        for name, value in found.items()
    ]
    if call.messages is not None:
        texts.append(((*path, "messages", "send"), (call.messages.send,)))
        texts += [
            ((*path, "messages", "answer", name), (str(value),))
            for name, value in call.messages.answer.items()
        ]
    for place, found in texts:
        more = ("n",) if "messages" in place else ()
        yield from (Problem(place, problem) for problem in names.unknown(found, *more))
    yield from _socket_url(call.url, (*path, "url"), addresses)
    for subprotocol in call.subprotocols:
        if not subprotocol.isascii() or any(c in subprotocol for c in ' ,"\t'):
            yield Problem((*path, "subprotocols"), f"{subprotocol!r} is no name of a subprotocol")


def _socket_url(url: str, path: Path, addresses: Mapping[str, str]) -> Iterator[Problem]:
    name = leading_name(url)
    if name is not None:
        if name not in addresses:
            yield Problem(path, f"no address {{{name}}}{nearest(name, addresses)}")
        elif not addresses[name].startswith(("ws:", "wss:")):
            yield Problem(path, f"{{{name}}} is no address for WebSockets; {{ws}} is the system's")
        return
    scheme = urlsplit(url).scheme
    if scheme not in {"", "ws", "wss"} or (scheme and not urlsplit(url).hostname):
        yield Problem(path, f"{url!r} is no ws:// or wss:// URL with a host, and no path of the system")


def _located(
    url: str, path: Path, addresses: Mapping[str, str], schemes: Collection[str]
) -> Iterator[Problem]:
    """An address of a database: by name, or written out."""
    name = leading_name(url)
    if name is not None:
        if name not in addresses:
            message = f"no address {{{name}}}{nearest(name, addresses)}; an external system names its own under external.addresses"
            yield Problem(path, message)
            return
        url = addresses[name]
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_fits = urlsplit(""), False
    if parts.scheme not in schemes or not parts.hostname or not port_fits:
        yield Problem(path, f"this is no {next(iter(schemes))}:// address with a host")


def _extracted(step: SessionStep, path: Path, names: Names) -> Iterator[Problem]:
    """What a step takes out of its answer is known from here on."""
    for name, text in step.extract.items():
        try:
            parse_source(text, "http")
        except SourceError as error:
            yield Problem((*path, "extract", name), str(error))
        if name in {"i", "n", "user"} or name in names.variables or any(name in row for row in names.rows):
            yield Problem(
                (*path, "extract", name), f"{name!r} stands for something else already", at_key=True
            )
        names.known.add(name)


def _record(record: Mapping[str, str], path: Path, driver: str, names: Names) -> Iterator[Problem]:
    for name, text in record.items():
        place: Path = (*path, name)
        if name in RESERVED:
            yield Problem(place, f"each note has its own {name!r} anyway; choose another name", at_key=True)
            continue
        if name != WHAT and "{" not in text:
            try:
                Noting(((name, text),), driver)
            except SourceError as error:
                yield Problem(place, f"{error}, or a text of the request such as {{i}}")
        yield from (Problem(place, problem) for problem in names.unknown((text,), "id"))


def _of_exchange(
    exchange: Exchange, path: Path, names: Names, plan: Plan, addresses: Mapping[str, str]
) -> Iterator[Problem]:
    """Each part is compiled by itself, so that a problem has its place."""
    whole = HttpLoad.model_construct(
        **{name: getattr(exchange, name) for name in Exchange.model_fields},
        variables=dict(names.variables),
        data=names.filled(),
        verify=True,
    )
    leads = isinstance(exchange, SessionStep) and (leading_name(exchange.url) or "") in names.known
    try:
        if leads:
            whole = whole.model_copy(update={"url": "/"})
        request = http_request(whole, addresses["base"], addresses=addresses)
        target_of(request.url)
    except ValueError as error:
        if not (plan.external and _address_problem(addresses["base"])):
            yield Problem((*path, "url"), str(error))
        return
    bare = HttpRequest(url=NO_HOST, data=request.data)
    parts: list[tuple[Path, HttpRequest]] = [
        ((*path, "method"), replace(bare, method=request.method)),
        ((*path, "url"), replace(bare, url=request.url)),
    ]
    parts += [
        ((*path, "headers", name), replace(bare, headers=((name, value),)))
        for name, value in request.headers
        if name in exchange.headers
    ]
    for place, part in parts:
        if problem := _compile_problem(part, names):
            yield Problem(place, problem)
    for key, texts in _bodies(exchange):
        yield from (Problem((*path, key), f"body: {problem}") for problem in names.unknown(texts))
    for key in ("expect_headers", "expect_json"):
        for name, wanted in getattr(exchange, key).items():
            if placeholders(_texts_in(wanted)):
                message = "what is expected is the same for every call; write a value down with `record` to compare it"
                yield Problem((*path, key, name), message)
    yield from _record(exchange.record, (*path, "record"), "http", names)


def _bodies(exchange: Exchange) -> Iterator[tuple[str, Iterable[str]]]:
    if exchange.json_body is not None:
        yield "json", _texts_in(exchange.json_body)
    if exchange.form is not None:
        yield "form", exchange.form.values()
    if exchange.body is not None:
        yield "body", (exchange.body,)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)


def _compile_problem(request: HttpRequest, names: Names) -> str:
    try:
        compile_request(request, correlate="X-Request-Id", run_id="check", stream="check")(0)
    except ValueError as error:
        # The row that was tried holds stand-ins, too; people are told of what they have.
        return str(error).replace(f"({', '.join(request.data[0]) or 'none'})", f"({names.said})")
    return ""


def _addresses(plan: Plan) -> Iterator[Problem]:
    if plan.system is not None and (problem := _address_problem(plan.system.ready.url)):
        yield Problem(("system", "ready", "url"), problem)
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
    for name in external.addresses:
        if name in {"base", "ws"}:
            message = f"{name!r} is the system itself, by its base_url"
            yield Problem(("external", "addresses", name), message, at_key=True)


def _address_problem(url: str) -> str:
    try:
        target_of(url)
    except ValueError as error:
        return str(error)
    return ""
