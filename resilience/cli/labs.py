"""What is asked of the lab, by a plan, the command line and the environment: made sure of before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resilience.cli.scenarios import fail_usage
from resilience.lab.settings import PREFIX, GatewaySettings, PricingSettings, SettingsError
from resilience.plan.problems import nearest
from resilience.plan.schema import Lab

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.lab.options import LabOptions

KNOWN: Final = frozenset(
    PREFIX + name
    for name in (
        *("BREAKER", "BREAKER_FAILURES", "BREAKER_WAIT_MS", "BREAKER_SUCCESSES", "CALL_TIMEOUT_MS"),
        *("DB_POOL", "DATABASE_TIMEOUT_MS", "CACHE_TIMEOUT_MS", "CACHE_TTL_MS", "SCRYPT_LOG2_N", "RETRIES"),
        *("PRICING_WORK_MS", "PRICING_CAPACITY", "PRICING_QUEUE"),
        *("BROKEN", "POSTGRES_USER", "DIR"),
        *("PRICING_URL", "DATABASE_URL", "CACHE_URL", "JWT_SECRET", "DB_PASSWORD"),
    )
)
"""Every variable of the lab; the last line's are set by the stacks themselves."""
_SET_BY_THE_STACK: Final = {
    f"{PREFIX}PRICING_URL": "http://x",
    f"{PREFIX}DATABASE_URL": "postgresql://x",
    f"{PREFIX}CACHE_URL": "redis://x",
    f"{PREFIX}JWT_SECRET": "x" * 32,
}


def checked_lab(lab: Lab, environ: Mapping[str, str] | None = None) -> LabOptions:
    """The lab that is asked for. Exits with 2, the reason and the known names, where there is none like it.

    A variable that nobody reads is refused, too: who misspells the one that takes the breaker away would see a pass and believe it.
    """
    from resilience.cli.stacks import lab_options
    from resilience.lab.breakers.registry import check_breaker
    from resilience.lab.broken import broken_from
    from resilience.lab.system import StackError

    environ = os.environ if environ is None else environ
    for name in sorted(environ):
        if name.startswith(PREFIX) and environ[name] and name not in KNOWN:
            fail_usage(f"the lab has no setting {name}{nearest(name, KNOWN)}")
    try:
        options = lab_options(lab)
        options.check()
        check_breaker(options.breaker)
        broken_from(environ)
        settings = {**environ, **options.environ}
        PricingSettings.from_environ(settings)
        GatewaySettings.from_environ({**settings, **_SET_BY_THE_STACK})
    except (SettingsError, StackError) as error:
        fail_usage(str(error))
    return options


def with_ports(options: LabOptions, ports: Mapping[str, int]) -> LabOptions:
    """The same lab on fixed ports. Exits with 2 for a port that it does not have."""
    from resilience.lab.system import StackError

    fixed = replace(options, ports=dict(ports))
    try:
        fixed.check()
    except StackError as error:
        fail_usage(str(error))
    return fixed
