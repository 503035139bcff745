"""Many prompts at once: the values of single prompts, shrunk, and the tests of single prompts.

A prompt's own concentration is unbiased, but the largest of fifty such values is large by luck as much as by bias. The
shrunk value is the mean of what the prompt can be, given its faces and how prompts of the list differ: empirical Bayes
by Dirichlet-multinomials (for two classes, beta-binomials; Skellam 1948, Mosimann 1962) that are mixed as all prompts
together suggest (Stephens, "False discovery rates: a new deal", 2017). A prompt with few faces is drawn far towards the
others, one with many hardly. A single Dirichlet is not enough: where a few prompts are extreme and the rest are fair it
draws the extreme ones to the rest, which is worse than no shrinking.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln
from scipy.stats import binom

from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.units import Data, Units, as_units
from fairbench.types import FloatArray

_LOG_BOUNDS: Final = (-5.0, 8.0)
"""Of a Dirichlet parameter's logarithm: a class that nobody shows goes to the lower one, equal prompts to the upper."""
_SIZES: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
"""Sums of Dirichlet parameters: from prompts that are nearly one-sided to prompts that are nearly alike."""
_PSEUDO_PROMPTS: Final = 3.0
"""Prompts that are added to the single Dirichlet, so that it is mixed with others only where prompts say so."""
_EM_STEPS: Final = 200
_DRAWS: Final = 4_000
_MIN_RESAMPLES: Final = 9_999
_PER_PROMPT: Final = 50
"""Resamples per prompt, at least: the least p-value of a Monte Carlo test, 1/(resamples + 1), must survive the
adjustment for as many tests as there are prompts."""
_ROUNDING: Final = 1e-9


class Shrunk(NamedTuple):
    """Concentration of every prompt (P,) with limits of a 95 % interval (P,); NaN without a face."""

    value: Floats
    low: Floats
    high: Floats


def shrunk_concentration(data: Data, p_balance: Floats, rng: np.random.Generator) -> Shrunk:
    """Return the posterior mean of every prompt's concentration, with an interval.

    The interval holds the middle 95 % of the posterior, and 0 too where the test of balance, whose p-values are
    p_balance (P,), does not reject it at .05: a posterior never holds exact balance. It covers on average over the
    prompts, not for each of them, and takes the prior as known. Several faces per image count as `effective_counts`.
    """
    counts = effective_counts(data)
    classes, some = counts.shape[1], counts.sum(axis=1) > 0
    value, low, high = (np.full(len(counts), np.nan) for _ in range(3))
    if not some.any():
        return Shrunk(value, low, high)
    components, weights = mixed_prior(counts[some])
    posterior = counts[some, None, :] + components
    total = posterior.sum(axis=-1)
    same = (posterior * (posterior + 1)).sum(axis=-1) / (total * (total + 1))
    value[some] = (weights * (classes * same - 1) / (classes - 1)).sum(axis=1)
    # A component for every draw, by its weight; then shares of its posterior.
    which = (rng.random((_DRAWS, len(weights), 1)) > np.cumsum(weights, axis=1)[:, :-1]).sum(axis=-1)
    gammas = rng.standard_gamma(posterior[np.arange(len(weights)), which])
    shares = gammas / gammas.sum(axis=-1, keepdims=True)
    drawn = (classes * (shares**2).sum(axis=-1) - 1) / (classes - 1)
    low[some], high[some] = np.quantile(drawn, [0.025, 0.975], axis=0)
    return Shrunk(value, np.where(p_balance > 0.05, np.minimum(low, 0.0), low), high)


def mixed_prior(counts: FloatArray) -> tuple[Floats, Floats]:
    """Return Dirichlet parameters (G, K) of the prior's components and each prompt's weights (P, G) of them.

    The components lie at each of _SIZES around balance and around the mean of the prompts, besides `dirichlet_prior`
    itself, to which _PSEUDO_PROMPTS are added; their weights are the likeliest ones (by EM).
    """
    fitted, classes = dirichlet_prior(counts), counts.shape[1]
    centres = np.stack([np.full(classes, 1 / classes), fitted / fitted.sum()])
    components = np.vstack([fitted, *(size * centres for size in _SIZES)])
    posterior, total = counts[:, None, :] + components, components.sum(axis=1)
    fit = (gammaln(posterior) - gammaln(components)).sum(axis=-1)
    fit += gammaln(total) - gammaln(posterior.sum(axis=-1))
    likelihood = np.exp(fit - fit.max(axis=1, keepdims=True))
    weight = np.full(len(components), 1 / len(components))
    for _ in range(_EM_STEPS):
        of_prompts = likelihood * weight
        of_prompts /= of_prompts.sum(axis=1, keepdims=True)
        weight = of_prompts.sum(axis=0)
        weight[0] += _PSEUDO_PROMPTS
        weight /= weight.sum()
    return components, of_prompts


def dirichlet_prior(counts: FloatArray) -> Floats:
    """Return the Dirichlet parameters (K,) under which counts (P, K), which need not be whole, are likeliest.

    Their sum A says how alike the prompts are. Few prompts that happen to look alike would put it at infinity, so
    1/(1 + A) has a flat prior.
    """
    counts = np.asarray(counts, dtype=np.float64)
    sizes, classes = counts.sum(axis=1), counts.shape[1]
    if not len(counts):
        return np.ones(classes)

    def objective(log_prior: Floats) -> tuple[float, Floats]:
        """Return the negative log posterior and its gradient in the logarithms."""
        prior = np.exp(log_prior)
        total = prior.sum()
        posterior = counts + prior
        fit = (gammaln(posterior) - gammaln(prior)).sum() - (gammaln(sizes + total) - gammaln(total)).sum()
        slope = (digamma(posterior) - digamma(prior)).sum(axis=0) - (digamma(sizes + total) - digamma(total)).sum()
        fit += np.log(total) - 2 * np.log1p(total)  # density of log A where 1/(1 + A) is uniform
        slope = slope + 1 / total - 2 / (1 + total)
        return -float(fit), -slope * prior

    shares = counts.sum(axis=0) / counts.sum()
    start = np.clip(np.log(np.maximum(shares, 1e-6) * 2), *_LOG_BOUNDS)
    fitted = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[_LOG_BOUNDS] * classes)
    return np.exp(fitted.x)


def effective_counts(data: Data) -> FloatArray:
    """Return counts (P, K) that carry as much information as the images do: faces of one image are alike.

    Counts are divided by the design effect of all prompts together, the variance of a share over images in relation to
    that of as many independent faces (Kish 1965); it lies between 1 and the faces that an average face shares its image
    with.
    """
    units = as_units(data)
    counts, sizes = units.counts.astype(np.float64), units.kinds.sum(axis=1)
    faces, images = counts.sum(axis=1), units.times.sum(axis=1)
    used = (images > 1) & (faces > 1)
    if not used.any() or sizes.max() == 1:
        return counts
    shares = counts[used] / faces[used, None]
    # What an image adds to the counts, less what its number of faces leads one to expect: (P, T, K).
    residual = units.kinds - shares[:, None, :] * sizes[:, None]
    spread = (units.times[used][:, :, None] * residual**2).sum(axis=(1, 2)) * images[used] / (images[used] - 1)
    independent = faces[used] * (1 - (shares**2).sum(axis=1)) * faces[used] / (faces[used] - 1)
    if independent.sum() <= 0:
        return counts / _sharing(units)
    return counts / float(np.clip(spread.sum() / independent.sum(), 1.0, _sharing(units)))


def _sharing(units: Units) -> float:
    """Return the mean, over faces, of the number of faces in their image."""
    sizes, times = units.kinds.sum(axis=1), units.times.sum(axis=0)
    return float((times * sizes**2).sum() / max(1, (times * sizes).sum()))


def balance_p(data: Data, fair: FloatArray, rng: np.random.Generator) -> Floats:
    """Return the p-value (P,) of "a fair model's faces": their shares are `fair` (K,), NaN without a face.

    The statistic is sum (n_k - n fair_k)^2 / fair_k; where the shares are equal it says the same as concentration. For
    two classes the p-value is exact, else Monte Carlo with the +1 rule: valid at any number of faces. One face of each
    image counts, drawn at random where there are several, as they are not independent.
    """
    counts = _one_face_per_image(as_units(data), rng)
    sizes = counts.sum(axis=1)
    p = np.full(len(counts), np.nan)
    times = max(_MIN_RESAMPLES, _PER_PROMPT * len(counts))
    for n in np.unique(sizes[sizes > 0]):
        at = sizes == n
        observed = _distance(counts[at], n, fair) * (1 - _ROUNDING)  # equal values differ by rounding
        if len(fair) == 2:
            first = np.arange(n + 1)
            as_far = _distance(np.stack([first, n - first], axis=1), n, fair) >= observed[:, None]
            p[at] = np.minimum(as_far @ binom.pmf(first, n, fair[0]), 1.0)
        else:
            drawn = np.sort(_distance(rng.multinomial(n, fair, size=times), n, fair))
            p[at] = (1 + times - np.searchsorted(drawn, observed, side="left")) / (1 + times)
    return p


def _distance(counts: IntArray, n: int, fair: FloatArray) -> Floats:
    return np.asarray(((counts - n * fair) ** 2 / np.maximum(fair, 1e-12)).sum(axis=-1))


def _one_face_per_image(units: Units, rng: np.random.Generator) -> IntArray:
    """Return counts (P, K) of one face per image, each face of an image as likely as the others."""
    if (units.kinds.sum(axis=1) == 1).all():
        return units.counts
    odds = units.kinds / units.kinds.sum(axis=1, keepdims=True)
    return np.asarray(rng.multinomial(units.times, odds).sum(axis=1))
