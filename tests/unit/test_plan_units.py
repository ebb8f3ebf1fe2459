"""Quantities as people write them."""

from __future__ import annotations

import pytest

from resilience.plan.units import (
    DURATION,
    SHARE,
    UnitError,
    parse_comparison,
    parse_duration_ns,
    parse_moment,
    parse_rate_per_s,
    parse_share,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10s", 10**10),
        ("500ms", 5 * 10**8),
        ("1m30s", 90 * 10**9),
        ("0.1s", 10**8),
        ("250us", 250_000),
        ("7 ns", 7),
    ],
)
def test_duration_is_exact(text: str, ns: int) -> None:
    """Durations become integers without rounding."""
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1s2", "1 parsec", 10, None, True, "1s 2"])
def test_duration_refuses_what_has_no_unit(text: object) -> None:
    """A number without a unit is refused with an example."""
    with pytest.raises(UnitError, match=r"10s|500ms"):
        parse_duration_ns(text)


def test_rate_share_and_size_read_common_forms() -> None:
    """Rates per second, minute and hour; shares with and without a percent sign; decimal and binary sizes."""
    assert parse_rate_per_s("600/m") == 10
    assert parse_share("95%") == parse_share("0.95") == 0.95
    assert parse_size_bytes("200MB") == 200_000_000
    assert parse_size_bytes("1KiB") == 1024


@pytest.mark.parametrize("text", ["101%", "-1%", "1.5", True])
def test_share_refuses_what_is_no_share(text: object) -> None:
    """A share lies between nothing and everything."""
    with pytest.raises(UnitError):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "observed", "holds"),
    [("< 150ms", 149_999_999, True), ("< 150ms", 150_000_000, False), ("<= 150ms", 150_000_000, True)],
)
def test_comparison_holds_at_its_boundary(text: str, observed: int, *, holds: bool) -> None:
    """The boundary belongs to <= and not to <."""
    assert parse_comparison(text, DURATION).holds(observed) is holds


def test_comparison_margin_is_positive_on_the_good_side() -> None:
    """The margin is a share of the bound."""
    assert parse_comparison(">= 80%", SHARE).margin(0.88) == pytest.approx(0.1)
    assert parse_comparison("< 10%", SHARE).margin(0.12) == pytest.approx(-0.2)


def test_comparison_without_operator_says_how_to_write_it() -> None:
    """The message shows a quoted example."""
    with pytest.raises(UnitError, match='for example "< 1%"'):
        parse_comparison("1%", SHARE)


def test_moment_reads_phase_and_offset() -> None:
    """A moment is a phase plus or minus an offset, or an offset from the start."""
    assert parse_moment("spike+10s") == parse_moment(" spike + 10s ").__class__("spike", 10**10, "spike+10s")
    assert parse_moment("end-2s").offset_ns == -2 * 10**9
    assert parse_moment("recovery").anchor == "recovery"
    assert parse_moment("12s").anchor is None
