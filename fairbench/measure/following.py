"""Following by stated group, beside what the labeller's errors make of it; readings that a context makes customary.

Groups are those of one attribute (all prompts that state female), and those of all attributes that a prompt states
together. Beside each: images that were refused, and images without a face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from fairbench.labelling.labeller import LabelSpace
from fairbench.measure import stated as stated_of_prompts
from fairbench.measure.correction import Correction
from fairbench.measure.counts import Counts, cross_name, telling
from fairbench.measure.quantities import OTHER_PROMPTS, RANGE, THIS_LIST, Quantity, joined, left_out
from fairbench.measure.series import FACES
from fairbench.measure.stated import Followed, Stated, is_customary
from fairbench.stats import following, gaffke
from fairbench.stats.estimands import Floats
from fairbench.stats.following import Mask, Parts
from fairbench.stats.intervals import Interval
from fairbench.stats.units import Units
from fairbench.types import FloatArray, Prompt

FOLLOWING, GAP, STEREOTYPE, CUSTOMARY = "following", "following-gap", "stereotype-gap", "customary-reading"
REFUSED, NO_FACE, ALL_STATED = "refused", "no-face-rate", "attribute-following"
OWN_TABLES: Final = (FOLLOWING, GAP, STEREOTYPE, CUSTOMARY, REFUSED)
"""Estimates that tables of their own show, whatever group stands behind their name."""
AGAINST, ALONG = "against", "along"
"""Categories of prompts that state what is rare in a subject, and what is frequent."""
WILSON: Final = "Wilson's, at the images that the variance is worth"
NEWCOMBE: Final = "Newcombe's, of Wilson's limits"
TOO_FEW: Final = f"{gaffke.FEWEST} subjects are needed for a statement on others"
_SEED: Final = 1976


@dataclass(frozen=True, slots=True)
class Named:
    """A quantity with the `attribute` of its row."""

    attribute: str
    quantity: Quantity


def of_run(
    counts: Counts, prompts: Sequence[Prompt], correction: Correction, metrics: Sequence[str]
) -> Iterator[Named]:
    """Yield all that is estimated of prompts that state something; nothing where none does.

    metrics: names of those that were asked for.
    """
    instructed: list[Stated] = [{} if is_customary(p) else p.stated for p in prompts]
    if any(instructed):
        for names, stated in _by_attribute(counts.labeller, instructed):
            yield from _Reading(counts, prompts, correction, stated, cross_name(names)).by_group(names)
        yield from _not_told(counts.labeller, instructed)
        whole = _Reading(counts, prompts, correction, instructed, FACES)
        if ALL_STATED in metrics:
            yield from whole.raw(ALL_STATED, [(1.0, whole.asked)])
        yield from whole.by_stereotype()
    customary: list[Stated] = [p.stated if is_customary(p) else {} for p in prompts]
    if any(customary):
        yield from _Reading(counts, prompts, correction, customary, FACES).by_strength()
        single = list(_by_attribute(counts.labeller, customary, joint=False))
        for names, stated in single if len({tuple(s) for s in customary if s}) > 1 else ():
            yield from _Reading(counts, prompts, correction, stated, cross_name(names)).by_strength()


def _by_attribute(
    space: LabelSpace, stated: Sequence[Stated], *, joint: bool = True
) -> Iterator[tuple[tuple[str, ...], list[Stated]]]:
    """Yield every attribute with what prompts (P) state of it, then all that a prompt states together.

    What the labeller cannot tell is left out. joint: also what is stated together.
    """
    labels = space.declared.labels
    told = [{n: s[n] for n in labels if n in s and s[n] in labels[n]} for s in stated]
    for name in labels:
        if any(name in s for s in told):
            yield (name,), [{name: s[name]} if name in s else {} for s in told]
    together = dict.fromkeys(tuple(s) for s in told if len(s) > 1 and stated_of_prompts.unknown(space, s) is None)
    for names in together if joint else ():
        yield names, [s if tuple(s) == names else {} for s in told]


def _not_told(space: LabelSpace, stated: Sequence[Stated]) -> Iterator[Named]:
    """Yield the groups that are stated and that the labeller does not tell, each with the reason."""
    for name, label in dict.fromkeys(item for s in stated for item in s.items()):
        reason = stated_of_prompts.unknown(space, {name: label})
        if reason is not None:
            n = sum(s.get(name) == label for s in stated)
            none = {"prompts": 0, "reason": f"{reason}, which {n} prompts state", "counted": {}}
            yield Named(name, Quantity(f"{FOLLOWING}[{label}]", "raw", THIS_LIST, np.nan, columns=none))


def recalled(correction: Correction, names: Sequence[str]) -> FloatArray | None:
    """Return how often the labeller read each class of an attribute or cross as which, (K, K), truth first.

    Of the calibration's images whose face was read. None where the calibration does not cover it.
    """
    source = correction.source(names)
    if source is None:
        return None
    cells = len(source.calibration.cells)
    members = np.eye(max(source.groups) + 1)[source.groups]
    return np.asarray(members.T @ source.calibration.counts[:cells, :-1] @ members)


class _Reading:
    """What prompts (P) state of some attributes, and how their faces were read. name: `attribute` of its rows."""

    def __init__(
        self, counts: Counts, prompts: Sequence[Prompt], correction: Correction, stated: Sequence[Stated], name: str
    ) -> None:
        self.counts, self.prompts, self.correction, self.stated, self.name = counts, prompts, correction, stated, name
        self.followed: Followed = stated_of_prompts.read(counts, stated)
        self.asked = np.array([bool(s) for s in stated])
        """Which prompts state anything."""
        told = [s for s, faces in zip(stated, self.followed.of, strict=True) if faces]
        self.names = tuple(n for n in counts.labeller.declared.labels if any(n in s for s in told))
        self.subjects = np.unique([p.concept or p.subject or p.text for p in prompts], return_inverse=True)[1]

    def by_group(self, names: Sequence[str]) -> Iterator[Named]:
        """Yield following of all groups together, and of each; how far it is from the others; refusals, no faces."""
        group_of = np.array([" ".join(s.values()) for s in self.stated])
        groups = {g: group_of == g for g in self.counts.labeller.classes(names) if (group_of == g).any()}
        yield from self.everything(FOLLOWING, [(1.0, self.asked)])
        for group, part in groups.items():
            yield from self.everything(f"{FOLLOWING}[{group}]", [(1.0, part)])
        for group, part in groups.items() if len(groups) > 1 else ():
            if group in telling(list(groups)):
                others = [(-1 / (len(groups) - 1), other) for name, other in groups.items() if name != group]
                yield from self.everything(f"{GAP}[{group}]", [(1.0, part), *others])
        for group, part in groups.items():
            yield from self._rate(
                f"{NO_FACE}[{group}]", self.counts.images - self.counts.with_face, self.counts.images, part
            )
            yield from self._rate(f"{REFUSED}[{group}]", self.counts.refused, self.counts.requested, part)

    def by_stereotype(self) -> Iterator[Named]:
        """Yield following against and along the stereotype and its gap, where prompts say which they are."""
        against, along = (np.array([p.category == c for p in self.prompts]) & self.asked for c in (AGAINST, ALONG))
        if against.any() and along.any():
            yield from self.everything(f"{FOLLOWING}[{ALONG}]", [(1.0, along)])
            yield from self.everything(f"{FOLLOWING}[{AGAINST}]", [(1.0, against)])
            yield from self.everything(STEREOTYPE, [(1.0, along), (-1.0, against)])

    def by_strength(self) -> Iterator[Named]:
        """Yield the share that shows the customary reading, by what makes it customary."""
        for strength in stated_of_prompts.STRENGTHS:
            part = np.array([p.category == strength for p in self.prompts]) & self.asked
            if part.any():
                yield from self.everything(f"{CUSTOMARY}[{strength}]", [(1.0, part)])

    def everything(self, metric: str, parts: Parts) -> Iterator[Named]:
        """Yield a sum of parts as it was read, for this list and for other subjects, and with errors undone."""
        yield from self.raw(metric, parts)
        for estimate, values, columns in self._corrected(parts):
            columns = {"counted": self._counted(parts), "calibration": self.correction.sha256, **columns}
            yield Named(self.name, Quantity(metric, estimate, THIS_LIST, values, _limits(parts), columns))

    def raw(self, metric: str, parts: Parts) -> Iterator[Named]:
        """Yield a sum of parts as it was read, for this list and for other subjects."""
        found = following.total(self.followed.pairs, parts)
        columns = {"counted": self._counted(parts), "prompts": found.prompts}
        if np.isnan(found.estimate):
            why = next((r for r, asked in zip(self.followed.reasons, _any(parts), strict=True) if asked and r), None)
            yield Named(self.name, Quantity(metric, "raw", THIS_LIST, np.nan, columns={**columns, "reason": why}))
            return
        columns |= {"low": found.low, "high": found.high, "error": found.error, **self._readings(parts)}
        columns["ci_method"] = None if np.isnan(found.low) else WILSON if len(parts) == 1 else NEWCOMBE
        few = following.TOO_FEW if np.isnan(found.low) else None
        columns["reason"] = joined(self._left_out(found, parts), few)
        yield Named(self.name, Quantity(metric, "raw", THIS_LIST, found.estimate, columns=columns))
        yield from self._other_subjects(metric, parts)

    def _other_subjects(self, metric: str, parts: Parts) -> Iterator[Named]:
        """Yield a sum of parts for other subjects: prompts of one subject are no independent sample of prompts.

        Where there are too few, only the row of all groups together says so.
        """
        share, size = following.shares(self.followed.pairs), int(self.subjects.max()) + 1
        total = np.zeros(size)
        for coefficient, part in parts:
            kept = part & ~np.isnan(share)
            n = np.bincount(self.subjects[kept], minlength=size)
            sums = np.bincount(self.subjects[kept], share[kept], size)
            total += coefficient * sums / np.where(n > 0, n, np.nan)
        values: Floats = total[~np.isnan(total)]
        columns: dict[str, Any] = {"prompts": len(values), "counted": self._counted(parts)}
        if len(values) < gaffke.FEWEST:
            few = Quantity(metric, "raw", OTHER_PROMPTS, np.nan, columns={**columns, "reason": TOO_FEW})
            yield from () if "[" in metric else (Named(self.name, few),)
            return
        low, high = (float(limit) for limit in gaffke.mean_interval(values, *_limits(parts)))
        columns |= {"low": low, "high": high, "ci_method": "Gaffke's, over subjects"}
        yield Named(self.name, Quantity(metric, "raw", OTHER_PROMPTS, float(values.mean()), columns=columns))

    def _left_out(self, found: Interval, parts: Parts) -> str | None:
        """Return what to say of prompts that have no value, and why the first of them has none."""
        if not found.left_out:
            return None
        why = next(self.followed.reasons[i] for i in np.flatnonzero(_any(parts) & (self.followed.of == 0)).tolist())
        return f"over {found.prompts} of {found.prompts + found.left_out} prompts ({found.left_out} without: {why})"

    def _corrected(self, parts: Parts) -> Iterator[tuple[str, Interval | float, Mapping[str, Any]]]:
        """Yield an estimate's name, its values and further columns: a value, the ends of a range, or why neither."""
        refused = self._not_corrected
        if refused is not None or self._calibrated is None:
            yield "corrected", np.nan, {"prompts": 0, "reason": refused}
            return
        ends = [("corrected", None)] if self.correction.other_domain is None else []
        found = [self._calibrated.total(parts)] if ends else list(self._calibrated.range(parts))
        names = ["corrected"] if ends else ["corrected-lowest", "corrected-highest"]
        for name, interval in zip(names, found, strict=True):
            if np.isnan(interval.estimate):
                yield (
                    name,
                    np.nan,
                    {"prompts": interval.prompts, "reason": f"fewer than {following.FEWEST} images with a face"},
                )
                continue
            said = left_out(interval.prompts, interval.left_out)
            yield name, interval, {"reason": joined(said, None if ends else RANGE, self.correction.mark(self.names))}

    @cached_property
    def _not_corrected(self) -> str | None:
        return "no faces" if not self.names else self.correction.refused(self.names)

    @cached_property
    def _calibrated(self) -> following.Corrected | None:
        source = self.correction.source(self.names)
        if source is None:
            return None
        labels = self.counts.labeller.declared.labels
        shape = [len(labels[name]) for name in self.names]
        codes = dict(zip(self.names, np.unravel_index(np.array(source.groups), shape), strict=True))
        member = np.zeros((len(self.stated), len(source.groups)), dtype=bool)
        for i, (stated, of) in enumerate(zip(self.stated, self.followed.of, strict=True)):
            if of:
                member[i] = np.all([codes[n] == labels[n].index(label) for n, label in stated.items()], axis=0)
        observed = self.correction.observed(self.names, self.counts)
        rng = np.random.default_rng([_SEED, len(member), *shape])
        return following.Corrected(observed, source.calibration.counts, member, rng)

    def _readings(self, parts: Parts) -> dict[str, Any]:
        """Return what two models would read here: the columns floor and ceiling.

        ceiling: of one that always draws what is stated: the labeller's recall. floor: of one that draws all classes
        equally often, whatever is stated. Of a gap the floor is the gap that the labeller reads where none is.
        """
        recall, ignoring = np.full(len(self.stated), np.nan), np.full(len(self.stated), np.nan)
        known = True
        for i in np.flatnonzero(self.followed.of).tolist():
            names = tuple(self.stated[i])
            rates, classes = self._rates(names), self.counts.labeller.classes(names)
            own = classes.index(" ".join(self.stated[i].values()))
            known &= rates is not None
            ignoring[i] = 1 / len(classes) if rates is None else rates[:, own].mean()
            recall[i] = 1.0 if rates is None else rates[own, own]
        sha = {"calibration": self.correction.sha256 if known else None}
        if len(parts) == 1:
            return {"floor": _sum(ignoring, parts), "ceiling": _sum(recall, parts) if known else np.nan, **sha}
        return {"floor": _sum(recall, parts) if known else np.nan, **sha}

    def _rates(self, names: tuple[str, ...]) -> FloatArray | None:
        """Return P(read as class | true class, a face), (K, K); None where it is not known."""
        counts = recalled(self.correction, names)
        if counts is None or (counts.sum(axis=1) == 0).any():
            return None
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def _rate(self, metric: str, some: Any, of: Any, part: Mask) -> Iterator[Named]:
        """Yield a share of the images of a part."""
        found = following.total(Units(np.eye(2, dtype=np.int64), np.stack([some, of - some], axis=1)), [(1.0, part)])
        columns = {"low": found.low, "high": found.high, "error": found.error, "ci_method": WILSON}
        columns |= {"prompts": found.prompts, "counted": self._counted([(1.0, part)])}
        if np.isnan(found.low):
            columns |= {"ci_method": None, "reason": f"fewer than {following.FEWEST} images: no interval"}
        yield Named(self.name, Quantity(metric, "raw", THIS_LIST, found.estimate, columns=columns))

    def _counted(self, parts: Parts) -> dict[str, int]:
        """Return the numbers of requests, images and faces behind the prompts of the parts."""
        prompts, of = _any(parts), self.followed.of
        numbers = {"n_requested": self.counts.requested, "n_images": self.counts.images}
        numbers |= {"n_faces": of, "n_excluded": self.counts.selected - of}
        return {name: int(n[prompts].sum()) for name, n in numbers.items()}


def _any(parts: Parts) -> Mask:
    return np.asarray(np.any([part for _, part in parts], axis=0))


def _limits(parts: Parts) -> tuple[float, float]:
    return (0.0, 1.0) if len(parts) == 1 else (-1.0, 1.0)


def _sum(values: Floats, parts: Parts) -> float:
    """Return the sum of the parts' means of values (P,), NaN left out."""
    return float(sum(c * np.mean(values[part & ~np.isnan(values)]) for c, part in parts))
