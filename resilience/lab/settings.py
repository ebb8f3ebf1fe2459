"""What the lab's services are told, by environment variables alone.

The same service code runs as a child of the embedded stack's supervisor and in a container, so everything that a service
needs to know arrives in its environment: addresses of dependencies, secrets (never in arguments, which every user of the
host can read), and the parameters of the breaker. Listening addresses are flags (`service.py`).

This module only parses; it opens nothing. A bad value is a `SettingsError` that names the variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faults.redact import redact

PREFIX = "CHAOS_SPIKE_LAB_"
BREAKER_VARIABLE = f"{PREFIX}BREAKER"
DEFAULT_BREAKER = "purgatory"


class SettingsError(ValueError):
    """An environment variable is missing or makes no sense."""


def lab_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set for the lab, by their names and without secrets; an empty one is not set."""
    found = {key: value for key, value in sorted(environ.items()) if key.startswith(PREFIX) and value}
    return {key: str(value) for key, value in redact(found).items()}


def _text(environ: Mapping[str, str], name: str, default: str | None = None) -> str:
    value = environ.get(PREFIX + name) or default
    if value is None:
        raise SettingsError(f"{PREFIX}{name} is not set")
    return value


def _whole(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(PREFIX + name) or str(default)
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{PREFIX}{name}={text!r} is not a whole number") from None
    if value < least:
        raise SettingsError(f"{PREFIX}{name}={value} is below {least}")
    return value


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """What a breaker is configured to do, whichever library does it.

    `failures` in a row open it, `wait_ms` later it lets calls through again, `successes` of those close it. A call that
    takes longer than `timeout_ms` is a failure.
    """

    library: str = DEFAULT_BREAKER
    failures: int = 5
    wait_ms: int = 1000
    timeout_ms: int = 300
    successes: int = 1

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> BreakerSettings:
        """Read BREAKER, BREAKER_FAILURES, BREAKER_WAIT_MS, BREAKER_SUCCESSES and CALL_TIMEOUT_MS."""
        return cls(
            library=_text(environ, "BREAKER", DEFAULT_BREAKER),
            failures=_whole(environ, "BREAKER_FAILURES", 5, least=1),
            wait_ms=_whole(environ, "BREAKER_WAIT_MS", 1000, least=1),
            timeout_ms=_whole(environ, "CALL_TIMEOUT_MS", 300, least=1),
            successes=_whole(environ, "BREAKER_SUCCESSES", 1, least=1),
        )

    def to_environ(self) -> dict[str, str]:
        """The variables from which `from_environ` reads the same settings."""
        return {
            f"{PREFIX}BREAKER": self.library,
            f"{PREFIX}BREAKER_FAILURES": str(self.failures),
            f"{PREFIX}BREAKER_WAIT_MS": str(self.wait_ms),
            f"{PREFIX}CALL_TIMEOUT_MS": str(self.timeout_ms),
            f"{PREFIX}BREAKER_SUCCESSES": str(self.successes),
        }


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything a gateway process needs to know besides where to listen."""

    pricing_url: str
    database_url: str
    cache_url: str
    jwt_secret: str
    breaker: BreakerSettings
    pool_size: int = 8
    cache_ttl_ms: int = 30_000
    cache_timeout_ms: int = 200
    database_timeout_ms: int = 2000
    scrypt_log2_n: int = 11
    retries: int = 0
    """How often a failed call to pricing is made again at once: the ingredient of a retry storm, off by default."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> GatewaySettings:
        """Read the gateway's variables (docs/lab.md lists them); SettingsError names the one that is wrong."""
        secret = _text(environ, "JWT_SECRET")
        if len(secret.encode()) < 32:
            raise SettingsError(f"{PREFIX}JWT_SECRET must have 32 bytes or more")
        return cls(
            pricing_url=_text(environ, "PRICING_URL").rstrip("/"),
            database_url=_text(environ, "DATABASE_URL"),
            cache_url=_text(environ, "CACHE_URL"),
            jwt_secret=secret,
            breaker=BreakerSettings.from_environ(environ),
            pool_size=_whole(environ, "DB_POOL", 8, least=1),
            cache_ttl_ms=_whole(environ, "CACHE_TTL_MS", 30_000, least=1),
            cache_timeout_ms=_whole(environ, "CACHE_TIMEOUT_MS", 200, least=1),
            database_timeout_ms=_whole(environ, "DATABASE_TIMEOUT_MS", 2000, least=1),
            scrypt_log2_n=_whole(environ, "SCRYPT_LOG2_N", 11, least=1),
            retries=_whole(environ, "RETRIES", 0, least=0),
        )


@dataclass(frozen=True, slots=True)
class PricingSettings:
    """What the pricing service needs to know: how long it works on a price, on how many at once, and how many may wait.

    `capacity` 0 is no limit. A caller that has given up is worked for all the same, as by most servers.
    """

    work_ms: int = 2
    capacity: int = 0
    queue: int = 200

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> PricingSettings:
        """Read PRICING_WORK_MS, PRICING_CAPACITY and PRICING_QUEUE."""
        return cls(
            work_ms=_whole(environ, "PRICING_WORK_MS", 2, least=0),
            capacity=_whole(environ, "PRICING_CAPACITY", 0, least=0),
            queue=_whole(environ, "PRICING_QUEUE", 200, least=1),
        )
