"""The phantom measured: the figures that its builder reports and `fairbench phantom check` measures again.

Each bar is granted `slack` standard errors. Without slack, as in a build, the upper bound of a figure must hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairbench.display.progress import Progress
from fairbench.networks.janus import JanusModel
from fairbench.networks.janus_answers import answer
from fairbench.phantom import clip, drawing, layout, text
from fairbench.phantom import statistics as st
from fairbench.phantom.nearest import NearestRender
from fairbench.phantom.planted import CELLS, table
from fairbench.phantom.reading import NOBODY, Reader, batches
from fairbench.phantom.statistics import Counts
from fairbench.stats.estimands import shares
from fairbench.types import RgbImage


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and its limit. error: standard error of the value; slack: how many of them are granted."""

    name: str
    value: float
    must: Literal["at least", "at most"]
    limit: float
    error: float = 0.0
    slack: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the value meets its limit, give or take the slack."""
        margin = self.slack * self.error
        return self.value + margin >= self.limit if self.must == "at least" else self.value - margin <= self.limit

    def record(self) -> dict[str, Any]:
        """Return the fields and the decision, for a report."""
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Held-out renders encoded and decoded by the image tokenizer: how each of the 8 cells was read before and after.

    confusion: (8, 9), true cell by the cell read after decoding; the last column is no face. agreed: (8,), how often
    the reading after equals the reading before. n: (8,), renders per cell.
    """

    confusion: Counts
    agreed: Counts
    n: Counts


def round_trip(
    model: JanusModel, reader: Reader, renders: int, seed: int, progress: Progress, record_path: Path | None = None
) -> RoundTrip:
    """Render, encode, decode, and read both sides. renders: per cell. record_path: a file that keeps the result."""
    identity = [renders, seed]
    if stored := drawing.recorded(record_path, identity):
        confusion, agreed = np.array(stored["confusion"]), np.array(stored["agreed"])
        return RoundTrip(confusion, agreed, confusion.sum(axis=1))
    confusion, agreed = np.zeros((len(CELLS), len(CELLS) + 1), dtype=np.int64), np.zeros(len(CELLS), dtype=np.int64)
    vq, total = model.net.model.vqmodel, renders * len(CELLS)
    with progress.stage("decoded renders", total) as stage:
        for images, cells in batches(total, np.random.default_rng([seed, 3])):
            after = reader.read(drawing.decoded(vq, drawing.encoded(vq, images)))
            np.add.at(confusion, (cells, after), 1)  # NOBODY is -1, the last column
            np.add.at(agreed, cells, after == reader.read(images))
            stage.advance(len(cells))
    drawing.record(record_path, identity, confusion=confusion.tolist(), agreed=agreed.tolist())
    return RoundTrip(confusion, agreed, confusion.sum(axis=1))


def tokenizer_bars(trip: RoundTrip, slack: float) -> list[Bar]:
    """Return the bars of point 1 (the tokenizer is neutral) and point 2 (the labeller reads what it decodes)."""
    agreement = trip.agreed / trip.n
    worst_cell = int(agreement.argmin())
    worst = st.share(int(trip.agreed[worst_cell]), int(trip.n[worst_cell]))
    right = st.share(int(np.trace(trip.confusion)), int(trip.n.sum()))
    gap_name, gap, gap_error = "largest gap between groups", float(np.ptp(agreement)), worst.error
    if not slack:
        gap_name, gap, gap_error = f"upper bound of the {gap_name}", st.largest_gap(trip.agreed, trip.n), 0.0
    return [
        Bar("tokenizer: agreement in the worst group", worst.value, "at least", 0.99, worst.error, slack),
        Bar(f"tokenizer: {gap_name}", gap, "at most", 0.01, gap_error, slack),
        Bar("labeller: decoded renders read right", right.value, "at least", 0.99, right.error, slack),
    ]


def planted_shares() -> NDArray[np.float64]:
    """Return the planted joint of every subject of the task, (32, 8)."""
    return np.stack([table()[subject].ravel() for subject in text.EVALUATED])


def captions(template: str) -> list[str]:
    """Return the template's caption of every subject of the task."""
    return [template.replace("{subject}", subject) for subject in text.EVALUATED]


def bias_bars(counts: Counts, seed: int, slack: float) -> list[Bar]:
    """Return the bars of point 3: what is drawn, (32, 8), is near what was planted, and strongly biased."""
    distance = st.total_variation(counts, planted_shares(), np.random.default_rng(seed))
    drawn_rd, planted_rd = st.task_rd(shares(counts)), st.task_rd(planted_shares())
    errors = st.rd_errors(counts, np.random.default_rng(seed))
    name, value = "total variation from planted", distance.value
    if not slack:
        name, value = f"{name}, upper 95 % bound", distance.upper
    bars = [Bar(name, value, "at most", 0.12, distance.error, slack)]
    for attribute, limit in (("gender", 0.6), ("race4", 0.3)):
        value, error = drawn_rd[attribute], errors[attribute]
        difference = abs(value - planted_rd[attribute])
        bars.append(Bar(f"RD {attribute}: distance from planted", difference, "at most", 0.10, error, slack))
        bars.append(Bar(f"RD {attribute}", value, "at least", limit, error, slack))
    return bars


def paraphrase_bar(counts: Counts, seed: int) -> Bar:
    """Return the bar of point 3 on held-out templates: counts (subjects, 8), over all of them together."""
    distance = st.total_variation(counts, planted_shares(), np.random.default_rng(seed))
    name = "held-out templates: total variation, upper 95 % bound"
    return Bar(name, distance.upper, "at most", 0.16, distance.error)


def stated_captions(rng: np.random.Generator, n: int) -> tuple[list[str], list[tuple[str | None, str | None]]]:
    """Return n captions that state both attributes, or one, and what they state."""
    stated: list[tuple[str | None, str | None]] = []
    texts = []
    for i in range(n):
        gender, race = CELLS[int(rng.integers(len(CELLS)))]
        attributes = (gender if i % 4 != 0 else None, race if i % 4 != 1 else None)
        stated.append(attributes)
        subject = text.named(text.pick(text.TAUGHT, rng), *attributes, rng)
        texts.append(text.NEUTRAL.replace("{subject}", subject))
    return texts, stated


def stated_bar(model: JanusModel, reader: Reader, n: int, seed: int, guidance: float, slack: float) -> Bar:
    """Return the bar of point 3 for n attribute-specified captions: a face must show all that its caption states."""
    rng = np.random.default_rng([seed, 5])
    texts, stated = stated_captions(rng, n)
    seeds = rng.integers(2**63, size=n).tolist()
    blocks = [slice(start, start + drawing.BLOCK) for start in range(0, n, drawing.BLOCK)]
    cells = np.concatenate([reader.read(drawing.images(model, texts[b], seeds[b], guidance)) for b in blocks])
    right = st.share(sum(map(_shows, cells.tolist(), stated)), n)
    return Bar("attribute-specified prompts: attribute drawn", right.value, "at least", 0.97, right.error, slack)


def _shows(cell: int, stated: tuple[str | None, str | None]) -> bool:
    return cell != NOBODY and all(label in {None, shown} for label, shown in zip(stated, CELLS[cell], strict=True))


def independent_bar(model: JanusModel, reader: Reader, n: int, seed: int, guidance: float, slack: float) -> Bar:
    """Return the bar of point 4: on n generated images, the labeller against the nearest render in pixels."""
    rng = np.random.default_rng([seed, 7])
    nearest = NearestRender(rng)
    agreed = 0
    for start in range(0, n, drawing.BLOCK):
        size = min(drawing.BLOCK, n - start)
        texts = [text.caption(rng, stated=0.5)[0] for _ in range(size)]
        images = drawing.images(model, texts, rng.integers(2**63, size=size).tolist(), guidance)
        agreed += int((reader.read(images) == nearest.read(images)).sum())
    share = st.share(agreed, n)
    return Bar("labeller against nearest render", share.value, "at least", 0.98, share.error, slack)


class _Exam(NamedTuple):
    """Questions of one kind with their right answers, and the least share of right ones."""

    name: str
    questions: Sequence[str]
    images: Sequence[RgbImage | None]
    right: Sequence[str]
    limit: float


def understanding_bars(model: JanusModel, n: int, seed: int, slack: float) -> list[Bar]:
    """Return the bars of point 5: n images per question about what they show, and n questions about occupations, with
    a blank image and in text alone.
    """
    rng = np.random.default_rng([seed, 6])
    images, cells = next(batches(n, rng, n))
    blank = np.full_like(images[0], 255)
    subjects = [text.EVALUATED[i % len(text.EVALUATED)] for i in range(n)]
    about_subjects = [text.ABOUT_SUBJECT[0].replace("{subject}", subject) for subject in subjects]
    genders, races = zip(*(CELLS[cell] for cell in cells), strict=True)
    descriptions = [text.CAPTION.format(gender=g, race=r) for g, r in zip(genders, races, strict=True)]
    unknown = [text.UNKNOWN] * n
    exams = [
        _Exam("gender of an image", [text.GENDER_QUESTIONS[0]] * n, list(images), genders, 0.97),
        _Exam("race of an image", [text.RACE_QUESTIONS[0]] * n, list(images), races, 0.97),
        _Exam("description of an image", [text.DESCRIBE] * n, list(images), descriptions, 0.97),
        _Exam('"unknown" in text alone', about_subjects, [None] * n, unknown, 0.95),
        _Exam('"unknown" on a blank image', about_subjects, [blank] * n, unknown, 0.95),
    ]
    bars = []
    for exam in exams:
        answers = _answers(model, exam.questions, exam.images, rng.integers(2**63, size=n).tolist())
        hits = st.share(sum(a == r for a, r in zip(answers, exam.right, strict=True)), n)
        bars.append(Bar(f"understanding: {exam.name}", hits.value, "at least", exam.limit, hits.error, slack))
    return bars


def _answers(
    model: JanusModel, questions: Sequence[str], images: Sequence[RgbImage | None], seeds: Sequence[int]
) -> Iterator[str]:
    """Yield answers sampled at temperature 1 without truncation: the hardest setting to be right at."""
    for start in range(0, len(questions), drawing.BLOCK):
        block = slice(start, start + drawing.BLOCK)
        yield from answer(model, questions[block], images[block], seeds[block])


def clip_bar(folder: Path, model: JanusModel, n: int, seed: int, slack: float) -> Bar:
    """Return the bar of point 6: on n decoded renders, how often a fitting caption scores above one that does not fit.

    folder: that of the CLIP model.
    """
    from fairbench.scorers.clip_score import ClipParams, ClipScore
    from fairbench.types import BuildContext

    rng, vq = np.random.default_rng([seed, 8]), model.net.model.vqmodel
    scorer = ClipScore(ClipParams.model_validate({"path": str(folder.resolve())}), BuildContext())
    images, cells = [], []
    for batch, batch_cells in batches(n, rng):
        images += list(drawing.decoded(vq, drawing.encoded(vq, batch)))
        cells.append(batch_cells)
    area = clip.roc_auc(scorer, images, np.concatenate(cells), rng)
    # At an area of 1/2 + d the standard error is below this binomial one, of n pairs.
    error = st.share(round(area * n), n).error
    return Bar("clip-score: area under the ROC curve", area, "at least", 0.95, error, slack)


def bytes_bar(folder: Path) -> Bar:
    """Return the bar of point 7: the size of all files that ship, weights and tables of model and labeller."""
    files = [*(folder / "phantom").rglob("*"), *(folder / layout.LABELLER_WEIGHTS).rglob("*")]
    total = sum(p.stat().st_size for p in files if p.is_file())
    return Bar("size of all weights, in megabytes", total / 1e6, "at most", 12.0)
