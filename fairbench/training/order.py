"""The images of every step: a function of the seed and the step alone, so that a resumed training has the same.

Groups count equally however many images each has: the images of a smaller group come up more often.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fairbench.synthesis.balanced import Balanced

Rows = NDArray[np.int64]
"""Indices into `Balanced.rows`, (examples, width): width 1, or K for an image of every group under one prompt.

Row i of R under the prompt that it was made from, which states its group, is R + i.
"""


class Order:
    """The endless sequence of examples, epoch after epoch, each in an order of its own."""

    def __init__(self, data: Balanced, seed: int, *, together: bool, stated: float = 0.0) -> None:
        """together: an example holds an image of every group of a prompt; else it is one image.

        stated: the share of examples, drawn one by one, whose image stands under the prompt that it was made from.
        """
        self._seed, self._together, self._stated, self._rows = seed, together, stated, len(data.rows)
        self._cells = [[np.array(rows) for rows in groups.values()] for groups in data.by_prompt().values()]
        self._cell_size = max(len(rows) for groups in self._cells for rows in groups)
        width = len(data.groups)
        self.epoch_size = len(self._cells) * self._cell_size * (1 if together else width)

    def examples(self, step: int, batch: int) -> Rows:
        """Return the examples of a step."""
        positions = range(step * batch, (step + 1) * batch)
        rows = np.stack([self._epoch(p // self.epoch_size)[p % self.epoch_size] for p in positions])
        stated = np.random.default_rng([self._seed, step, 0, 2]).random(batch) < self._stated
        return np.asarray(rows + self._rows * stated[:, None])

    @functools.lru_cache(maxsize=2)  # noqa: B019 - lives as long as the training; a step can touch two epochs
    def _epoch(self, epoch: int) -> Rows:
        rng = np.random.default_rng([self._seed, epoch])
        cells = [[self._drawn(rows, rng) for rows in groups] for groups in self._cells]
        table = np.array(cells).transpose(0, 2, 1)  # prompts, images per cell, groups
        rows = table.reshape(-1, table.shape[2] if self._together else 1)
        return np.asarray(rng.permutation(rows))

    def _drawn(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return as many rows as the largest cell has: each of these as often as any other, or once more."""
        rounds = -(-self._cell_size // len(rows))
        return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[: self._cell_size]
