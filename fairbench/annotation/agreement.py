"""From several people's answers to a label per image, and how far those people agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fairbench.annotation import words
from fairbench.stats import dawid_skene, krippendorff
from fairbench.stats.dawid_skene import Fit
from fairbench.stats.krippendorff import Reliability

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two annotators: the share of the images that both answered on which they gave the same answer."""

    first: str
    second: str
    images: int
    same: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How annotators agree on one attribute.

    outcomes: what the images' labels are -> how many; "" for images without enough answers. differs: images whose
    majority names a class, and Dawid and Skene's model another one.
    """

    attribute: str
    reliability: Reliability
    pairs: list[Pair]
    outcomes: dict[str, int]
    errors: dict[str, float]
    differs: int

    @property
    def reliable(self) -> bool:
        """Whether alpha reaches words.MIN_ALPHA; what is unknown does not."""
        return bool(self.reliability.alpha >= words.MIN_ALPHA)


def majority(answers: Sequence[str], least: int) -> str | None:
    """Return the answer that more than half of those who answered gave, `unclear` where there is none.

    answers: of one image, without those who skipped it. None where fewer than `least` answered.
    """
    if len(answers) < max(least, 1):
        return None
    answer, votes = Counter(answers).most_common(1)[0]
    return answer if 2 * votes > len(answers) else words.UNCLEAR


def agree(
    attribute: str,
    answers: Codes,
    labels: Sequence[str | None],
    names: Mapping[str, int],
    who: Sequence[str],
    groups: Codes,
) -> Agreement:
    """Return the agreement on one attribute.

    Args:
        attribute: Its name.
        answers: (U, A) codes of the answers, -1 where there is none.
        labels: Of the U images, as `majority` gives them.
        names: Answer -> code; the last one (`cannot tell`) names no class.
        who: The A annotators.
        groups: (U,) the prompt of each image.

    Returns:
        The agreement, with the diagnostic by Dawid and Skene's model.
    """
    model = dawid_skene.fit(answers, groups, len(names) - 1, len(names))
    pairs = [_pair(answers, who, i, j) for i, j in combinations(range(len(who)), 2)]
    return Agreement(
        attribute=attribute,
        reliability=krippendorff.reliability(answers, len(names)),
        pairs=pairs,
        outcomes=dict(Counter(label or "" for label in labels)),
        errors=dict(zip(who, model.errors.tolist(), strict=True)),
        differs=_differs(model, labels, names),
    )


def _pair(answers: Codes, who: Sequence[str], i: int, j: int) -> Pair:
    both = (answers[:, i] >= 0) & (answers[:, j] >= 0)
    n = int(both.sum())
    same = float((answers[both, i] == answers[both, j]).mean()) if n else float("nan")
    return Pair(who[i], who[j], n, same)


def _differs(model: Fit, labels: Sequence[str | None], names: Mapping[str, int]) -> int:
    likely = model.posterior.argmax(axis=1)
    classes = len(names) - 1
    codes = [names.get(label, classes) if label else classes for label in labels]
    return sum(code < classes and code != best for code, best in zip(codes, likely.tolist(), strict=True))
