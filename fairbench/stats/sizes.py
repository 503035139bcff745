"""How many images and prompts a comparison of two runs needs, and what a given budget can detect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from fairbench.stats.estimands import concentration_of_shares
from fairbench.stats.power import (
    LISTS_OF_CURVE,
    MIN_FACES,
    MIN_PROMPTS,
    Plan,
    normal_power,
    power,
    powers,
)
from fairbench.types import FloatArray

MAX_SEARCHED: Final = 1_000_000
"""Plans that need more images per prompt, or more prompts, than this are answered with None."""
_ROUGH_WAYS: Final = tuple(i / 12 for i in range(1, 13))
"""Parts of the way to balance at which a normal approximation is taken, from which the search starts."""
_TRIALS: Final = 5
_CLOSE: Final = 0.05
"""Normal deviates from the target at which the search ends: power .8 is then within .014."""


def images_needed(plan: Plan, change: float, prompts: int, target: float = 0.8) -> int | None:
    """Return the fewest images per prompt and run with power >= target; None: even MAX_SEARCHED are not enough.

    That happens where the prompts themselves differ too much, or are too few: more images then do not help, more
    prompts do.
    """
    if prompts < MIN_PROMPTS[plan.scope]:
        return None
    low = math.ceil(MIN_FACES / plan.face_rate)
    guess = _smallest(lambda n: normal_power(plan, change, prompts, n) >= target, low, low)
    return _smallest(lambda n: float(power(plan, change, prompts, n)) >= target, low, guess or MAX_SEARCHED)


def prompts_needed(plan: Plan, change: float, images: int, target: float = 0.8) -> int | None:
    """Return the fewest prompts with power >= target at so many images per prompt; None as in `images_needed`."""
    if images * plan.face_rate < MIN_FACES:
        return None
    low = MIN_PROMPTS[plan.scope]
    guess = _smallest(lambda p: normal_power(plan, change, p, images) >= target, low, low)
    return _smallest(lambda p: float(power(plan, change, p, images)) >= target, low, guess or MAX_SEARCHED)


def _smallest(enough: Callable[[int], bool], low: int, guess: int) -> int | None:
    """Return the smallest integer in low..MAX_SEARCHED that is enough, given that all larger ones are too.

    It is looked for around a guess, in steps that double.
    """
    high, step = guess, max(1, guess // 16)
    if enough(high):
        while high > low and enough(max(low, high - step)):
            high, step = max(low, high - step), 2 * step
        low = max(low, high - step + 1)
    else:
        while not enough(high):
            if high >= MAX_SEARCHED:
                return None
            low, high, step = high + 1, min(high + step, MAX_SEARCHED), 2 * step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def detectable(plan: Plan, prompts: ArrayLike, images: ArrayLike, target: float = 0.8) -> FloatArray:
    """Return the smallest size of a true change towards balance that a design finds with power >= target.

    Interpolated: within about 2 %. prompts, images: broadcast against each other; arrays give a curve. NaN where even
    the change to balance would be missed too often.
    """
    mean = float(concentration_of_shares(plan.typical).mean())
    prompts, images = np.broadcast_arrays(np.asarray(prompts, np.float64), np.asarray(images, np.float64))
    result = np.full(prompts.shape, np.nan)
    if mean < 1e-9:
        return result
    for at in np.ndindex(prompts.shape):
        sizes = float(prompts[at]), float(images[at])
        if prompts[at] < MIN_PROMPTS[plan.scope] or images[at] * plan.face_rate < MIN_FACES:
            continue
        rough = {way: normal_power(plan, -mean * way**2, *sizes) for way in _ROUGH_WAYS}
        known: dict[float, float] = {}
        way = _way_to(target, rough, plan.alpha)
        for _ in range(_TRIALS):
            known[min(way, 1.0)] = found = float(powers(plan, -mean * min(way, 1.0) ** 2, *sizes, LISTS_OF_CURVE))
            if abs(ndtri(found) - ndtri(target)) < _CLOSE or (found < target and way >= 1):
                break
            way = _way_to(target, known, plan.alpha)
        way = _way_to(target, known, plan.alpha)
        if way <= 1:
            result[at] = mean * way**2
    return result


def _way_to(target: float, powers: dict[float, float], alpha: float) -> float:
    """Return the way to balance at which the power first reaches the target; above 1: nowhere. powers: by way.

    Over the quantile of the normal distribution, in which power is nearly a straight line of the way.
    """
    ways = sorted(powers)
    quantiles = ndtri(np.clip([alpha, *(powers[way] for way in ways)], 1e-3, 1 - 1e-6))
    points = list(zip([0.0, *ways], np.maximum.accumulate(quantiles).tolist(), strict=True))
    after = next((i for i, (_, quantile) in enumerate(points) if quantile >= ndtri(target)), len(points) - 1)
    (low, from_), (high, to) = points[max(after, 1) - 1 : max(after, 1) + 1]
    return low + (high - low) * float(ndtri(target) - from_) / (to - from_) if to > from_ else 2.0


def budget_curve(plan: Plan, budget: int, prompts: ArrayLike, target: float = 0.8) -> tuple[FloatArray, FloatArray]:
    """Return images per prompt (m,) and the detectable change (m,), NaN for none, when `budget` images per run are
    spent on prompts (m,) in turn: more prompts of fewer images, or fewer of more.
    """
    split = np.asarray(prompts, dtype=np.int64)
    images = (budget // split).astype(np.float64)
    return images, detectable(plan, split, images, target)
