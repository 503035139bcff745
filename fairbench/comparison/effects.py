"""The effects between two runs over the same prompts: what differs, by how much, in both designs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairbench import registry
from fairbench.cards.cards import RESERVED
from fairbench.comparison.margins import Margins
from fairbench.comparison.sides import Side, primary_attributes, rows, shared_attributes
from fairbench.comparison.verdicts import Claim, Row
from fairbench.errors import FairbenchError
from fairbench.measure.counts import cross_name
from fairbench.measure.stated import followed
from fairbench.runs import evidence
from fairbench.stats import correction_difference, intervals
from fairbench.stats.estimands import IntArray
from fairbench.stats.intervals import PromptValues
from fairbench.stats.paired import (
    Better,
    Effect,
    Pairs,
    effect_fixed,
    effect_random,
    independent_se,
    pair,
    sign_flip_test,
)
from fairbench.stats.units import Data, as_units
from fairbench.types import FloatArray

LEAST_FACES: Final = 10
"""Faces that a prompt must have in both runs: with fewer, RD says next to nothing of the prompt."""
FACES, QUALITY = RESERVED
QUOTA = "the method fixes how many images show which group, so that images are no independent draws"
_SEED: Final = 1955
_REDRAWS: Final = 400
"""Bootstrap redraws of a prompt's images: the mean over prompts averages the rest of their noise away."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One quantity of two runs. images: the s.e. of the mean difference from drawing images.

    shared: what both runs' calibration adds to any standard error. The rest as in `Row`.
    """

    attribute: str
    estimand: str
    pairs: Pairs
    a: float
    b: float
    images: float
    better: Better | None = None
    primary: bool = False
    claim: Claim | None = None
    margin: float = math.nan
    shared: float = 0.0

    def effects(self) -> tuple[Effect, Effect]:
        """Return the effect for these prompts and for prompts like these."""
        found = effect_fixed(self.pairs, self.images), effect_random(self.pairs)
        fixed, random = (replace(e, se=math.hypot(e.se, self.shared)) for e in found)
        return fixed, random


@dataclass(frozen=True, slots=True)
class Effects:
    """Rows without verdicts, and sentences on what could not be compared."""

    rows: list[Row]
    notes: list[str]


def effects(a: Side, b: Side, margins: Margins, alpha: float) -> Effects:
    """Return every effect B - A, in both designs, with unadjusted p-values."""
    why_not = _not_corrected(a, b)
    notes = [] if why_not is None else [f"{b.letter} against {a.letter}: corrected sq is not compared: {why_not}."]
    notes += [f"{s}: not compared, {why}." for s, why in _odd_scores(a, b)]
    measured = [*_of_labels(a, b, margins, corrected=why_not is None), *_faces(a, b, margins),
                *_followed(a, b, margins), *_scores(a, b, margins)]  # fmt: skip
    found = [row for number, m in enumerate(measured) for row in _rows(a, b, m, alpha, number)]
    return Effects(found, notes)


def _rows(a: Side, b: Side, m: Measured, alpha: float, number: int) -> Iterator[Row]:
    """Yield a quantity's rows. Its random numbers depend on `number` alone: A and B swapped flip signs, no more."""
    fixed, random = m.effects()
    flipped = sign_flip_test(m.pairs, np.random.default_rng([_SEED, number])).p_value
    quota = a.quota or b.quota
    for effect, p, withheld in ((fixed, fixed.p_value(), quota), (random, flipped, False)):
        low, high = (math.nan, math.nan) if withheld else effect.interval(1 - alpha)
        yield Row(
            a.letter, b.letter, m.attribute, m.estimand, effect.scope, m.a, m.b, effect.estimate, low, high,
            math.nan if withheld else p, effect.n_pairs, effect.n_left_out, m.primary, m.better, m.claim, m.margin,
            math.nan if withheld else _margin_p(effect, m), reason=QUOTA if withheld else None,
        )  # fmt: skip


def _margin_p(effect: Effect, m: Measured) -> float:
    if m.claim == "equivalent":
        return effect.equivalence_p(m.margin)
    if m.claim == "preserved" and m.better is not None:
        return effect.non_inferiority_p(m.margin, m.better)
    return math.nan


def _plain(attribute: str, estimand: str, a: PromptValues, b: PromptValues, **rest: Any) -> Measured:
    """Put two runs' prompt values and variances together."""
    pairs = pair(a.value, b.value)
    images = independent_se(pairs, a.variance, b.variance)
    return Measured(attribute, estimand, pairs, _mean(a.value, pairs), _mean(b.value, pairs), images, **rest)


def _mean(values: FloatArray, pairs: Pairs) -> float:
    return float(values[pairs.kept].mean()) if pairs.kept.any() else math.nan


def _of_labels(a: Side, b: Side, margins: Margins, *, corrected: bool) -> Iterator[Measured]:
    """Yield what the labels say: RD at the smaller face count, `sq` raw and corrected, and the signed gaps."""
    primary = primary_attributes(a)
    for names in shared_attributes(a, b):
        name, space = cross_name(names), a.run.counts.labeller
        classes = space.classes(names)
        k, both = len(classes), (a.data(names), b.data(names))
        yield _plain(name, "rd@n0", *diversity(both), better="lower", primary=names in primary, claim="equivalent",
                     margin=margins.rd(name, k))  # fmt: skip
        yield _plain(name, "sq", *(intervals.sq_of_prompts(d) for d in both), better="lower")
        if corrected and (groups := a.run.correction.groups(names)) is not None:
            yield _corrected(a, b, name, groups)
        for i, label in enumerate(classes[:1] if k == 2 else classes):  # of two classes, one gap is minus the other
            yield _plain(name, f"gap[{label}]", *(_gap(d, i, k) for d in both))


def diversity(both: Sequence[Data]) -> list[PromptValues]:
    """Return, for each run, RD at the smallest face count that any of the runs has in the prompt.

    NaN below `LEAST_FACES` faces. Every run gets the same random numbers for its variances.
    """
    n0, enough = common_faces(both)
    found = []
    for data in both:
        whole = [np.full(n0.shape, np.nan) for _ in range(2)]
        some = intervals.rd_at_of_prompts(rows(data, enough), n0[enough], np.random.default_rng(_SEED), _REDRAWS)
        for array, values in zip(whole, some, strict=True):
            array[enough] = values
        found.append(PromptValues(*whole))
    return found


def common_faces(data: Sequence[Data]) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the smallest number of faces (P,) that any run has in each prompt, and where it is enough for RD."""
    n0 = np.min([as_units(d).counts.sum(axis=1) for d in data], axis=0)
    return n0, n0 >= LEAST_FACES


def _gap(data: Data, i: int, k: int) -> PromptValues:
    """Return class i's share minus the mean share of the others."""
    share = intervals.share_of_prompts(data, i)
    return PromptValues((k * share.value - 1) / (k - 1), share.variance * (k / (k - 1)) ** 2)


def _corrected(a: Side, b: Side, name: str, groups: Sequence[int]) -> Measured:
    known = a.run.calibration
    assert known is not None
    found = correction_difference.sq_difference(
        a.observed(known.attributes), b.observed(known.attributes), known.counts, np.random.default_rng(_SEED), groups
    )
    pairs = found.pairs
    means = _mean(found.a, pairs), _mean(found.b, pairs)
    return Measured(name, "sq corrected", pairs, *means, found.images, better="lower", shared=found.shared)


def _not_corrected(a: Side, b: Side) -> str | None:
    """Return why corrected values of two runs do not compare."""
    for side in (a, b):
        if side.run.correction.reason is not None:
            return f"{side.letter}: {side.run.correction.reason}"
    if a.run.correction.sha256 != b.run.correction.sha256:
        return "the two runs were corrected by different calibrations"
    return None


def _faces(a: Side, b: Side, margins: Margins) -> Iterator[Measured]:
    """Yield the share of images without a face: what is not seen is not measured."""
    values = []
    for side in (a, b):
        counts = side.run.counts
        seen = np.stack([counts.images - counts.with_face, counts.with_face], axis=1)[side.place]
        values.append(intervals.share_of_prompts(seen, 0))
    yield _quality(FACES, "no-face-rate", *values, better="lower", margin=margins.quality("no-face-rate"))


def _followed(a: Side, b: Side, margins: Margins) -> Iterator[Measured]:
    """Yield the share of faces that show what their prompt states, where prompts state something."""
    found = [followed(s.run.counts, s.run.prompts) for s in (a, b)]
    values = [
        intervals.share_of_prompts(np.stack([f.right, f.of - f.right], axis=1)[s.place], 0)
        for f, s in zip(found, (a, b), strict=True) if f is not None
    ]  # fmt: skip
    if len(values) == 2:
        margin = margins.quality("attribute-following")
        yield _quality(FACES, "attribute-following", *values, better="higher", margin=margin)


def _scores(a: Side, b: Side, margins: Margins) -> Iterator[Measured]:
    """Yield the scores of both runs that one backbone gave."""
    odd = [name for name, _ in _odd_scores(a, b)]
    for scorer in a.run.scores:
        if scorer in odd:
            continue
        spec = registry.resolve("scorers", scorer).spec
        values = (PromptValues(*(v[s.place] for v in evidence.score_values(s.run, scorer))) for s in (a, b))
        better = None if spec.direction == "none" else spec.direction
        yield _quality(QUALITY, spec.values[0], *values, better=better, margin=margins.quality(spec.values[0]))


def _quality(
    attribute: str, name: str, a: PromptValues, b: PromptValues, *, better: Better | None, margin: float | None
) -> Measured:
    if margin is None or better is None:
        return _plain(attribute, name, a, b, better=better)
    return _plain(attribute, name, a, b, better=better, claim="preserved", margin=margin)


def _odd_scores(a: Side, b: Side) -> Iterator[tuple[str, str]]:
    """Yield the scorers whose values do not compare, and why."""
    for scorer in dict.fromkeys([*a.run.scores, *b.run.scores]):
        missing = next((s.letter for s in (a, b) if scorer not in s.run.scores), None)
        backbones = [s.run.record["scorers"].get(scorer, {}).get("backbone") for s in (a, b)]
        if (fault := _unusable(scorer)) is not None:
            yield scorer, f"as {fault.rstrip('.')}"
        elif missing is not None:
            yield scorer, f"as {missing} has none"
        elif backbones[0] != backbones[1]:
            yield scorer, f"as {a.letter} used {backbones[0]} and {b.letter} {backbones[1]}"


def _unusable(scorer: str) -> str | None:
    """Return why a scorer's values cannot be read: its plug-in, which says what they are, is broken or gone."""
    try:
        registry.resolve("scorers", scorer)
    except FairbenchError as err:
        return str(err)
    return None
