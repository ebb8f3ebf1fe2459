"""Controls any Toxiproxy server over its HTTP API: Shopify's and the embedded one alike.

Theory of operation
    Every call has a time limit, the whole of it. Calls that are idempotent (reading, PATCH, DELETE, /populate,
    /reset) are tried again a few times where the connection failed; creating is tried once, since a lost answer
    does not say whether it happened. Errors of the server become `ToxiproxyError` with its words and status; no
    answer at all becomes `ToxiproxyUnavailable`.

    What only the embedded server can do (`capabilities`) is refused here, before anything is sent, with the
    capability's name, when the server behind is another one.

It deliberately holds no state of the server: two clients may work on one server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import tenacity

from faults.model import JSONScalar, ProxySpec, ToxicSpec
from faults.toxics import OWN_TOXICS

__all__ = ["ToxiproxyClient", "ToxiproxyError", "ToxiproxyUnavailable", "ToxiproxyUnsupported"]

_ATTEMPTS = 3
_BETWEEN_S = 0.05


class ToxiproxyError(Exception):
    """The server refused: `status` is the HTTP status, None where there was no answer to speak of."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ToxiproxyUnavailable(ToxiproxyError):  # noqa: N818 - a state of the server, named as callers ask for it
    """No answer: refused, reset, or not within the time limit."""


class ToxiproxyUnsupported(ToxiproxyError):  # noqa: N818 - as above
    """The server behind this client cannot do that; the message names the capability."""


class ToxiproxyClient:
    """An async client; use as an async context manager, or `close()` it.

    `admin_url` is the API's base (`http://127.0.0.1:8474`), `timeout_s` the limit for each call, `token` what the
    embedded server was told to ask for.
    """

    def __init__(self, admin_url: str, *, timeout_s: float = 2.0, token: str | None = None) -> None:
        self.admin_url = admin_url.rstrip("/")
        self._timeout_s = timeout_s
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._capabilities: frozenset[str] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to the server; the client can be used again after it."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # The server

    async def version(self) -> str:
        """Return what /version says, e.g. `2.12.0`."""
        return str(_object(await self._call("GET", "/version"))["version"])

    async def capabilities(self) -> frozenset[str]:
        """Return what the server can do beyond Toxiproxy's API; empty for Shopify's. Asked once."""
        if self._capabilities is None:
            try:
                answer = _object(await self._call("GET", "/capabilities"))
            except ToxiproxyError as error:
                if error.status != 404:
                    raise
                answer = {}
            self._capabilities = frozenset(str(name) for name in answer.get("capabilities", ()))
        return self._capabilities

    async def _require(self, capability: str) -> None:
        if capability not in await self.capabilities():
            raise ToxiproxyUnsupported(
                f"the server at {self.admin_url} cannot do {capability!r}; only the embedded server can"
            )

    async def _require_type(self, kind: str) -> None:
        if any(toxic.kind == kind for toxic in OWN_TOXICS):
            await self._require(f"toxic:{kind}")

    async def connections(self) -> list[dict[str, Any]]:
        """Return what is open, as GET /connections shows it (capability `connections`)."""
        await self._require("connections")
        return list(_object(await self._call("GET", "/connections"))["connections"])

    async def events(self, since: int = 1) -> tuple[list[dict[str, Any]], int]:
        """Return what toxics did, from event number `since` on, and the next number (capability `events`)."""
        await self._require("events")
        answer = _object(await self._call("GET", f"/events?since={since}"))
        return list(answer["events"]), int(answer["next"])

    async def reset(self) -> None:
        """Enable every proxy and remove every toxic."""
        await self._call("POST", "/reset", retry=True)

    async def populate(self, specs: Iterable[ProxySpec]) -> dict[str, ProxySpec]:
        """Create or replace proxies in one call; return them as the server has them.

        Toxics in the specs need the capability `populate-toxics`. Where an entry fails, the earlier ones stay.
        """
        listed = tuple(specs)
        for toxic in (toxic for spec in listed for toxic in spec.toxics):
            await self._require("populate-toxics")
            await self._require_type(toxic.type)
        body = [_proxy_body(spec, with_toxics=True) for spec in listed]
        answer = _object(await self._call("POST", "/populate", body, retry=True))
        return {spec.name: spec for spec in map(_proxy_spec, answer.get("proxies") or ())}

    # Proxies

    async def proxies(self) -> dict[str, ProxySpec]:
        """Return every proxy by name."""
        answer = _object(await self._call("GET", "/proxies"))
        return {name: _proxy_spec(value) for name, value in answer.items()}

    async def proxy(self, name: str) -> ProxySpec:
        """Return one proxy; a missing one is a ToxiproxyError of status 404."""
        return _proxy_spec(await self._call("GET", _path(name)))

    async def create(self, spec: ProxySpec) -> ProxySpec:
        """Create a proxy, then its toxics; return it as the server has it (with the port it got)."""
        made = _proxy_spec(await self._call("POST", "/proxies", _proxy_body(spec), retry=False))
        toxics = [await self.add_toxic(spec.name, toxic) for toxic in spec.toxics]
        return ProxySpec(made.name, made.listen, made.upstream, made.enabled, tuple(toxics))

    async def delete(self, name: str) -> None:
        """Delete a proxy and close its connections."""
        await self._call("DELETE", _path(name))

    async def set_enabled(self, name: str, enabled: bool) -> ProxySpec:
        """Bring a proxy up, or take it down and close its connections."""
        return _proxy_spec(await self._call("PATCH", _path(name), {"enabled": enabled}))

    async def update(
        self,
        name: str,
        *,
        listen: str | None = None,
        upstream: str | None = None,
        enabled: bool | None = None,
    ) -> ProxySpec:
        """Change addresses or state of a proxy; None leaves a field as it is."""
        wanted = {"listen": listen, "upstream": upstream, "enabled": enabled}
        body = {key: value for key, value in wanted.items() if value is not None}
        return _proxy_spec(await self._call("PATCH", _path(name), body))

    # Toxics

    async def toxics(self, proxy: str) -> tuple[ToxicSpec, ...]:
        """Return a proxy's toxics: upstream first, each direction in insertion order."""
        answer = await self._call("GET", _path(proxy, "toxics"))
        return tuple(_toxic_spec(value) for value in answer)

    async def add_toxic(self, proxy: str, spec: ToxicSpec, *, ttl_ms: int | None = None) -> ToxicSpec:
        """Add a toxic; with `ttl_ms` it goes by itself after that time (capability `ttl`)."""
        body: dict[str, Any] = {
            "name": spec.resolved_name,
            "type": spec.type,
            "stream": spec.stream,
            "toxicity": spec.toxicity,
            "attributes": dict(spec.attributes),
        }
        await self._require_type(spec.type)
        if ttl_ms is not None:
            await self._require("ttl")
            body["ttl_ms"] = ttl_ms
        return _toxic_spec(await self._call("POST", _path(proxy, "toxics"), body, retry=False))

    async def update_toxic(
        self,
        proxy: str,
        toxic: str,
        *,
        attributes: Mapping[str, JSONScalar] | None = None,
        toxicity: float | None = None,
    ) -> ToxicSpec:
        """Change some attributes, or the toxicity, of a toxic; None leaves them as they are."""
        body: dict[str, Any] = {}
        if attributes is not None:
            body["attributes"] = dict(attributes)
        if toxicity is not None:
            body["toxicity"] = toxicity
        return _toxic_spec(await self._call("PATCH", _path(proxy, "toxics", toxic), body))

    async def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Remove a toxic; a missing one is a ToxiproxyError of status 404."""
        await self._call("DELETE", _path(proxy, "toxics", toxic))

    # Scopes that heal

    @contextlib.asynccontextmanager
    async def toxic(self, proxy: str, spec: ToxicSpec) -> AsyncIterator[ToxicSpec]:
        """Hold a toxic for the length of a block; it is removed on the way out, cancellation included."""
        try:
            yield await self.add_toxic(proxy, spec)
        finally:
            await _heal(self._remove_if_there(proxy, spec.resolved_name))

    @contextlib.asynccontextmanager
    async def down(self, proxy: str) -> AsyncIterator[ProxySpec]:
        """Keep a proxy down for the length of a block; it is up again on the way out."""
        try:
            yield await self.set_enabled(proxy, enabled=False)
        finally:
            await _heal(self.set_enabled(proxy, enabled=True))

    async def _remove_if_there(self, proxy: str, toxic: str) -> None:
        try:
            await self.remove_toxic(proxy, toxic)
        except ToxiproxyError as error:
            if error.status != 404:
                raise

    async def snapshot(self) -> tuple[ProxySpec, ...]:
        """Take down what the server has, toxics included, for `restore`."""
        return tuple((await self.proxies()).values())

    async def restore(self, snapshot: Iterable[ProxySpec]) -> None:
        """Make the server what it was: other proxies go, these come back with their state and toxics."""
        wanted = {spec.name: spec for spec in snapshot}
        for name in await self.proxies():
            if name not in wanted:
                await self.delete(name)
        present = await self.proxies()
        for name, spec in wanted.items():
            if name not in present:
                await self._call("POST", "/proxies", _proxy_body(spec), retry=False)
                present[name] = ProxySpec(name, spec.listen, spec.upstream, spec.enabled)
            elif (present[name].listen, present[name].upstream, present[name].enabled) != (
                spec.listen,
                spec.upstream,
                spec.enabled,
            ):
                await self.update(name, listen=spec.listen, upstream=spec.upstream, enabled=spec.enabled)
            if present[name].toxics != spec.toxics:
                for toxic in present[name].toxics:
                    await self._remove_if_there(name, toxic.resolved_name)
                for toxic in spec.toxics:
                    await self.add_toxic(name, toxic)

    # HTTP

    async def _call(self, method: str, path: str, body: object = None, *, retry: bool | None = None) -> Any:
        """Make a call, again after connection failures where that is safe; return the parsed answer."""
        attempts = _ATTEMPTS if (method != "POST" if retry is None else retry) else 1
        last_error = f"no answer from {self.admin_url} within {self._timeout_s} s"
        try:
            async with asyncio.timeout(self._timeout_s):
                async for attempt in tenacity.AsyncRetrying(
                    stop=tenacity.stop_after_attempt(attempts),
                    wait=tenacity.wait_fixed(_BETWEEN_S),
                    retry=tenacity.retry_if_exception_type(aiohttp.ClientConnectionError),
                    reraise=True,
                ):
                    with attempt:
                        return await self._request(method, path, body)
        except TimeoutError:
            raise ToxiproxyUnavailable(f"{method} {path}: {last_error}") from None
        except aiohttp.ClientError as error:
            raise ToxiproxyUnavailable(
                f"{method} {path}: no answer from {self.admin_url}: {error}"
            ) from error
        raise AssertionError("tenacity gave neither an answer nor an error")

    async def _request(self, method: str, path: str, body: object) -> Any:
        if self._session is None or self._session.closed:
            headers = {"User-Agent": "chaos-spike"}
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token}"
            self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None))
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(method, self.admin_url + path, data=data) as response:
            text = await response.text()
            if response.status >= 400:
                raise ToxiproxyError(f"{method} {path}: {_reason(text)}", status=response.status)
            return json.loads(text) if text else None


async def _heal(healing: Any) -> None:
    """Finish a healing call even if the block around it is being cancelled."""
    task = asyncio.ensure_future(healing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _path(proxy: str, *rest: str) -> str:
    return "/".join(["/proxies", *(quote(part, safe="") for part in (proxy, *rest))])


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ToxiproxyError(f"unexpected answer: {answer!r}")
    return answer


def _reason(text: str) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(text)["error"])
    return text.strip()


def _proxy_body(spec: ProxySpec, *, with_toxics: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": spec.name,
        "listen": spec.listen,
        "upstream": spec.upstream,
        "enabled": spec.enabled,
    }
    if with_toxics and spec.toxics:
        body["toxics"] = [
            {
                "name": toxic.resolved_name,
                "type": toxic.type,
                "stream": toxic.stream,
                "toxicity": toxic.toxicity,
                "attributes": dict(toxic.attributes),
            }
            for toxic in spec.toxics
        ]
    return body


def _proxy_spec(answer: Any) -> ProxySpec:
    value = _object(answer)
    toxics = tuple(_toxic_spec(toxic) for toxic in value.get("toxics") or ())
    return ProxySpec(value["name"], value["listen"], value["upstream"], value["enabled"], toxics)


def _toxic_spec(answer: Any) -> ToxicSpec:
    value = _object(answer)
    return ToxicSpec(
        value["type"], value["name"], value["stream"], float(value["toxicity"]), value.get("attributes") or {}
    )
