"""The specification of a breaker: written form, defaults by dialect, refusals."""

from __future__ import annotations

import pytest

from resilience.breaker.dialects import DIALECTS
from resilience.breaker.spec import KEYS, BreakerSpec, SpecError


def test_breaker_spec_reads_units() -> None:
    """Milliseconds on paper are nanoseconds in memory."""
    spec = BreakerSpec.from_mapping(
        {"dialect": "purgatory", "failures": 5, "wait_ms": 1000, "timeout_ms": 300}
    )
    assert (spec.failures, spec.wait_ns, spec.timeout_ns) == (5, 1_000_000_000, 300_000_000)
    assert spec.permitted is None
    assert spec.rejection_bound_ns == 150_000_000


@pytest.mark.parametrize(
    ("mapping", "path", "hint"),
    [
        ({"failurs": 5}, "spec.failurs", "failures"),
        ({"dialect": "purgatry"}, "spec.dialect", "purgatory"),
        ({"failures": 0}, "spec.failures", "at least 1"),
        ({"failures": True}, "spec.failures", "whole number"),
        ({"wait_ms": "1s"}, "spec.wait_ms", "milliseconds"),
        ({"ratio": 1.5, "window": 10}, "spec.ratio", "0 to 1"),
        ({"trip": "count"}, "spec.window", "at least 1"),
        ({"slow_ratio": 0.5}, "spec.slow_ms", "slow"),
        ({"wait_ms": 10, "wait_max_ms": 5}, "spec.wait_max_ms", "below"),
        ({"permitted": "many"}, "spec.permitted", "whole number"),
        ({"entry": "sometimes"}, "spec.entry", "lazy"),
    ],
)
def test_breaker_spec_refuses_with_path_and_reason(mapping: dict[str, object], path: str, hint: str) -> None:
    """What cannot be meant is refused, with the key and what would do."""
    with pytest.raises(SpecError, match=hint) as caught:
        BreakerSpec.from_mapping(mapping)
    assert caught.value.path == path


def test_breaker_spec_strict_takes_deviations_back() -> None:
    """The ideal of a dialect admits one probe, ignores stale outcomes and declares nothing."""
    ideal = BreakerSpec.from_mapping({"dialect": "purgatory"}).idealised()
    assert (ideal.permitted, ideal.stale, ideal.deviations) == (1, "ignored", {})


def test_breaker_spec_written_value_is_the_ideal_of_a_deviating_dialect() -> None:
    """`permitted: 3` under a dialect known to admit any number stays declared, and is what strict asks for."""
    spec = BreakerSpec.from_mapping({"dialect": "purgatory", "permitted": 3})
    assert spec.permitted is None
    assert spec.idealised().permitted == 3
    assert spec.idealised("R8").permitted == 3
    assert spec.idealised("R13").permitted is None


def test_breaker_spec_window_is_implied_by_its_keys() -> None:
    """Who writes a window and a ratio means a window."""
    spec = BreakerSpec.from_mapping({"window": 10, "ratio": 0.5, "minimum_calls": 5})
    assert spec.trip == "count"


def test_breaker_spec_backoff_is_capped() -> None:
    """The n-th wait grows by the factor, up to the cap, and never overflows."""
    spec = BreakerSpec.from_mapping({"wait_ms": 100, "backoff": 2, "wait_cap_ms": 1000})
    assert [spec.wait_of(n)[0] // 1_000_000 for n in (1, 2, 3, 4, 5, 500)] == [100, 200, 400, 800, 1000, 1000]


@pytest.mark.parametrize("name", DIALECTS)
def test_breaker_dialect_declares_rules_that_exist(name: str) -> None:
    """A dialect deviates only under ids of rules, and only in fields that a specification has."""
    from resilience.breaker.rules import ALL

    spec = DIALECTS[name]
    assert set(spec.deviations) <= {rule.id for rule in ALL}
    attributes = {attribute for attribute, _ in KEYS.values()}
    assert {key for fields in spec.ideal.values() for key in fields} <= attributes
