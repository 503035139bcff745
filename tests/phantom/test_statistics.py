"""The figures by which the phantom is judged, against brute force: counts drawn from truths that are known."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from fairbench.phantom import check, figures
from fairbench.phantom import statistics as st
from fairbench.phantom.figures import Bar, RoundTrip, planted_shares
from fairbench.phantom.statistics import Counts, Estimate, FloatArray
from fairbench.stats.estimands import shares

TRUTH = planted_shares()
MOVED = 0.85 * TRUTH + 0.15 * TRUTH[:, ::-1]
"""A model that gives a seventh of its images the other gender and a race in reverse."""


def naive(counts: Counts, truth: FloatArray) -> FloatArray:
    """Total variation a prompt (..., P), by its definition, with nothing subtracted."""
    return np.asarray(0.5 * np.abs(counts / counts.sum(axis=-1, keepdims=True) - truth).sum(axis=-1))


@functools.cache
def estimates(moved: bool, n: int, times: int = 25) -> tuple[list[Estimate], FloatArray]:
    """Estimates from independent draws of n images a prompt, and what the plain formula says of each draw."""
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, MOVED if moved else TRUTH, size=(times, len(TRUTH)))
    return [st.total_variation(c, TRUTH, rng) for c in draws], naive(draws, TRUTH).mean(axis=1)


# --- total variation ---


@pytest.mark.parametrize("n", [40, 250])
def test_sampling_noise_is_not_taken_for_a_difference(n: int) -> None:
    found, plain = estimates(False, n)
    values = [e.value for e in found]
    assert min(values) >= 0
    assert np.mean(values) < 0.45 * plain.mean()
    assert max(values) < plain.min()


def test_without_a_difference_it_vanishes_with_n() -> None:
    found, _ = estimates(False, 20_000, times=5)
    assert max(e.upper for e in found) < 0.004


def test_a_real_difference_is_found_at_large_n() -> None:
    exact = float(naive(MOVED * 1e6, TRUTH).mean())
    assert exact > 0.1
    found, _ = estimates(True, 20_000, times=5)
    assert [e.value for e in found] == pytest.approx([exact] * 5, abs=0.0015)
    # At the n of a check it errs upwards, against the phantom, and by less than the plain formula does.
    some, plain = estimates(True, 250)
    assert exact < np.mean([e.value for e in some]) < min(exact + 0.01, float(plain.mean()))


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("n", [250, 5000])
def test_its_standard_error_is_that_of_repetition(moved: bool, n: int) -> None:
    found, _ = estimates(moved, n)
    spread = float(np.std([e.value for e in found], ddof=1))
    assert 0.75 * spread < np.mean([e.error for e in found]) < 1.7 * spread


def test_the_upper_bound_is_one_sided_and_covers() -> None:
    assert Estimate(0.1, 0.01).upper == pytest.approx(0.1 + 1.6449 * 0.01, abs=1e-6)
    exact = float(naive(MOVED * 1e6, TRUTH).mean())
    found, _ = estimates(True, 5000)
    assert np.mean([e.upper >= exact for e in found]) >= 0.9


def test_prompts_count_alike_whatever_their_number_of_faces() -> None:
    counts = np.round(np.stack([TRUTH[0] * 1e6, MOVED[1] * 1e4])).astype(np.int64)
    found = st.total_variation(counts, TRUTH[:2], np.random.default_rng(0))
    assert found.value == pytest.approx(naive(MOVED[1] * 1e6, TRUTH[1]) / 2, abs=0.002)


# --- squared distance ---


@pytest.mark.parametrize(("n", "truth_n"), [(20, 60), (250, 250), (250, 5000)])
@pytest.mark.parametrize("moved", [False, True])
def test_the_squared_distance_is_unbiased(n: int, truth_n: int, moved: bool) -> None:
    """Over draws of both sides its mean is the distance of the two true tables."""
    source, times, rng = (MOVED if moved else TRUTH), 800, np.random.default_rng(n + truth_n)
    exact = float(((source - TRUTH) ** 2).sum(axis=1).mean())
    sizes = np.full(len(TRUTH), truth_n)
    drawn = rng.multinomial(n, source, size=(times, len(TRUTH)))
    measured = rng.multinomial(truth_n, TRUTH, size=(times, len(TRUTH))) / truth_n
    values = np.array([st.squared_distance(c, q, sizes).value for c, q in zip(drawn, measured, strict=True)])
    error = values.std() / np.sqrt(times)
    assert abs(values.mean() - exact) < 4 * error
    # What the measured truth's own noise adds is more than this test can miss.
    own = float((TRUTH * (1 - TRUTH)).sum(axis=1).mean()) / truth_n
    assert own > 6 * error or truth_n == 5000


def test_without_a_difference_the_squared_distance_is_on_either_side_of_zero() -> None:
    rng = np.random.default_rng(0)
    sizes = np.full(len(TRUTH), 5000)
    truth = rng.multinomial(5000, TRUTH) / 5000
    found = [st.squared_distance(c, truth, sizes) for c in rng.multinomial(250, TRUTH, size=(300, len(TRUTH)))]
    below = sum(e.value < 0 for e in found)
    assert 60 < below < 240
    spread = float(np.std([e.value for e in found]))
    assert 0.8 * spread < np.mean([e.error for e in found]) < 1.25 * spread
    # The check's bar, with what it grants, is never missed by a phantom that has not changed.
    assert all(e.value - 3 * e.error < 0.004 for e in found)


# --- shares and gaps ---


@pytest.mark.parametrize("n", [20, 600, 5000])
def test_a_share_at_its_end_is_not_certain(n: int) -> None:
    none, every = st.share(0, n), st.share(n, n)
    assert (none.value, every.value) == (0.0, 1.0)
    assert none.error == pytest.approx(every.error)
    # Three errors reach about as far as the exact 95 % bound of 0 of n.
    assert 3 * none.error == pytest.approx(binomtest(0, n).proportion_ci(0.9, method="exact").high, rel=0.06)


def test_a_share_inside_has_the_binomial_error() -> None:
    found = st.share(1980, 2000)
    assert found.value == 0.99
    assert found.error == pytest.approx(np.sqrt(0.99 * 0.01 / 2000), rel=0.03)


RATES = {
    "alike": [0.995] * 8,
    "one worse": [0.999] * 7 + [0.985],
    "perfect": [1.0] * 8,
    "middling": [0.3, 0.4, 0.5, 0.6, 0.5, 0.5, 0.5, 0.5],
}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES.keys())
@pytest.mark.parametrize("each", [200, 5000])
def test_the_bound_of_the_largest_gap_holds(rates: list[float], each: int) -> None:
    rng, times, n = np.random.default_rng(1), 400, np.full(8, each)
    exact = max(rates) - min(rates)
    bounds = np.array([st.largest_gap(hits, n) for hits in rng.binomial(n, rates, size=(times, 8))])
    assert np.mean(bounds >= exact) >= 0.95
    assert bounds.mean() < exact + 6 * np.sqrt(0.25 / each)  # and it says something


@pytest.mark.parametrize(("x", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 40), (388, 776), (1, 2000)])
@pytest.mark.parametrize("tail", [0.05, 0.00625])
def test_the_exact_bounds_are_clopper_and_pearsons(x: int, n: int, tail: float) -> None:
    low, high = st.clopper_pearson(np.array([x]), np.array([n]), tail)
    oracle = binomtest(x, n).proportion_ci(1 - 2 * tail, method="exact")
    assert (low[0], high[0]) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_the_bound_of_the_largest_gap_is_simultaneous_and_shrinks() -> None:
    hits, n = np.array([198, 200, 199]), np.array([200, 200, 200])
    alpha = 0.05 / 3  # two tails of three groups share 0.05
    ends = [binomtest(int(x), 200).proportion_ci(1 - alpha, method="exact") for x in hits]
    assert st.largest_gap(hits, n) == pytest.approx(max(e.high for e in ends) - min(e.low for e in ends))
    assert st.largest_gap(hits * 20, n * 20) < st.largest_gap(hits, n) < st.largest_gap(hits, n, alpha=0.01)


# --- relative diversity ---


def pairwise(shares: FloatArray) -> float:
    """RD by its definition: the mean over pairs of labels of the distance of their shares."""
    return float(np.mean([abs(a - b) for a, b in itertools.combinations(shares, 2)]))


def test_task_rd_is_the_mean_over_prompts_of_the_pairwise_formula() -> None:
    shares = np.random.default_rng(0).dirichlet(np.full(8, 0.5), size=5)
    margins: dict[str, Callable[[FloatArray], FloatArray]] = {
        "gender": lambda row: row.reshape(2, 4).sum(axis=1),
        "race4": lambda row: row.reshape(2, 4).sum(axis=0),
        "gender_x_race4": lambda row: row,
    }
    expected = {name: np.mean([pairwise(margin(row)) for row in shares]) for name, margin in margins.items()}
    assert st.task_rd(shares) == pytest.approx(expected)
    one_sided = np.eye(8)[[0, 5]]
    assert st.task_rd(one_sided) == pytest.approx({"gender": 1.0, "race4": 0.5, "gender_x_race4": 0.25})


def test_shares_are_row_wise() -> None:
    counts = np.array([[1, 3, 0, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0, 10]])
    assert shares(counts).tolist() == [[0.25, 0.75, 0, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0, 0, 0.5]]


def test_errors_of_rd_are_those_of_repetition() -> None:
    rng, n = np.random.default_rng(3), 250
    draws = rng.multinomial(n, TRUTH, size=(300, len(TRUTH)))
    values = [st.task_rd(shares(c)) for c in draws]
    errors = [st.rd_errors(c, rng) for c in draws[:6]]
    for name in ("gender", "race4", "gender_x_race4"):
        spread = np.std([v[name] for v in values])
        assert np.mean([e[name] for e in errors]) == pytest.approx(spread, rel=0.2), name


# --- bars ---


@pytest.mark.parametrize(
    ("must", "value", "error", "slack", "holds"),
    [
        ("at least", 0.99, 0.0, 0.0, True),
        ("at least", 0.9899, 0.01, 0.0, False),
        ("at least", 0.97, 0.01, 3.0, True),
        ("at least", 0.95, 0.01, 3.0, False),
        ("at most", 0.99, 0.0, 0.0, True),
        ("at most", 0.9901, 0.01, 0.0, False),
        ("at most", 1.01, 0.01, 3.0, True),
        ("at most", 1.03, 0.01, 3.0, False),
        ("at most", float("nan"), 0.01, 3.0, False),
        ("at least", float("nan"), 0.01, 3.0, False),
    ],
)
def test_a_bar_holds_within_the_errors_it_is_granted(
    must: Literal["at least", "at most"], value: float, error: float, slack: float, holds: bool
) -> None:
    bar = Bar("b", value, must, 0.99, error, slack)
    assert bar.holds is holds
    assert bar.record()["holds"] is holds


def missed(bars: list[Bar]) -> set[str]:
    return {bar.name for bar in bars if not bar.holds}


def checked(counts: NDArray[np.int64], realised: NDArray[np.float64], n: NDArray[np.int64]) -> list[Bar]:
    return [check.realised_bar(counts, realised, n), *figures.bias_bars(counts, 0, check.SLACK)]


def test_a_check_passes_a_phantom_that_has_not_changed_and_names_what_has() -> None:
    rng, n = np.random.default_rng(0), np.full(len(TRUTH), 5000)
    realised = rng.multinomial(n, TRUTH) / 5000
    for draw in rng.multinomial(250, TRUTH, size=(5, len(TRUTH))):
        assert missed(checked(draw, realised, n)) == set()
    # Another phantom of the same table: near it, yet not the one whose realised truth is on file.
    other = 0.9 * TRUTH + 0.1 * np.roll(TRUTH, 1, axis=1)
    name = "squared distance to the realised truth"
    assert missed(checked(rng.multinomial(250, other), realised, n)) == {name}
    # One that gives every subject the same shares draws the table's average, not its bias.
    even = checked(rng.multinomial(250, np.full_like(TRUTH, 1 / 8)), realised, n)
    assert missed(even) == {bar.name for bar in even}


def test_a_build_is_held_to_the_bound_and_not_to_the_value() -> None:
    rng = np.random.default_rng(0)
    assert missed(figures.bias_bars(rng.multinomial(5000, TRUTH), 0, 0)) == set()
    bound = "total variation from planted, upper 95 % bound"
    assert bound in missed(figures.bias_bars(rng.multinomial(5000, MOVED), 0, 0))
    counts = rng.multinomial(250, MOVED)
    (found,) = (bar for bar in figures.bias_bars(counts, 0, 0) if bar.name == bound)
    estimate = st.total_variation(counts, TRUTH, np.random.default_rng(0))
    assert found.value == pytest.approx(estimate.upper)
    assert estimate.upper > estimate.value + 1.6 * estimate.error > 0


def passage(right: list[int]) -> RoundTrip:
    """Renders of which so many in 1000 of each cell are read right, the others as nobody."""
    confusion = np.pad(np.diag(right), ((0, 0), (0, 1)))
    confusion[:, -1] = 1000 - np.array(right)
    return RoundTrip(confusion, np.array(right), np.full(8, 1000))


def test_the_worst_group_counts_and_the_calibration_must_be_met() -> None:
    fine, one_worse = passage([999] * 8), passage([999] * 5 + [960] + [999] * 2)
    for slack in (0.0, 3.0):
        assert missed(figures.tokenizer_bars(fine, slack)) == set()
    assert {name.split(":")[1].split(" in ")[0] for name in missed(figures.tokenizer_bars(one_worse, 3.0))} == {
        " agreement",
        " largest gap between groups",
    }
    assert len(missed(figures.tokenizer_bars(one_worse, 0.0))) == 2
    assert check.calibration_bar(np.full(8, 0.999), fine).holds
    changed = check.calibration_bar(np.full(8, 0.999), one_worse)
    assert (changed.value, changed.holds) == (pytest.approx(0.039), False)
