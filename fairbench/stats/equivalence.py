"""Are two models equally concentrated? A bound on the difference of sqrt(mean concentration), valid down to 0.

A balanced model of which a share t of the images shows one group has a concentration of t^2: the square root is in
shares of images, and a margin means the same for every number of classes. The delta method breaks near 0, where the
square root is steep: intervals built on it call models equivalent that are a margin apart in up to a quarter of all
comparisons. Here every point of the boundary is tested, on the scale of concentration, where estimates are unbiased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from fairbench.stats.mean_square import MeanSquare

_SHARE_OF_FAIR: Final = 0.8
"""Of the error rate, what is spent where the less concentrated model is balanced: there it is scarcest."""
_SHARE_OF_FAR: Final = 0.04
"""Of the error rate, what is spent on concentrations that lie far from the estimates and are not asked about."""
_GRID: Final = 200
_STEPS: Final = 40
"""Halvings of a bisection: to 1e-12."""


def equally_concentrated_p(a: MeanSquare, b: MeanSquare, margin: float) -> float:
    """Return the p-value of "sqrt(mean concentration) differs by `margin` or more": small means that it does not.

    a, b: of two independent samples. margin: in (0, 1), in shares of images. Two one-sided tests (Schuirmann 1987).
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies between 0 and 1, got {margin}")
    return max(
        _bisected(lambda alpha: _shown_closer(a, b, margin, alpha), 0.5),
        _bisected(lambda alpha: _shown_closer(b, a, margin, alpha), 0.5),
    )


def shown_equally_concentrated(a: MeanSquare, b: MeanSquare, margin: float, alpha: float) -> bool:
    """Return whether `equally_concentrated_p` is at most `alpha`, without looking for it."""
    return _shown_closer(a, b, margin, alpha) and _shown_closer(b, a, margin, alpha)


def largest_excess(low: MeanSquare, high: MeanSquare, alpha: float) -> float:
    """Return the upper limit of sqrt(high) - sqrt(low) at level 1 - alpha, in (0, 1]."""
    return _bisected(lambda margin: _shown_closer(low, high, margin, alpha), 1.0)


def _bisected(shown: Callable[[float], bool], highest: float) -> float:
    """Return the least value in (0, highest) from which on `shown` is true; the highest, or 1, where it never is."""
    low, high = 0.0, highest
    if not shown(high * (1 - 1e-9)):
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def _shown_closer(low: MeanSquare, high: MeanSquare, margin: float, alpha: float) -> bool:
    """Return whether sqrt(high) - sqrt(low) is shown to be below `margin`: one-sided, at level `alpha`.

    The pairs (C_low, C_high) that are a margin apart form the curve (t^2, (t + margin)^2), t in [0, 1 - margin], below
    which lies a convex set. Two ways lead to the claim, and at every point of the curve their error rates add up to
    alpha. Either C_high itself is shown to be below margin^2; or, for every t, the estimates lie on the near side of
    the curve's tangent there, by as many standard errors as the first way leaves over. As the set is convex, a point
    beyond the curve lies beyond a tangent, so that no such point is accepted more often than alpha. Of t only those are
    asked that a wide interval of C_low holds (Berger and Boos, JASA 1994), whose own error is part of alpha.
    """
    z_fair, z_far = (float(ndtri(1 - share * alpha)) for share in (_SHARE_OF_FAIR, _SHARE_OF_FAR / 2))
    error_fair = float(high.error_at(margin**2))
    if high.value <= margin**2 - z_fair * error_fair:
        return True
    half = z_far**2 * low.steepest / 2
    first = np.sqrt(max(low.value - z_far * low.error, 0.0))
    last = np.sqrt(max(low.value + half + np.hypot(half, z_far * low.error), 0.0))
    t = np.linspace(first, max(first, last), _GRID)
    t = t[t <= 1 - margin]
    true_low, true_high = t**2, (t + margin) ** 2
    error_low, error_high = low.error_at(true_low), high.error_at(true_high)
    spent = ndtr((margin**2 - z_fair * error_fair - true_high) / error_high)
    z_tangent: NDArray[np.float64] = ndtri(1 - (alpha * (1 - _SHARE_OF_FAR) - spent))
    # The tangent at t, multiplied by t so that it is finite at 0.
    distance = (t + margin) * (low.value - true_low) - t * (high.value - true_high)
    return bool((distance >= z_tangent * np.hypot((t + margin) * error_low, t * error_high)).all())
