"""The operations of the API: decide on the store, then do the work, then answer.

Theory of operation
    `Control` owns the store and the listeners. An operation first waits for what it must wait for (looking up a
    listen host), and from then on runs without an await until store and listeners agree again: checks, binding,
    recording. So operations never see each other half done, no lock is held over a wait, and reading is never
    blocked by anything the data plane does.

Kept from Toxiproxy: a failed re-bind leaves the proxy disabled at the new address; /populate validates all,
then creates in order and stops at the first failure, keeping the earlier ones; a proxy whose listen and
upstream are the same is left as it is, even if `enabled` differs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

from faults.proxy import wire
from faults.proxy.addresses import Address, AddressError, format_address, parse_address
from faults.proxy.alarms import Alarms
from faults.proxy.connection import ConnectionOptions
from faults.proxy.dial import Dialler
from faults.proxy.event_log import EventLog
from faults.proxy.expiry import Expiry, with_expiry
from faults.proxy.held import HeldBudget
from faults.proxy.listener import Listener
from faults.proxy.metrics import ByteTotals, Metrics
from faults.proxy.options import CAPABILITIES, ControlOptions
from faults.proxy.ports import BindError, bind, resolve_listen
from faults.proxy.quirks import NO_QUIRKS, TOXIPROXY_QUIRKS
from faults.proxy.requests import (
    ProxyRequest,
    read_listed_toxics,
    read_populate,
    read_proxy,
    read_toxic,
    read_toxic_change,
)
from faults.proxy.store import ApiError, Store, StoredProxy, StoredToxic
from faults.proxy.turns import Turns
from faults.proxy.wire import Answer, Route

__all__ = ["CAPABILITIES", "Control", "ControlOptions"]

_log = logging.getLogger(__name__)
_EVENTS = 5000  # at once
_SHOWN_AT_ONCE = 100
_CHANGES_TOXICS = frozenset({"populate", "reset", "toxic_create", "toxic_update", "toxic_delete"})


class Control:
    """All proxies of one server."""

    def __init__(self, options: ControlOptions) -> None:
        self.options = options
        self.store = Store()
        self.listeners: dict[str, Listener] = {}
        self.budget = HeldBudget(options.process_cap_bytes)
        self.totals = ByteTotals()
        self.alarms = Alarms()
        self.turns = Turns()
        self.events_log = EventLog()
        self._expiry = Expiry(self._expired)
        self._closing: set[asyncio.Task[None]] = set()

    async def answer(self, route: Route, body: bytes) -> Answer:
        """Carry out what a route asks for; every `ApiError` becomes its answer."""
        operation: Callable[..., object] = getattr(self, route.operation)
        try:
            made = operation(route, body)
            answer = await made if asyncio.iscoroutine(made) else made
            if route.operation in _CHANGES_TOXICS:
                for listener in list(self.listeners.values()):
                    await listener.settled()
        except ApiError as error:
            return wire.error_answer(error)
        assert isinstance(answer, Answer)
        return answer

    # Reading

    def version(self, _route: Route, _body: bytes) -> Answer:
        """GET /version."""
        return wire.version_answer(self.options.version)

    def proxy_index(self, _route: Route, _body: bytes) -> Answer:
        """GET /proxies."""
        return wire.json_answer(200, wire.proxies_json(self.store.proxies.values()))

    def proxy_show(self, route: Route, _body: bytes) -> Answer:
        """GET /proxies/{p}."""
        return wire.json_answer(200, wire.proxy_json(self.store.proxy(route.proxy)))

    def toxic_index(self, route: Route, _body: bytes) -> Answer:
        """GET /proxies/{p}/toxics."""
        return wire.json_answer(200, wire.toxics_json(self.store.proxy(route.proxy)))

    def toxic_show(self, route: Route, _body: bytes) -> Answer:
        """GET /proxies/{p}/toxics/{t}."""
        return wire.json_answer(200, wire.toxic_json(self.store.proxy(route.proxy).toxic(route.toxic)))

    def capabilities(self, _route: Route, _body: bytes) -> Answer:
        """GET /capabilities: what this server can do that Toxiproxy cannot."""
        return wire.json_answer(200, json.dumps({"capabilities": list(CAPABILITIES)}))

    async def connections(self, _route: Route, _body: bytes) -> Answer:
        """GET /connections: what is open, with the bytes of each direction; some at a time, as there may be thousands."""
        shown = []
        for name, listener in sorted(self.listeners.items()):
            open_now = sorted(listener.connections, key=lambda connection: connection.number)
            for count, connection in enumerate(open_now, start=1):
                shown.append({"proxy": name, **connection.describe()})
                if count % _SHOWN_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return wire.json_answer(200, json.dumps({"connections": shown}))

    def events(self, route: Route, _body: bytes) -> Answer:
        """GET /events?since=SEQ: what toxics did to which connections."""
        since = parse_qs(route.query).get("since", ["1"])[-1]
        if not since.isdecimal() or len(since) > 18:
            raise ApiError(400, "since must be the number of an event")
        return wire.json_answer(200, json.dumps(self.events_log.since(int(since), _EVENTS)))

    def metrics(self, _route: Route, _body: bytes) -> Answer:
        """Any /metrics, where metrics are on."""
        metrics = Metrics(
            self.totals,
            self.store.proxies,
            self.listeners,
            proxies=self.options.proxy_metrics,
            runtime=self.options.runtime_metrics,
        )
        body, content_type = metrics.exposition()
        return Answer(200, body, content_type)

    # Proxies

    async def proxy_create(self, _route: Route, body: bytes) -> Answer:
        """POST /proxies."""
        request = read_proxy(body, ProxyRequest("", "", "", enabled=True))
        for name in ("name", "upstream"):
            if not getattr(request, name):
                raise ApiError(400, f"missing required field: {name}")
        self.store.check_new(request.name)
        fresh = self._stored(request, "")
        place = await self._resolve(request.listen, "listen tcp: ") if request.enabled else None
        self.store.check_new(request.name)
        proxy = await self._put(fresh, place)
        return wire.json_answer(201, wire.proxy_json(proxy))

    async def proxy_update(self, route: Route, body: bytes) -> Answer:
        """PATCH (or POST) /proxies/{p}."""
        now = self.store.proxy(route.proxy)
        request = read_proxy(body, ProxyRequest("", now.listen, now.upstream, now.enabled))
        place = await self._resolve(request.listen, "")
        now = self.store.proxy(route.proxy)
        differs = now.listen != place.shown or now.upstream != request.upstream
        if not differs and request.enabled == now.enabled:
            return wire.json_answer(200, wire.proxy_json(now))
        self._stop(now.name)
        wanted = replace(now, enabled=request.enabled)
        if differs:
            wanted = replace(wanted, listen=request.listen, upstream=request.upstream)
        proxy = await self._put(wanted, place if request.enabled else None)
        return wire.json_answer(200, wire.proxy_json(proxy))

    def proxy_delete(self, route: Route, _body: bytes) -> Answer:
        """DELETE /proxies/{p}."""
        self.store = self.store.without(route.proxy)
        self._expiry.forget(route.proxy)
        self._stop(route.proxy)
        return Answer(204)

    async def populate(self, _route: Route, body: bytes) -> Answer:
        """POST /populate."""
        try:
            requests = read_populate(body)
            entries = [
                (request, self._stored(request, f" at proxy {number}"))
                for number, request in enumerate(requests, start=1)
            ]
        except ApiError as error:
            return wire.populate_answer((), error)
        done: list[StoredProxy] = []
        for request, fresh in entries:
            try:
                done.append(await self._add_or_replace(request, fresh))
            except ApiError as error:
                return wire.populate_answer(done, error)
        return wire.populate_answer(done, None)

    async def _add_or_replace(self, request: ProxyRequest, fresh: StoredProxy) -> StoredProxy:
        existing = request.name in self.store.proxies
        place = None
        if existing or request.enabled:
            place = await self._resolve(request.listen, "" if existing else "listen tcp: ")
        old = self.store.proxies.get(request.name)
        if old is not None and place is not None:
            if old.listen == place.shown and old.upstream == request.upstream:
                lists_toxics = not self.options.compat and request.toxics is not None
                return self._replace(old.with_toxics(map(with_expiry, fresh.toxics))) if lists_toxics else old
            self._stop(old.name)
            # Until the new one stands, the old one is what there is: stopped, as in Toxiproxy.
            self.store = self.store.with_proxy(replace(old, enabled=False))
        return await self._put(fresh, place if request.enabled else None, keep=old is None or request.enabled)

    async def reset(self, _route: Route, _body: bytes) -> Answer:
        """POST /reset: every proxy up, no toxic left; the first failure is told after all was tried."""
        failure: ApiError | None = None
        for name in sorted(self.store.proxies):
            proxy = self.store.proxies.get(name)
            if proxy is None:
                continue
            self._replace(replace(proxy, toxics=()))
            if proxy.enabled:
                continue
            try:
                place = await self._resolve(proxy.listen, "listen tcp: ")
                now = self.store.proxies.get(name)
                if now is not None and not now.enabled:
                    await self._put(replace(now, enabled=True), place)
            except ApiError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return Answer(204)

    # Toxics

    def toxic_create(self, route: Route, body: bytes) -> Answer:
        """POST /proxies/{p}/toxics."""
        proxy = self.store.proxy(route.proxy)
        taken = frozenset(toxic.name for toxic in proxy.toxics)
        stored = with_expiry(read_toxic(body, taken, own=not self.options.compat))
        self._check(stored)
        changed = self._replace(proxy.with_toxic(stored))
        return wire.json_answer(200, wire.toxic_json(changed.toxic(stored.name)))

    def toxic_update(self, route: Route, body: bytes) -> Answer:
        """PATCH (or POST) /proxies/{p}/toxics/{t}."""
        proxy = self.store.proxy(route.proxy)
        change = read_toxic_change(body, proxy.toxic(route.toxic), own=not self.options.compat)
        if change.error is not None:
            if self.options.compat:
                self._replace(proxy.with_changed_toxic(change.toxic))
            raise change.error
        self._check(change.toxic)
        changed = with_expiry(change.toxic)
        self._replace(proxy.with_changed_toxic(changed))
        return wire.json_answer(200, wire.toxic_json(changed))

    def toxic_delete(self, route: Route, _body: bytes) -> Answer:
        """DELETE /proxies/{p}/toxics/{t}."""
        self._replace(self.store.proxy(route.proxy).without_toxic(route.toxic))
        return Answer(204)

    def _check(self, stored: StoredToxic) -> None:
        """Refuse attributes that make no sense; Toxiproxy takes them, and falls over at the first data."""
        if self.options.compat:
            return
        problems = list(stored.toxic.problems())
        if not 0 <= stored.toxicity <= 1:
            problems.append("toxicity must be between 0 and 1")
        if problems:
            raise ApiError(400, f"invalid {stored.toxic.kind} toxic: " + "; ".join(problems))

    def _expired(self, proxy_name: str, toxic: StoredToxic) -> None:
        proxy = self.store.proxies.get(proxy_name)
        if proxy is not None and any(now.order == toxic.order for now in proxy.toxics):
            _log.info("toxic %s of proxy %s: its time to live is over", toxic.name, proxy_name)
            self._replace(proxy.without_toxic(toxic.name))

    def _stored(self, request: ProxyRequest, where: str) -> StoredProxy:
        """Make of a request what would be stored, its toxics included where the mode has them; checks them."""
        proxy = StoredProxy(request.name, request.listen, request.upstream, request.enabled)
        if self.options.compat:
            return proxy
        for toxic in read_listed_toxics(request.toxics, where=where) or ():
            self._check(toxic)
            proxy = proxy.with_toxic(toxic)
        return proxy

    # Work

    async def _resolve(self, listen: str, prefix: str) -> _Place:
        try:
            address = parse_address(listen)
            family, host = await resolve_listen(address.host, self.options.resolver_name)
        except AddressError as error:
            raise ApiError(500, f"{prefix}{error}") from None
        return _Place(address, family, host)

    async def _put(self, proxy: StoredProxy, place: _Place | None, *, keep: bool = True) -> StoredProxy:
        """Record a proxy, listening at `place` if there is one; `keep`: record it as disabled if that fails."""
        proxy = replace(proxy, toxics=tuple(map(with_expiry, proxy.toxics)))
        if place is None:
            return self._replace(replace(proxy, enabled=False))
        try:
            port, sock = bind(place.family, place.host, place.address.port)
        except BindError as error:
            if keep and proxy.name in self.store.proxies:
                self.store = self.store.with_proxy(replace(proxy, enabled=False))
            raise ApiError(500, str(error)) from None
        options = ConnectionOptions(
            self.budget,
            self.options.link_cap_bytes,
            quirks=TOXIPROXY_QUIRKS if self.options.compat else NO_QUIRKS,
            seed=f"{self.options.seed}/{proxy.name}",
            alarms=self.alarms,
            turns=self.turns,
            log=None if self.options.compat else self.events_log.of_proxy(proxy.name),
        )
        proxy = replace(proxy, enabled=True, listen=port.address)
        dialler = Dialler(proxy.upstream, timeout_s=self.options.dial_timeout_s)
        totals = self.totals
        listener = Listener(
            port, sock, dialler, options, on_gone=lambda connection: totals.add(proxy, connection)
        )
        self.listeners[proxy.name] = listener
        self._replace(proxy)
        await listener.start()
        _log.info("proxy %s listens on %s for %s", proxy.name, proxy.listen, proxy.upstream)
        return proxy

    def _replace(self, proxy: StoredProxy) -> StoredProxy:
        """Record changed toxics and put them to work."""
        self.store = self.store.with_proxy(proxy)
        self._expiry.follow(proxy)
        listener = self.listeners.get(proxy.name)
        if listener is not None:
            listener.set_toxics(proxy.toxics)
        return proxy

    def _stop(self, name: str) -> None:
        listener = self.listeners.pop(name, None)
        if listener is None:
            return
        listener.close()
        task = asyncio.get_running_loop().create_task(listener.wait_closed())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        _log.info("proxy %s is down", name)

    async def close(self) -> None:
        """Stop every proxy and wait for their sockets to be gone."""
        self._expiry.close()
        for name in list(self.listeners):
            self._stop(name)
        await _all(self._closing)
        self.alarms.close()


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    pending = list(tasks)
    if pending:
        await asyncio.wait(pending, timeout=2)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to listen: as parsed, and as looked up."""

    address: Address
    family: socket.AddressFamily
    host: str

    @property
    def shown(self) -> str:
        """As Go prints a resolved address: an empty host stays empty."""
        return format_address(self.host, self.address.port)
