"""The images of every step: a function of the seed and the step alone, so that a resumed training has the same.

Groups count equally, or by their target shares, however many images each has: the images of a smaller group come up
more often.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fairbench.synthesis.balanced import Balanced
from fairbench.types import FloatArray

Rows = NDArray[np.int64]
"""Indices into `Balanced.rows`, (examples, width): width 1, or K for an image of every group under one prompt.

"""


class Order:
    """The endless sequence of examples, epoch after epoch, each in an order of its own."""

    def __init__(self, data: Balanced, seed: int, *, together: bool, target: FloatArray | None = None) -> None:
        """together: an example holds an image of every group of a prompt; else it is one image.

        target: shares of the groups under each row's prompt, (rows, K), by which the group of a single image is drawn;
        None: each comes up equally often.
        """
        self._seed, self._target = seed, None if together else target
        self._together = together or target is not None
        self._cells = [[np.array(rows) for rows in groups.values()] for groups in data.by_prompt().values()]
        self._cell_size = max(len(rows) for groups in self._cells for rows in groups)
        self._tuples = len(self._cells) * self._cell_size
        self.epoch_size = self._tuples * (1 if together else len(data.groups))

    def examples(self, step: int, batch: int) -> Rows:
        """Return the examples of a step."""
        size = self._tuples if self._together else self.epoch_size
        rows = np.stack([self._epoch(p // size)[p % size] for p in range(step * batch, (step + 1) * batch)])
        if self._target is None:
            return np.asarray(rows)
        positions = np.random.default_rng([self._seed, step, 0, 3]).random((batch, 1))
        group = (positions > self._target[rows[:, 0]].cumsum(axis=1)[:, :-1]).sum(axis=1)
        return np.asarray(np.take_along_axis(rows, group[:, None], axis=1))

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
