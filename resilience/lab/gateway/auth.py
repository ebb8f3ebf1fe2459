"""`POST /auth/login`, and the tokens that it gives.

Users live in PostgreSQL; scrypt runs in two threads, so a herd of logins waits for CPU without freezing the event loop
under everyone else. They queue before they ask the database, a few at a time: a herd takes no connection from anybody while it waits
for CPU. An unknown user costs as much time as a wrong password. Tokens are HS256 JWTs that every gateway
with the same secret accepts.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
from aiohttp import web

from resilience.lab.gateway.context import json_object, refusal
from resilience.lab.gateway.database import Database
from resilience.lab.gateway.passwords import hash_password, verify_password

TOKEN_LIFE_S = 3600
_ALGORITHM = "HS256"
_THREADS = 2
_TURNS = 2 * _THREADS
_QUEUE_S = 10.0
_MAX_PASSWORD = 256


class Tokens:
    """Issues and reads JWTs under one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def issue(self, user: str) -> str:
        """A token for `user`, valid for an hour."""
        now_s = int(time.time())
        return jwt.encode(
            {"sub": user, "iat": now_s, "exp": now_s + TOKEN_LIFE_S}, self._secret, algorithm=_ALGORITHM
        )

    def user_of(self, token: str) -> str | None:
        """Whose token this is; `None` if it is not one of ours, or has expired."""
        try:
            claims = jwt.decode(
                token, self._secret, algorithms=[_ALGORITHM], options={"require": ["exp", "sub"]}
            )
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])

    def user_of_request(self, request: web.Request) -> str | None:
        """The user of `Authorization: Bearer TOKEN`, else of `?token=TOKEN` (browsers cannot set headers on sockets)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.query.get("token", "")
        return self.user_of(token.strip()) if token else None


class Logins:
    """The login route."""

    def __init__(self, database: Database, tokens: Tokens, log2_n: int) -> None:
        self._database = database
        self._tokens = tokens
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="scrypt")
        self._turns = asyncio.Semaphore(_TURNS)
        # Verified against when there is no such user, so that the time taken does not tell.
        self._nobody = hash_password("", log2_n)

    async def close(self) -> None:
        """Let go of the threads; a hash that is being computed ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def login(self, request: web.Request) -> web.Response:
        """`{"username", "password"}` -> 200 `{"token", "expires_in_s"}` | 400 | 401 | 503 after ten seconds in the queue."""
        body = await json_object(request)
        name, password = body.get("username"), body.get("password")
        if not isinstance(name, str) or not isinstance(password, str) or len(password) > _MAX_PASSWORD:
            return refusal(400, "username and password must be given")
        if "\0" in name:
            return refusal(401, "wrong user name or password")
        try:
            async with asyncio.timeout(_QUEUE_S):
                await self._turns.acquire()
        except TimeoutError:
            return refusal(503, "too many are logging in", retry_after_s=1)
        try:
            good = await self._verified(name, password)
        finally:
            self._turns.release()
        if not good:
            return refusal(401, "wrong user name or password")
        return web.json_response({"token": self._tokens.issue(name), "expires_in_s": TOKEN_LIFE_S})

    async def _verified(self, name: str, password: str) -> bool:
        """Whether there is such a user, and this is the password."""
        async with self._database.connection() as connection:
            stored = await connection.fetchval("SELECT password FROM users WHERE name = $1", name)
        loop = asyncio.get_running_loop()
        good = await loop.run_in_executor(self._threads, verify_password, password, stored or self._nobody)
        return good and stored is not None
