"""Fair PCA (Kleindessner et al., AISTATS 2023) of embeddings of groups, and noise along what it takes away.

With z_g the indicator of group g, centred, and X the embeddings (not centred), the rows z_g X = n_g (mean_g - mean) are
what tells groups apart linearly. Fair PCA projects on the orthogonal complement of these rows, and there on the
directions in which X is largest. FairImagen (Fu et al., NeurIPS 2025) puts a draw of "empirical noise" back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import FairbenchError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FairPca:
    """projection: width x width. directions: groups x width, of length 1: from the mean of all to that of the group.

    coefficients: for each group, the coordinate of each of its embeddings along the group's direction.
    """

    projection: Array
    directions: Array
    coefficients: tuple[Array, ...]

    def noise(self, group: int, position: float) -> Array:
        """Return a group's direction times the coordinate of one of its embeddings; position: which, 0 to below 1."""
        coefficients = self.coefficients[group]
        noise: Array = self.directions[group] * coefficients[int(position * len(coefficients))]
        return noise


def fit(groups: Sequence[NDArray[np.floating[Any]]], dimension: int | None = None) -> FairPca:
    """Return the fair PCA of two or more groups, each rows x width; their sizes may differ.

    dimension: how many directions are kept; None: all that do not tell the groups apart. Raises FairbenchError where
    that is more than the embeddings span, since which directions came next would be arbitrary, and where a group's
    mean is the mean of all, so that it has no direction.
    """
    embeddings = np.concatenate(groups).astype(np.float64)
    mean = embeddings.mean(axis=0)
    shifts = np.stack([len(group) * (group.astype(np.float64).mean(axis=0) - mean) for group in groups])
    lengths = np.linalg.norm(shifts, axis=1, keepdims=True)
    if not (lengths > 1e-9 * np.linalg.norm(embeddings)).all():
        raise FairbenchError("The text encoder does not tell the groups apart: there is no direction to take away.")
    telling = _row_space(shifts)
    remaining = embeddings - embeddings @ telling.T @ telling
    kept = None if dimension is None else _row_space(remaining)
    if kept is not None and dimension is not None and dimension > len(kept):
        raise FairbenchError(
            f"dimension={dimension} is more than the {len(kept)} directions that the prompts of the fit span: "
            "give a smaller number, or none to keep all directions."
        )
    projection = np.eye(len(mean)) - telling.T @ telling if kept is None else kept[:dimension].T @ kept[:dimension]
    directions = shifts / lengths
    coordinates = tuple(
        group.astype(np.float64) @ direction for group, direction in zip(groups, directions, strict=True)
    )
    return FairPca(projection, directions, coordinates)


def _row_space(matrix: Array) -> Array:
    """Return orthonormal rows that span those of a matrix, in the order of its singular values, largest first."""
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    kept: Array = rows[sizes > sizes[0] * max(matrix.shape) * np.finfo(np.float64).eps]
    return kept
