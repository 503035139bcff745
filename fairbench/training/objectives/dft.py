"""Direct fine-tuning of a diffusion model's sampling, so that its images of a prompt have the target's shares.

Shen et al., "Finetuning Text-to-Image Diffusion Models for Fairness" (ICLR 2024): distributional alignment with
adjusted gradients. Of their losses, the one that compares faces with photographs of real ones is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.checkpoint import checkpoint

from fairbench import registry
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.errors import FairbenchError
from fairbench.labelling import differentiable
from fairbench.labelling.labeller import Labeller
from fairbench.networks import identity, similarity, weights
from fairbench.networks.noising import sampled
from fairbench.protocols import Denoising, DiffusionTrainable
from fairbench.training import alignment, assignment
from fairbench.training.job import Job
from fairbench.training.objectives import fitting
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.types import BuildContext, FloatArray, FoundFace

_CLIP = "clip-score"
Images = torch.Tensor
"""Images (n, 3, height, width), from 0 to 1."""


class Chain(torch.nn.Module):
    """Sampling: noise -> final latents that carry the adjusted gradient. forward(noise, *stated, *blank conditions)."""

    def __init__(self, denoising: Denoising, steps: int, *, recompute: bool) -> None:
        """recompute: keep the latents of each step alone, and compute its prediction again in the backward pass."""
        super().__init__()
        self.denoiser = denoising.module
        self._guidance, self._steps, self._recompute = denoising.guidance, denoising.steps(steps), recompute

    def forward(self, noise: torch.Tensor, *conditions: torch.Tensor) -> torch.Tensor:
        """Return final latents; blank conditions follow the stated ones where guidance is not 1."""
        half = len(conditions) // (1 if self._guidance == 1 else 2)

        def predict(latents: torch.Tensor, time: float) -> torch.Tensor:
            times = torch.full((len(latents),), time, device=latents.device)
            stated: torch.Tensor = self.denoiser(latents, times, *conditions[:half])
            if self._guidance == 1:
                return stated
            blank = self.denoiser(latents, times, *conditions[half:])
            return torch.lerp(blank, stated, self._guidance)

        def again(latents: torch.Tensor, time: float) -> torch.Tensor:
            prediction: torch.Tensor = checkpoint(predict, latents, time, use_reentrant=False)
            return prediction

        recomputed = self._recompute and torch.is_grad_enabled()
        return sampled(again if recomputed else predict, noise, self._steps)


@dataclass(frozen=True)
class Seen:
    """What is read from a prompt's images. faces: the one of each image that counts. labels: indices of every
    attribute's most probable label, (images, attributes), -1 without a face. probabilities: of every attribute, of the
    images with a face.
    """

    faces: list[FoundFace | None]
    labels: NDArray[np.int64]
    probabilities: list[FloatArray]


class Dft(Objective):
    """The mean over images of the cross-entropy of assigned classes, and of the distance from the base model's image.

    Images whose assignment is uncertain, or that show no face, have the second term alone.
    """

    needs: ClassVar[type] = DiffusionTrainable
    lacks: ClassVar[str] = (
        "is no diffusion model that can be trained here (protocol DiffusionTrainable; diffusers offers it), which "
        "train dft needs: use sft, bpo, distill or grpo"
    )
    figures = ("fair", "preserved", "faces", "certain")

    @classmethod
    def check(cls, job: Job) -> None:
        """Raise FairbenchError for settings and labellers with which it cannot be trained."""
        if job.settings.dropout:
            raise FairbenchError("train dft learns from images that it draws without dropout: say --dropout 0.")
        labeller = _labeller(job, "cpu")
        differentiable.check(labeller)
        labels: dict[str, tuple[str, ...]] = dict(labeller.declared.labels)
        for name, of_set in job.data.attributes.items():
            if labels.get(name) != tuple(of_set):
                raise FairbenchError(
                    f"The balanced set has {name} with the labels {', '.join(of_set)}, and the labeller "
                    f"{labeller.card.name} gives it {', '.join(labels.get(name, ())) or 'none'}: name a --labeller "
                    "with these labels in this order."
                )

    @classmethod
    def further_identity(cls, job: Job) -> dict[str, Any]:
        """Return what the result depends on besides settings, data and the model."""
        params = _clip_params(job)
        folder = _dino(job)
        return {
            "labeller": _labeller(job, "cpu").id,
            "clip": identity.of_params(params, job.card.base_dir),
            "dino": None if folder is None else weights.model_identity(folder, None),
        }

    def __init__(self, setup: Setup) -> None:
        job, device = setup.job, str(setup.accelerator.device)
        self._setup, self._settings, self._data = setup, job.settings, job.data
        self._denoising: Denoising = setup.model.denoising()
        self._labeller = _labeller(job, device)
        self._labeller.load()
        ctx = BuildContext(device=device, base_dir=job.card.base_dir)
        self._embeds = [similarity.clip(_clip_params(job), ctx)]
        if (folder := _dino(job)) is not None:
            self._embeds.append(similarity.dino(folder, ctx))
        self._target, self._labels = job.shares, fitting.label_indices(job.data)
        self._block = job.card.card.block_size
        self.module = Chain(self._denoising, job.settings.denoising, recompute=job.settings.checkpointing)

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Draw `images` images per example; return the loss, its two terms, and the shares of images that have them."""
        losses, figures = [], {name: list[torch.Tensor]() for name in self.figures}
        for rows, position in zip(part.rows, part.positions.tolist(), strict=True):
            loss, described = self._of_prompt(module, int(rows[0]), part.step, position)
            losses.append(loss)
            for name, values in described.items():
                figures[name].append(values)
        return torch.stack(losses).mean(), {name: torch.cat(values) for name, values in figures.items()}

    def _of_prompt(self, module: Any, row: int, step: int, position: int) -> tuple[torch.Tensor, Figures]:
        rng, count = np.random.default_rng([self._settings.seed, step, position, 6]), self._settings.images
        drawn = rng.standard_normal((count, *self._denoising.latent_shape), dtype=np.float32)
        noise = torch.from_numpy(drawn).to(self._setup.accelerator.device)
        latents = self._latents(module, noise, self._data.rows[row].prompt)
        with torch.no_grad():
            seen = self._seen(latents)
            with self._setup.as_base():
                base = self._latents(self.module, noise, self._data.rows[row].prompt)
            original, embedded = self._seen(base), self._embedded(base)
        targets = self._targets(seen, self._target[row], rng)
        parts = []
        for block in self._blocks(count):
            chosen = (seen, original, targets)
            parts.append(self._recomputed(self._terms, latents[block], block, chosen, [e[block] for e in embedded]))
        fair, preserved = (torch.cat(terms) for terms in zip(*parts, strict=True))
        certain = torch.from_numpy((targets != assignment.UNCERTAIN).any(axis=1))
        figures = {"preserved": preserved.detach(), "certain": certain.float(), "fair": fair.detach()[certain]}
        figures["faces"] = torch.tensor([float(face is not None) for face in seen.faces])
        return (fair + preserved).mean(), figures

    def _latents(self, module: Any, noise: torch.Tensor, text: str) -> torch.Tensor:
        """Return the final latents that a prompt's noise leads to."""
        final = []
        for block in self._blocks(len(noise)):
            rows = len(noise[block])
            conditions = self._denoising.conditions([text] * rows)
            blank = () if self._denoising.guidance == 1 else self._denoising.blank_conditions(rows)
            final.append(module(noise[block], *conditions, *blank))
        return torch.cat(final)

    def _blocks(self, count: int) -> list[slice]:
        return [slice(start, min(start + self._block, count)) for start in range(0, count, self._block)]

    def _seen(self, latents: torch.Tensor) -> Seen:
        """Find the faces of images and read them."""
        names = list(self._data.attributes)
        faces: list[FoundFace | None] = []
        read: list[list[FloatArray]] = []
        for block in self._blocks(len(latents)):
            images = self._denoising.decode(latents[block])
            pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            of_block: list[FoundFace | None] = [None] * len(pixels)
            for image, face in self._labeller.found(list(pixels), one_per_image=True):
                of_block[image] = face
            shown = [i for i, face in enumerate(of_block) if face is not None]
            if shown:
                chips = differentiable.log_probs(self._labeller, images[shown], [f for f in of_block if f is not None])
                read.append([chips[name].double().exp().cpu().numpy() for name in names])
            faces += of_block
        sizes = [len(labels) for labels in self._data.attributes.values()]
        probabilities = [np.concatenate(p) for p in zip(*read, strict=True)] or [np.zeros((0, k)) for k in sizes]
        labels = np.full((len(faces), len(names)), -1)
        labels[[face is not None for face in faces]] = np.stack([p.argmax(axis=1) for p in probabilities], axis=1)
        return Seen(faces, labels, probabilities)

    def _embedded(self, latents: torch.Tensor) -> list[torch.Tensor]:
        """Return every network's embeddings of images, (images, D)."""
        blocks = [self._denoising.decode(latents[block]) for block in self._blocks(len(latents))]
        return [torch.cat([embed(images) for images in blocks]) for embed in self._embeds]

    def _targets(self, seen: Seen, shares: FloatArray, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the labels that each image is to show, (images, attributes); UNCERTAIN without a face."""
        targets = np.full_like(seen.labels, assignment.UNCERTAIN)
        if len(seen.probabilities[0]):
            cost = assignment.costs(seen.probabilities, self._labels)
            expected = assignment.expected(cost, shares, rng)
            wanted = assignment.targets(expected, self._labels, self._settings.uncertainty)
            targets[[face is not None for face in seen.faces]] = wanted
        return targets

    def _terms(
        self,
        latents: torch.Tensor,
        block: slice,
        chosen: tuple[Seen, Seen, NDArray[np.int64]],
        embedded: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both terms of each image of a block, (images,) each."""
        seen, original, targets = chosen[0], chosen[1], chosen[2][block]
        images = self._denoising.decode(latents)
        faces = seen.faces[block]
        shown = [i for i, face in enumerate(faces) if face is not None and (targets[i] >= 0).any()]
        fair = images.new_zeros(len(images))
        if shown:
            read = differentiable.log_probs(self._labeller, images[shown], [f for i in shown if (f := faces[i])])
            of_faces = alignment.fair([read[name] for name in self._data.attributes], targets[shown])
            fair = fair.index_add(0, torch.tensor(shown, device=fair.device), of_faces)
        kept = alignment.keeps_class(targets, original.labels[block])
        lowered = [1.0 if same else self._settings.changed for same in kept]
        boxes = [self._shared_box(a, b, images) for a, b in zip(faces, original.faces[block], strict=True)]
        calm = alignment.damped(images, boxes, lowered)
        weights_of = [1.0 if face is None else low for face, low in zip(faces, lowered, strict=True)]
        weight = self._settings.preserve * torch.tensor(weights_of, device=images.device)
        return fair, alignment.preserving([embed(calm) for embed in self._embeds], embedded, weight)

    def _shared_box(self, face: FoundFace | None, other: FoundFace | None, images: Images) -> alignment.Box | None:
        """Return where the faces of an image and of the base model's image overlap."""
        if face is None or other is None:
            return None
        height, width = images.shape[2:]
        a, b = (differentiable.region(self._labeller, f, width, height) for f in (face, other))
        return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])

    def _recomputed(self, terms: Callable[..., Any], *inputs: Any) -> Any:
        if not self._settings.checkpointing:
            return terms(*inputs)
        return checkpoint(terms, *inputs, use_reentrant=False)


def _labeller(job: Job, device: str) -> Labeller:
    return Labeller(catalog.load_labeller(job.settings.labeller or job.card.card.labeller), device)


def _clip_params(job: Job) -> Any:
    plugin = registry.resolve("scorers", _CLIP)
    return registry.parse_params(plugin, dict(job.card.card.scorers.get(_CLIP, {})))


def _dino(job: Job) -> HubModel | None:
    return None if job.settings.dino is None else HubModel(path=str(Path(job.settings.dino).expanduser().resolve()))
