"""The image tokenizer: a plain auto-encoder first, then a codebook by k-means, then both together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import nn
from torch.nn import functional
from transformers.models.janus.modeling_janus import JanusVQVAE

from fairbench.display.progress import SILENT, Progress
from fairbench.phantom.drawing import as_pixels
from fairbench.phantom.making.architecture import CODES, vq_config
from fairbench.phantom.making.loop import fit
from fairbench.phantom.reading import renders
from fairbench.training.schedule import Schedule

BATCH = 32
WARM_UP = Schedule(steps=300, rate=2e-3, floor=0.5)
QUANTISED = Schedule(steps=500, rate=1e-3)
_REVIVE_EVERY = 50


class Reconstruction(nn.Module):
    """The objective of both phases. quantised: whether latents pass through the codebook.

    Latents and codes have unit norm: the decoder normalises codes, and on the sphere the nearest is the most similar.
    """

    used: torch.Tensor
    """How often each code was chosen since the last revival."""

    def __init__(self, vq: Any, quantised: bool) -> None:
        super().__init__()
        self.vq, self.quantised = vq, quantised
        self.register_buffer("used", torch.zeros(CODES))

    def latents(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return unit latents (n, CODE_SIZE, GRID, GRID)."""
        return functional.normalize(self.vq.quant_conv(self.vq.encoder(pixels)), dim=1)

    def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Reconstruct a batch of renders."""
        pixels = as_pixels(renders(BATCH, rng)[0])
        latents = self.latents(pixels)
        commitment = torch.zeros(())
        if self.quantised:
            self._last_latents = latents.detach().permute(0, 2, 3, 1).flatten(0, 2)
            latents, commitment, codes = self.vq.quantize(latents)
            self.used += torch.bincount(codes, minlength=CODES)
        restored = self.vq.decoder(self.vq.post_quant_conv(latents))
        l1 = (restored - pixels).abs().mean()
        loss = l1 + ((restored - pixels) ** 2).mean() + commitment
        return loss, {"l1": l1.detach(), "commitment": commitment.detach(), "live": (self.used > 0).sum()}

    def after_step(self, step: int, rng: np.random.Generator) -> None:
        """Put codes back on the sphere, and now and then replace those that no latent chose since the last time."""
        if not self.quantised:
            return
        codes = self.vq.quantize.embedding.weight
        codes.copy_(functional.normalize(codes, dim=1))
        if (step + 1) % _REVIVE_EVERY == 0 and step < 0.8 * QUANTISED.steps:
            dead = torch.nonzero(self.used == 0).flatten()
            rows = torch.from_numpy(rng.integers(len(self._last_latents), size=len(dead)))
            codes[dead] = self._last_latents[rows]
            self.used.zero_()


def start_codebook(vq: Any, seed: int, images: int = 2048) -> None:
    """Set the codes to k-means centres of the latents of fresh renders."""
    rng = np.random.default_rng([seed, CODES])
    objective = Reconstruction(vq, quantised=False)
    with torch.no_grad():
        parts = [objective.latents(as_pixels(renders(64, rng)[0])) for _ in range(images // 64)]
        rows = torch.cat(parts).permute(0, 2, 3, 1).flatten(0, 2).numpy().astype(np.float64)
        centres, _ = kmeans2(rows, CODES, iter=25, minit="points", seed=rng)
        vq.quantize.embedding.weight.copy_(functional.normalize(torch.from_numpy(centres).float(), dim=1))


def train(folder: Path, seed: int, progress: Progress = SILENT) -> tuple[Any, dict[str, list[Any]]]:
    """Return the trained tokenizer in evaluation mode, and the history of both phases."""
    torch.manual_seed(seed)
    vq = JanusVQVAE(vq_config()).to(memory_format=torch.channels_last)
    vq.quantize.requires_grad_(False)
    name = "image tokenizer"
    first = fit(Reconstruction(vq, quantised=False), WARM_UP, folder / "autoencoder", seed, progress, name)
    vq.quantize.requires_grad_(True)
    if not (folder / "quantised" / "state.pt").exists():
        start_codebook(vq, seed)
    second = fit(Reconstruction(vq, quantised=True), QUANTISED, folder / "quantised", seed + 1, progress, name)
    return vq.eval().requires_grad_(False), {"autoencoder": first, "quantised": second}
