"""The lab's pure values: systems, options, settings, catalogue, the words between supervisor and owner."""

import json

import pytest

from resilience.lab.catalogue import is_sku, list_price_cents, live_price_cents
from resilience.lab.handshake import error_line, ready_line, system_of
from resilience.lab.options import LabOptions
from resilience.lab.settings import BreakerSettings, GatewaySettings, SettingsError
from resilience.lab.system import Instance, ProxyPoint, StackError, System

SYSTEM = System(
    stack="embedded",
    base_url="http://127.0.0.1:1",
    proxies={
        "db": ProxyPoint(
            "db", "http://127.0.0.1:2", "db", "127.0.0.1:3", "127.0.0.1:4", "http://127.0.0.1:5", "db"
        )
    },
    instances=(
        Instance("gateway", "gateway-1", "http://127.0.0.1:6", 7, "b"),
        Instance("pricing", "pricing-1"),
    ),
    pids={"gateway": (7, 8)},
    owners=(9,),
    facts={"postgres": "18"},
)

GATEWAY_ENVIRON = {
    "CHAOS_SPIKE_LAB_PRICING_URL": "http://127.0.0.1:1/",
    "CHAOS_SPIKE_LAB_DATABASE_URL": "postgresql://127.0.0.1:2/lab",
    "CHAOS_SPIKE_LAB_CACHE_URL": "redis://127.0.0.1:3/0",
    "CHAOS_SPIKE_LAB_JWT_SECRET": "s" * 32,
}


def test_system_survives_json():
    """What the supervisor writes is what its owner reads."""
    assert System.from_json(json.loads(json.dumps(SYSTEM.to_json()))) == SYSTEM


def test_system_of_another_version_is_refused():
    """A state file of another version is not guessed at."""
    with pytest.raises(ValueError, match="version 2"):
        System.from_json({**SYSTEM.to_json(), "v": 2})


def test_handshake_gives_the_system():
    """A ready line carries the whole system."""
    assert system_of(json.dumps(ready_line(SYSTEM))) == SYSTEM


@pytest.mark.parametrize("line", ["", "no json", "[]", "3"])
def test_handshake_that_is_none_is_a_stack_error(line):
    """A supervisor that says something else is dead to us."""
    with pytest.raises(StackError, match="died"):
        system_of(line)


def test_handshake_passes_the_error_on():
    """The supervisor's one message is the owner's one message."""
    with pytest.raises(StackError, match=r"^port 5 is taken$"):
        system_of(json.dumps(error_line("port 5 is taken")))


def test_options_survive_json():
    """Options reach the supervisor's process unchanged."""
    options = LabOptions(
        BreakerSettings(library="hyx", successes=2), gateways=3, ports={"gateway": 8080}, log_dir="/x"
    )
    assert LabOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (LabOptions(gateways=0), "gateways"),
        (LabOptions(gateways=17), "gateways"),
        (LabOptions(ports={"nonsense": 8080}), "nonsense"),
        (LabOptions(ports={"admin-3": 8080}), "admin-3"),
        (LabOptions(ports={"gateway": 0}), "port 0"),
        (LabOptions(ports={"gateway": 8080, "tap": 8080}), "the same"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, word):
    """Each impossible wish is one message that names it."""
    with pytest.raises(StackError, match=word):
        options.check()


def test_breaker_settings_survive_the_environment():
    """What the supervisor puts into a gateway's environment is what the gateway reads."""
    settings = BreakerSettings("hyx", failures=3, wait_ms=700, timeout_ms=120, successes=2)
    assert BreakerSettings.from_environ(settings.to_environ()) == settings


def test_breaker_settings_default_to_the_published_values():
    """Five failures, one second, 300 ms, purgatory."""
    assert BreakerSettings.from_environ({}) == BreakerSettings("purgatory", 5, 1000, 300, 1)


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5"])
def test_settings_name_the_variable_that_is_wrong(value):
    """A number that is none, or too small, is reported by its variable."""
    with pytest.raises(SettingsError, match="CHAOS_SPIKE_LAB_CALL_TIMEOUT_MS"):
        BreakerSettings.from_environ({"CHAOS_SPIKE_LAB_CALL_TIMEOUT_MS": value})


@pytest.mark.parametrize("missing", GATEWAY_ENVIRON)
def test_gateway_settings_name_the_variable_that_is_missing(missing):
    """A gateway does not guess where its dependencies are."""
    environ = {name: value for name, value in GATEWAY_ENVIRON.items() if name != missing}
    with pytest.raises(SettingsError, match=missing):
        GatewaySettings.from_environ(environ)


def test_gateway_settings_refuse_a_short_secret():
    """A secret that can be guessed signs nothing."""
    with pytest.raises(SettingsError, match="JWT_SECRET"):
        GatewaySettings.from_environ({**GATEWAY_ENVIRON, "CHAOS_SPIKE_LAB_JWT_SECRET": "short"})


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("A-1", True),
        ("x" * 40, True),
        ("x" * 41, False),
        ("", False),
        ("a b", False),
        ("-a", False),
        ("ä", False),
    ],
)
def test_sku_is_a_plain_short_word(text, good):
    """Only what can stand in a path and a log line is a SKU."""
    assert is_sku(text) is good


def test_live_price_stays_near_the_list_price():
    """A stale quote differs from a live one, but never wildly."""
    base = list_price_cents("A-1")
    prices = {live_price_cents("A-1", second * 1_000_000_000) for second in range(60)}
    assert len(prices) > 10
    assert all(0.89 * base <= price <= 1.11 * base for price in prices)
