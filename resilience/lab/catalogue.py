"""What the lab sells: SKUs, their list prices, and the price of the moment. Pure.

Every well-formed SKU has a list price, derived from its name, so that the gateway's fallback is total: even a SKU
that was never quoted before has a degraded answer. The live price moves around the list price with time, so that a
stale quote can be told from a live one.
"""

from __future__ import annotations

import math
import re
import zlib

_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")

# One slow swing of demand: +-10 % of the list price over a minute.
_SWING = 0.10
_PERIOD_NS = 60_000_000_000


def is_sku(text: str) -> bool:
    """Whether `text` names something the lab could sell: 1 to 40 of letters, digits, `_`, `.` and `-`."""
    return _SKU.fullmatch(text) is not None


def list_price_cents(sku: str) -> int:
    """The list price: 1.00 to 500.99, the same on every host for ever."""
    return 100 + zlib.crc32(sku.encode()) % 50_000


def live_price_cents(sku: str, now_ns: int) -> int:
    """The price at `now_ns` (any steadily growing clock): within 10 % of the list price, at least 1."""
    base = list_price_cents(sku)
    phase = (now_ns % _PERIOD_NS) / _PERIOD_NS + (base % 97) / 97
    return max(1, round(base * (1 + _SWING * math.sin(2 * math.pi * phase))))
