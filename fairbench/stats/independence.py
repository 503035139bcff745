"""May a joint confusion table be replaced by the product of its margins?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from fairbench.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Independence:
    """A test of "attributes are misread independently, each whatever the true labels of the others".

    statistic: likelihood ratio of the joint table against the product. dof: its degrees of freedom. p_value: by
    simulation, as most cells off the diagonal are too rare for chi-square. largest_gap: the largest difference between
    a joint and a product rate: what a small calibration cannot exclude counts as much as the p-value. product: the
    product table (K, K), P(read cell | true cell, face found).
    """

    statistic: float
    dof: int
    p_value: float
    largest_gap: float
    product: FloatArray


def independent_errors(
    faces: ArrayLike, sizes: Sequence[int], rng: np.random.Generator, draws: int = 999
) -> Independence:
    """Test whether a joint confusion table is the product of one table an attribute, among the found faces.

    faces: counts (K, K) of found faces, true cells against read cells, the last attribute changing fastest (of a
    `Calibration`, `counts[:K, :K]`). sizes: the number of labels of every attribute; their product is K. Keep the joint
    table where p_value is small; where it is not, a product is a choice to be marked, not a finding. p_value is at
    least 1 / (draws + 1). Raises ValueError where the shapes do not fit or a row is empty.
    """
    counts = np.asarray(faces)
    k = math.prod(sizes)
    if counts.shape != (k, k) or len(sizes) < 2:
        raise ValueError(f"faces must be (K, K) with K the product of two or more sizes, got {counts.shape}, {sizes}")
    totals = counts.sum(axis=-1)
    if (totals == 0).any():
        raise ValueError("a row holds no found face")
    product = _product(counts, sizes)
    statistic = float(_ratio(counts, product))
    drawn = rng.multinomial(totals, product, size=(draws, k))
    as_large = _ratio(drawn, _product(drawn, sizes)) >= statistic * (1 - 1e-12)
    return Independence(
        statistic=statistic,
        dof=k * (k - 1) - sum(size * (size - 1) for size in sizes),
        p_value=float((1 + as_large.sum()) / (1 + draws)),
        largest_gap=float(np.abs(counts / totals[:, None] - product).max()),
        product=product,
    )


def _product(counts: NDArray[Any], sizes: Sequence[int]) -> FloatArray:
    """Return the most likely product table (..., K, K): each attribute's own table, over all labels of the others."""
    lead, count = counts.shape[:-2], len(sizes)
    cells = counts.reshape(*lead, *sizes, *sizes)
    table: FloatArray = np.ones((*lead, 1, 1))
    for i in range(count):
        others = tuple(len(lead) + j for j in range(2 * count) if j % count != i)
        margin = cells.sum(axis=others)
        margin = margin / margin.sum(axis=-1, keepdims=True)
        size = table.shape[-1] * sizes[i]
        table = np.einsum("...ab,...cd->...acbd", table, margin).reshape(*lead, size, size)
    return table


def _ratio(counts: NDArray[Any], table: FloatArray) -> FloatArray:
    expected = counts.sum(axis=-1, keepdims=True) * table
    seen = counts > 0  # then the margins are seen, and `expected` is above 0
    ratio = np.divide(counts, expected, out=np.ones_like(expected), where=seen)
    return np.asarray(2 * xlogy(counts, ratio).sum(axis=(-1, -2)))
