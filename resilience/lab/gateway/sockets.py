"""`/ws` and `/ws/test`: JWT, a welcome, echo with timestamps, and broadcast to every socket of every gateway.

Protocol, JSON texts both ways (times are nanoseconds on CLOCK_MONOTONIC of the gateway's host):
- on connect: `{"type": "welcome", "instance", "boot", "user", "at_ns"}`
- `{"type": "broadcast", ...}` is sent on to all sockets, the sender's too: `{"type": "broadcast", "from", "payload",
  "received_ns", "sent_ns"}`, where payload is the message as it came
- anything else comes back to its sender: `{"type": "echo", "payload", "received_ns", "sent_ns"}`; a text that is no
  JSON object is echoed as a string

Broadcasts travel between gateways over the cache's publish/subscribe. When the cache is away they reach the sockets of
the sender's own gateway, and a subscription that breaks off is taken up again every half second. A socket that does
not take a push within a second is closed: one slow reader may not hold up the others.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from time import monotonic_ns
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from resilience.lab.gateway.auth import Tokens
from resilience.lab.gateway.context import Identity, refusal

LOG = logging.getLogger("chaos_spike.lab")

CHANNEL = "lab:broadcast"
_MAX_MESSAGE_BYTES = 64 * 1024
_PUSH_S = 1.0
_RESUBSCRIBE_S = 0.5
_CANCEL_AGAIN_S = 0.1


class Sockets:
    """The WebSocket route and everyone who is connected to this gateway."""

    def __init__(self, identity: Identity, tokens: Tokens, *, bus: Redis, ear: Redis) -> None:
        self._identity = identity
        self._tokens = tokens
        self._bus = bus
        self._ear = ear
        self._live: set[web.WebSocketResponse] = set()
        self._subscriber: asyncio.Task[None] | None = None
        self._subscribed = False
        self._closing = False

    def __len__(self) -> int:
        return len(self._live)

    def start(self) -> None:
        """Begin to listen for broadcasts of the other gateways."""
        self._subscriber = asyncio.get_running_loop().create_task(self._subscribe())

    async def close(self) -> None:
        """Say goodbye to every socket and stop listening."""
        self._closing = True
        if self._subscriber is not None:
            # redis-py swallows a cancellation that comes while it connects (seen in a tenth of quick stops): ask again.
            while not self._subscriber.done():
                self._subscriber.cancel()
                await asyncio.wait((self._subscriber,), timeout=_CANCEL_AGAIN_S)
        await asyncio.gather(*(self._close(ws, WSCloseCode.GOING_AWAY, b"going away") for ws in self._live))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """101 and the protocol above, or 401."""
        user = self._tokens.user_of_request(request)
        if user is None:
            return refusal(401, "a token from /auth/login is needed")
        ws = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=20.0)
        await ws.prepare(request)
        self._enter(ws)
        try:
            welcome = {"type": "welcome", "instance": self._identity.instance, "boot": self._identity.boot}
            await ws.send_str(json.dumps({**welcome, "user": user, "at_ns": monotonic_ns()}))
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._on_text(ws, user, message.data, monotonic_ns())
        except ConnectionError:
            LOG.debug("a socket broke off")
        finally:
            self._live.discard(ws)
        return ws

    def _enter(self, ws: web.WebSocketResponse) -> None:
        """A socket is open."""
        self._live.add(ws)

    async def _on_text(self, ws: web.WebSocketResponse, user: str, text: str, received_ns: int) -> None:
        try:
            payload: Any = json.loads(text)
        except ValueError:
            payload = text
        if isinstance(payload, dict) and payload.get("type") == "broadcast":
            message = {"type": "broadcast", "from": user, "payload": payload, "received_ns": received_ns}
            await self._broadcast(json.dumps({**message, "sent_ns": monotonic_ns()}))
            return
        echo = {"type": "echo", "payload": payload, "received_ns": received_ns, "sent_ns": monotonic_ns()}
        await ws.send_str(json.dumps(echo))

    async def _broadcast(self, text: str) -> None:
        """To everyone through the bus; only to our own sockets if the bus, or our ear on it, is away."""
        try:
            await self._bus.publish(CHANNEL, text)
            heard = self._subscribed
        except (RedisError, OSError, TimeoutError):
            heard = False
        if not heard:
            await self._push(self._live, text)

    async def _push(self, sockets: Iterable[web.WebSocketResponse], text: str) -> None:
        await asyncio.gather(*(self._push_one(ws, text) for ws in tuple(sockets)))

    async def _push_one(self, ws: web.WebSocketResponse, text: str) -> None:
        try:
            async with asyncio.timeout(_PUSH_S):
                await ws.send_str(text)
        except TimeoutError:
            await self._close(ws, WSCloseCode.TRY_AGAIN_LATER, b"too slow")
        except (ConnectionError, RuntimeError):
            self._live.discard(ws)  # it closed meanwhile

    async def _close(self, ws: web.WebSocketResponse, code: WSCloseCode, reason: bytes) -> None:
        try:
            async with asyncio.timeout(0.2):
                await ws.close(code=code, message=reason, drain=False)
        except (TimeoutError, ConnectionError):
            LOG.debug("a socket did not take its goodbye")

    async def _subscribe(self) -> None:
        while not self._closing:
            pubsub = self._ear.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(CHANNEL)
                self._subscribed = True
                while True:
                    message = await pubsub.get_message(timeout=None)
                    if message is not None:
                        await self._push(self._live, bytes(message["data"]).decode())
            except (RedisError, OSError, TimeoutError) as error:
                LOG.info("broadcast subscription lost: %s", type(error).__name__)
            finally:
                self._subscribed = False
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(_RESUBSCRIBE_S)
