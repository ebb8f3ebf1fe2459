"""Colours that people who do not tell red from green can tell apart, and a pattern for each all the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest

from resilience.report import palette

SIGHTS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip
"""What is left of linear RGB to an eye without one kind of cone (Machado, Oliveira and Fernandes, 2009)."""


def linear(color: str) -> list[float]:
    """Linear RGB, each from 0 to 1."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def lab(rgb: list[float]) -> list[float]:
    """CIE L*a*b* under D65."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        sum(m * c for m, c in zip(row, rgb, strict=True)) / w for row, w in zip(to_xyz, white, strict=True)
    )
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)]


def apart(one: str, two: str, sight: str) -> float:
    """Distance of two colours to an eye, in units of which two or three can just be seen."""
    matrix = SIGHTS[sight]
    seen = [
        lab(
            [
                min(1.0, max(0.0, sum(m * c for m, c in zip(row, linear(color), strict=True))))
                for row in matrix
            ]
        )
        for color in (one, two)
    ]
    return math.dist(*seen)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_states_can_be_told_apart_by_every_eye(sight: str, dark: bool) -> None:
    """Closed, open and half-open differ by several noticeable steps, without their patterns."""
    colors = [
        palette.DARK[each] if dark else each for each in (palette.CLOSED, palette.OPEN, palette.HALF_OPEN)
    ]
    for one, two in itertools.combinations(colors, 2):
        assert apart(one, two, sight) > 20, (one, two)


@pytest.mark.parametrize(
    "styles", [palette.STATES, palette.OUTCOMES, palette.RECOVERY], ids=["states", "outcomes", "recovery"]
)
def test_patterns_alone_tell_everything_apart(styles: Mapping[Any, Mapping[str, Any]]) -> None:
    """On grey paper nothing is lost: no two states, outcomes or recoveries share a pattern."""
    patterns = [style.get("hatch_pattern", "plain") for style in styles.values()]
    assert len(set(patterns)) == len(patterns)


@pytest.mark.parametrize("styles", [palette.QUANTILES.values(), palette.LINES], ids=["quantiles", "lines"])
def test_lines_differ_by_more_than_their_colour(styles: Any) -> None:
    """Dash and width tell quantiles apart; of the lines of one dash there are four, as far apart as colours get."""
    strokes = [(style.get("line_dash", "solid"), style.get("line_width")) for style in styles]
    assert max(strokes.count(each) for each in strokes) <= (1 if styles is not palette.LINES else 4)
