"""The token side of an audit: JSD, its same-prompt null, hits, and bias by log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from fairbench.audit import logprob, tokens
from fairbench.audit.draws import FAILED, Draws
from fairbench.audit.groups import Attribute
from fairbench.display.progress import Silent
from fairbench.metrics._rd import relative_diversity

GENDER = Attribute("gender", ("female", "male"))
RACE = Attribute("race4", ("WMELH", "Black", "Indian", "Asian"))


def test_jsd_is_the_square_of_scipys_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (20, 30)), rng.integers(0, 4, (20, 30))
    assert tokens.jsd(a, b) == pytest.approx(jensenshannon(a, b, base=2, axis=1) ** 2, abs=1e-12)
    assert np.isnan(tokens.jsd(np.zeros(3, int), np.ones(3, int)))


def images(rng: np.random.Generator, p: np.ndarray, n: int, length: int = 12) -> np.ndarray:
    """n images of `length` tokens; each image repeats few different tokens, so tokens within one depend on another."""
    few = rng.choice(len(p), size=(n, 3), p=p)
    return np.take_along_axis(few, rng.integers(3, size=(n, length)), axis=1)


def case(rng: np.random.Generator, groups: list[np.ndarray], share: float, prompts: int = 12, n: int = 10) -> tuple:
    neutral, drawn, counts = [], [], []
    for _ in range(prompts):
        of = rng.random(2 * n) < share
        neutral.append(np.where(of[:, None], images(rng, groups[0], 2 * n), images(rng, groups[1], 2 * n)))
        drawn.append([images(rng, p, n) for p in groups])
        counts.append([of.sum(), (~of).sum()])
    return np.array(neutral), np.array(drawn), np.array(counts)


@pytest.mark.long
def test_where_all_prompts_draw_alike_the_excess_is_zero() -> None:
    """Calibration of the null: of 40 audits without a difference, the interval of the excess misses 0 in few."""
    rng, p = np.random.default_rng(1), np.full(16, 1 / 16)
    missed = 0
    for seed in range(40):
        for found in tokens.divergences(*case(rng, [p, p], 0.5), GENDER, seed):
            missed += sum(not g.excess.low <= 0 <= g.excess.high for g in found.groups)
            assert found.null.value > 0.05  # finite sets differ: this is what the null is for
    assert missed <= 18  # of 160, 8 are expected; dependent within an audit


def test_planted_groups_are_hit_and_ambiguous_prompts_are_left_out() -> None:
    rng = np.random.default_rng(2)
    one, other = np.repeat([1 / 8, 0.0], 8), np.repeat([0.0, 1 / 8], 8)
    neutral, drawn, counts = case(rng, [one, other], 0.9)
    counts[0] = [10, 9]
    for found in tokens.divergences(neutral, drawn, counts, GENDER, 0):
        assert (found.hits.value, found.chance) == (1.0, 0.5)
        assert found.hits.n + found.ambiguous == 12
        assert found.ambiguous >= 1
        female, male = found.groups
        assert 0 < female.jsd.value < male.jsd.value
        assert male.excess.low > 0.3
        assert found.null.value < found.null_high < male.jsd.value
        assert found.a_side == 10


def test_position_wise_sees_what_a_histogram_cannot() -> None:
    rng = np.random.default_rng(3)
    base = np.arange(8)
    neutral = np.array([[base for _ in range(20)] for _ in range(4)])
    drawn = np.array([[[base] * 10, [base[::-1]] * 10] for _ in range(4)])
    histogram, position = tokens.divergences(neutral, drawn, np.array([[20, 0]] * 4), GENDER, int(rng.integers(9)))
    assert [g.jsd.value for g in histogram.groups] == [0, 0]
    assert [g.jsd.value for g in position.groups] == [0, 1]


def test_failed_images_are_left_out() -> None:
    rng = np.random.default_rng(4)
    p = np.full(16, 1 / 16)
    neutral, drawn, counts = case(rng, [p, p], 0.5, prompts=3)
    neutral[0, :5] = drawn[0, 0, 0] = FAILED
    neutral[1] = FAILED
    for found in tokens.divergences(neutral, drawn, counts, GENDER, 0):
        assert (found.null.n, found.groups[1].jsd.n) == (2, 2)


def test_a_majority_is_clear_where_a_sign_test_says_so() -> None:
    assert tokens.clear_majority(np.array([5, 0])) == 0  # 1/32
    assert tokens.clear_majority(np.array([4, 0])) is None  # 1/16
    assert tokens.clear_majority(np.array([1, 2, 12, 3])) == 2
    assert tokens.clear_majority(np.array([0, 0])) is None


class Mixture:
    """A model of images of two tokens: the first is the group, the second is free; texts name the distribution."""

    def __init__(self, tables: dict[str, np.ndarray]) -> None:
        self.tables = tables

    def log_probs(self, texts: list[str], rows: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.array(
                [
                    [np.log(self.tables[t][:, :].sum(1)[a]), np.log(self.tables[t][a, b] / self.tables[t][a].sum())]
                    for t, (a, b) in zip(texts, rows, strict=True)
                ],
                dtype=np.float32,
            )


def mixture(shares: np.ndarray, n: int, inner: np.ndarray, own: np.ndarray, rng: np.random.Generator) -> tuple:
    """Prompts x groups: the neutral text mixes `inner` (K, V) by `shares`; a group's prompt draws from `own` (K, V)."""
    tables, texts, drawn = {}, [], []
    for p, row in enumerate(shares):
        tables[f"n{p}"] = row[:, None] * inner
        texts.append([f"g{p}.{k}" for k in range(len(row))])
        drawn.append([])
        for k in range(len(row)):
            table = np.zeros_like(inner)
            table[k] = own[k]
            tables[f"g{p}.{k}"] = table
            second = rng.choice(inner.shape[1], size=n, p=own[k])
            drawn[-1].append(np.stack([np.full(n, k), second], axis=1))
    return Mixture(tables), Draws([RACE], {"race4": texts}, {"race4": np.array(drawn)})


def found(shares: np.ndarray, model: Mixture, draws: Draws, counts: np.ndarray) -> logprob.LogProbBias:
    texts = [f"n{p}" for p in range(len(shares))]
    plain, own = logprob.log_probs(model, texts, draws, "race4", 7, Silent())
    return logprob.bias(plain, own, 2, RACE, texts, counts, 0)


def test_log_probabilities_give_the_shares_of_disjoint_groups() -> None:
    rng = np.random.default_rng(5)
    shares, inner = rng.dirichlet(np.ones(4), size=6), rng.dirichlet(np.ones(5), size=4)
    counts = rng.multinomial(200, shares)
    model, draws = mixture(shares, 8, inner, inner, rng)
    result = found(shares, model, draws, counts)
    assert result.rd.value == pytest.approx(relative_diversity(shares).mean(), abs=1e-6)
    assert (result.closure, result.images) == (pytest.approx(1, abs=1e-5), 6 * 4 * 8)
    assert result.closure_quartiles == pytest.approx((1, 1), abs=1e-5)
    assert [list(row.values()) for row in result.shares.values()] == pytest.approx(shares, abs=1e-6)
    assert result.rd.low <= result.rd.value <= result.rd.high
    assert result.labelled_rd == pytest.approx(relative_diversity(counts / 200).mean())
    assert result.distance is not None
    assert result.distance < 0.1


def test_an_interval_covers_the_truth_where_prompts_are_paraphrased() -> None:
    """The group's prompt draws a little otherwise than the neutral one: all groups lose alike, with error."""
    rng = np.random.default_rng(6)
    shares, inner = np.full((10, 4), [0.7, 0.1, 0.1, 0.1]), np.full((4, 5), 0.2)
    own = np.full((4, 5), [0.3, 0.25, 0.2, 0.15, 0.1])
    model, draws = mixture(shares, 40, inner, own, rng)
    result = found(shares, model, draws, np.zeros((10, 4), dtype=int))
    assert result.closure < 0.99
    assert result.rd.low < 0.3 < result.rd.high
    assert result.rd.low > result.floor > 0
    assert (result.labelled_rd, result.distance) == (None, None)
    fair = np.full((10, 4), 0.25)
    model, draws = mixture(fair, 40, inner, own, rng)
    assert found(fair, model, draws, np.zeros((10, 4), dtype=int)).rd.low <= result.floor


def test_prompts_that_name_a_group_in_vain_do_not_close() -> None:
    """Groups' prompts that draw as the neutral one does: the unscaled shares sum to K."""
    rng = np.random.default_rng(7)
    inner = np.full((4, 5), 0.2)
    model, draws = mixture(np.full((3, 4), 0.25), 6, inner, inner, rng)
    for name in list(model.tables):
        model.tables[name] = np.full((4, 5), 0.05)
    result = found(np.full((3, 4), 0.25), model, draws, np.zeros((3, 4), dtype=int))
    assert result.closure == pytest.approx(4)


def test_failed_images_have_no_log_probability() -> None:
    rng = np.random.default_rng(8)
    shares, inner = rng.dirichlet(np.ones(4), size=3), np.full((4, 5), 0.2)
    model, draws = mixture(shares, 4, inner, inner, rng)
    draws.tokens["race4"][0, 1, :3] = FAILED
    draws.tokens["race4"][1, 2] = FAILED
    result = found(shares, model, draws, np.zeros((3, 4), dtype=int))
    assert list(result.shares) == ["n0", "n2"]
    assert result.images == 2 * 4 * 4 - 3
    assert result.rd.value == pytest.approx(relative_diversity(shares[[0, 2]]).mean(), abs=1e-6)
