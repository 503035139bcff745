"""The one way in which tables and sentences write numbers, short enough for eighty columns."""

from __future__ import annotations

import math
import re


def number(value: float | None, places: int = 3, *, sign: bool = False) -> str:
    """Return the value rounded to `places` decimals, without a zero before the point; "none" where there is no number.

    From 10 on at most two decimals, from 1,000 on none. What rounds to 0 has no sign.

    >>> [number(v) for v in (0.5, -0.0312, 1.0, 10.853, -1e-9, None)]
    ['.500', '-.031', '1.000', '10.85', '.000', 'none']
    """
    if value is None or not math.isfinite(value):
        return "none"
    size = abs(value)
    decimals = 0 if size >= 1000 else min(places, 2) if size >= 10 else places
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    if re.fullmatch(r"[+-]?0(\.0+)?", text):
        text = text.lstrip("+-")
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def span(low: float | None, high: float | None, places: int = 3) -> str:
    """Return the limits of an interval; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(low, places)} {number(high, places)}"


def with_interval(value: float | None, low: float | None, high: float | None, places: int = 3) -> str:
    """Return a value with its interval in brackets, which are left out where there is none.

    >>> with_interval(0.5, 0.4, 0.6, 2)
    '.50 [.40, .60]'
    """
    limits = span(low, high, places).split()
    return f"{number(value, places)} [{', '.join(limits)}]" if limits else number(value, places)


def p_value(value: float | None) -> str:
    """Return a p-value; below .001 it is "<.001"."""
    if value is None or not math.isfinite(value):
        return "none"
    return "<.001" if value < 0.001 else number(value)


def percent(share: float | None, places: int = 1) -> str:
    """Return a share in percent."""
    return "none" if share is None or not math.isfinite(share) else f"{100 * share:.{places}f} %"


def whole(value: int | None) -> str:
    """Return a count."""
    return "none" if value is None else f"{value:,}"
