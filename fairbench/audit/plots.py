"""The pictures of an audit: one file a component."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.run import Audit, LanguageModel, Understanding
from fairbench.audit.transparency import Passage
from fairbench.audit.understanding import KINDS
from fairbench.display.figure import INK, drawing, heat, png
from fairbench.display.plain import line
from fairbench.storage import atomic

BARS, NULL = "#4477aa", "#bbbbbb"
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#bbbbbb")


def write(found: Audit, folder: Path) -> None:
    """Write tokenizer.png, language_model.png and understanding.png, as far as measured. Raises MissingExtra."""
    pictures = {}
    with drawing("The pictures of an audit", "audit") as pyplot:
        if not isinstance(found.tokenizer, Skipped):
            pictures["tokenizer.png"] = png(pyplot, _tokenizer(pyplot, found.tokenizer))
        pictures["language_model.png"] = png(pyplot, _language(pyplot, found))
        if not isinstance(found.understanding, Skipped):
            pictures["understanding.png"] = png(pyplot, _understanding(pyplot, found.understanding))
    for name, picture in pictures.items():
        atomic.write_bytes(folder / name, picture)


def _tokenizer(pyplot: Any, parts: Sequence[Passage]) -> Any:
    """A confusion table an attribute, rows in percent of the faces read so before."""
    figure, axes = pyplot.subplots(1, len(parts), figsize=(4.4 * len(parts), 3.9), squeeze=False, layout="constrained")
    for axis, part in zip(axes[0], parts, strict=True):
        faces = np.sum(part.confusion, axis=1)
        rows = [f"{label} ({n})" if n else label for label, n in zip(part.labels, faces, strict=True)]
        heat(axis, part.confusion, rows, [*part.labels, "no face"], "{:.1f}".format)
        axis.set(title=part.attribute, xlabel="read after", ylabel="read before (faces)")
    figure.suptitle("Image tokenizer: labels before and after encoding and decoding, % of a row")
    return figure


def _language(pyplot: Any, found: Audit) -> Any:
    """Left: divergence of every group's prompts beside the null. Right: RD by log-probabilities and by labels."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(3, 2))
    _divergences(left, found.language)
    biases = found.language.log_probs
    spots = np.arange(len(biases))
    _bars(right, spots - 0.2, [b.rd for b in biases], 0.38, BARS, "log-probabilities, no labeller")
    labels = [b.labelled_rd if b.labelled_rd is not None else np.nan for b in biases]
    right.bar(spots + 0.2, labels, 0.38, color=NULL, label="labels of what is drawn")
    floors = {g.attribute: g.rd_floor for g in found.generation}
    for i, (spot, b) in enumerate(zip(spots, biases, strict=True)):
        for place, floor in ((spot - 0.2, b.floor), (spot + 0.2, floors[b.attribute])):
            if floor is not None:
                label = None if i or place > spot else "up to here by chance"
                right.hlines(floor, place - 0.19, place + 0.19, color=INK, linestyle=":", label=label)
    right.set_xticks(spots, [b.attribute for b in biases])
    right.set(ylabel="RD, mean over prompts", ylim=(0, 1.25), title="Bias under the neutral prompt")
    right.set_yticks(np.linspace(0, 1, 6))
    right.legend(frameon=False, loc="upper right")
    right.set_xlabel("error bars: of drawing images alone", fontsize="small")
    return figure


def _divergences(axis: Any, part: LanguageModel) -> None:
    shown = [d for d in part.divergences if d.kind == "histogram"]
    start = 0.0
    spots, names = [], []
    for i, d in enumerate(shown):
        place = start + np.arange(len(d.groups))
        _bars(axis, place, [g.jsd for g in d.groups], 0.7, BARS, "" if i else "neutral against group prompts")
        label = None if i else "two neutral sets (null)"
        axis.hlines(d.null.value, place[0] - 0.45, place[-1] + 0.45, color=INK, linestyle="--", label=label)
        spots += place.tolist()
        names += [line(g.label) for g in d.groups]
        start = place[-1] + 1.7  # attributes stand apart
    axis.set_xticks(spots, names, rotation=30, ha="right")
    axis.set(ylabel="JSD of token histograms, bits", ylim=(0, None), title="Distance from the neutral prompt's tokens")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # the legend stands above every bar
    axis.set_xlabel("error bars: 95 % intervals, prompts like these", fontsize="small")
    axis.legend(frameon=False, ncols=2, loc="upper left")


def _bars(axis: Any, place: Any, values: Sequence[Estimate], width: float, colour: str, label: str) -> None:
    """Bars with their intervals; a label of "" is in no legend."""
    heights = np.array([e.value for e in values])
    around = np.abs(np.array([[e.value - e.low for e in values], [e.high - e.value for e in values]]))
    axis.bar(place, heights, width, color=colour, label=label or None, yerr=around, ecolor=INK, capsize=3)


def _understanding(pyplot: Any, part: Understanding) -> Any:
    """Left: what is answered. Right: answers that change between groups, and within one."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for row, answers in enumerate(part.answers):
        start = 0.0
        for kind, colour in zip(KINDS, _COLOURS, strict=True):
            value = answers.shares[kind].value
            left.barh(row, value, left=start, color=colour, label=None if row else kind)
            start += value
    left.set_yticks(range(len(part.answers)), [a.condition for a in part.answers])
    left.set(xlabel="share of all answers", xlim=(0, 1), title="Gender of an occupation")
    left.legend(frameon=False, ncols=len(KINDS), loc="upper center", bbox_to_anchor=(0.5, -0.2))
    place = np.arange(len(part.flips))
    _bars(right, place - 0.2, [f.between for f in part.flips], 0.38, BARS, "two groups, same noise")
    _bars(right, place + 0.2, [f.within for f in part.flips], 0.38, NULL, "one group, other noise")
    right.set_xticks(place, [f"{f.attribute}\n{f.about}" for f in part.flips])
    right.set(ylabel="share of pairs", ylim=(0, 1), title="Answers that differ between two images")
    right.legend(frameon=False)
    return figure
