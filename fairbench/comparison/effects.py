"""The effects between two runs over the same prompts: what differs, by how much, in both scopes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairbench import registry
from fairbench.cards.cards import RESERVED
from fairbench.comparison import corrected as corrected_values
from fairbench.comparison.claims import claims
from fairbench.comparison.margins import Margins
from fairbench.comparison.sides import QUOTA, Side, of_prompts, primary_attributes, shared_attributes
from fairbench.comparison.verdicts import CONCENTRATION, RD, Row
from fairbench.errors import FairbenchError
from fairbench.measure.counts import cross_name
from fairbench.measure.following import CUSTOMARY
from fairbench.measure.stated import customary, followed
from fairbench.runs import evidence
from fairbench.stats import gaffke, intervals, paired, rarefaction
from fairbench.stats.difference import concentration_difference
from fairbench.stats.estimands import IntArray
from fairbench.stats.intervals import PromptValues
from fairbench.stats.paired import Better, Effect, Pairs
from fairbench.stats.units import Data, as_units
from fairbench.types import FloatArray

MIN_FACES_PER_PROMPT: Final = 10
"""Faces that a prompt must have in both runs: with fewer, RD says next to nothing of the prompt."""
FACES, QUALITY = RESERVED
ONE_PROMPT: Final = "one prompt is too few for a test: its error is not known well enough"
_SEED: Final = 1955
_REDRAWS: Final = 400
"""Bootstrap redraws of a prompt's images: the mean over prompts averages the rest of their noise away."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """One quantity of two runs, prompt by prompt. columns: those of its rows that both scopes share.

    images_se: the s.e. of the mean difference from drawing images. limits: the range of a prompt's difference; None:
    it has none that is known. calibration_se: what calibrations add to any standard error. steeper: as in `Effect`.
    """

    columns: Mapping[str, Any]
    pairs: Pairs
    images_se: float
    limits: tuple[float, float] | None = None
    calibration_se: float = 0.0
    steeper: tuple[float, float] = (0.0, 0.0)

    def effect(self) -> Effect:
        """Return the effect over this list."""
        plain = paired.effect(self.pairs, math.hypot(self.images_se, self.calibration_se))
        return replace(plain, steeper=self.steeper)


def effects(a: Side, b: Side, margins: Margins, alpha: float) -> tuple[list[Row], list[str]]:
    """Return every effect B - A, in both scopes, with unadjusted p-values; and what could not be compared, in words.

    The rows have no verdicts yet.
    """
    not_corrected = corrected_values.why_none(a, b)
    not_compared = dict(_scores_that_differ(a, b))
    notes = [f"{scorer}: not compared, {reason}." for scorer, reason in not_compared.items()]
    if not_corrected is not None:
        notes.insert(0, f"{b.letter} - {a.letter} is not adjusted: {not_corrected}.")
    quantities = [
        *_of_labels(a, b, margins, corrected=not_corrected is None),
        *_without_face(a, b, margins),
        *_following(a, b, margins),
        *_customary(a, b, margins),
        *_scores(a, b, margins, [s for s in a.run.scores if s not in not_compared]),
    ]
    rows = [row for quantity in quantities for row in _rows(a, b, quantity, alpha)]
    return [*rows, *claims(a, b, margins, alpha)], notes


def _rows(a: Side, b: Side, quantity: Quantity, alpha: float) -> Iterator[Row]:
    """Yield a quantity's rows: of this list with tests, of other prompts with an interval alone."""
    effect = quantity.effect()
    counts = {"n_prompts": effect.n_pairs, "left_out": effect.n_left_out}
    columns = {**quantity.columns, **counts, "baseline": a.letter, "run": b.letter}
    row = Row(scope="this list", effect=effect.estimate, **columns)
    # Of quality a quota leaves the images as different as draws are, at most.
    if (a.quota or b.quota) and row.attribute not in RESERVED:
        yield replace(row, reason=QUOTA)
    elif effect.n_pairs == 1 and row.estimand.startswith((CONCENTRATION, RD)):
        yield replace(row, reason=ONE_PROMPT)
    else:
        low, high = effect.interval(1 - alpha)
        yield replace(row, low=low, high=high, p=effect.p_value(), p_equivalence=_margin_p(effect, row))
    other = replace(row, scope="other prompts", claim=None, margin=math.nan)
    if quantity.limits is None:
        yield replace(other, reason="its range is not known, and the interval for other prompts needs one")
    elif effect.n_pairs < gaffke.FEWEST:
        yield replace(other, reason=gaffke.TOO_FEW)
    else:
        low, high = paired.other_prompts(quantity.pairs, *quantity.limits, 1 - alpha, quantity.calibration_se)
        yield replace(other, low=low, high=high)


def _margin_p(effect: Effect, row: Row) -> float:
    if row.claim == "equivalent":
        return effect.equivalence_p(row.margin)
    if row.claim == "preserved" and row.better is not None:
        return effect.non_inferiority_p(row.margin, row.better)
    return math.nan


def _quantity(
    attribute: str, estimand: str, runs: Iterable[PromptValues], limits: tuple[float, float] | None, **columns: Any
) -> Quantity:
    """Return the quantity whose values and variances two runs have for each prompt. limits: of one run's value."""
    a, b = runs
    pairs = paired.pair(a.value, b.value)
    means = _means(a.value, b.value, pairs)
    images_se = paired.independent_se(pairs, a.variance, b.variance)
    width = None if limits is None else (limits[0] - limits[1], limits[1] - limits[0])
    return Quantity({"attribute": attribute, "estimand": estimand, **means, **columns}, pairs, images_se, width)


def _means(a: FloatArray, b: FloatArray, pairs: Pairs) -> dict[str, float]:
    """Return the means of both runs over the prompts used."""
    used = pairs.in_both
    return {name: float(values[used].mean()) if used.any() else math.nan for name, values in (("a", a), ("b", b))}


def _of_labels(a: Side, b: Side, margins: Margins, *, corrected: bool) -> Iterator[Quantity]:
    """Yield what the labels give: concentration raw and corrected, RD at the smaller face count, the signed gaps."""
    primary = primary_attributes(a)
    for names in shared_attributes(a, b):
        name, classes = cross_name(names), a.run.counts.labeller.classes(names)
        k, data = len(classes), (a.data(names), b.data(names))
        raw = concentration_difference(*data)
        width = 1 - min(map(intervals.lowest_concentration, data))
        common = {"attribute": name, "estimand": CONCENTRATION, "primary": names in primary, "better": "lower"}
        common |= _means(raw.a.value, raw.b.value, raw.pairs)
        yield Quantity(common, raw.pairs, raw.effect.se, (-width, width), steeper=raw.effect.steeper)
        if corrected and (difference := corrected_values.difference(a, b, names)) is not None:
            means = _means(difference.a, difference.b, difference.pairs)
            columns = {"attribute": name, "estimand": f"{CONCENTRATION} corrected", "better": "lower", **means}
            # Corrected values are not cut, so a prompt's difference may exceed that of two concentrations.
            reach = float(np.abs(difference.pairs.difference).max(initial=1.0))
            yield Quantity(columns, difference.pairs, difference.images, (-reach, reach), difference.shared)
        margin = margins.rd(name, k)
        claim: dict[str, Any] = {"claim": "equivalent", "margin": margin} if margin is not None else {}
        yield _quantity(name, RD, diversity(data), (0.0, 2 / k), better="lower", **claim)
        for i, label in enumerate(classes[:1] if k == 2 else classes):  # of two classes, one gap is minus the other
            yield _quantity(name, f"gap[{label}]", (_gap(d, i, k) for d in data), (-1 / (k - 1), 1.0))


def diversity(data: Sequence[Data]) -> list[PromptValues]:
    """Return, for each run, RD at the smallest number of images with a face that any of the runs has in the prompt.

    NaN below `MIN_FACES_PER_PROMPT` of them. Every run gets the same random numbers for its variances.
    """
    n0, enough = common_images(data)
    values_of_runs = []
    for data_of_run in data:
        value, variance = np.full(n0.shape, np.nan), np.full(n0.shape, np.nan)
        some, rng = of_prompts(data_of_run, enough), np.random.default_rng(_SEED)
        value[enough], variance[enough], _ = rarefaction.rd_at_of_prompts(some, n0[enough], rng, _REDRAWS)
        values_of_runs.append(PromptValues(value, variance))
    return values_of_runs


def common_faces(data: Sequence[Data]) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the smallest number of faces (P,) that any run has in each prompt, and where it is enough for RD."""
    n0 = np.min([as_units(d).counts.sum(axis=1) for d in data], axis=0)
    return n0, n0 >= MIN_FACES_PER_PROMPT


def common_images(data: Sequence[Data]) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the fewest images with a face (P,) that any run has in each prompt, and where they are enough for RD."""
    n0 = np.min([as_units(d).times.sum(axis=1) for d in data], axis=0)
    return n0, n0 >= MIN_FACES_PER_PROMPT


def _gap(data: Data, i: int, k: int) -> PromptValues:
    """Return class i's share minus the mean share of the others."""
    share = intervals.share_of_prompts(data, i)
    return PromptValues((k * share.value - 1) / (k - 1), share.variance * (k / (k - 1)) ** 2)


def _without_face(a: Side, b: Side, margins: Margins) -> Iterator[Quantity]:
    """Yield the share of images without a face: what is not seen is not measured."""
    counts = [(side, side.run.counts) for side in (a, b)]
    shares = [_share(side, c.images - c.with_face, c.images) for side, c in counts]
    yield _quality(FACES, "no-face-rate", shares, "lower", margins, (0.0, 1.0))


def _following(a: Side, b: Side, margins: Margins) -> Iterator[Quantity]:
    """Yield the share of faces that show what their prompt states, where prompts state something."""
    sides = [(side, followed(side.run.counts, side.run.prompts)) for side in (a, b)]
    shares = [_share(side, following.right, following.of) for side, following in sides if following is not None]
    if len(shares) == len(sides):
        yield _quality(FACES, "attribute-following", shares, "higher", margins, (0.0, 1.0))


def _customary(a: Side, b: Side, margins: Margins) -> Iterator[Quantity]:
    """Yield the share showing the customary reading, by what makes it customary; neither direction is better."""
    of_a, of_b = (customary(side.run.counts, side.run.prompts) for side in (a, b))
    for strength in (s for s in of_a if s in of_b):
        shares = [_share(side, of[strength].right, of[strength].of) for side, of in ((a, of_a), (b, of_b))]
        yield _quality(FACES, f"{CUSTOMARY}[{strength}]", shares, None, margins, (0.0, 1.0))


def _share(side: Side, part: IntArray, whole: IntArray) -> PromptValues:
    """Return the share that `part` (P,) is of `whole`, over the common prompts."""
    return intervals.share_of_prompts(np.stack([part, whole - part], axis=1)[side.positions], 0)


def _scores(a: Side, b: Side, margins: Margins, scorers: Sequence[str]) -> Iterator[Quantity]:
    for scorer in scorers:
        spec = registry.resolve("scorers", scorer).spec
        values = [PromptValues(*(v[s.positions] for v in evidence.score_values(s.run, scorer))) for s in (a, b)]
        better = None if spec.direction == "none" else spec.direction
        yield _quality(QUALITY, spec.values[0], values, better, margins)


def _quality(
    attribute: str,
    name: str,
    runs: list[PromptValues],
    better: Better | None,
    margins: Margins,
    limits: tuple[float, float] | None = None,
) -> Quantity:
    """Return a quantity that is to be preserved within its margin, where it has one."""
    margin = margins.values.get(name)
    claim: dict[str, Any] = {} if margin is None or better is None else {"claim": "preserved", "margin": margin}
    return _quantity(attribute, name, runs, limits, better=better, **claim)


def _scores_that_differ(a: Side, b: Side) -> Iterator[tuple[str, str]]:
    """Yield the scorers whose values do not compare, and why."""
    for scorer in dict.fromkeys([*a.run.scores, *b.run.scores]):
        missing = next((s.letter for s in (a, b) if scorer not in s.run.scores), None)
        backbones = [getattr(s.run.record.scorers.get(scorer), "backbone", None) for s in (a, b)]
        if (fault := _unusable(scorer)) is not None:
            yield scorer, f"as {fault.rstrip('.')}"
        elif missing is not None:
            yield scorer, f"as {missing} has none"
        elif backbones[0] != backbones[1]:
            yield scorer, f"as {a.letter} used {backbones[0]} and {b.letter} {backbones[1]}"


def _unusable(scorer: str) -> str | None:
    """Return why a scorer's values cannot be read: its plug-in, which describes them, is broken or absent."""
    try:
        registry.resolve("scorers", scorer)
    except FairbenchError as err:
        return str(err)
    return None
