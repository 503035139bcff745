"""How much worse would a labeller have to read one of two models for their difference to disappear?

Errors that are spread evenly over the groups make images look more even than they are; errors towards the majority of
a prompt make them look more concentrated. So a difference in concentration may be that of the labeller: the less
concentrated model may be read worse, or the more concentrated one by stereotype. Accuracy is in shares of images, on
top of whatever errors the labeller makes on both models' images alike.
"""

from __future__ import annotations

import math

import numpy as np

from fairbench.stats.estimands import shares, task_mean
from fairbench.stats.intervals import concentration_of_prompts
from fairbench.stats.units import Data, as_units


def evenly(less: float, more: float, classes: int) -> float:
    """Return by how much worse the less concentrated model is read, errors spread evenly, if both are alike.

    less, more: mean concentrations as read, of which `more` is above 0. An error rate e that is spread evenly over the
    other classes multiplies p - 1/K by 1 - e K/(K - 1), so concentration by its square. At most (K - 1)/K, where
    nothing is left to read.
    """
    return (classes - 1) / classes * (1 - math.sqrt(max(less, 0.0) / more))


def towards_majority(less: float, more: Data) -> float:
    """Return which share of the more concentrated model's images are misread as their prompt's majority, if both are
    alike; NaN where no such errors could make it so.

    less: mean concentration of the other model. With a rate e at which images of other groups are read as the majority
    m, read and true shares are related by q - 1_m = (1 - e)(p - 1_m), so that with u = 1/(1 - e)

        sum p^2 = 1 - 2 u (1 - q_m) + u^2 (sum q^2 - 2 q_m + 1)

    which is quadratic in u; sum q^2 is estimated without bias. The share is the mean of e (1 - p_m).
    """
    value = concentration_of_prompts(more).value
    used = ~np.isnan(value)
    k = as_units(more).kinds.shape[1]
    same = (1 + (k - 1) * task_mean(value).value) / k
    minority = 1 - float(shares(as_units(more).counts)[used].max(axis=1).mean())
    target = (1 + (k - 1) * less) / k
    spread = same - 1 + 2 * minority
    # spread u^2 - 2 minority u + 1 - target = 0, the smaller root, which is the one at 1 or above.
    inside = minority**2 - spread * (1 - target)
    if spread <= 0 or inside < 0:
        return math.nan
    u = (minority - math.sqrt(inside)) / spread
    return (u - 1) * minority if u >= 1 else math.nan
