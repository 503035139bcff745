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
from fairbench.train import losses
from fairbench.train.losses import BALANCING, sft
from fairbench.train.losses.log_ratio_threshold import THRESHOLD

Array = NDArray[np.float64]


def odds(m: float) -> float:
    """log p - log(1 - p), through the two forms of log(1 - e^m) of Maechler (2012), in long double."""
    wide = np.longdouble(m)
    log_1_minus_p = np.log(-np.expm1(wide)) if m > -math.log(2) else np.log1p(-np.exp(wide))
    return float(wide - log_1_minus_p)


def sigmoid(d: float) -> float:
    return 1 / (1 + math.exp(-d)) if d > 0 else math.exp(d) / (1 + math.exp(d))


PAIR: dict[str, Callable[[float, float], float]] = {
    "bpo": lambda a, b: math.log(1 + (sigmoid(odds(a) - odds(b)) - 0.5) ** 2),
    "sigmoid-squared": lambda a, b: (sigmoid(odds(a) - odds(b)) - 0.5) ** 2,
    "log-ratio-threshold": lambda a, b: max(0.0, abs(a - b) - THRESHOLD),
    "log-odds-threshold": lambda a, b: max(0.0, abs(odds(a) - odds(b)) - THRESHOLD),
    "log-ratio-squared": lambda a, b: (a - b) ** 2,
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
def test_gradient(name: str) -> None:
    mean = torch.from_numpy(draws(4)).requires_grad_()
    assert torch.autograd.gradcheck(losses.balancing(name, beta=1.3), (mean,))


def test_sft() -> None:
    mean = torch.from_numpy(draws(3)).requires_grad_()
    assert float(sft.loss(mean.detach())) == pytest.approx(-draws(3).mean(), rel=1e-12)
    assert torch.autograd.gradcheck(sft.loss, (mean,))


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
