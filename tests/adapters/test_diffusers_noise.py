"""Noise of the diffusers adapter: whole seeds, right distribution, and the images of the pipeline called by hand."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from scipy import stats

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_noise import cpu_generator
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.types import BuildContext, ImageRequest

LOW = 0x1234_5678
"""Low 32 bits that seeds share."""
SEEDS = [LOW, LOW | 1 << 32, LOW | 1 << 62, LOW | 0x7FFF_FFFF << 32]


def normals(seed: int, count: int = 1000) -> np.ndarray:
    return torch.randn(count, generator=cpu_generator(seed)).numpy()


def test_seeds_that_share_their_low_32_bits_draw_different_noise() -> None:
    """torch's manual_seed keeps the low 32 bits of a seed: such images had equal noise."""
    plain = [torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS]
    assert all(torch.equal(plain[0], other) for other in plain[1:]), "then the state need not be set by hand"
    rows = np.stack([normals(seed) for seed in SEEDS])
    assert len({row.tobytes() for row in rows}) == len(SEEDS)
    assert np.abs(np.corrcoef(rows) - np.eye(len(SEEDS))).max() < 0.15


def test_the_same_seed_repeats_and_is_kept_whole() -> None:
    for seed in (0, *SEEDS, 2**63 - 1):
        generator = cpu_generator(seed)
        first = torch.randn(64, generator=generator)
        assert torch.equal(first, torch.randn(64, generator=cpu_generator(seed)))
        assert not torch.equal(first, torch.randn(64, generator=generator)), "the stream moves on"
        assert generator.initial_seed() == seed


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stream_is_that_of_numpys_mersenne_twister(seed: int) -> None:
    """An implementation of the generator that shares no code with torch's draws the same 32-bit words."""
    theirs = np.random.MT19937(np.random.SeedSequence(seed)).random_raw(2001)[1:]  # NumPy first gives out word 624
    ours = torch.empty(2000, dtype=torch.int32).random_(generator=cpu_generator(seed)).numpy()
    assert np.array_equal(ours, (theirs & 0x7FFF_FFFF).astype(np.int32))


def test_draws_are_standard_normal_within_a_seed_and_between_neighbouring_seeds() -> None:
    within = normals(SEEDS[2], 200_000)
    assert stats.kstest(within, "norm").pvalue > 1e-3
    first = np.array([normals(seed, 16) for seed in range(2**40, 2**40 + 3000)])
    for column in (0, 1, 15):
        assert stats.kstest(first[:, column], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < 0.08
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.08


PROMPTS = ("a nurse", "a very long prompt of a chef, in the kitchen of a restaurant near the sea", "the pilot")
IMAGES = [(text, LOW | (i + 1) << 40) for i, text in enumerate(PROMPTS)]
"""Unequal lengths of prompts, and seeds whose low 32 bits are the same."""


def by_hand(folder: Path, scheduler: str, steps: int) -> dict[str, np.ndarray]:
    """Call diffusers' own pipeline, image by image, with a generator state that is written down here."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    found = {}
    for text, seed in IMAGES:
        twister = np.random.MT19937(np.random.SeedSequence(seed))
        generator = torch.Generator()
        state = bytearray(generator.get_state().numpy().tobytes())
        state[8:16] = np.array([1, 1], np.int32).tobytes()  # one word left before new ones are drawn; seeded
        state[16:24] = bytes(8)
        state[24 : 24 + 4992] = twister.state["state"]["key"].astype(np.uint64).tobytes()
        generator.set_state(torch.frombuffer(state, dtype=torch.uint8))
        output = pipe(text, num_inference_steps=steps, guidance_scale=7.5, generator=generator, output_type="np")
        found[text] = np.asarray((output.images[0] * 255).round(), dtype=np.uint8)
    return found


@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "PNDMScheduler"])
@pytest.mark.parametrize("reverse", [False, True])
def test_images_are_those_of_the_pipeline_called_by_hand(tiny_sd: Path, scheduler: str, reverse: bool) -> None:
    """Schedulers that draw noise at every step, unequal prompts, three images in one call, in both orders."""
    card = ModelCard(name="tiny", title="Tiny", adapter="diffusers", weights=HubModel(path=str(tiny_sd)))
    params = DiffusersAdapter.Params(steps=3, guidance=7.5, scheduler=scheduler)
    adapter = DiffusersAdapter(card, params, BuildContext(block_size=3))
    images = IMAGES[::-1] if reverse else IMAGES
    results = adapter.generate([ImageRequest(b"i", b"p", b"n", text, 0, seed) for text, seed in images])
    expected = by_hand(tiny_sd, scheduler, 3)
    for (text, _), result in zip(images, results, strict=True):
        assert result.pixels is not None
        assert np.array_equal(result.pixels, expected[text])
    assert len({r.pixels.tobytes() for r in results if r.pixels is not None}) == 3
