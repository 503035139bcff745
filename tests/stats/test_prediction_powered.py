"""Prediction-powered estimates: against enumeration of all samples and all pairs of images, and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fairbench.stats import designs
from fairbench.stats import prediction_powered as powered
from fairbench.stats.estimands import concentration
from fairbench.stats.prediction import LabelledSample, predictions

Ints = NDArray[np.int64]


def sample_of(said: Ints, read: Ints, stratum: Ints, labelled: NDArray[np.bool_], k: int) -> LabelledSample:
    """Return the sample of one prompt's images, each given by its codes: K is undecided or no face, K + 1 nobody."""
    strata = int(stratum.max()) + 1
    labels = np.zeros((1, strata, k + 2, k + 1), dtype=np.int64)
    images = np.zeros((1, strata, k + 1), dtype=np.int64)
    np.add.at(labels, (0, stratum[labelled], said[labelled], read[labelled]), 1)
    np.add.at(images, (0, stratum, read), 1)
    return LabelledSample(labels, images)


def all_samples(stratum: Ints, sizes: list[int]) -> list[NDArray[np.bool_]]:
    """Return every way to label `sizes` images of the strata."""
    choices = [itertools.combinations(np.flatnonzero(stratum == h), n) for h, n in enumerate(sizes)]
    return [np.isin(np.arange(len(stratum)), np.concatenate(chosen)) for chosen in itertools.product(*choices)]


def unit_vectors(said: Ints, k: int, given: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return what people say of each image as vectors (N, K): undecided images are `given`, nobody is 0."""
    return np.vstack([np.eye(k), np.zeros(k) if given is None else given, np.zeros(k)])[said]


def by_pairs(x: NDArray[np.float64]) -> float:
    """Return concentration from all pairs of different images, one at a time."""
    pairs = list(itertools.permutations(range(len(x)), 2))
    same, every = sum(x[i] @ x[j] for i, j in pairs), sum(x[i].sum() * x[j].sum() for i, j in pairs)
    k = x.shape[1]
    return float((k * same / every - 1) / (k - 1))


def over_all_samples(k: int, said: Ints, predicted: NDArray[np.float64]) -> list[powered.Totals]:
    """Return the estimate from every possible sample of 2 of 4 and 3 of 5 images."""
    stratum = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    read = np.random.default_rng(k + 1).integers(k + 1, size=9)
    estimates = []
    for labelled in all_samples(stratum, [2, 3]):
        estimated = powered.totals(sample_of(said, read, stratum, labelled, k), predicted)
        estimated.usable[:] = True  # of so few images, not all samples would be used
        estimates.append(estimated)
    return estimates


@pytest.mark.parametrize("k", [2, 4, 7])
def test_over_all_possible_samples_totals_and_their_variance_are_exact(k: int) -> None:
    """For predictions that are wrong, people who cannot decide, and images that show nobody."""
    rng = np.random.default_rng(k)
    said, predicted = rng.integers(k + 2, size=9), rng.dirichlet(np.ones(k + 2), (1, k + 1))[..., : k + 1]
    estimates = over_all_samples(k, said, predicted)
    totals = np.array([e.total[0] for e in estimates])
    assert totals.mean(axis=0) == pytest.approx(np.bincount(said, minlength=k + 2)[: k + 1])
    assert np.mean([e.design[0] for e in estimates], axis=0) == pytest.approx(np.cov(totals.T, bias=True))


@pytest.mark.parametrize("k", [2, 4, 7])
@pytest.mark.parametrize("give", [False, True])
def test_over_all_possible_samples_the_mean_is_that_of_all_labels(k: int, give: bool) -> None:
    """Exactly unbiased for wrong predictions. give: some are undecided, and given to a mixture of groups."""
    rng = np.random.default_rng(k)
    said, given = rng.integers(k + give, size=9), rng.dirichlet(np.ones(k), 1) if give else None
    predicted = np.zeros((1, k + 1, k + 1))
    predicted[..., : k + give] = rng.dirichlet(np.ones(k + give), (1, k + 1))
    values = [powered.concentration_of(e, given).value[0] for e in over_all_samples(k, said, predicted)]
    truth = by_pairs(unit_vectors(said, k, None if given is None else given[0]))
    assert np.mean(values) == pytest.approx(truth)


@pytest.mark.parametrize("k", [2, 4, 7])
def test_where_all_images_are_labelled_predictions_do_not_matter(k: int) -> None:
    rng = np.random.default_rng(k)
    said, read = rng.integers(k + 2, size=40), rng.integers(k + 1, size=40)
    sample = sample_of(said, read, rng.integers(3, size=40), np.ones(40, dtype=bool), k)
    estimated = powered.totals(sample, rng.dirichlet(np.ones(k + 2), (1, k + 1))[..., : k + 1])
    given = rng.dirichlet(np.ones(k), 1)

    # But for the bias of a ratio, of order 1/N, that the draw of the images has.
    truth = by_pairs(unit_vectors(said, k))
    assert powered.concentration_of(estimated).value[0] == pytest.approx(truth, abs=0.01)
    bound = powered.concentration_of(estimated, given).value[0]
    assert bound == pytest.approx(by_pairs(unit_vectors(said, k, given[0])), abs=0.01)
    people = unit_vectors(said, k).sum(axis=0)
    shares = [powered.share_of(estimated, j).value[0] for j in range(k)]
    assert shares == pytest.approx(people / people.sum())
    assert powered.share_of(estimated, k).value[0] == pytest.approx(np.mean(said == k))


def test_the_readings_as_predictions_give_the_sum_of_three_u_statistics() -> None:
    """c(read) + 2 <mean reading, mean d> + U(d, d), pairs of an image with itself left out; one pair at a time."""
    rng, k, n = np.random.default_rng(0), 3, 24
    said, read = rng.integers(k, size=n), rng.integers(k, size=n)
    labelled = np.arange(n) < 9
    sample = sample_of(said, read, np.zeros(n, dtype=np.int64), labelled, k)
    estimated = powered.totals(sample, np.eye(k + 1)[None])
    r, d = np.eye(k)[read], np.eye(k)[said] - np.eye(k)[read]

    def mean(x: NDArray[np.float64], y: NDArray[np.float64], first: Ints, second: Ints) -> float:
        return float(np.mean([x[i] @ y[j] for i in first for j in second if i != j]))

    every, some = np.arange(n), np.flatnonzero(labelled)
    simpson = mean(r, r, every, every) + 2 * mean(r, d, every, some) + mean(d, d, some, some)
    assert powered.concentration_of(estimated).value[0] == pytest.approx((k * simpson - 1) / (k - 1))


def test_people_alone_is_the_u_statistic_of_their_labels() -> None:
    rng, k = np.random.default_rng(1), 4
    said, read = rng.integers(k, size=60), rng.integers(k + 1, size=60)
    labelled = rng.permutation(60) < 20
    sample = sample_of(said, read, np.zeros(60, dtype=np.int64), labelled, k)
    alone = powered.concentration_of(powered.totals(sample, np.eye(k + 1)[None, [0, 1, 2, 3, 0]], alone=True))
    assert alone.value[0] == pytest.approx(concentration(np.bincount(said[labelled], minlength=k)))


def test_pooled_counts_pairs_of_all_prompts_and_single_prompts_by_their_mean() -> None:
    rng, k = np.random.default_rng(2), 3
    said = [rng.integers(k, size=n) for n in (5, 9, 12)]
    parts = [sample_of(s, s, np.zeros(len(s), dtype=np.int64), np.ones(len(s), dtype=bool), k) for s in said]
    joined = LabelledSample(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("labelled", "images")))
    estimated = powered.totals(joined, np.zeros((3, k + 1, k + 1)))
    units = [np.eye(k)[s] for s in said]
    same = sum(float((a @ b.T).sum()) for a, b in itertools.permutations(units, 2))
    for u in units:
        same += float(((u @ u.T).sum() - len(u)) / (len(u) * (len(u) - 1)) * len(u) ** 2)
    expected = same / sum(map(len, said)) ** 2
    assert powered.pooled_concentration_of(estimated).value[0] == pytest.approx((k * expected - 1) / (k - 1))


def test_a_prompt_without_two_labels_in_a_stratum_is_left_out_and_counted() -> None:
    said = np.array([0, 1, 0, 1, 0, 1])
    usable = sample_of(said, said, np.zeros(6, dtype=np.int64), np.arange(6) < 4, 2)
    one = sample_of(said, said, np.zeros(6, dtype=np.int64), np.arange(6) < 1, 2)
    joined = LabelledSample(
        *(np.concatenate([getattr(s, name) for s in (usable, one)]) for name in ("labelled", "images"))
    )
    interval = powered.interval(powered.concentration_of(powered.totals(joined, predictions(joined))))
    assert (interval.prompts, interval.left_out) == (1, 1)
    assert np.isfinite([interval.estimate, interval.low, interval.high]).all()


def test_predictions_of_a_prompt_are_learned_from_the_others_labels() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(4, size=(5, 1, 5, 4))
    images = labels.sum(axis=-2) + rng.integers(9, size=(5, 1, 4))
    changed = labels.copy()
    changed[2] = labels[2][..., ::-1, :]
    before, after = predictions(LabelledSample(labels, images)), predictions(LabelledSample(changed, images))
    assert after[2] == pytest.approx(before[2], abs=1e-12)
    assert all(np.abs(after[p] - before[p]).max() > 1e-3 for p in (0, 1, 3, 4))
    assert ((before >= 0) & (before.sum(axis=-1, keepdims=True) <= 1 + 1e-12)).all()


def test_in_a_one_sided_prompt_a_rare_reading_is_taken_for_an_error() -> None:
    """96 of 100 images read as class 0 by a labeller that errs in 5 %: those read as 1 are mostly errors, too."""
    labels = np.zeros((6, 1, 4, 3), dtype=np.int64)
    labels[:, 0, :2, :2] = [[19, 1], [1, 19]]
    images = np.tile(np.array([[50, 50, 0]]), (6, 1, 1))
    images[0, 0] = [96, 4, 0]
    predicted = predictions(LabelledSample(labels, images))
    assert predicted[0, 1, 0] > 0.5
    assert predicted[1, 1, 1] > 0.9
    assert predicted[:, :, 2] == pytest.approx(0)  # no label says that it cannot be decided


def stratified(rng: np.random.Generator, replicates: int, nobody: float = 0.04) -> tuple[LabelledSample, float]:
    """Return samples of 30 prompts x 60 images with errors that depend on the prompt, and the true concentration.

    Some images show nobody, of some people cannot tell; 10 of each prompt's are labelled, by strata of the reading.
    """
    prompts, images, k = 30, 60, 2
    first = rng.beta(0.7, 0.7, prompts)
    truth = float(((2 * first - 1) ** 2).mean())
    joint = np.zeros((prompts, k + 2, k + 1))
    for p, share in enumerate(first):
        errors = (0.02, 0.2) if share > 0.5 else (0.2, 0.02)
        for said, (weight, error) in enumerate(zip((share, 1 - share), errors, strict=True)):
            joint[p, said, [said, 1 - said, k]] = (
                (0.94 - nobody) * weight * np.array([0.97 * (1 - error), 0.97 * error, 0.03])
            )
    joint[:, k, :2], joint[:, k + 1] = 0.03, nobody * np.array([0.25, 0.25, 0.5])
    cells = np.empty((replicates, prompts, images), dtype=np.int64)
    for p in range(prompts):
        cells[:, p] = rng.choice(joint[p].size, size=(replicates, images), p=joint[p].ravel())
    read = cells % (k + 1)
    stratum = (read == 1).astype(np.int64)
    order = rng.random(cells.shape)
    sizes = np.stack([(stratum == h).sum(axis=-1) for h in (0, 1)], axis=-1)
    wanted = np.array([designs.allocate(s, 10) if s.all() else np.minimum(s, 10) for s in sizes.reshape(-1, 2)])
    labelled = np.zeros(cells.shape, dtype=bool)
    for h in (0, 1):
        rank = np.where(stratum == h, order, 2).argsort(axis=-1).argsort(axis=-1)
        labelled |= (rank < wanted.reshape(sizes.shape)[..., h, None]) & (stratum == h)
    shape = (replicates, prompts, 2, k + 2, k + 1)
    row = np.arange(replicates * prompts)[:, None].repeat(images, axis=1).reshape(cells.shape)
    index = (row * 2 + stratum) * (k + 2) * (k + 1) + cells
    every = np.bincount(index.ravel(), minlength=int(np.prod(shape))).reshape(shape)
    some = np.bincount(index[labelled], minlength=int(np.prod(shape))).reshape(shape)
    return LabelledSample(some, every.sum(axis=-2)), truth


def test_stratified_samples_with_nobody_and_undecided_are_unbiased_and_covered() -> None:
    sample, truth = stratified(np.random.default_rng(4), 400)
    estimated = powered.totals(sample, predictions(sample))
    estimate, low, high, error = powered.mean_interval(powered.concentration_of(estimated))
    assert abs(estimate.mean() - truth) < 3 * estimate.std() / 20
    assert 0.92 <= ((low <= truth) & (truth <= high)).mean() <= 0.98
    assert error.mean() == pytest.approx(estimate.std(), rel=0.2)
    undecided = powered.mean_interval(powered.share_of(estimated, 2))[0]
    assert undecided.mean() == pytest.approx(0.06, abs=0.004)
