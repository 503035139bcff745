"""The losses agree with an independent computation, their gradients with finite differences, and bf16 stays finite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fairbench.errors import FairbenchError
from fairbench.training import losses
from fairbench.training.losses import BALANCING, sft

Array = NDArray[np.float64]


def odds(m: float) -> float:
    """log p - log(1 - p), through the two forms of log(1 - e^m) of Maechler (2012), in long double."""
    wide = np.longdouble(m)
    log_1_minus_p = np.log(-np.expm1(wide)) if m > -math.log(2) else np.log1p(-np.exp(wide))
    return float(wide - log_1_minus_p)


def sigmoid(d: float) -> float:
    return 1 / (1 + math.exp(-d)) if d > 0 else math.exp(d) / (1 + math.exp(d))


def lifted(gap: float, first: float, second: float) -> float:
    """The released branches: the second group's term above .3, the first one's below -.3."""
    return second if gap > 0.3 else first if gap < -0.3 else 0.0


PAIR: dict[str, Callable[[float, float], float]] = {
    "bpo": lambda a, b: math.log(1 + (sigmoid(odds(a) - odds(b)) - 0.5) ** 2),
    "sigmoid-squared": lambda a, b: (sigmoid(odds(a) - odds(b)) - 0.5) ** 2,
    "bpo-v2": lambda a, b: lifted(sigmoid(a - b) - 0.5, -math.log(sigmoid(a)), -math.log(sigmoid(b))),
    "bpo-v3": lambda a, b: lifted(sigmoid(odds(a) - odds(b)) - 0.5, -a, -b),
    "own-log-ratio-hinge": lambda a, b: max(0.0, abs(a - b) - 0.01),
    "own-log-odds-hinge": lambda a, b: max(0.0, abs(odds(a) - odds(b)) - 0.01),
    "own-log-ratio-squared": lambda a, b: (a - b) ** 2,
}


def oracle(name: str, mean: Array, beta: float) -> float:
    """Loop over prompts and unordered pairs."""
    values = [PAIR[name](row[i], row[j]) for row in mean for i, j in itertools.combinations(range(len(row)), 2)]
    return beta * sum(values) / len(values)


def draws(k: int, low: float = -8.0, high: float = -0.01) -> Array:
    return np.random.default_rng(k).uniform(low, high, (5, k))


@pytest.mark.parametrize("name", BALANCING)
@pytest.mark.parametrize("k", [2, 4, 8])
def test_agrees_with_numpy(name: str, k: int) -> None:
    near = np.random.default_rng(0).uniform(-3.0, -2.9, (3, k))  # where D is small, as it is in training
    edges = np.resize([-1e-4, -50.0, -0.7, -0.69, -1.0, -20.0, -0.01, -5.0], (2, k))
    for mean in (draws(k), near, edges):
        found = losses.balancing(name, beta=0.7)(torch.from_numpy(mean))
        assert float(found) == pytest.approx(oracle(name, mean, 0.7), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", BALANCING)
@pytest.mark.parametrize("k", [2, 5])
def test_gradient(name: str, k: int) -> None:
    """Against central differences of the independent computation, in float64, and against autograd's own check."""
    values, step = draws(k), 1e-6
    mean = torch.from_numpy(values).requires_grad_()
    loss = losses.balancing(name, beta=1.3)
    assert torch.autograd.gradcheck(loss, (mean,))
    loss(mean).backward()
    assert mean.grad is not None
    expected = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        up, down = values.copy(), values.copy()
        up[place] += step
        down[place] -= step
        expected[place] = (oracle(name, up, 1.3) - oracle(name, down, 1.3)) / (2 * step)
    np.testing.assert_allclose(mean.grad.numpy(), expected, rtol=1e-5, atol=1e-8)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(("name", "term"), [("bpo-v2", -math.log(sigmoid(-3.0))), ("bpo-v3", 3.0)])
def test_the_less_probable_group_alone_is_lifted_and_only_beyond_an_odds_of_4(name: str, term: float) -> None:
    """Groups -1, -3, and one within 1.386 nats of both: of three pairs, one counts; in any order of groups."""
    loss = losses.balancing(name, beta=2.0)
    close = -1.8
    for order in itertools.permutations([-1.0, -3.0, close]):
        mean = torch.tensor([order], dtype=torch.float64, requires_grad=True)
        value = loss(mean)
        value.backward()
        gap = {"bpo-v2": lambda a, b: a - b, "bpo-v3": lambda a, b: odds(a) - odds(b)}[name]
        far = [pair for pair in itertools.combinations(order, 2) if abs(gap(*pair)) > math.log(4)]
        assert set(map(frozenset, far)) == {frozenset((-1.0, -3.0))}
        assert float(value.detach()) == pytest.approx(2 * term / 3, rel=1e-12)
        assert mean.grad is not None
        assert [bool(g != 0) for g in mean.grad[0]] == [m == -3.0 for m in order]
        assert (mean.grad <= 0).all(), "less of a loss is more probability"


def test_the_two_released_thresholds_are_judged_on_different_scales() -> None:
    """1.3 nats apart near p = 1 is more than 1.386 in log-odds: v3 counts the pair, v2 does not."""
    mean = torch.tensor([[-0.1, -1.4]], dtype=torch.float64)
    assert float(losses.balancing("bpo-v2", 1.0)(mean)) == 0.0
    assert float(losses.balancing("bpo-v3", 1.0)(mean)) == pytest.approx(1.4)


def test_sft() -> None:
    mean = torch.from_numpy(draws(3)).requires_grad_()
    assert float(sft(mean.detach())) == pytest.approx(-draws(3).mean(), rel=1e-12)
    assert torch.autograd.gradcheck(sft, (mean,))


@pytest.mark.parametrize("name", BALANCING)
def test_bf16_stays_finite(name: str) -> None:
    grid = -np.geomspace(1e-4, 50, 24)
    mean = torch.tensor([[a, b] for a in grid for b in grid], dtype=torch.bfloat16, requires_grad=True)
    value = losses.balancing(name, beta=1.0)(mean)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert float(value.detach()) == pytest.approx(oracle(name, mean.detach().double().numpy(), 1.0), rel=1e-4)


@pytest.mark.parametrize("name", BALANCING)
def test_certainty_stays_finite(name: str) -> None:
    mean = torch.tensor([[0.0, -1e-9, -1.0, -1e4]], requires_grad=True)
    losses.balancing(name, beta=1.0)(mean).backward()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


@pytest.mark.parametrize("name", BALANCING)
def test_zero_when_balanced_and_blind_to_the_order_of_groups(name: str) -> None:
    loss = losses.balancing(name, beta=1.0)
    assert float(loss(torch.full((3, 4), -2.0))) == 0.0
    mean = torch.from_numpy(draws(4))
    assert float(loss(mean.flip(1))) == pytest.approx(float(loss(mean)), rel=1e-12)


def test_bpo_near_zero_and_at_its_maximum() -> None:
    bpo = losses.balancing("bpo", beta=2.0)
    d = 1e-3  # at p = 1/2, a step in log p of d (1 - p) is one of d in log-odds, to first order
    mean = torch.tensor([[math.log(0.5), math.log(0.5) + d / 2]], dtype=torch.float64)
    assert float(bpo(mean)) == pytest.approx(2 * d**2 / 16, rel=2e-3)
    assert float(bpo(torch.tensor([[-1e-4, -50.0]]))) == pytest.approx(2 * math.log(1.25), rel=1e-6)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(FairbenchError, match="no loss 'bop' \\(did you mean 'bpo'"):
        losses.balancing("bop", 1.0)
