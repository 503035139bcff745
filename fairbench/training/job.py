"""One fine-tuning: its settings, model and data, and everything that follows from them before it starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError
from fairbench.networks import weights
from fairbench.protocols import DiffusionTrainable, Trainable
from fairbench.synthesis.balanced import Balanced
from fairbench.training import target
from fairbench.training.order import Order
from fairbench.training.presets import TOGETHER, Settings
from fairbench.training.schedule import Schedule
from fairbench.types import BuildContext, FloatArray

Evaluate = Callable[[Any], Mapping[str, float | None]]


@dataclass(frozen=True)
class Job:
    """One training. card: of the model. data: grouped as the settings say. parent: an adapter folder to start from.

    save_every, log_every, eval_every: steps; eval_every 0 evaluates never. track: names of trackers; None: TensorBoard
    where it is installed. None of these changes the result.
    """

    settings: Settings
    card: catalog.Loaded[ModelCard]
    data: Balanced
    out: Path
    parent: Path | None = None
    device: str = "auto"
    save_every: int = 200
    log_every: int = 10
    eval_every: int = 0
    evaluate: Evaluate | None = None
    track: tuple[str, ...] | None = None

    @functools.cached_property
    def order(self) -> Order:
        """The rows of every step."""
        s = self.settings
        return Order(self.data, s.seed, together=s.kind in TOGETHER, target=self.target)

    @functools.cached_property
    def target(self) -> FloatArray | None:
        """The target shares of the groups under each row's prompt, (rows, K); None: equal. Raises FairbenchError."""
        return None if self.settings.target is None else target.shares(self.settings.target, self.data)

    @property
    def shares(self) -> FloatArray:
        """The target shares, (rows, K), equal where none are named."""
        rows, groups = len(self.data.rows), len(self.data.groups)
        return np.full((rows, groups), 1 / groups) if self.target is None else self.target

    @functools.cached_property
    def schedule(self) -> Schedule:
        """Steps and rates: the paper's cosine with 3 % warm-up; AdamW with torch's default betas and decay."""
        s = self.settings
        steps = s.steps or max(1, math.ceil(s.epochs * self.order.epoch_size / s.batch))
        return Schedule(
            steps, s.learning_rate, betas=(0.9, 0.999), save_every=self.save_every, log_every=self.log_every
        )

    @property
    def trains_diffusion(self) -> bool:
        """Whether the model is a diffusion model, whose adapters have the form of diffusers."""
        return issubclass(registry.resolve("adapters", self.card.card.adapter), DiffusionTrainable)

    @functools.cached_property
    def base(self) -> dict[str, str]:
        """The identity of the base model's weights. Raises CardError for a model that cannot be trained here."""
        self.model()  # before all files of a folder that is no model are hashed
        assert self.card.card.weights is not None
        return weights.model_identity(self.card.card.weights, self.card.base_dir)

    def model(self, device: str = "cpu", dtype: str = "float32") -> Trainable:
        """Return the card's adapter, which loads its weights on first use.

        Raises CardError for a model that cannot be trained here, and for settings that are not valid.
        """
        card = self.card.card
        plugin = registry.resolve("adapters", card.adapter)
        if card.weights is None or not card.lora_targets:
            raise CardError(
                f"The model {card.name} cannot be fine-tuned: its card needs `weights` and `lora_targets`, which say "
                "which layers an adapter is put on."
            )
        try:
            params = registry.parse_params(plugin, card.sampling)
        except ValidationError as err:
            raise yamlfile.params_error(self.card.path, f"model {card.name}", err, ("sampling",)) from err
        plain = card.model_copy(update={"lora": None})  # a training starts from `parent`, or from the weights alone
        ctx = BuildContext(device, dtype, card.block_size, self.card.base_dir)
        model: Trainable = plugin(plain, params, ctx)
        return model
