"""Intervals, units and bounds: variances against brute force, coverage by simulation from known truths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import beta, binom

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.bounds import concentration_bounds, rd_bounds, share_interval
from fairbench.stats.estimands import concentration, concentration_of_shares, concentration_variance, rd_at
from fairbench.stats.gaffke import mean_interval
from fairbench.stats.intervals import concentration_interval, concentration_of_prompts, lowest_concentration
from fairbench.stats.rarefaction import rd_at_interval, rd_at_of_prompts
from fairbench.stats.units import Units, bootstrap_task_means, resamples, units_of_images
from tests.builders.proofs import mostly_long

SKEWED = [0.6, 0.2, 0.15, 0.05]


def crowds(p: list[float], images: int, prompts: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images that all show three faces of one class: three times the faces, no more information."""
    shown = 3 * np.eye(len(p), dtype=np.int64)[rng.choice(len(p), p=p, size=prompts * images)]
    return np.repeat(np.arange(prompts), images), shown


# --- units ---


def test_images_are_grouped_and_faceless_ones_left_out() -> None:
    faces = np.array([[1, 0], [0, 0], [2, 1], [1, 0], [2, 1], [0, 1]])
    units = units_of_images(np.array([0, 0, 0, 2, 2, 2]), faces, 3)
    assert units.counts.tolist() == [[3, 1], [0, 0], [3, 2]]
    assert units.times.sum(axis=1).tolist() == [2, 0, 3]


def test_a_resample_keeps_the_faces_of_an_image_together() -> None:
    units = Units(np.array([[2, 1], [0, 3]]), np.array([[30, 10], [0, 0]]))
    counts = np.concatenate(list(resamples(units, 3000, np.random.default_rng(0))))
    assert counts.shape == (3000, 2, 2)
    assert (counts.sum(axis=2) == [120, 0]).all()
    assert (counts[:, 0, 0] % 2 == 0).all()
    assert counts[:, 0, 0].mean() == pytest.approx(60, abs=0.4)
    assert counts[:, 0, 0].std() == pytest.approx(2 * np.sqrt(40 * 0.75 * 0.25), rel=0.05)


def test_task_means_of_all_metrics_come_from_the_same_resamples() -> None:
    counts = np.array([[30, 10], [8, 32], [0, 0]])
    metrics = {"first": lambda p: p[..., 0], "second": lambda p: p[..., 1], "rd": relative_diversity}
    found = bootstrap_task_means(metrics, counts, 4000, np.random.default_rng(1))
    np.testing.assert_allclose(found["first"] + found["second"], 1)
    assert found["first"].std() == pytest.approx(np.sqrt((0.75 * 0.25 + 0.2 * 0.8) / 40) / 2, rel=0.05)
    assert found["rd"].shape == (4000,)


# --- concentration ---


def test_the_variance_of_concentration_is_the_one_over_images_taken_four_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The unbiased variance by its definition: U^2 less the mean product of the kernel over disjoint pairs."""
    monkeypatch.setattr("fairbench.stats.intervals.PSEUDO_IMAGES", 0.0)
    images = np.array([[3, 0, 0], [1, 1, 0], [0, 2, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1], [2, 0, 0], [0, 1, 0]])
    m, sizes = len(images), images.sum(axis=1)
    same, every = images @ images.T, np.outer(sizes, sizes)
    pairs = list(itertools.permutations(range(m), 2))
    theta = sum(same[i] for i in pairs) / sum(every[i] for i in pairs)
    g = same - theta * every
    disjoint = [g[a, b] * g[c, d] for a, b, c, d in itertools.permutations(range(m), 4)]
    scale = np.mean([every[i] for i in pairs])
    found = concentration_of_prompts(units_of_images(np.zeros(m, dtype=int), images, 1))
    assert found.value[0] == pytest.approx((3 * theta - 1) / 2)
    assert found.variance[0] == pytest.approx(-np.mean(disjoint) / scale**2 * (3 / 2) ** 2)


def test_plain_counts_are_images_with_one_face() -> None:
    counts = np.array([[30, 5, 2], [3, 0, 0], [4, 4, 0]])
    value, variance, upper = concentration_of_prompts(counts)
    assert upper is not None
    assert (upper >= variance)[[0, 2]].all()
    assert np.isnan(value).tolist() == [False, True, False]  # three images are too few
    np.testing.assert_allclose(value[[0, 2]], concentration(counts)[[0, 2]])
    prompt, k = np.repeat([0, 1, 2], counts.sum(axis=1)), np.concatenate([np.repeat([0, 1, 2], c) for c in counts])
    of_images = concentration_of_prompts(units_of_images(prompt, np.eye(3, dtype=int)[k], 3))
    np.testing.assert_allclose(of_images, (value, variance, upper))


@pytest.mark.parametrize(("p", "prompts"), [([0.8, 0.2], 8), (SKEWED, 8), ([0.7, 0.15] + [0.025] * 6, 50)])
def test_concentration_is_covered(p: list[float], prompts: int) -> None:
    truth = (len(p) * sum(x * x for x in p) - 1) / (len(p) - 1)
    rng = np.random.default_rng(2)
    found = [concentration_interval(rng.multinomial(50, p, size=prompts), "this list") for _ in range(400)]
    assert 0.92 < np.mean([i.low <= truth <= i.high for i in found]) < 0.98


def test_concentration_of_images_with_several_faces_is_covered_and_that_of_their_faces_is_not() -> None:
    truth, rng = (4 * sum(x * x for x in SKEWED) - 1) / 3, np.random.default_rng(3)
    units = [units_of_images(*crowds(SKEWED, 40, 8, rng), 8) for _ in range(300)]
    pairs = [[concentration_interval(d, "this list") for d in (u, u.counts)] for u in units]
    inside = np.array([[i.low <= truth <= i.high for i in pair] for pair in pairs])
    assert 0.92 < inside[:, 0].mean() < 0.99
    assert inside[:, 1].mean() < 0.8


def test_images_of_one_class_have_an_interval_with_a_width() -> None:
    for found in (
        concentration_interval(np.array([[50, 0]] * 8), "this list"),
        rd_at_interval(np.array([[50, 0]] * 8), 40, "this list", np.random.default_rng(4)),
    ):
        assert found.estimate == found.high == pytest.approx(1)
        assert 0.9 < found.low < 0.999


# --- RD at n0 ---


@pytest.mark.parametrize(
    ("p", "least", "most"),
    [([0.5] * 2, 1.0, 1.7), ([0.57, 0.43], 0.85, 1.2), ([0.9, 0.1], 0.85, 1.2), (SKEWED, 0.85, 1.2)],
)
def test_the_variance_of_rd_at(p: list[float], least: float, most: float) -> None:
    """Right where shares differ; too large, never too small, where they are equal."""
    rng = np.random.default_rng(5)
    true = rd_at(rng.multinomial(60, p, size=5000), 50).var()
    found = rd_at_of_prompts(rng.multinomial(60, p, size=300), 50, rng, times=100)
    assert least < found.variance.mean() / true < most


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.25] * 4, [0.97, 0.01, 0.01, 0.01], [1.0] + [0.0] * 7])
def test_rd_of_two_prompts_is_covered_at_either_end(p: list[float]) -> None:
    """What few prompts of 60 faces score on average, also where all are fair or all one-sided."""
    rng = np.random.default_rng(13)
    truth = relative_diversity(rng.multinomial(60, p, size=20_000) / 60).mean()
    found = [rd_at_interval(rng.multinomial(60, p, size=2), 60, "this list", rng, times=100) for _ in range(150)]
    assert np.mean([i.low <= truth + 1e-9 and truth - 1e-9 <= i.high for i in found]) > 0.88
    assert all(0 <= i.low < i.high <= 2 / len(p) for i in found)


def test_rd_at_of_images_with_several_faces_varies_with_the_images() -> None:
    rng = np.random.default_rng(6)
    true = rd_at(rng.multinomial(40, SKEWED, size=5000), 33).var()
    found = rd_at_of_prompts(units_of_images(*crowds(SKEWED, 40, 200, rng), 200), 33, rng, times=100)
    assert 0.8 < found.variance.mean() / true < 1.25


def test_a_prompt_with_too_few_faces_is_left_out() -> None:
    counts = np.array([[30, 20], [25, 25], [10, 2]])
    found = rd_at_interval(counts, 40, "this list", np.random.default_rng(7))
    assert (found.prompts, found.left_out) == (2, 1)
    assert found.estimate == pytest.approx(rd_at(counts[:2], 40).mean())
    nothing = rd_at_interval(counts, 99, "this list", np.random.default_rng(7))
    assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()
    assert (nothing.prompts, nothing.left_out) == (0, 3)


def test_other_prompts_have_gaffkes_interval_on_the_range_of_the_values() -> None:
    rng = np.random.default_rng(8)
    counts = np.stack(
        [rng.multinomial(n, p) for n, p in zip(range(40, 52), rng.dirichlet([1] * 4, size=12), strict=True)]
    )
    found = concentration_interval(counts, "other prompts")
    assert (found.low, found.high) == pytest.approx(mean_interval(concentration(counts), -1 / 39, 1.0))
    found = rd_at_interval(counts, 40, "other prompts", np.random.default_rng(9))
    assert (found.low, found.high) == pytest.approx(mean_interval(rd_at(counts, 40), 0.0, 0.5))
    few = concentration_interval(counts[:9], "other prompts")
    assert few.estimate == pytest.approx(concentration(counts[:9]).mean())
    assert np.isnan([few.low, few.high]).all()


def test_the_lowest_value_of_the_unbiased_estimate_is_attained_and_never_passed() -> None:
    assert lowest_concentration(np.array([[5, 5], [20, 20], [1, 1]])) == pytest.approx(concentration(np.array([5, 5])))
    assert lowest_concentration(np.array([[1, 1, 1, 1, 0]] * 3)) == pytest.approx(
        concentration(np.array([1] * 4 + [0]))
    )
    assert lowest_concentration(np.array([[1, 2]])) == 0  # three images are too few for an estimate
    rng = np.random.default_rng(12)
    for _ in range(30):
        prompts, images, classes = 4, int(rng.integers(4, 9)), int(rng.integers(2, 5))
        faces = rng.multinomial(3, np.full(classes, 1 / classes), size=prompts * images) * rng.integers(1, 3)
        data = units_of_images(np.repeat(np.arange(prompts), images), faces, prompts)
        assert np.nanmin(concentration_of_prompts(data).value) >= lowest_concentration(data) - 1e-12


def test_prompts_that_agree_have_an_interval_with_a_width() -> None:
    """Equal values of prompts have no spread; the interval must not have zero width for that."""
    for counts in (np.array([[40, 0]] * 12), np.array([[21, 19]] * 12)):
        fixed, other = (concentration_interval(counts, scope) for scope in ("this list", "other prompts"))
        assert fixed.low < fixed.estimate and other.low < fixed.estimate
        assert max(0.0, fixed.estimate) <= fixed.high <= 1 and fixed.error > 0


# --- one prompt ---


def test_shares_have_jeffreys_intervals() -> None:
    low, high = share_interval(np.array([[7, 13], [0, 20], [0, 0]]))
    assert (low[0, 0], high[0, 0]) == (
        pytest.approx(beta.ppf(0.025, 7.5, 13.5)),
        pytest.approx(beta.ppf(0.975, 7.5, 13.5)),
    )
    assert low[1, 0] == 0
    assert high[1, 1] == 1
    assert np.isnan([low[2], high[2]]).all()
    x = np.arange(161)
    low, high = share_interval(np.stack([x, 160 - x], axis=1))
    covered = [binom.pmf(x, 160, p) @ ((low[:, 0] <= p) & (p <= high[:, 0])) for p in np.linspace(0.01, 0.99, 99)]
    assert np.mean(covered) > 0.94
    assert min(covered) > 0.91


def test_bounds_of_rd_of_two_classes_are_those_of_the_binomial() -> None:
    rng = np.random.default_rng(10)
    low, high = rd_bounds(np.array([[40, 0], [20, 20], [0, 0]]), rng)
    assert high[0] == high[2] == 1
    assert low[0] == pytest.approx(2 * 0.05 ** (1 / 40) - 1, abs=2e-6)
    assert low[1] == low[2] == 0
    assert binom.pmf(20, 40, (1 + high[1]) / 2) == pytest.approx(0.05, abs=2e-6)
    assert rd_bounds(np.zeros((1, 3), dtype=int), rng) == (0.0, 2 / 3)


def test_bounds_of_rd_exist_for_any_counts() -> None:
    """Rounding must not lead out of the simplex, whatever was counted."""
    rng = np.random.default_rng(11)
    for classes in (3, 7, 8, 9):
        for _ in range(40):
            counts = rng.multinomial(20, rng.dirichlet(np.full(classes, 0.15)))
            low, high = rd_bounds(counts[None], rng, draws=20)
            seen = np.abs(np.subtract.outer(counts, counts)).sum() / 20 / (classes * (classes - 1))
            assert 0 <= low <= seen + 1e-9 <= high + 2e-9


@pytest.mark.parametrize("p", [[0.25] * 4, [0.4, 0.3, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
def test_bounds_of_rd_hold(p: list[float]) -> None:
    """Also at balance and for one class alone, where a percentile interval never covers."""
    rng = np.random.default_rng(11)
    truth = float(relative_diversity(np.array(p)))
    low, high = rd_bounds(rng.multinomial(160, p, size=60), rng, draws=200)
    assert (low <= truth + 1e-12).mean() > 0.88
    assert (truth - 1e-12 <= high).mean() > 0.88


def test_the_bounds_of_two_classes_invert_the_exact_test_and_concentration_is_their_square() -> None:
    """Every true share on a grid: how likely are counts whose interval misses it?"""
    for images, bound in itertools.product((8, 16, 50), (rd_bounds, concentration_bounds)):
        first = np.arange(images + 1)
        low, high = bound(np.stack([first, images - first], axis=1), np.random.default_rng(0))
        power, level = (1, 0.05) if bound is rd_bounds else (2, 0.025)
        for p in np.linspace(0.5, 1.0, 26):
            truth, weight = (2 * p - 1) ** power, binom.pmf(first, images, p)
            assert weight @ (truth < low - 1e-6) <= level + 1e-6
            assert weight @ (truth > high + 1e-6) <= level + 1e-6


ONE_PROMPT = [
    ([0.8, 0.2], 8),
    ([0.4] + [0.1] * 6, 8),
    *(([share, 1 - share], n) for share in (0.6, 0.7, 0.8) for n in (8, 16, 32, 50, 160) if (share, n) != (0.8, 8)),
    *(([0.4, 0.3, 0.2, 0.1], n) for n in (8, 16, 50)),
    *(([0.4] + [0.1] * 6, n) for n in (16, 50)),
    ([1 / 7] * 7, 4),
]


@pytest.mark.parametrize(("p", "images"), mostly_long(ONE_PROMPT, 2))
def test_concentration_of_one_prompt_is_covered(p: list[float], images: int) -> None:
    """Where the normal interval covered .64 to .90."""
    rng, truth = np.random.default_rng(14), concentration_of_shares(np.array(p))
    low, high = concentration_bounds(rng.multinomial(images, p, size=250), rng, draws=200)
    assert ((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean() >= 0.93


def test_one_prompt_has_the_limits_of_its_test_and_several_faces_per_image_have_those_of_the_normal_form() -> None:
    counts = np.array([[33, 17], [0, 0]])
    found, bounds = (
        concentration_interval(counts, "this list"),
        concentration_bounds(counts[:1], np.random.default_rng(0)),
    )
    assert (found.low, found.high, found.prompts, found.left_out) == (bounds[0], bounds[1], 1, 1)
    even = concentration_interval(np.array([[25, 25]]), "this list")
    assert even.low == even.estimate == pytest.approx(-1 / 49)
    rng = np.random.default_rng(15)
    units = [units_of_images(*crowds([0.7, 0.3], 40, 1, rng), 1) for _ in range(400)]
    intervals = [concentration_interval(u, "this list") for u in units]
    assert np.mean([i.low <= 0.16 <= i.high for i in intervals]) >= 0.93
    assert np.isnan(concentration_interval(units_of_images(*crowds([0.7, 0.3], 19, 1, rng), 1), "this list").low)


@pytest.mark.parametrize(
    ("p", "faces"),
    [
        ([1 / 7] * 7, [5, 28, 160]),
        ([0.4] + [0.1] * 6, [16, 16]),
        ([0.65, 0.35], [16, 16]),
        ([0.475, 0.175, 0.175, 0.175], [4, 4]),
    ],
)
def test_concentration_of_few_prompts_with_few_images_is_covered(p: list[float], faces: list[int]) -> None:
    """Where the variance of few images is too small, so was the upper limit: it covered .70 to .86."""
    rng, sizes, truth = np.random.default_rng(16), np.array(faces), concentration_of_shares(np.array(p))
    found = [concentration_interval(rng.multinomial(sizes, p), "this list") for _ in range(800)]
    assert np.mean([i.low <= truth <= i.high for i in found]) >= 0.93
    oracle = 2 * 1.96 * np.sqrt(concentration_variance(np.array([p] * len(sizes)), sizes).sum()) / len(sizes)
    assert np.mean([i.high - i.low for i in found]) <= 1.5 * oracle
