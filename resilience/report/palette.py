"""The colours and patterns of the page, one place for plots, static picture and style sheet.

Colour never stands alone: each state and outcome has a pattern or a dash of its own, for readers who do not tell red
from green and for paper. `DARK` gives for each colour of the light page the one of the dark page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INK = "#24292f"
PAPER = "#fffffe"
GRID = "#d0d7de"
FAULT = "#c2570c"
BROKEN = "#b3123f"
OK = "#2e8b57"
BLUE = "#2563b8"
AMBER = "#c98a00"
VIOLET = "#7a3fb0"
CLOSED = "#bfe3cd"
OPEN = "#e06a7a"
HALF_OPEN = "#f2c14e"
OTHER = "#b9bec6"

DARK: Mapping[str, str] = {
    INK: "#e2e6eb",
    PAPER: "#14181c",
    GRID: "#3b434d",
    FAULT: "#f08a3c",
    BROKEN: "#ff6b8b",
    OK: "#56c288",
    BLUE: "#74a9f5",
    AMBER: "#e7b53c",
    VIOLET: "#bb8bec",
    CLOSED: "#174a44",
    OPEN: "#e2637a",
    HALF_OPEN: "#b08a2a",
    OTHER: "#59616b",
}

STATES: Mapping[str, Mapping[str, Any]] = {
    "closed": {"fill_color": CLOSED},
    "open": {
        "fill_color": OPEN,
        "hatch_pattern": "/",
        "hatch_color": INK,
        "hatch_alpha": 0.7,
        "hatch_scale": 8,
    },
    "half_open": {"fill_color": HALF_OPEN, "hatch_pattern": ".", "hatch_color": INK, "hatch_scale": 6},
    "other": {
        "fill_color": OTHER,
        "hatch_pattern": "-",
        "hatch_color": INK,
        "hatch_alpha": 0.6,
        "hatch_scale": 6,
    },
}

RECOVERY: Mapping[bool, Mapping[str, Any]] = {
    True: {
        "fill_color": OK,
        "fill_alpha": 0.8,
        "hatch_pattern": "v",
        "hatch_color": PAPER,
        "hatch_scale": 8,
    },
    False: {"fill_color": None, "hatch_pattern": "x", "hatch_color": BROKEN, "hatch_scale": 8},
}

OUTCOME_WORDS: Mapping[str, str] = {
    "ok": "ok",
    "degraded": "fallback",
    "shed": "shed",
    "error": "error",
    "timeout": "time-out",
}
OUTCOMES: Mapping[str, Mapping[str, Any]] = {
    "ok": {"fill_color": OK, "fill_alpha": 0.65},
    "degraded": {
        "fill_color": AMBER,
        "fill_alpha": 0.7,
        "hatch_pattern": ".",
        "hatch_color": INK,
        "hatch_scale": 6,
    },
    "shed": {
        "fill_color": VIOLET,
        "fill_alpha": 0.65,
        "hatch_pattern": "|",
        "hatch_color": INK,
        "hatch_scale": 6,
    },
    "error": {
        "fill_color": BROKEN,
        "fill_alpha": 0.7,
        "hatch_pattern": "/",
        "hatch_color": INK,
        "hatch_scale": 7,
    },
    "timeout": {
        "fill_color": BLUE,
        "fill_alpha": 0.7,
        "hatch_pattern": "x",
        "hatch_color": INK,
        "hatch_scale": 7,
    },
}

QUANTILES: Mapping[str, Mapping[str, Any]] = {
    "max": {"line_color": BROKEN, "line_dash": "dotted", "line_width": 1.5},
    "p99": {"line_color": VIOLET, "line_dash": "dashed", "line_width": 1.5},
    "p95": {"line_color": BLUE, "line_width": 2},
    "p50": {"line_color": OK, "line_width": 3, "line_alpha": 0.7},
}

LINES: tuple[Mapping[str, Any], ...] = tuple(
    {"line_color": color, "line_dash": dash, "line_width": 2}
    for dash in ("solid", "dashed", "dotted")
    for color in (BLUE, AMBER, OK, VIOLET)
)
