"""The phantom measured: the figures that its builder reports and `fairbench phantom check` measures again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fairbench.display.progress import Progress
from fairbench.networks.janus import JanusModel
from fairbench.networks.janus_answers import answer
from fairbench.phantom import drawing, text
from fairbench.phantom import statistics as st
from fairbench.phantom.planted import CELLS, table
from fairbench.phantom.reading import NOBODY, NearestRender, Reader, batches
from fairbench.stats.estimands import shares
from fairbench.storage import atomic
from fairbench.types import RgbImage

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and what it must be. error: standard error of the value; slack: how many of them are granted."""

    name: str
    value: float
    must: Literal["at least", "at most"]
    limit: float
    error: float = 0.0
    slack: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the value meets its limit, give or take the slack."""
        room = self.slack * self.error
        return self.value + room >= self.limit if self.must == "at least" else self.value - room <= self.limit

    def record(self) -> dict[str, Any]:
        """Return the fields and the decision, for a report."""
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Passage:
    """Held-out renders through the tokenizer: how each of the 8 cells was read, before and after.

    confusion: (8, 9), true cell by the cell read after decoding; the last column is no face. agreed: (8,), how often
    the reading after equals the reading before. n: (8,).
    """

    confusion: Counts
    agreed: Counts
    n: Counts


def passage(
    model: JanusModel, reader: Reader, each: int, seed: int, progress: Progress, keep: Path | None = None
) -> Passage:
    """Render `each` images a cell, encode, decode, and read both sides. keep: a file where the result is remembered."""
    if keep and keep.exists():
        stored = json.loads(keep.read_text(encoding="utf-8"))
        if stored["of"] == [each, seed]:
            confusion = np.array(stored["confusion"])
            return Passage(confusion, np.array(stored["agreed"]), confusion.sum(axis=1))
    found = _passage(model, reader, each, seed, progress)
    if keep:
        record = {"of": [each, seed], "confusion": found.confusion.tolist(), "agreed": found.agreed.tolist()}
        atomic.write_text(keep, json.dumps(record) + "\n")
    return found


def _passage(model: JanusModel, reader: Reader, each: int, seed: int, progress: Progress) -> Passage:
    confusion, agreed = np.zeros((len(CELLS), len(CELLS) + 1), dtype=np.int64), np.zeros(len(CELLS), dtype=np.int64)
    vq, total = model.net.model.vqmodel, each * len(CELLS)
    with progress.stage("decoded renders", total) as stage:
        for images, cells in batches(total, np.random.default_rng([seed, 3])):
            after = reader.read(drawing.decoded(vq, drawing.encoded(vq, images)))
            np.add.at(confusion, (cells, after), 1)  # NOBODY is -1, the last column
            np.add.at(agreed, cells, after == reader.read(images))
            stage.advance(len(cells))
    return Passage(confusion, agreed, confusion.sum(axis=1))


def tokenizer_bars(found: Passage, slack: float) -> list[Bar]:
    """Point 1: the tokenizer is neutral; point 2: the labeller reads what it decodes."""
    worst = st.share(
        *min(zip(found.agreed.tolist(), found.n.tolist(), strict=True), key=lambda pair: pair[0] / pair[1])
    )
    bars = [Bar("tokenizer: agreement in the worst group", worst.value, "at least", 0.99, worst.error, slack)]
    if slack:
        agreement = found.agreed / found.n
        gap = float(agreement.max() - agreement.min())
        bars.append(Bar("tokenizer: largest gap between groups", gap, "at most", 0.01, worst.error, slack))
    else:
        gap = st.largest_gap(found.agreed, found.n)
        bars.append(Bar("tokenizer: upper bound of the largest gap between groups", gap, "at most", 0.01))
    right = st.share(int(np.trace(found.confusion)), int(found.n.sum()))
    return [*bars, Bar("labeller: decoded renders read right", right.value, "at least", 0.99, right.error, slack)]


def planted_shares() -> NDArray[np.float64]:
    """Return the planted joint of every subject of the task, (32, 8)."""
    return np.stack([table()[subject].ravel() for subject in text.EVALUATED])


def captions(template: str) -> list[str]:
    """Return the template's caption of every subject of the task."""
    return [template.replace("{subject}", subject) for subject in text.EVALUATED]


def bias_bars(counts: Counts, seed: int, slack: float) -> list[Bar]:
    """Point 3: what is drawn is near what was planted, and strongly biased. Without slack, by the upper bound."""
    tv = st.total_variation(counts, planted_shares(), np.random.default_rng(seed))
    drawn, meant = st.task_rd(shares(counts)), st.task_rd(planted_shares())
    errors = st.rd_errors(counts, np.random.default_rng(seed))
    bars = [
        Bar("total variation from planted", tv.value, "at most", 0.12, tv.error, slack)
        if slack
        else Bar("total variation from planted, upper 95 % bound", tv.upper, "at most", 0.12, tv.error)
    ]
    for name, least in (("gender", 0.6), ("race4", 0.3)):
        away = abs(drawn[name] - meant[name])
        bars.append(Bar(f"RD {name}: distance from planted", away, "at most", 0.10, errors[name], slack))
        bars.append(Bar(f"RD {name}", drawn[name], "at least", least, errors[name], slack))
    return bars


def paraphrase_bar(counts: Counts, seed: int) -> Bar:
    """Point 3, on templates that were held out: counts (subjects, 8), over all of them together."""
    tv = st.total_variation(counts, planted_shares(), np.random.default_rng(seed))
    return Bar("held-out templates: total variation, upper 95 % bound", tv.upper, "at most", 0.16, tv.error)


def stated_captions(rng: np.random.Generator, n: int) -> tuple[list[str], list[tuple[str | None, str | None]]]:
    """Return n captions that state both attributes, or one, and what they state."""
    stated: list[tuple[str | None, str | None]] = []
    texts = []
    for i in range(n):
        gender, race = CELLS[int(rng.integers(len(CELLS)))]
        named = (gender if i % 4 != 0 else None, race if i % 4 != 1 else None)
        stated.append(named)
        subject = text.named(text.pick(text.TAUGHT, rng), *named, rng)
        texts.append(text.NEUTRAL.replace("{subject}", subject))
    return texts, stated


def stated_bar(model: JanusModel, reader: Reader, n: int, seed: int, guidance: float, slack: float) -> Bar:
    """Point 3: n attribute-specified captions; a face must show all that its caption states."""
    rng = np.random.default_rng([seed, 5])
    texts, stated = stated_captions(rng, n)
    seeds = [int(s) for s in rng.integers(2**63, size=n)]
    parts = [slice(start, start + drawing.BLOCK) for start in range(0, n, drawing.BLOCK)]
    cells = np.concatenate([reader.read(drawing.images(model, texts[p], seeds[p], guidance)) for p in parts])
    right = st.share(sum(_shows(cell, what) for cell, what in zip(cells, stated, strict=True)), n)
    return Bar("attribute-specified prompts: attribute drawn", right.value, "at least", 0.97, right.error, slack)


def _shows(cell: int, stated: tuple[str | None, str | None]) -> bool:
    return cell != NOBODY and all(want in {None, has} for want, has in zip(stated, CELLS[cell], strict=True))


def independent_bar(model: JanusModel, reader: Reader, n: int, seed: int, guidance: float, slack: float) -> Bar:
    """Point 4: on n generated images, the labeller against the nearest render in pixels."""
    rng = np.random.default_rng([seed, 7])
    other = NearestRender(rng)
    agreed = 0
    for start in range(0, n, drawing.BLOCK):
        size = min(drawing.BLOCK, n - start)
        asked = [text.caption(rng, stated=0.5)[0] for _ in range(size)]
        drawn = drawing.images(model, asked, [int(s) for s in rng.integers(2**63, size=size)], guidance)
        agreed += int((reader.read(drawn) == other.read(drawn)).sum())
    share = st.share(agreed, n)
    return Bar("labeller against nearest render", share.value, "at least", 0.98, share.error, slack)


def understanding_bars(model: JanusModel, n: int, seed: int, slack: float) -> list[Bar]:
    """Point 5: n images a question about what they show; n questions about occupations, blank and in text alone."""
    rng = np.random.default_rng([seed, 6])
    images, cells = next(batches(n, rng, n))
    blank = np.full_like(images[0], 255)
    subjects = [text.EVALUATED[i % len(text.EVALUATED)] for i in range(n)]
    asked = [text.ABOUT_SUBJECT[0].replace("{subject}", s) for s in subjects]
    genders, races = zip(*(CELLS[cell] for cell in cells), strict=True)
    described = [text.CAPTION.format(gender=g, race=r) for g, r in zip(genders, races, strict=True)]
    told: list[tuple[str, Sequence[str], Sequence[RgbImage | None], Sequence[str], float]] = [
        ("gender of an image", [text.GENDER_QUESTIONS[0]] * n, list(images), genders, 0.97),
        ("race of an image", [text.RACE_QUESTIONS[0]] * n, list(images), races, 0.97),
        ("description of an image", [text.DESCRIBE] * n, list(images), described, 0.97),
        ('"unknown" in text alone', asked, [None] * n, [text.UNKNOWN] * n, 0.95),
        ('"unknown" on a blank image', asked, [blank] * n, [text.UNKNOWN] * n, 0.95),
    ]
    bars = []
    for name, questions, shown, right, least in told:
        answers = list(_answers(model, questions, shown, [int(s) for s in rng.integers(2**63, size=n)]))
        hits = st.share(sum(a == r for a, r in zip(answers, right, strict=True)), n)
        bars.append(Bar(f"understanding: {name}", hits.value, "at least", least, hits.error, slack))
    return bars


def _answers(
    model: JanusModel, questions: Sequence[str], images: Sequence[RgbImage | None], seeds: Sequence[int]
) -> Iterator[str]:
    """Sampled at temperature 1 without truncation: the hardest setting to be right at."""
    for start in range(0, len(questions), drawing.BLOCK):
        part = slice(start, start + drawing.BLOCK)
        yield from answer(model, questions[part], images[part], seeds[part])


def clip_bar(folder: Path, model: JanusModel, n: int, seed: int, slack: float) -> Bar:
    """Point 6: on n decoded renders, how often a fitting caption scores above one that does not fit."""
    from fairbench.phantom.making.train_clip import roc_auc
    from fairbench.scorers.clip_score import ClipParams, ClipScore
    from fairbench.types import BuildContext

    rng, vq = np.random.default_rng([seed, 8]), model.net.model.vqmodel
    scorer = ClipScore(ClipParams.model_validate({"path": str(folder.resolve())}), BuildContext())
    shown, cells = [], []
    for images, cell in batches(n, rng):
        shown += list(drawing.decoded(vq, drawing.encoded(vq, images)))
        cells.append(cell)
    area = roc_auc(scorer, shown, np.concatenate(cells), rng)
    # At an area of 1/2 + d the standard error is below this binomial one, of n pairs.
    return Bar(
        "clip-score: area under the ROC curve", area, "at least", 0.95, st.share(round(area * n), n).error, slack
    )


def bytes_bar(folder: Path) -> Bar:
    """Point 7: all files that ship, weights and tables of model and labeller."""
    parts = (folder / "phantom", folder / "labellers" / "weights")
    total = sum(p.stat().st_size for part in parts for p in part.rglob("*") if p.is_file())
    return Bar("size of all weights, in megabytes", total / 1e6, "at most", 12.0)
