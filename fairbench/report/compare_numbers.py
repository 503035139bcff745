"""Numbers of a comparison, short enough for eighty columns."""

from __future__ import annotations

import math
import re


def number(value: float, *, sign: bool = False) -> str:
    """Return three decimals without a leading zero, two from 10 on; "none" where there is no number."""
    if not math.isfinite(value):
        return "none"
    words = f"{value:{'+' if sign else ''}.{2 if abs(value) >= 10 else 3}f}"
    zero = re.fullmatch(r"[+-]?0\.0+", words)  # no effect has no sign
    return re.sub(r"^([+-]?)0\.", r"\1.", words.lstrip("+-") if zero else words)


def span(low: float, high: float) -> str:
    """Return an interval; empty where there is none."""
    return f"{number(low)} {number(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def p_value(value: float) -> str:
    """Return a p-value; those below .001 are not told apart."""
    if not math.isfinite(value):
        return "none"
    return "<.001" if value < 0.001 else number(value)
