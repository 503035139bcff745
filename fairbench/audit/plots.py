"""The pictures of an audit: one file per component."""

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

BAR_COLOUR, NULL_COLOUR = "#4477aa", "#bbbbbb"
_ANSWER_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#bbbbbb")


def write(audit: Audit, folder: Path) -> None:
    """Write tokenizer.png, language_model.png and understanding.png, as far as measured. Raises MissingExtra."""
    with drawing("The pictures of an audit", "audit") as pyplot:
        figures = {"language_model.png": _language(pyplot, audit)}
        if not isinstance(audit.tokenizer, Skipped):
            figures["tokenizer.png"] = _tokenizer(pyplot, audit.tokenizer)
        if not isinstance(audit.understanding, Skipped):
            figures["understanding.png"] = _understanding(pyplot, audit.understanding)
        for name, figure in figures.items():
            atomic.write_bytes(folder / name, png(pyplot, figure))


def _tokenizer(pyplot: Any, parts: Sequence[Passage]) -> Any:
    """Draw a confusion table per attribute, rows in percent of the faces with that label before."""
    figure, axes = pyplot.subplots(1, len(parts), figsize=(4.4 * len(parts), 3.9), squeeze=False, layout="constrained")
    for axis, part in zip(axes[0], parts, strict=True):
        faces = np.sum(part.confusion, axis=1)
        rows = [f"{label} ({n})" if n else label for label, n in zip(part.labels, faces, strict=True)]
        heat(axis, part.confusion, rows, [*part.labels, "no face"], "{:.1f}".format)
        axis.set(title=part.attribute, xlabel="read after", ylabel="read before (faces)")
    figure.suptitle("Image tokenizer: labels before and after encoding and decoding, % of a row")
    return figure


def _language(pyplot: Any, audit: Audit) -> Any:
    """Draw left every group's divergence beside the null, right RD by log-probabilities and by labels."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(3, 2))
    _divergences(left, audit.language)
    biases = audit.language.log_probs
    centres = np.arange(len(biases))
    _bars(right, centres - 0.2, [b.rd for b in biases], 0.38, BAR_COLOUR, "log-probabilities, no labeller")
    labelled = [b.labelled_rd if b.labelled_rd is not None else np.nan for b in biases]
    right.bar(centres + 0.2, labelled, 0.38, color=NULL_COLOUR, label="labels of what is drawn")
    rd_floors = {g.attribute: g.rd_floor for g in audit.generation}
    floors: list[tuple[float, float | None]] = [*zip(centres - 0.2, [b.floor for b in biases], strict=True)]
    floors += zip(centres + 0.2, [rd_floors[b.attribute] for b in biases], strict=True)
    for centre, floor in floors:
        if floor is not None:
            label = "up to here by chance" if centre < 0 else None  # once in the legend
            right.hlines(floor, centre - 0.19, centre + 0.19, color=INK, linestyle=":", label=label)
    right.set_xticks(centres, [b.attribute for b in biases])
    right.set(ylabel="RD, mean over prompts", ylim=(0, 1.25), title="Bias under the neutral prompt")
    right.set_yticks(np.linspace(0, 1, 6))
    right.legend(frameon=False, loc="upper right")
    right.set_xlabel("error bars: of drawing images alone", fontsize="small")
    return figure


def _divergences(axis: Any, part: LanguageModel) -> None:
    start = 0.0
    ticks, names = [], []
    for i, d in enumerate(d for d in part.divergences if d.kind == "histogram"):
        centres = start + np.arange(len(d.groups))
        _bars(axis, centres, [g.jsd for g in d.groups], 0.7, BAR_COLOUR, "" if i else "neutral against group prompts")
        label = None if i else "two neutral sets (null)"
        axis.hlines(d.null.value, centres[0] - 0.45, centres[-1] + 0.45, color=INK, linestyle="--", label=label)
        ticks += centres.tolist()
        names += [line(g.label) for g in d.groups]
        start = centres[-1] + 1.7  # a gap between attributes
    axis.set_xticks(ticks, names, rotation=30, ha="right")
    axis.set(ylabel="JSD of token histograms, bits", ylim=(0, None), title="Distance from the neutral prompt's tokens")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend above every bar
    axis.set_xlabel("error bars: 95 % intervals, other prompts", fontsize="small")
    axis.legend(frameon=False, ncols=2, loc="upper left")


def _bars(axis: Any, centres: Any, values: Sequence[Estimate], width: float, colour: str, label: str) -> None:
    """Draw bars with their intervals; a label of "" is in no legend."""
    heights = np.array([e.value for e in values])
    errors = np.abs(np.array([[e.value - e.low for e in values], [e.high - e.value for e in values]]))
    axis.bar(centres, heights, width, color=colour, label=label or None, yerr=errors, ecolor=INK, capsize=3)


def _understanding(pyplot: Any, part: Understanding) -> Any:
    """Draw left the kinds of answers, right how many answers change between groups, and within one."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for row, answers in enumerate(part.answers):
        start = 0.0
        for kind, colour in zip(KINDS, _ANSWER_COLOURS, strict=True):
            value = answers.shares[kind].value
            left.barh(row, value, left=start, color=colour, label=None if row else kind)
            start += value
    left.set_yticks(range(len(part.answers)), [a.condition for a in part.answers])
    left.set(xlabel="share of all answers", xlim=(0, 1), title="Gender of an occupation")
    left.legend(frameon=False, ncols=len(KINDS), loc="upper center", bbox_to_anchor=(0.5, -0.2))
    centres = np.arange(len(part.flips))
    _bars(right, centres - 0.2, [f.between for f in part.flips], 0.38, BAR_COLOUR, "two groups, same noise")
    _bars(right, centres + 0.2, [f.within for f in part.flips], 0.38, NULL_COLOUR, "one group, other noise")
    right.set_xticks(centres, [f"{f.attribute}\n{f.about}" for f in part.flips])
    right.set(ylabel="share of pairs", ylim=(0, 1), title="Answers that differ between two images")
    right.legend(frameon=False)
    return figure
