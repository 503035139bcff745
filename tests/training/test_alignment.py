"""Losses of distributional alignment: gradients against finite differences, values against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairbench.training import alignment

TARGETS = np.array([[1, 2], [0, -1], [-1, -1], [1, 0]])


def logits(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, k, generator=generator, dtype=torch.float64, requires_grad=True) for k in (2, 3)]


def fair_of(gender: torch.Tensor, race: torch.Tensor) -> torch.Tensor:
    return alignment.fair([gender.log_softmax(1), race.log_softmax(1)], TARGETS)


def test_the_fair_loss_is_cross_entropy_of_certain_labels() -> None:
    gender, race = logits()
    found = fair_of(gender, race).tolist()
    for row, (g, r) in enumerate(TARGETS):
        expected = 0.0
        for values, label in ((gender[row], g), (race[row], r)):
            weights = np.exp(values.detach().numpy())
            expected -= 0.0 if label < 0 else np.log(weights[label] / weights.sum())
        assert found[row] == pytest.approx(expected)
    assert torch.autograd.gradcheck(fair_of, tuple(logits(1)))
    fair_of(gender, race).sum().backward()
    assert gender.grad[2].abs().max() == race.grad[1].abs().max() == race.grad[2].abs().max() == 0


def test_a_class_is_kept_where_every_label_is() -> None:
    original = np.array([[1, 2], [0, 1], [1, 1], [1, 1]])
    assert alignment.keeps_class(TARGETS, original).tolist() == [True, False, False, False]
    assert not alignment.keeps_class(np.array([[-1]]), np.array([[-1]])).any()  # no face in either


def test_preservation_is_weighed_cosine_distance() -> None:
    """Norms differ by factors of ten: a dot product without them would show."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([[0.1], [1.0], [10.0]], dtype=torch.float64)
    ours = [(scale * torch.randn(3, d, generator=generator, dtype=torch.float64)).requires_grad_() for d in (4, 6)]
    theirs = [torch.randn(3, d, generator=generator, dtype=torch.float64) for d in (4, 6)]
    weights = torch.tensor([8.0, 1.6, 8.0], dtype=torch.float64)
    found = alignment.preserving(ours, theirs, weights).tolist()
    for row in range(3):
        total = 0.0
        for a, b in zip(ours, theirs, strict=True):
            x, y = a[row].detach().numpy(), b[row].numpy()
            total += 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        assert found[row] == pytest.approx(weights[row].item() * total)
    assert torch.autograd.gradcheck(lambda a, b: alignment.preserving([a, b], theirs, weights), tuple(ours))
    assert alignment.preserving([7 * theirs[0]], [theirs[0]], weights).abs().max() < 1e-12


def test_gradients_are_damped_inside_boxes_alone() -> None:
    images = torch.rand(3, 3, 6, 8, dtype=torch.float64, requires_grad=True)
    boxes = [(2, 1, 5, 4), None, (-3, -2, 2, 20)]
    calm = alignment.damped(images, boxes, [0.2, 0.5, 0.0])
    assert torch.equal(calm.detach(), images.detach())
    calm.sum().backward()
    expected = np.ones((3, 3, 6, 8))
    expected[0, :, 1:4, 2:5] = 0.2
    expected[2, :, :, :2] = 0.0
    np.testing.assert_allclose(images.grad.numpy(), expected)
    empty = images.detach().requires_grad_()
    alignment.damped(empty, [(5, 3, 2, 1)] * 3, [0.2] * 3).sum().backward()
    assert (empty.grad == 1).all()  # faces that do not overlap
