"""Reinforcement: images of the current policy are labelled, and groups that are too frequent become less probable.

Group-relative, as GRPO (Shao et al. 2024, arXiv 2402.03300) is, without its division by the group's standard deviation
and, since each image is used once, without its ratio of policies.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench import keys
from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import lora
from fairbench.protocols import Distillable
from fairbench.training.job import Job
from fairbench.training.objectives import distill, fitting
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.types import FloatArray, ImageRequest

CLIP: Final = 2.0
"""Bound of the log-ratio of one attribute. Ours: the paper's is not known here."""
Groups = NDArray[np.int64]
"""The group of every image, (prompts, G), an index into K groups; below 0 where an image shows none of them."""


def balance(groups: Groups, target: FloatArray) -> FloatArray:
    """Return r_i = pi_k - (n_k - 1) / (G - 1), (prompts, G): k the group of image i, n_k how many of the G show it.

    target: pi, (prompts, K). The n_k - 1 others are independent of image i, so that the mean of r_i grad log p(i) has
    the gradient of -1/2 ||p - pi||^2 as its expectation, at any G >= 2. An image of no group gets 0.
    """
    shown = _one_hot(groups, target.shape[1])
    others = (shown.sum(axis=1, keepdims=True) - shown) / (groups.shape[1] - 1)
    return np.asarray((shown * (target[:, None, :] - others)).sum(axis=2))


def log_ratio(groups: Groups, labels: NDArray[np.int64]) -> FloatArray:
    """Return the sum over attributes of log(target share / observed share), centred per prompt and clipped.

    As Fair-GRPO (HoloFair, arXiv 2605.24687) describes its reward, for equal targets. labels: index of each attribute's
    label in each group, (K, attributes). An image of no group gets 0, and is in no share.
    """
    total = np.zeros(groups.shape)
    known = groups >= 0
    for of_groups in labels.T:
        shown = _one_hot(np.where(known, of_groups[groups], -1), int(of_groups.max()) + 1)
        share = shown.sum(axis=1) / np.maximum(known.sum(axis=1, keepdims=True), 1)
        ratio = -np.log(np.where(share > 0, share, 1) * share.shape[1])
        of_image = (shown * ratio[:, None, :]).sum(axis=2)
        centre = of_image.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
        total += np.where(known, np.clip(of_image - centre, -CLIP, CLIP), 0)
    return total


def against_others(success: NDArray[np.bool_]) -> FloatArray:
    """Return each image's success minus the mean success of the other images of its prompt, (prompts, G)."""
    hits = success.astype(np.float64)
    return np.asarray(hits - (hits.sum(axis=1, keepdims=True) - hits) / (hits.shape[1] - 1))


def _one_hot(index: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    return np.asarray(index[..., None] == np.arange(size))


class Grpo(Objective):
    """Minus the mean over images of reward times log-probability, plus the divergence from the base model.

    A share `follow` of the prompts states a group and is rewarded for showing it, against the other images of the
    prompt. Log-probabilities are means over image tokens, of the guided distribution that images are drawn from.
    """

    needs: ClassVar[type] = Distillable
    lacks: ClassVar[str] = distill.Distill.lacks
    figures = ("distance", "faces", "kl")

    @classmethod
    def check(cls, job: Job) -> None:
        """Raise FairbenchError for settings under which the gradient would not be that of the objective."""
        s = job.settings
        if s.dropout:
            raise FairbenchError("train grpo learns from images that it draws without dropout: say --dropout 0.")
        if s.images < 2:
            raise FairbenchError(f"--images {s.images}: a reward compares images of one prompt; give 2 or more.")
        if s.reward == "log-ratio" and s.target is not None:
            raise FairbenchError(
                "--reward log-ratio balances equal shares only (elsewhere it ends at others): use --reward balance."
            )
        if s.follow:
            fitting.need_source_prompts(job.data, "--follow draws images under the prompt that states a group")
        distill.check_labels(job)

    @classmethod
    def further_identity(cls, job: Job) -> dict[str, Any]:
        """Return what rewards: the card's labeller."""
        return {"labeller": Labeller(catalog.load_labeller(job.card.card.labeller)).id}

    def __init__(self, setup: Setup) -> None:
        job, model = setup.job, setup.model
        self._model, self._adapter, self._data, self._settings = model, setup.adapter, job.data, job.settings
        self._block, self._target = job.card.card.block_size, job.shares
        self._labeller = Labeller(catalog.load_labeller(job.card.card.labeller), str(setup.accelerator.device))
        self._labeller.load()
        self._labels = fitting.label_indices(job.data)
        self.module = model.token_logits()

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Draw and label `images` images per example; return the loss, and what describes them."""
        stated = self._stated(part)
        texts = [self._text(rows, at) for rows, at in zip(part.rows, stated, strict=True)]
        tokens = self._drawn(texts, part)
        shown = distill.shown_groups(self._model, self._labeller, self._data, tokens)
        groups = shown.reshape(len(part.rows), self._settings.images)
        rewards = torch.from_numpy(self._rewards(groups, part, stated)).to(torch.float32).flatten()
        log_probs, kl = self._log_probs(module, np.repeat(texts, self._settings.images).tolist(), tokens)
        loss = -(rewards.to(log_probs) * log_probs).mean() + self._settings.kl * kl.mean()
        return loss, {"kl": kl.detach(), **self._described(groups, part, stated)}

    def _stated(self, part: Part) -> NDArray[np.int64]:
        """Return which of its groups an example's prompt states, (examples,), -1 for the neutral prompt."""
        rng = np.random.default_rng([self._settings.seed, part.step, 0, 4])
        positions, columns = rng.random(self._settings.batch), part.rows.shape[1]
        group = rng.integers(columns, size=self._settings.batch)
        return np.asarray(np.where(positions < self._settings.follow, group, -1)[part.positions])

    def _text(self, rows: NDArray[np.int64], group: int) -> str:
        row = self._data.rows[rows[max(group, 0)]]
        text: str = row.source_prompt if group >= 0 else row.prompt
        return text

    def _drawn(self, texts: list[str], part: Part) -> NDArray[np.int64]:
        """Return the tokens (examples x images, N) that the current policy draws, from noise of the step's own."""
        requests: list[ImageRequest] = []
        for text, position in zip(texts, part.positions.tolist(), strict=True):
            seed = keys.sample_seed(keys.digest("grpo", [part.step, position]), 0, self._settings.seed)
            requests += [distill.request("grpo", text, image, seed) for image in range(self._settings.images)]
        with lora.evaluated(self._adapter), lora.off_in_blank_rows(self._adapter, self._model):
            parts = [requests[i : i + self._block] for i in range(0, len(requests), self._block)]
            tokens = np.concatenate([self._model.tokens(part) for part in parts])
        distill.check_finite(tokens)
        return tokens

    def _rewards(self, groups: Groups, part: Part, stated: NDArray[np.int64]) -> FloatArray:
        """Return the reward of every image, (examples, G)."""
        balancing = functools.partial(balance, target=self._target[part.rows[:, 0]])
        if self._settings.reward == "log-ratio":
            balancing = functools.partial(log_ratio, labels=self._labels)
        following = against_others(groups == stated[:, None])
        rewards = balancing(groups)
        if self._settings.reward == "permuted":
            rewards = np.stack(
                [self._permuted(row, part.step, at) for row, at in zip(rewards, part.positions, strict=True)]
            )
        rewards = np.where(stated[:, None] >= 0, following, rewards)
        return np.asarray(rewards + self._settings.face * against_others(groups >= 0))

    def _permuted(self, rewards: FloatArray, step: int, position: int) -> FloatArray:
        """Return the rewards of a prompt's images in another order: a control, from which nothing can be learned."""
        return np.asarray(np.random.default_rng([self._settings.seed, step, int(position), 5]).permutation(rewards))

    def _log_probs(self, module: Any, texts: list[str], tokens: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean log-probability of a token and its mean divergence from the base model, (images,) each."""
        drawn_at = self._model.drawn_at()
        inputs = self._model.token_inputs(texts, tokens)
        with torch.no_grad(), lora.without(self._adapter):
            base_logits = self.module(*inputs)
            blank = base_logits if drawn_at[0] == 1 else self.module(*self._model.blank_inputs(texts, tokens))
            base = distill.guided(base_logits, blank, *drawn_at)
        logits = module(*inputs)
        policy = distill.guided(logits, logits if drawn_at[0] == 1 else blank, *drawn_at)
        picked = policy.gather(-1, inputs[-1][..., None])[..., 0]
        return picked.mean(dim=1), distill.divergence(policy, base).mean(dim=1)

    def _described(self, groups: Groups, part: Part, stated: NDArray[np.int64]) -> Figures:
        """Return the distance of neutral prompts' shares from the target, (neutral examples,), and images with a group.

        distance: an unbiased estimate of ||p - pi||^2, below 0 by chance near balance.
        """
        neutral = groups[stated < 0]
        target = self._target[part.rows[stated < 0, 0]]
        counts = _one_hot(neutral, target.shape[1]).sum(axis=1)
        pairs = (counts * (counts - 1)) / (groups.shape[1] * (groups.shape[1] - 1))
        distance = (pairs - 2 * target * counts / groups.shape[1] + target**2).sum(axis=1)
        return {"distance": torch.from_numpy(distance), "faces": torch.from_numpy((groups >= 0).mean(axis=1))}
