"""The composite indices of HoloFair as rows of a run: ID, CA_q, CA_mean and MGBI.

Prompts whose category is `neutral` are the neutral ones; all others are contexts. An attribute has its own indices;
those of a cross are geometric means over its attributes, of the faces that have all of its labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fairbench.measure.quantities import (
    AT_THESE_COUNTS,
    GAFFKE,
    OTHER_PROMPTS,
    THIS_LIST,
    Attribute,
    Quantity,
    Spread,
    left_out,
)
from fairbench.stats import composite, gaffke
from fairbench.stats.composite import Split
from fairbench.stats.floor import fair_shares
from fairbench.stats.intervals import PromptValues

NEUTRAL: Final = "neutral"
"""The category of a task's neutral prompts."""
ID, WORST, MEAN, MGBI = NAMES = ("id", "ca-0.1", "ca-mean", "mgbi")
"""The metrics, in the order of `Indices`."""
NO_NEUTRAL: Final = "no prompt of the task has the category neutral"
NO_CONTEXT: Final = "all prompts of the task have the category neutral"
NO_FACES: Final = "no faces"
ALL_ZERO: Final = "the value is 0, as a tenth of the contexts show one class alone: no interval"
FEW_IMAGES: Final = f"the contexts have fewer than {composite.FEWEST_IMAGES} images with a face on average: no interval"
TIED: Final = "the values around the quantile are equal: no interval"
ORDERED: Final = "two of the prompts' values in order (binomial)"
REDRAWN_PROMPTS: Final = "normal, prompts redrawn"
_DRAWS: Final = 1000


def split(categories: Sequence[str]) -> Split:
    """Return which prompts (P,) are neutral, and which are contexts.

    >>> [part.tolist() for part in split(["neutral", "warmth: low", ""])]
    [[True, False, False], [False, True, True]]
    """
    neutral = np.array([category == NEUTRAL for category in categories], dtype=bool)
    return Split(neutral, ~neutral)


def of_attribute(attribute: Attribute, sizes: Sequence[int], parts: Split) -> Iterator[Quantity]:
    """Yield the indices, for this list of prompts and for others like them. sizes: the classes of each part of a cross.

    What is estimated is what the indices are on average at these face counts, not what they would be of the true
    shares: the entropies of few faces are too low, and a fair model's value, in `floor`, is so as well.
    """
    present = attribute.faces > 0
    usable = Split(parts.neutral & present, parts.contexts & present)
    values = composite.indices(attribute.table, sizes, usable)
    shares = fair_shares(len(attribute.classes), attribute.by_classes)
    rng = np.random.default_rng([*attribute.seed, 2])  # of its own: no other value depends on these draws
    of_fair = composite.fair(attribute.faces, sizes, usable, shares, _DRAWS, rng)
    redrawn = composite.redrawn(attribute.data, sizes, usable, _DRAWS, rng)
    for name, value, fair, drawn in zip(NAMES, values, of_fair, redrawn, strict=True):
        columns = _columns(attribute, name, parts, usable) | {"floor": float(np.mean(fair)), **attribute.table_sha256()}
        without = _reason(name, parts, usable)
        if without is not None:
            yield Quantity(name, "raw", THIS_LIST, np.nan, columns={"prompts": 0, "reason": without})
            continue
        yield _this_list(attribute, name, Spread(float(value), float(drawn.std(ddof=1))), usable, columns)
        yield _other_prompts(attribute, name, float(value), sizes, usable, columns, rng)


def _reason(name: str, parts: Split, usable: Split) -> str | None:
    """Return why an index has no value; None where it has one."""
    if name in (ID, MGBI) and not usable.neutral.any():
        return NO_FACES if parts.neutral.any() else NO_NEUTRAL
    if name != ID and not usable.contexts.any():
        return NO_FACES if parts.contexts.any() else NO_CONTEXT
    return None


def _columns(attribute: Attribute, name: str, parts: Split, usable: Split) -> dict[str, Any]:
    """Return how many prompts and faces stand behind an index, and what was left out of it."""
    asked, used = (
        {ID: each.neutral, WORST: each.contexts, MEAN: each.contexts}.get(name, each.neutral | each.contexts)
        for each in (parts, usable)
    )
    n = int(used.sum())
    faces = {"n_faces": int(attribute.faces[used].sum())}
    return {"prompts": n, "counted": faces, "reason": left_out(n, int(asked.sum()) - n)}


def _this_list(attribute: Attribute, name: str, value: Spread, usable: Split, columns: Mapping[str, Any]) -> Quantity:
    """Return an index with its interval for these prompts; without one where that would not cover."""
    why = None
    if name in (WORST, MGBI):
        few = attribute.images[usable.contexts].mean() < composite.FEWEST_IMAGES
        why = FEW_IMAGES if few else ALL_ZERO if value.mean == 0 else None
    if why is None:
        return Quantity(name, "raw", THIS_LIST, value, (0.0, 1.0), columns)
    reasons = "; ".join(reason for reason in (columns["reason"], why) if reason)
    return Quantity(name, "raw", THIS_LIST, value.mean, columns={**columns, "reason": reasons})


def _other_prompts(
    attribute: Attribute,
    name: str,
    value: float,
    sizes: Sequence[int],
    usable: Split,
    columns: Mapping[str, Any],
    rng: np.random.Generator,
) -> Quantity:
    """Return an index with its interval for other prompts of which these could be a random sample."""
    sides = [side for side, metrics in zip(usable, ((ID, MGBI), (WORST, MEAN, MGBI)), strict=True) if name in metrics]
    if min(int(side.sum()) for side in sides) < gaffke.FEWEST:
        return Quantity(name, "raw", OTHER_PROMPTS, np.nan, columns={**columns, "reason": gaffke.TOO_FEW})
    of_contexts = composite.diversity(composite.margins(attribute.table[usable.contexts], sizes))
    if name == MEAN:
        method = {"ci_method": f"{AT_THESE_COUNTS}: {GAFFKE}"}
        prompt_values = PromptValues(of_contexts, np.zeros_like(of_contexts))
        return Quantity(name, "raw", OTHER_PROMPTS, prompt_values, (0.0, 1.0), {**columns, **method})
    confidence = 0.975 if name == MGBI else 0.95  # both parts are within their limits, so the product is
    limits, methods = [], []
    if name != WORST:
        limits.append(composite.pooled_limits(attribute.table[usable.neutral], sizes, confidence, rng))
        methods.append(REDRAWN_PROMPTS)
    if name != ID:
        limits.append(composite.quantile_limits(of_contexts, confidence=confidence))
        methods.append(ORDERED)
    low, high = (float(np.prod(ends) ** (1 / len(ends))) for ends in zip(*limits, strict=True))
    if low == high:
        reasons = "; ".join(reason for reason in (columns["reason"], TIED) if reason)
        return Quantity(name, "raw", OTHER_PROMPTS, value, columns={**columns, "reason": reasons})
    method = {"ci_method": f"{AT_THESE_COUNTS}: {'; '.join(methods)}"}
    return Quantity(name, "raw", OTHER_PROMPTS, value, columns={**columns, "low": low, "high": high, **method})
