"""Fair PCA against its definition, solved another way, and the noise that goes back."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from fairbench.errors import FairbenchError
from fairbench.networks.fair_pca import fit

WIDTH = 12


def groups(*sizes: int, width: int = WIDTH, rank: int | None = None) -> list[np.ndarray]:
    """Embeddings with a mean of their own for each group, far from 0, and spreads and norms that differ."""
    rng = np.random.default_rng(5)
    basis = rng.normal(size=(rank or width, width))
    return [
        (rng.normal(size=(n, rank or width)) * (1 + i) + 3 * rng.normal(size=rank or width) + 5) @ basis
        for i, n in enumerate(sizes)
    ]


def by_definition(data: list[np.ndarray], dimension: int) -> np.ndarray:
    """Algorithm 1 of Kleindessner et al.: an orthonormal basis of the null space of Z^T X, and the leading
    eigenvectors of the second moments in it; Z has one centred indicator per group."""
    x = np.concatenate(data)
    z = np.zeros((len(x), len(data)))
    for i, index in enumerate(np.split(np.arange(len(x)), np.cumsum([len(g) for g in data])[:-1])):
        z[index, i] = 1
    z -= z.mean(axis=0)
    null = scipy.linalg.null_space(z.T @ x)
    _, vectors = scipy.linalg.eigh(null.T @ x.T @ x @ null)
    kept = null @ vectors[:, ::-1][:, :dimension]
    return np.asarray(kept @ kept.T)


@pytest.mark.parametrize("sizes", [(20, 7), (9, 30, 14, 5)])
@pytest.mark.parametrize("dimension", [None, 4])
def test_it_is_fair_pca(sizes: tuple[int, ...], dimension: int | None) -> None:
    data = groups(*sizes)
    projection = fit(data, dimension).projection
    remaining = WIDTH - (len(sizes) - 1)
    np.testing.assert_allclose(projection, by_definition(data, dimension or remaining), atol=1e-9)
    assert np.linalg.matrix_rank(projection) == (dimension or remaining)


@pytest.mark.parametrize("sizes", [(20, 7), (9, 30, 14, 5)])
@pytest.mark.parametrize("dimension", [None, 4])
def test_group_means_coincide_and_a_linear_rule_finds_nothing(sizes: tuple[int, ...], dimension: int | None) -> None:
    data = groups(*sizes)
    model = fit(data, dimension)
    before = np.stack([group.mean(axis=0) for group in data])
    after = before @ model.projection
    assert np.ptp(before, axis=0).max() > 1
    np.testing.assert_allclose(after, np.broadcast_to(after[0], after.shape), atol=1e-9)
    np.testing.assert_allclose(model.projection @ model.projection, model.projection, atol=1e-12)
    np.testing.assert_allclose(model.projection, model.projection.T, atol=1e-12)


def test_in_single_precision_the_means_coincide_too() -> None:
    data = [group.astype(np.float32) for group in groups(300, 200, width=64)]
    after = [(group @ fit(data).projection.astype(np.float32)).mean(axis=0, dtype=np.float64) for group in data]
    np.testing.assert_allclose(after[0], after[1], atol=1e-5 * np.abs(data[0]).max())


def test_noise_is_a_groups_coordinate_along_its_direction() -> None:
    data = groups(20, 7, 11)
    model = fit(data)
    mean = np.concatenate(data).mean(axis=0)
    for index, group in enumerate(data):
        shift = group.mean(axis=0) - mean
        direction = shift / np.sqrt(shift @ shift)
        for row in (0, 3, len(group) - 1):
            noise = model.noise(index, (row + 0.5) / len(group))
            np.testing.assert_allclose(noise, (group[row] @ direction) * direction, atol=1e-9)
            np.testing.assert_allclose(noise @ model.projection, 0, atol=1e-9)


def test_with_two_groups_the_noise_does_not_depend_on_which_is_coded_1() -> None:
    data = groups(20, 7)
    one, other = fit(data), fit(data[::-1])
    np.testing.assert_allclose(one.directions[0], -one.directions[1])
    np.testing.assert_allclose(one.noise(0, 0.3), other.noise(1, 0.3))


def test_directions_that_no_embedding_spans_are_refused() -> None:
    data = groups(20, 7, rank=5)
    assert np.linalg.matrix_rank(fit(data, 4).projection) == 4
    with pytest.raises(FairbenchError, match="dimension=5 is more than the 4 directions"):
        fit(data, 5)


def test_groups_with_one_mean_are_refused() -> None:
    group = groups(20)[0]
    with pytest.raises(FairbenchError, match="does not tell the groups apart"):
        fit([group, group[::-1]])
