"""The local table beside the prediction-powered estimate, and the standard error of their difference."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats import local_table
from fairbench.stats import prediction_powered as powered
from fairbench.stats.correction_concentration import corrected_concentration
from fairbench.stats.prediction import LabelledSample, predictions
from tests.stats.test_prediction_powered import stratified


def drawn(joint: np.ndarray, labels: int, replicates: int, seed: int) -> LabelledSample:
    """Return samples of 50 prompts x 160 images of a joint distribution (P, K, K) of what is said and what is read."""
    rng, k = np.random.default_rng(seed), joint.shape[-1]
    shape = (replicates, len(joint))
    said = rng.multinomial(labels, joint.reshape(len(joint), -1), size=shape).reshape(*shape, 1, k, k)
    others = rng.multinomial(160 - labels, joint.sum(axis=1), size=shape)
    labelled = np.zeros((*shape, 1, k + 2, k + 1), dtype=np.int64)
    labelled[..., :k, :k] = said
    images = np.zeros((*shape, 1, k + 1), dtype=np.int64)
    images[..., 0, :k] = others + said.sum(axis=(-2, -3))
    return LabelledSample(labelled, images)


def test_it_is_the_correction_by_the_labels_own_table() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((6, 1, 5, 4), dtype=np.int64)
    labels[:, 0, :3] = rng.integers(3, size=(6, 3, 4)) + 9 * np.eye(3, 4, dtype=np.int64)
    images = labels.sum(axis=-2) + rng.integers(30, size=(6, 1, 4))
    sample = LabelledSample(labels, images)
    table = local_table.table_of(sample)
    assert table == pytest.approx(labels[:, 0, :3].sum(axis=0))
    expected = corrected_concentration(images[:, 0], table.astype(np.int64))
    assert local_table.local_concentration(sample, table) == pytest.approx(expected)


def test_nobody_is_a_row_where_a_label_says_so_and_undecided_is_none() -> None:
    sample, _ = stratified(np.random.default_rng(1), 1)
    one = LabelledSample(sample.labelled[0], sample.images[0])
    table = local_table.table_of(one)
    assert table.shape == (3, 3)
    assert table.sum() == pytest.approx(one.weighted.sum() - one.weighted[:, 2].sum())


def difference(sample: LabelledSample) -> tuple[np.ndarray, np.ndarray]:
    predicted = predictions(sample)
    values = powered.concentration_of(powered.totals(sample, predicted))
    local = local_table.local_concentration(sample, local_table.table_of(sample)).mean(axis=-1)
    return values.value.mean(axis=-1) - local, local_table.error_of_difference(sample, predicted, values)


def test_the_error_of_the_difference_is_that_of_simulations() -> None:
    first = np.random.default_rng(0).beta(2, 2, 50)
    joint = np.stack([first, 1 - first], axis=1)[:, :, None] * np.array([[0.88, 0.12], [0.05, 0.95]])
    off, error = difference(drawn(joint, 10, 300, seed=2))
    assert error.mean() == pytest.approx(off.std(), rel=0.15)
    assert (np.abs(off) > local_table.FLAGGED * error).mean() <= 0.07

    sample, _ = stratified(np.random.default_rng(5), 300, nobody=0.0)  # its errors depend on the prompt
    off, error = difference(sample)
    assert error.mean() == pytest.approx(off.std(), rel=0.25)


def test_errors_in_the_minority_are_flagged() -> None:
    """12 % of each prompt's minority and 1 % of its majority misread, 500 labels."""
    first = np.random.default_rng(1).uniform(size=50)
    errors = np.where(np.stack([first > 0.5, first < 0.5], axis=1), 0.01, 0.12)
    right = np.eye(2) * (1 - errors)[:, :, None] + (1 - np.eye(2)) * errors[:, :, None]
    off, error = difference(drawn(np.stack([first, 1 - first], axis=1)[:, :, None] * right, 10, 200, seed=3))
    assert (np.abs(off) > local_table.FLAGGED * error).mean() >= 0.8
