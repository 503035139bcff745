"""Each prompt names a group, drawn from a declared target: the simple baseline that a trained method has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairbench import keys
from fairbench.methods import targets
from fairbench.methods.common import PromptMethod, index_at, instead_of_subject, stream
from fairbench.protocols import MethodContext, PromptSample

NAME = "balanced-prompting"
FIX = (
    f"write gender, race or mix, or shares that sum to 1, as in {NAME}:gender=female:0.6,male:0.4+race (quota or "
    "quota-... before it deals exact counts)"
)


class BalancedPrompting(PromptMethod):
    """Names a gender and a race before the subject, all equally likely; `:gender`, `:race`, `:gender=female:0.6,...`.

    Each sample's group is drawn from its own seed alone, so that groups are independent of each other and of the
    image's noise, and a run can be extended. `:quota` (and `:quota-gender` ...) deals groups out instead: after every
    sample of a prompt, each group has had its share to within one, in an order that is the prompt's own. Such counts
    are no multinomial sample, and a run says so.
    """

    def __init__(self, argument: str | None) -> None:
        spec = argument or "mix"
        self.quota = spec == "quota" or spec.startswith("quota-")
        if self.quota:
            spec = spec.removeprefix("quota").removeprefix("-") or "mix"
        self.groups, self.shares = targets.read(spec, NAME, FIX)

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return each prompt's text with a group before its subject, as in "... of a female Asian nurse, a person"."""
        if self.quota:
            indices = self._dealt(prompts, ctx.seed)
        else:
            indices = [index_at(self.shares, stream(p.seed, NAME).random()) for p in prompts]
        return [
            instead_of_subject(p.prompt, f"{self.groups[index]} {p.prompt.subject}")
            for p, index in zip(prompts, indices, strict=True)
        ]

    def _dealt(self, prompts: Sequence[PromptSample], run_seed: int) -> list[int]:
        """Return the index of each sample's group, dealt out prompt by prompt."""
        counts: dict[bytes, int] = {}
        for p in prompts:
            counts[p.prompt.neutral_id] = max(counts.get(p.prompt.neutral_id, 0), p.sample_index + 1)
        groups_of = {}
        for neutral_id, count in counts.items():
            # In an order of the prompt's own, so that a remainder does not go to the same groups in every prompt.
            rng = np.random.Generator(np.random.PCG64(int.from_bytes(keys.digest("quota", [neutral_id, run_seed]))))
            order = rng.permutation(len(self.groups))
            groups_of[neutral_id] = order[deal(self.shares[order], count)]
        return [int(groups_of[p.prompt.neutral_id][p.sample_index]) for p in prompts]


def deal(shares: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return which of K groups each of `count` samples gets, so that the counts follow the shares at every length.

    After n samples each group has had n times its share, off by at most 1 - 1/(2K - 2): exact where that is a whole
    number. Ties go to the group that comes first. Source: Tijdeman, "The chairman assignment problem", Discrete
    Mathematics 32 (1980), 323-330.

    >>> deal(np.array([0.5, 0.25, 0.25]), 8).tolist()
    [0, 1, 2, 0, 0, 1, 2, 0]
    """
    # Tijdeman's rule: among the groups that are due a sample by at least this much, the earliest deadline comes first.
    smallest_debt = 1 / max(2 * len(shares) - 2, 1)
    counts = np.zeros(len(shares))
    groups = np.empty(count, dtype=np.int64)
    for n in range(count):
        debt = (n + 1) * shares - counts
        deadline = np.where(debt >= smallest_debt - 1e-9, (1 - smallest_debt - debt) / shares, math.inf)
        groups[n] = deadline.argmin()
        counts[groups[n]] += 1
    return groups
