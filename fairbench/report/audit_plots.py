"""The pictures of an audit: one file a component."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairbench import atomic
from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.run import Audit, LanguageModel, Understanding
from fairbench.audit.transparency import Passage
from fairbench.audit.understanding import KINDS
from fairbench.errors import MissingExtra

INK, BARS, NULL = "#333333", "#4477aa", "#bbbbbb"
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#bbbbbb")


def write(found: Audit, folder: Path) -> None:
    """Write tokenizer.png, language_model.png and understanding.png, as far as measured. Raises MissingExtra."""
    pyplot = _pyplot()
    if not isinstance(found.tokenizer, Skipped):
        _save(pyplot, _tokenizer(pyplot, found.tokenizer), folder / "tokenizer.png")
    _save(pyplot, _language(pyplot, found.language), folder / "language_model.png")
    if not isinstance(found.understanding, Skipped):
        _save(pyplot, _understanding(pyplot, found.understanding), folder / "understanding.png")


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as err:
        raise MissingExtra("The pictures of an audit", "report") from err
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _save(pyplot: Any, figure: Any, path: Path) -> None:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    pyplot.close(figure)
    atomic.write_bytes(path, out.getvalue())


def _tokenizer(pyplot: Any, parts: Sequence[Passage]) -> Any:
    """A confusion table an attribute, rows in percent of the faces read so before."""
    figure, axes = pyplot.subplots(1, len(parts), figsize=(4.4 * len(parts), 3.9), squeeze=False, layout="constrained")
    for axis, part in zip(axes[0], parts, strict=True):
        counts = np.array(part.confusion)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (i, j), value in np.ndenumerate(shares):
            axis.text(j, i, f"{value:.1f}", ha="center", va="center", color="white" if value > 55 else INK)
        columns = [*part.labels, "no face"]
        axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axis.set_yticks(range(len(part.labels)), part.labels)
        axis.set(title=part.attribute, xlabel="read after", ylabel="read before")
    figure.suptitle("Image tokenizer: labels before and after encoding and decoding, %")
    return figure


def _language(pyplot: Any, part: LanguageModel) -> Any:
    """Left: divergence of every group's prompts beside the null. Right: RD by log-probabilities and by labels."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.9), layout="constrained", width_ratios=(3, 2))
    shown = [d for d in part.divergences if d.kind == "histogram"]
    names = [f"{g.label}" for d in shown for g in d.groups]
    place = np.arange(len(names))
    _bars(left, place, [g.jsd for d in shown for g in d.groups], 0.7, BARS, "neutral against group prompts")
    starts = np.cumsum([0, *(len(d.groups) for d in shown)])
    for i, d in enumerate(shown):
        ends = (starts[i] - 0.45, starts[i + 1] - 0.55)
        left.hlines(d.null.value, *ends, color=INK, linestyle="--", label=None if i else "two neutral sets (null)")
    left.set_xticks(place, names, rotation=30, ha="right")
    left.set(ylabel="JSD of token histograms, bits", ylim=(0, None), title="Distance from the neutral prompt's tokens")
    left.set_ylim(top=1.25 * left.get_ylim()[1])  # the legend stands above every bar
    left.legend(frameon=False, ncols=2, loc="upper left")
    spots = np.arange(len(part.log_probs))
    _bars(right, spots - 0.2, [b.rd for b in part.log_probs], 0.38, BARS, "log-probabilities, no labeller")
    labels = [b.labelled_rd if b.labelled_rd is not None else np.nan for b in part.log_probs]
    right.bar(spots + 0.2, labels, 0.38, color=NULL, label="labels of what is drawn")
    for spot, b in zip(spots, part.log_probs, strict=True):
        right.hlines(b.floor, spot - 0.39, spot - 0.01, color=INK, linestyle=":")
    right.set_xticks(spots, [b.attribute for b in part.log_probs])
    right.set(ylabel="RD, mean over prompts (dotted: chance)", ylim=(0, 1), title="Bias under the neutral prompt")
    right.legend(frameon=False)
    return figure


def _bars(axis: Any, place: Any, values: Sequence[Estimate], width: float, colour: str, label: str) -> None:
    heights = np.array([e.value for e in values])
    around = np.abs(np.array([[e.value - e.low for e in values], [e.high - e.value for e in values]]))
    axis.bar(place, heights, width, color=colour, label=label, yerr=around, ecolor=INK, capsize=3)


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
