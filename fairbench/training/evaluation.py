"""Bias and quality while a model is trained: few prompts, few images, no intervals, no store.

The numbers show how a training goes; they are too rough to compare. `fairbench run --method lora:PATH` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench import contracts, keys, registry
from fairbench.cards import catalog
from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError, PluginError
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.measure import scores
from fairbench.metrics._rd import relative_diversity
from fairbench.notices import notice
from fairbench.protocols import ImageModel, Scorer
from fairbench.runs.prompts import expand
from fairbench.types import BuildContext, ImageRequest, Prompt, RgbImage


class Evaluator:
    """RD by every attribute and cross of the card's labeller, the share of images with a face, the card's scorers."""

    def __init__(
        self, loaded: catalog.Loaded[ModelCard], task: str, prompts: int, images: int, device: str, seed: int
    ) -> None:
        """Load labeller and scorers, so that missing weights are found before the training. Raises FairbenchError."""
        self._images, self._block, self._seed = images, loaded.card.block_size, seed
        self._prompts = expand(catalog.load_task(task).card)[:prompts]
        self._labeller = Labeller(catalog.load_labeller(loaded.card.labeller), device)
        self._labeller.load()
        ctx = BuildContext(device=device, base_dir=loaded.base_dir)
        self._scorers = [_scorer(name, loaded.card.scorers[name], ctx) for name in loaded.card.scorers]

    def __call__(self, model: ImageModel) -> dict[str, float | None]:
        """Return figures by name; RD is None where no prompt shows a face."""
        drawn = [self._draw(model, prompt) for prompt in self._prompts]
        shares = [self._shares(images) for images in drawn]
        figures: dict[str, float | None] = {}
        for name in shares[0]:
            values = np.array([relative_diversity(s[name]) for s in shares])
            figures[f"eval/rd-{name}"] = None if np.isnan(values).all() else float(np.nanmean(values))
        flat = [image for images in drawn for image in images]
        texts = [p.text for p, images in zip(self._prompts, drawn, strict=True) for _ in images]
        figures["eval/images"] = float(len(flat))
        for scorer in self._scorers:
            if flat:
                figures |= {f"eval/{name}": value for name, value in _values(scorer, flat, texts).items()}
        return figures

    def _draw(self, model: ImageModel, prompt: Prompt) -> list[RgbImage]:
        """Return the images that could be drawn."""
        ids, text = (prompt.prompt_id, prompt.neutral_id), prompt.text
        seeds = [keys.sample_seed(prompt.neutral_id, i, self._seed) for i in range(self._images)]
        requests = [ImageRequest(keys.digest("evaluation", seed), *ids, text, i, seed) for i, seed in enumerate(seeds)]
        blocks = [requests[i : i + self._block] for i in range(0, len(requests), self._block)]
        results = [result for block in blocks for result in model.generate(block)]
        return [result.pixels for result in results if result.pixels is not None]

    def _shares(self, images: Sequence[RgbImage]) -> dict[str, NDArray[np.float64]]:
        """Return the shares of labels over the faces that count, by attribute and cross; NaN where no face counts."""
        labeller = self._labeller
        reading = labeller.read(images)
        shares: dict[str, NDArray[np.float64]] = {}
        for names in [*([name] for name in labeller.card.attributes), *labeller.card.crosses]:
            classes = labeller.classes_of(names, reading.codes)
            counts = np.bincount(classes[classes != NOT_LABELLED], minlength=len(labeller.classes(names)))
            with np.errstate(invalid="ignore"):
                shares["+".join(names)] = counts / counts.sum()
        return shares


def _scorer(name: str, params: dict[str, Any], ctx: BuildContext) -> Any:
    plugin = registry.resolve("scorers", name)
    with contracts.guard(registry.title("scorers", name)):
        return plugin(registry.parse_params(plugin, params), ctx)


def _values(scorer: Scorer, images: list[RgbImage], texts: list[str]) -> dict[str, float | None]:
    """Return a scorer's values over the images that it can score; None where it fails: the training goes on."""
    title = registry.title("scorers", scorer.spec.name)
    try:
        with contracts.guard(title):
            features = contracts.features(title, scorer.features(images, texts), len(images))
        return scores.summarise(scorer, features[np.isfinite(features).all(axis=1)])
    except PluginError as err:
        notice("scorer-left-out", f"{scorer.spec.name} has no value at an evaluation: {err}")
        return dict.fromkeys(scorer.spec.values)


def default_task(card: ModelCard) -> str:
    """Return the card's own task. Raises FairbenchError where it names none."""
    if card.default_task is None:
        raise FairbenchError(f"The model card {card.name} names no default task: say --eval-task.")
    return card.default_task
