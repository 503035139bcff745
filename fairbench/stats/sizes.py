"""How many images and prompts a comparison of two runs needs, and what a given budget can detect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

from fairbench.stats.power import LISTS_OF_CURVE, MIN_FACES, MIN_PROMPTS, Plan, concentration_of, power, powers
from fairbench.types import FloatArray

MAX_SEARCHED: Final = 1_000_000
"""Plans that need more images per prompt, or more prompts, than this are answered with None."""
_WAYS: Final = 7
"""Points of the way to balance between which the smallest change is interpolated."""


def images_needed(plan: Plan, change: float, prompts: int, target: float = 0.8) -> int | None:
    """Return the fewest images per prompt and run with power >= target; None: even MAX_SEARCHED are not enough.

    That happens where the prompts themselves differ too much, or are too few: more images then do not help, more
    prompts do.
    """
    if prompts < MIN_PROMPTS[plan.scope]:
        return None
    low = math.ceil(MIN_FACES / plan.face_rate)
    return _smallest(lambda n: float(power(plan, change, prompts, n)) >= target, low)


def prompts_needed(plan: Plan, change: float, images: int, target: float = 0.8) -> int | None:
    """Return the fewest prompts with power >= target at so many images per prompt; None as in `images_needed`."""
    if images * plan.face_rate < MIN_FACES:
        return None
    return _smallest(lambda p: float(power(plan, change, p, images)) >= target, MIN_PROMPTS[plan.scope])


def _smallest(enough: Callable[[int], bool], low: int) -> int | None:
    """Return the smallest integer in low..MAX_SEARCHED that is enough, given that all larger ones are too."""
    high = low
    while not enough(high):
        low, high = high + 1, 2 * high
        if low > MAX_SEARCHED:
            return None
        high = min(high, MAX_SEARCHED)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def detectable(plan: Plan, prompts: ArrayLike, images: ArrayLike, target: float = 0.8) -> FloatArray:
    """Return the smallest size of a true change towards balance that a design finds with power >= target.

    Interpolated: within about 2 %. prompts, images: broadcast against each other; arrays give a curve. NaN where even
    the change to balance would be missed too often.
    """
    mean = float(concentration_of(plan.typical).mean())
    prompts, images = np.broadcast_arrays(np.asarray(prompts, np.float64), np.asarray(images, np.float64))
    result = np.full(prompts.shape, np.nan)
    if mean < 1e-9:
        return result
    # Over the square root: points are dense where changes are small, and where power rises.
    roots = np.linspace(0, 1, _WAYS)[1:]

    def powers_at(way: float, prompts: ArrayLike, images: ArrayLike) -> FloatArray:
        return powers(plan, -mean * way**2, prompts, images, LISTS_OF_CURVE)

    of_roots = np.array([powers_at(way, prompts, images) for way in roots.tolist()])
    for at in np.ndindex(prompts.shape):
        known = dict(zip(roots.tolist(), of_roots[(slice(None), *at)].tolist(), strict=True))
        way = _first_reached(known, target, plan.alpha)
        if not math.isnan(way):  # once more, with a point where the curve was only interpolated
            known[way] = float(powers_at(way, prompts[at], images[at]))
            way = _first_reached(known, target, plan.alpha)
        result[at] = mean * way**2
    return result


def _first_reached(powers: dict[float, float], target: float, alpha: float) -> float:
    """Return where the interpolated power first reaches the target, NaN where it never does. powers: by way."""
    ways = sorted(powers)
    reached = next((i for i, way in enumerate(ways) if powers[way] >= target), None)
    if reached is None:
        return math.nan
    # Over the quantile of the normal distribution, in which power is nearly a straight line.
    of_ways = np.clip([alpha, *(powers[way] for way in ways[: reached + 1])], 1e-3, 1 - 1e-9)
    curve = PchipInterpolator([0.0, *ways[: reached + 1]], np.maximum.accumulate(ndtri(of_ways)))
    low, high = ([0.0, *ways][reached], ways[reached])
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if curve(middle) >= ndtri(target) else (middle, high)
    return high


def budget_curve(plan: Plan, budget: int, prompts: ArrayLike, target: float = 0.8) -> tuple[FloatArray, FloatArray]:
    """Return images per prompt (m,) and the detectable change (m,), NaN for none, when `budget` images per run are
    spent on prompts (m,) in turn: more prompts of fewer images, or fewer of more.
    """
    split = np.asarray(prompts, dtype=np.int64)
    images = (budget // split).astype(np.float64)
    return images, detectable(plan, split, images, target)
