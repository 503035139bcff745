"""What must hold of every metric: its stated range, direction and ideal, independent oracles, other tools' defects."""

from __future__ import annotations

import doctest
import importlib
import math
import textwrap
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import distance

from fairbench.metrics.base import ShareMetric
from fairbench.protocols import Metric
from fairbench.registry import BUILTIN, resolve

Array = NDArray[np.float64]
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"

METRICS: dict[str, ShareMetric] = {name: resolve("metrics", name) for name in BUILTIN["metrics"]}
BINARY = [name for name, m in METRICS.items() if m.spec.labels is not None or m.spec.input in ("faces", "stated")]
OVER_CLASSES = [name for name in METRICS if name not in BINARY]
SYMMETRIC = [name for name in OVER_CLASSES if not METRICS[name].spec.needs_reference]
FROM_UNIFORM = [name for name in [*SYMMETRIC, "mmdt-gap"] if name != "majority-share"]
CONVEX = [name for name in SYMMETRIC if METRICS[name].spec.direction == "lower"]

SIZES = st.integers(2, 10)
quick = settings(max_examples=50, deadline=None)  # a busy machine is no reason to fail


def _of_counts(counts: list[int]) -> Array:
    c = np.array(counts, dtype=float)
    return c / c.sum()


def shares(k: int) -> st.SearchStrategy[Array]:
    """Return shares over K declared classes, any of which may be absent."""
    return st.lists(st.integers(0, 200), min_size=k, max_size=k).filter(any).map(_of_counts)


def call(name: str, p: Array) -> Array:
    """Call a metric on p, with a lopsided reference where it needs one."""
    ref = np.arange(1.0, p.shape[-1] + 1)
    return METRICS[name](p, ref / ref.sum() if METRICS[name].spec.needs_reference else None)


def size_for(name: str, k: int) -> int:
    return 2 if name in BINARY else k


def bounds(name: str, k: int) -> tuple[float, float]:
    """Evaluate the displayed bounds for K classes: what is displayed is what is tested."""
    names = {"K": k, "log": math.log, "sqrt": math.sqrt}
    low, high = METRICS[name].spec.bounds.strip("[]").split(",")
    return float(eval(low, {"__builtins__": {}}, names)), float(eval(high, {"__builtins__": {}}, names))


@pytest.mark.parametrize("name", METRICS)
def test_spec_names_the_metric_and_the_example_runs(name: str) -> None:
    metric = METRICS[name]
    module = importlib.import_module(BUILTIN["metrics"][name].split(":")[0])
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0
    assert isinstance(metric, Metric) and metric.spec.name == name
    assert all(word in str(metric.fn.__doc__) for word in ("Return ", "Range", "Source:"))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [2, 3, 4, 7, 8, 10])
def test_intervals_are_cut_at_the_displayed_bounds(name: str, k: int) -> None:
    limits = METRICS[name].spec.limits
    assert limits is not None
    low, high = limits(k)
    assert -math.inf < low < high < math.inf
    assert (low, high) == pytest.approx(bounds(name, k), abs=1e-15)


@pytest.mark.parametrize("name", METRICS)
def test_docs_state_the_range_and_direction_of_the_spec(name: str) -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(f"| `{name}` |")]
    spec = METRICS[name].spec
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[2:5] == [f"`{spec.bounds}`", spec.direction, "-" if spec.ideal is None else f"{spec.ideal:g}"]


def test_the_examples_of_the_docs_run() -> None:
    names: dict[str, Any] = {}
    for block in DOCS.read_text(encoding="utf-8").split("```python\n")[1:]:
        exec(textwrap.dedent(block.split("```")[0]), names)
    (example,) = doctest.DocTestFinder().find(names["smallest_share"], "smallest_share", globs=names)
    result = doctest.DocTestRunner().run(example)
    assert result.attempted == 1 and result.failed == 0
    assert isinstance(names["smallest"], Metric)


@pytest.mark.parametrize("name", METRICS)
@quick
@given(data=st.data())
def test_value_lies_within_the_stated_bounds(name: str, data: st.DataObject) -> None:
    k = size_for(name, data.draw(SIZES))
    value = float(call(name, data.draw(shares(k))))
    low, high = bounds(name, k)
    assert low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("name", SYMMETRIC)
@quick
@given(data=st.data())
def test_order_of_the_classes_does_not_matter(name: str, data: st.DataObject) -> None:
    p = data.draw(shares(data.draw(SIZES)))
    shuffled = np.array(data.draw(st.permutations(p.tolist())))
    assert float(call(name, shuffled)) == pytest.approx(float(call(name, p)), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@quick
@given(data=st.data())
def test_one_call_over_leading_axes_equals_a_loop(name: str, data: st.DataObject) -> None:
    k = size_for(name, data.draw(SIZES))
    p = np.array(data.draw(st.lists(shares(k), min_size=6, max_size=6)))
    looped = [float(call(name, row)) for row in p]
    np.testing.assert_allclose(call(name, p), looped, atol=1e-14)
    np.testing.assert_allclose(call(name, p.reshape(2, 3, k)), np.reshape(looped, (2, 3)), atol=1e-14)
    strided = np.asfortranarray(p.reshape(3, 1, 2, k))
    np.testing.assert_allclose(call(name, strided), np.reshape(looped, (3, 1, 2)), atol=1e-14)


@pytest.mark.parametrize("name", FROM_UNIFORM)
@pytest.mark.parametrize("k", [2, 3, 4, 7, 8, 10])
def test_balance_attains_the_ideal_and_one_class_the_extreme(name: str, k: int) -> None:
    k = size_for(name, k)
    spec = METRICS[name].spec
    low, high = bounds(name, k)
    assert spec.ideal == (high if spec.direction == "higher" else 0.0)
    assert float(call(name, np.full(k, 1 / k))) == pytest.approx(spec.ideal, abs=1e-12)
    worst = low if spec.direction == "higher" else high
    alone = np.abs(call(name, np.eye(k)))
    np.testing.assert_allclose(alone, worst, atol=1e-12)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_extremes_of_metrics_whose_ideal_is_not_balance(k: int) -> None:
    assert float(METRICS["majority-share"](np.full(k, 1 / k))) == bounds("majority-share", k)[0]
    assert float(METRICS["majority-share"](np.eye(k)[0])) == bounds("majority-share", k)[1]
    distance_to = METRICS["distance-to-reference"]
    ref = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    assert float(distance_to(ref, ref)) == 0.0
    assert float(distance_to(np.eye(k)[0], ref)) == pytest.approx(1 - ref.min())
    assert float(distance_to(np.eye(k)[0], np.eye(k)[1])) == bounds("distance-to-reference", k)[1]
    np.testing.assert_array_equal(METRICS["no-face-rate"](np.eye(2)), [0.0, 1.0])
    np.testing.assert_array_equal(METRICS["attribute-following"](np.eye(2)), [1.0, 0.0])


@pytest.mark.parametrize("name", CONVEX)
@quick
@given(data=st.data())
def test_convex_so_a_pooled_value_never_passes_the_mean_over_prompts(name: str, data: st.DataObject) -> None:
    k = data.draw(SIZES)
    p, q, w = data.draw(shares(k)), data.draw(shares(k)), data.draw(st.floats(0, 1))
    mixed = float(call(name, w * p + (1 - w) * q))
    assert mixed <= w * float(call(name, p)) + (1 - w) * float(call(name, q)) + 1e-12


@pytest.mark.parametrize("name", OVER_CLASSES)
def test_towards_balance_is_the_fairer_direction(name: str) -> None:
    direction = METRICS[name].spec.direction
    uneven, milder = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.4, 0.2, 0.2, 0.2])
    gain = float(call(name, milder)) - float(call(name, uneven))
    assert direction == "none" or (gain > 0) == (direction == "higher")


@pytest.mark.parametrize("name", METRICS)
def test_nan_in_any_class_gives_nan_there_and_nowhere_else(name: str) -> None:
    k = size_for(name, 5)
    for missing in range(k):
        p = np.full((3, k), 1 / k)
        p[1, missing] = np.nan
        assert np.isnan(call(name, p)).tolist() == [False, True, False]


@pytest.mark.parametrize("name", METRICS)
def test_input_is_left_alone_and_whole_numbers_are_accepted(name: str) -> None:
    p = np.eye(2, dtype=np.int64)
    p.flags.writeable = False
    value = call(name, p)
    assert value.shape == (2,) and np.isfinite(value).all() and not np.shares_memory(value, p)


@quick
@given(data=st.data())
def test_rd_is_the_mean_over_pairs(data: st.DataObject) -> None:
    """The sorted form against the formula as published, and against scipy's pairwise distances."""
    p = data.draw(shares(data.draw(SIZES)))
    naive = np.mean([abs(a - b) for a, b in combinations(p, 2)])
    value = float(METRICS["rd"](p))
    assert value == pytest.approx(naive, abs=1e-13)
    assert value == pytest.approx(distance.pdist(p[:, None], "cityblock").mean(), abs=1e-13)


@quick
@given(data=st.data())
def test_metrics_agree_with_scipy(data: st.DataObject) -> None:
    k = data.draw(SIZES)
    p, ref = data.draw(shares(k)), data.draw(shares(k))
    u = np.full(k, 1 / k)
    oracle = {
        "entropy": stats.entropy(p, base=k),
        "kl-uniform": stats.entropy(p, u),
        "js-uniform": distance.jensenshannon(p, u) ** 2,
        "tv-uniform": distance.cityblock(p, u) / 2,
        "tv-score": 1 - distance.cityblock(p, u) / distance.cityblock(np.eye(k)[0], u),
        "l2-softmax": distance.euclidean(p, u),
        "spd": np.ptp(p),
        "mad": distance.cityblock(p, u) / k,
        "distance-to-reference": distance.cityblock(p, ref) / 2,
    }
    got = {name: float(METRICS[name](p, ref)) for name in oracle}
    assert got == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize("counts", [[3, 5], [7, 0, 2, 3], [1, 1, 1, 1], [0, 0, 4, 0, 0, 1, 2, 9]])
def test_spd_is_fairlearns_demographic_parity_difference(counts: list[int]) -> None:
    """Ask of every face "is it of class k?", once a declared class: the selection rate of group k is the share of k."""
    labels = np.repeat(np.arange(len(counts)), counts)
    group = np.repeat(np.arange(len(counts)), len(labels))
    selected = np.concatenate([labels == k for k in range(len(counts))]).astype(int)
    oracle = demographic_parity_difference(selected, selected, sensitive_features=group)
    assert float(METRICS["spd"](_of_counts(counts))) == pytest.approx(oracle, abs=1e-12)


@quick
@given(data=st.data())
def test_identities_between_metrics(data: st.DataObject) -> None:
    k = data.draw(SIZES)
    p = data.draw(shares(k))
    v = {name: float(METRICS[name](p)) for name in SYMMETRIC}
    assert v["rd-normalised"] == pytest.approx(v["rd"] * k / 2, abs=1e-12)
    assert v["kl-uniform"] == pytest.approx((1 - v["entropy"]) * math.log(k), abs=1e-12)
    assert v["mad"] == pytest.approx(2 * v["tv-uniform"] / k, abs=1e-12)
    assert 2 * v["tv-uniform"] ** 2 <= v["kl-uniform"] + 1e-12  # Pinsker's inequality
    if k == 2:
        gap = abs(float(METRICS["mmdt-gap"](p)))
        assert [v["rd"], v["spd"], 2 * v["tv-uniform"]] == pytest.approx([gap] * 3, abs=1e-12)


@quick
@given(p=shares(2))
def test_mmdt_gap_is_signed(p: Array) -> None:
    gap = METRICS["mmdt-gap"]
    assert float(gap(p[::-1].copy())) == pytest.approx(-float(gap(p)), abs=1e-15)
    assert float(gap(np.array([0.9, 0.1]))) == pytest.approx(0.8)  # positive: more men, as MMDT has it
    assert gap.spec.labels == ("male", "female")


def test_mmdt_gap_of_nothing_is_nan() -> None:
    assert np.isnan(METRICS["mmdt-gap"].fn(np.zeros(2), None))
    assert np.isnan(METRICS["mmdt-gap"](counts=[0, 0]))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("p", [[30, 10], [0.5, 0.4], [1.5, -0.5], [math.inf, 0], [[0.5, 0.5], [30, 10]], [math.nan, 5]])
def test_what_is_no_share_is_refused(name: str, p: list[float]) -> None:
    """Counts taken for shares gave an RD of 20."""
    ref = [0.5, 0.5] if METRICS[name].spec.needs_reference else None
    with pytest.raises(ValueError, match=r"lie in \[0, 1\] and sum to 1"):
        METRICS[name](p, ref)


@pytest.mark.parametrize("name", METRICS)
def test_counts_are_divided_by_their_sum(name: str) -> None:
    ref = np.array([0.3, 0.7]) if METRICS[name].spec.needs_reference else None
    values = METRICS[name](counts=[[30, 10], [5, 5], [0, 0]], ref=ref)
    np.testing.assert_array_equal(values[:2], METRICS[name](np.array([[0.75, 0.25], [0.5, 0.5]]), ref))
    assert np.isnan(values[2])  # nothing seen is not fair, it is unknown


def test_wrong_counts_and_references_are_refused() -> None:
    rd, distance = METRICS["rd"], METRICS["distance-to-reference"]
    for wrong in ([-1, 2], [math.inf, 1]):
        with pytest.raises(ValueError, match="numbers of faces"):
            rd(counts=wrong)
    for both in ({}, {"shares": [0.5, 0.5], "counts": [1, 1]}):
        with pytest.raises(ValueError, match="either shares= or counts="):
            rd(**both)
    with pytest.raises(ValueError, match="sums to 100"):
        distance([0.5, 0.5], [12, 88])


def test_rounded_shares_and_those_of_float32_are_taken() -> None:
    p = np.random.default_rng(5).dirichlet(np.ones(8), 1000).astype(np.float32)
    assert np.isfinite(METRICS["l2-softmax"](p)).all()
    assert float(METRICS["rd"]([0.333, 0.333, 0.334])) == pytest.approx(0.001 * 2 / 3)


@pytest.mark.parametrize(
    ("k", "faces", "floor"),
    [(2, 160, 0.063), (4, 160, 0.045), (8, 160, 0.031), (2, 60, 0.103), (4, 60, 0.073), (8, 60, 0.051)],
)
def test_rd_of_a_fair_model_is_the_published_chance_floor(k: int, faces: int, floor: float) -> None:
    """Seen in other tools: differences below the floor called improvements. A fair model does not score 0."""
    rng = np.random.default_rng(20250203)
    values = METRICS["rd"](rng.multinomial(faces, np.full(k, 1 / k), size=50_000) / faces)
    error = 4 * values.std() / math.sqrt(values.size)
    assert abs(values.mean() - floor) < 0.0005 + error  # the figures are rounded to three decimals


def test_rd_floor_is_exact_for_two_classes() -> None:
    women = np.arange(161)
    p = np.stack([women, 160 - women], axis=-1) / 160
    assert float(METRICS["rd"](p) @ stats.binom.pmf(women, 160, 0.5)) == pytest.approx(0.063, abs=5e-4)


def test_balanced_race_7_is_not_balanced_race_4() -> None:
    """Name the reference: three of seven balanced groups fall into WMELH, two into Asian."""
    race4 = np.array([3, 1, 1, 2]) / 7
    assert float(METRICS["rd"](np.full(7, 1 / 7))) == 0.0
    assert float(METRICS["rd"](race4)) == pytest.approx(0.167, abs=5e-4)
    assert float(METRICS["distance-to-reference"](race4, race4)) == 0.0


def test_rd_of_four_classes_cannot_pass_one_half() -> None:
    """The published race RD of 0.51 cannot be an RD over four classes."""
    corners = np.array(sorted(set(permutations([1, 0, 0, 0]))), dtype=float)
    rng = np.random.default_rng(0)
    assert METRICS["rd"](np.vstack([corners, rng.dirichlet(np.full(4, 0.1), 10_000)])).max() == 0.5


@pytest.mark.parametrize("k", [2, 4, 7, 8])
def test_k_from_observed_classes_called_one_class_fair(k: int) -> None:
    """Other tools took K from the classes that occurred: with one class seen KL to uniform is 0, "perfectly fair"."""
    one_class = np.eye(k)[0]
    assert float(METRICS["kl-uniform"](one_class)) == pytest.approx(math.log(k))
    assert float(METRICS["entropy"](one_class)) == 0.0
    two_halves = np.array([0.5, 0.5] + [0.0] * k)
    assert float(METRICS["entropy"](two_halves)) == pytest.approx(math.log(2) / math.log(k + 2))
    for name in [*SYMMETRIC, "mmdt-gap"]:
        spec = METRICS[name].spec
        value = float(call(name, np.eye(size_for(name, k))[0]))
        assert value != pytest.approx(1 / k if spec.ideal is None else spec.ideal), name


@pytest.mark.parametrize("name", METRICS)
def test_a_single_class_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least two declared classes"):
        METRICS[name](np.ones(1), np.ones(1))


@pytest.mark.parametrize("name", METRICS)
def test_empty_input_was_scored_best_or_worst(name: str) -> None:
    """Other tools scored no faces as 0.0 or 0.5. Nothing counted is 0/0: it stays NaN and changes no other prompt."""
    counts = np.array([[30, 10], [0, 0], [20, 20]], dtype=float)
    with np.errstate(invalid="ignore"):
        p = counts / counts.sum(axis=-1, keepdims=True)
    assert np.isnan(call(name, p)).tolist() == [False, True, False]


def test_wrong_classes_and_references_are_refused() -> None:
    with pytest.raises(ValueError, match="'male', 'female'"):
        METRICS["mmdt-gap"](np.full(4, 0.25))
    with pytest.raises(ValueError, match="with and without a face"):
        METRICS["no-face-rate"](np.full(4, 0.25))
    with pytest.raises(ValueError, match="that follow and not, got 4"):
        METRICS["attribute-following"](np.full(4, 0.25))
    with pytest.raises(ValueError, match="needs a reference"):
        METRICS["distance-to-reference"](np.full(4, 0.25))
    for wrong in (np.ones(1), np.full(2, 0.5), np.array(0.5)):
        with pytest.raises(ValueError, match="same 4 classes"):
            METRICS["distance-to-reference"](np.full(4, 0.25), wrong)


def test_a_reference_per_prompt_broadcasts_over_resamples() -> None:
    rng = np.random.default_rng(1)
    p, ref = rng.dirichlet(np.ones(3), (20, 5)), rng.dirichlet(np.ones(3), 5)
    ref[2] = np.nan  # no statistics for this occupation
    value = METRICS["distance-to-reference"](p, ref)
    assert value.shape == (20, 5) and np.isnan(value[:, 2]).all()
    assert float(value[7, 4]) == pytest.approx(distance.cityblock(p[7, 4], ref[4]) / 2)
