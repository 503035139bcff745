"""What a denoiser is asked for, and the adjusted gradient of sampling, against derivatives and the library's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from fairbench.networks.noising import Noising, Step, direct_paths, sampled

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def diffusion(prediction: str) -> tuple[Noising, DDPMScheduler]:
    scheduler = DDPMScheduler(**BETAS, prediction_type=prediction)
    return Noising(prediction, scheduler.alphas_cumprod.double().numpy(), 1000), scheduler  # type: ignore[arg-type]


def pair(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = 2 * torch.randn(rows, 2, 3, 3, generator=generator, dtype=torch.float64)
    return images, torch.randn(images.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("time", [0, 17, 500, 999])
def test_the_velocity_is_the_derivative_along_the_angle(time: int) -> None:
    """x(phi) = cos(phi) x + sin(phi) e, with tan(phi) = s / a: by central differences, and as diffusers computes it."""
    noising, scheduler = diffusion("v_prediction")
    (images, noise), times = pair(), torch.full((3,), float(time))
    phi, width = math.atan2(math.sqrt(1 - noising.alphas[time]), math.sqrt(noising.alphas[time])), 1e-6
    ahead, behind = (math.cos(p) * images + math.sin(p) * noise for p in (phi + width, phi - width))
    velocity = noising.target(images, noise, times)
    torch.testing.assert_close(velocity, (ahead - behind) / (2 * width), rtol=1e-7, atol=1e-7)
    theirs = scheduler.get_velocity(images, noise, times.long())
    torch.testing.assert_close(velocity, theirs, rtol=1e-6, atol=1e-6)


def test_images_are_mixed_with_noise_as_diffusers_does() -> None:
    noising, scheduler = diffusion("epsilon")
    (images, noise), times = pair(), torch.tensor([1.0, 400.0, 998.0])
    mixed = noising.mix(images, noise, times)
    torch.testing.assert_close(mixed, scheduler.add_noise(images, noise, times.long()), rtol=1e-6, atol=1e-6)
    assert torch.equal(noising.target(images, noise, times), noise)


def test_the_flow_is_the_derivative_along_the_time() -> None:
    noising, scheduler = Noising("flow", np.empty(0), 1000, 3.0), FlowMatchEulerDiscreteScheduler(shift=3.0)
    (images, noise), times = pair(), scheduler.timesteps[[3, 500, 990]].double()
    mixed = noising.mix(images, noise, times)
    torch.testing.assert_close(mixed, scheduler.scale_noise(images, times, noise), rtol=1e-6, atol=1e-6)
    later = noising.mix(images, noise, times + 1e-3)
    torch.testing.assert_close(noising.target(images, noise, times), (later - mixed) / 1e-6, rtol=1e-5, atol=1e-5)


def test_times_are_drawn_as_declared() -> None:
    rng = np.random.default_rng(0)
    uniform = np.array([diffusion("epsilon")[0].draw(rng) for _ in range(4000)])
    assert uniform.min() < 5 and uniform.max() > 994 and (uniform == uniform.round()).all()
    assert abs((uniform < 250).mean() - 0.25) < 0.03
    flow = np.array([Noising("flow", np.empty(0), 1000, 3.0).draw(rng) for _ in range(4000)])
    # At shift 3 a logistic normal's median .5 becomes .75, and its quartile 1 / (1 + e^.6745) becomes .604.
    assert abs((flow < 750).mean() - 0.5) < 0.03
    assert abs((flow < 604.4).mean() - 0.25) < 0.03


STEPS = [Step(900.0, 1.1, -0.4), Step(500.0, 1.3, -0.7), Step(100.0, 0.9, 0.2)]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.nn.Parameter(torch.randn(4, 4, generator=generator, dtype=torch.float64))

    def forward(self, latents: torch.Tensor, time: float) -> torch.Tensor:
        return torch.tanh(latents @ self.weight + time / 1000)


def loss_of(latents: torch.Tensor) -> torch.Tensor:
    return (latents.sin() * torch.arange(1.0, 5.0, dtype=torch.float64)).sum()


def test_a_steps_direct_path_is_what_its_prediction_alone_moves() -> None:
    predictions = [0.3, -1.2, 0.7]

    def end(offsets: list[float]) -> float:
        latents = 0.5
        for step, prediction, offset in zip(STEPS, predictions, offsets, strict=True):
            latents = step.kept * latents + step.moved * (prediction + offset)
        return latents

    moved = [end([float(i == k) for i in range(3)]) - end([0.0] * 3) for k in range(3)]
    assert direct_paths(STEPS) == pytest.approx(moved)


def test_the_adjusted_gradient_is_autograd_of_each_step_by_itself() -> None:
    """Over three steps, against vector-Jacobian products of single predictions with the same adjustment."""
    net, noise = Net(), torch.randn(2, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    final = sampled(net, noise, STEPS)
    loss_of(final).backward()

    inputs, latents = [], noise
    for step in STEPS:
        inputs.append(latents)
        latents = step.kept * latents + step.moved * net(latents, step.time).detach()
    assert torch.equal(final.detach(), latents)
    end = latents.clone().requires_grad_()
    (at_end,) = torch.autograd.grad(loss_of(end), end)
    paths = [-0.4 * 1.3 * 0.9, -0.7 * 0.9, 0.2]
    length = abs(math.prod(paths)) ** (1 / 3)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for step, path, start in zip(STEPS, paths, inputs, strict=True):
        (part,) = torch.autograd.grad(net(start, step.time), net.weight, at_end)
        expected += np.sign(path) * length * part
    torch.testing.assert_close(net.weight.grad, expected, rtol=1e-10, atol=1e-12)

    plain, latents = Net(), noise
    for step in STEPS:
        latents = step.kept * latents + step.moved * plain(latents, step.time)
    loss_of(latents).backward()
    assert not torch.allclose(plain.weight.grad, expected, rtol=0.05)


def test_many_steps_weigh_as_the_papers_coefficients_do() -> None:
    """A of a step is (1 - alpha) / sqrt(product of alphas (1 - product)); DDIM's is half as long in the limit."""
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(999)
    latents, prediction = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    mixed = [scheduler.step(prediction, t, latents).prev_sample.tolist() for t in scheduler.timesteps]
    ours = np.array(direct_paths([Step(0.0, *both) for both in mixed]))
    product, alphas = (v.double().numpy()[scheduler.timesteps] for v in (scheduler.alphas_cumprod, scheduler.alphas))
    theirs = (1 - alphas) / np.sqrt(product * (1 - product))
    assert (ours < 0).all()
    assert -ours[:900] / theirs[:900] == pytest.approx(0.5, rel=0.03)
