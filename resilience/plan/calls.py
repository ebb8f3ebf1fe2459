"""From what a plan says of one call to what the load workers do: one request value for each driver. Pure.

The values are those of `resilience.load.requests`; the workers get nothing else. Addresses are put in here, and variables, so that drivers
know of neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urljoin

from resilience.load.fields import json_escape, message_encoder, percent_encode
from resilience.load.requests import (
    HttpRequest,
    Pairs,
    PostgresRequest,
    RedisRequest,
    Request,
    Row,
    ScriptRequest,
    SessionRequest,
    Statement,
    WebSocketRequest,
)
from resilience.plan.schema import LoadStream
from resilience.plan.schema.calls import (
    Exchange,
    HttpLoad,
    PostgresLoad,
    RedisLoad,
    Rows,
    ScriptLoad,
    SessionLoad,
    SessionStep,
    WebSocketLoad,
)
from resilience.plan.templates import around_placeholders, leading_name, located, with_variables

Addresses = Mapping[str, str]


def request_of(stream: LoadStream, addresses: Addresses, instance_header: str | None = None) -> Request:
    """What one operation of a stream is. `addresses` has at least `base` and `ws`. ValueError where a URL is none."""
    call = stream.call
    if isinstance(call, HttpLoad):
        return http_request(call, addresses["base"], instance_header, addresses=addresses)
    return _OTHERS[type(call)](call, addresses, instance_header)


def http_request(
    http: HttpLoad,
    base_url: str,
    instance_header: str | None = None,
    *,
    addresses: Addresses | None = None,
) -> HttpRequest:
    """The request template of a load; a relative URL is taken from the system's. ValueError where it is no URL."""
    return _exchange(
        http,
        {**(addresses or {}), "base": base_url},
        http.variables,
        rows_of(http.data),
        instance_header=instance_header,
        verify=http.verify,
    )


def rows_of(data: Rows) -> tuple[Row, ...]:
    """The rows of a load; a file's are in the plan by now."""
    return data if isinstance(data, tuple) else ()


def _exchange(
    exchange: Exchange,
    addresses: Addresses,
    variables: Mapping[str, str],
    rows: tuple[Row, ...],
    *,
    instance_header: str | None = None,
    verify: bool | str = True,
) -> HttpRequest:
    body, content_type = _body(exchange, variables)
    headers = {name: with_variables(value, variables) for name, value in exchange.headers.items()}
    if content_type is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    step = isinstance(exchange, SessionStep)
    return HttpRequest(
        method=exchange.method,
        url=_url(exchange.url, addresses, variables, base="base", may_lead=step),
        headers=tuple(headers.items()),
        body=body,
        data=rows,
        expect_status=exchange.expect_status,
        expect_headers=tuple(exchange.expect_headers.items()),
        expect_json=_conditions(exchange.expect_json),
        degraded_header=next(iter(exchange.degraded.header.items())) if exchange.degraded else None,
        instance_header=instance_header,
        record=tuple((name, with_variables(text, variables)) for name, text in exchange.record.items()),
        extract=tuple(exchange.extract.items()) if isinstance(exchange, SessionStep) else (),
        once=exchange.once if isinstance(exchange, SessionStep) else False,
        **_trust(verify),
    )


def _url(
    url: str, addresses: Addresses, variables: Mapping[str, str], *, base: str, may_lead: bool = False
) -> str:
    placed = located(url, addresses)
    if placed != url:
        return with_variables(placed, variables, percent_encode)
    if may_lead and leading_name(url) is not None:
        return with_variables(url, variables, percent_encode)  # a whole URL, taken from an answer or a row
    return urljoin(addresses[base], with_variables(url, variables, percent_encode))


def _body(exchange: Exchange, variables: Mapping[str, str]) -> tuple[bytes | None, str | None]:
    """The body as a template, and the type that it has if the headers name none."""
    if exchange.json_body is not None:
        text = json.dumps(exchange.json_body, separators=(",", ":"))
        return with_variables(text, variables, json_escape).encode(), "application/json"
    if exchange.form is not None:
        pairs = (
            f"{quote_plus(name)}={around_placeholders(with_variables(value, variables), quote_plus)}"
            for name, value in exchange.form.items()
        )
        return "&".join(pairs).encode(), "application/x-www-form-urlencoded"
    if exchange.body is None:
        return None, None
    return with_variables(exchange.body, variables).encode(), None


def _conditions(wanted: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> Pairs:
    return tuple(
        (path, with_variables(json.dumps(value), variables or {}, json_escape))
        for path, value in wanted.items()
    )


def _trust(verify: bool | str) -> dict[str, Any]:
    return {"ca_file": verify if isinstance(verify, str) else None, "insecure": verify is False}


def _session(call: SessionLoad, addresses: Addresses, instance_header: str | None) -> SessionRequest:
    rows = rows_of(call.data)
    return SessionRequest(
        steps=tuple(
            _exchange(
                step, addresses, call.variables, rows, instance_header=instance_header, verify=call.verify
            )
            for step in call.steps
        ),
        keep_users=call.users,
    )


def _websocket(call: WebSocketLoad, addresses: Addresses, _header: str | None) -> WebSocketRequest:
    variables, rows = call.variables, rows_of(call.data)
    messages, pushes = call.messages, call.pushes
    login = None
    if call.login is not None:
        login = _exchange(call.login, addresses, variables, rows, verify=call.verify)
    return WebSocketRequest(
        url=_url(call.url, addresses, variables, base="ws"),
        headers=tuple((name, with_variables(value, variables)) for name, value in call.headers.items()),
        subprotocols=call.subprotocols,
        login=login,
        welcome=call.welcome is not None,
        welcome_json=_conditions(call.welcome or {}, variables),
        messages=tuple(with_variables(text, variables, message_encoder(text)) for text in call.first),
        echo=messages.echo if messages is not None else call.echo,
        hold_ns=call.stay,
        send=None
        if messages is None
        else with_variables(messages.send, variables, message_encoder(messages.send)),
        every_ns=messages.every if messages is not None else 1_000_000_000,
        count=messages.count if messages is not None else None,
        answer_json=_conditions(messages.answer, variables) if messages is not None else (),
        broadcast=messages.broadcast if messages is not None else False,
        push_json=_conditions(pushes.json_body, variables) if pushes is not None else (),
        push_id=pushes.id if pushes is not None else None,
        pushes=pushes.count if pushes is not None else None,
        close_code=call.close,
        reconnect_ns=call.reconnect,
        record=call.record,
        data=rows,
        **_trust(call.verify),
    )


def _postgres(call: PostgresLoad, addresses: Addresses, _header: str | None) -> PostgresRequest:
    first, *then = (
        Statement(each.sql, tuple(with_variables(text, call.variables) for text in each.params))
        for each in call.all()
    )
    return PostgresRequest(
        dsn=located(call.dsn, addresses),
        sql=first.sql,
        arguments=first.arguments,
        then=tuple(then),
        transaction=call.transaction,
        pool=call.pool,
        expect_rows=call.expect_rows,
        record=tuple((name, with_variables(text, call.variables)) for name, text in call.record.items()),
        data=rows_of(call.data),
    )


def _redis(call: RedisLoad, addresses: Addresses, _header: str | None) -> RedisRequest:
    first, *then = (tuple(with_variables(word, call.variables) for word in command) for command in call.all())
    return RedisRequest(
        url=located(call.url, addresses),
        command=first,
        then=tuple(then),
        expect=None if call.expect is None else with_variables(call.expect, call.variables),
        record=tuple((name, with_variables(text, call.variables)) for name, text in call.record.items()),
        data=rows_of(call.data),
    )


def _script(call: ScriptLoad, addresses: Addresses, _header: str | None) -> ScriptRequest:
    path, _, function = call.function.rpartition(":")
    return ScriptRequest(path=path, function=function, data=rows_of(call.data), addresses=dict(addresses))


_OTHERS: Mapping[type, Callable[[Any, Addresses, str | None], Request]] = {
    SessionLoad: _session,
    WebSocketLoad: _websocket,
    PostgresLoad: _postgres,
    RedisLoad: _redis,
    ScriptLoad: _script,
}
