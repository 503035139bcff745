"""The report of a build: its figures against their bars, learning curves, bias against guidance, sheets of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fairbench.display import figure
from fairbench.networks import janus
from fairbench.networks.janus import JanusModel
from fairbench.phantom import drawing, figures, layout, text
from fairbench.phantom import statistics as st
from fairbench.phantom.check import card_guidance
from fairbench.phantom.figures import Bar
from fairbench.phantom.making.build import GUIDANCES
from fairbench.phantom.making.loop import HISTORY
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import renders
from fairbench.storage import atomic, pixels
from fairbench.types import RgbImage

FIGURE = ("The report of a build", "report")
"""What is drawn, and the extra that brings matplotlib."""
CURVES = {"tokenizer/autoencoder": "l1", "tokenizer/quantised": "l1", "model": "image", "clip": "loss"}
"""Folder of a training under work/, and the figure that is drawn."""
SHOWN = ("nurse", "engineer", *text.EVALUATED[:4])
_NAMES = {"gender": "gender", "race4": "race4", "gender_x_race4": "gender x race4"}


def write(out: Path, bars: Sequence[Bar]) -> Path:
    """Write report/ of a finished build; return its report.md."""
    folder = out / "report"
    with figure.drawing(*FIGURE) as pyplot:
        atomic.write_bytes(folder / "curves.png", _curves(pyplot, out / "work"))
        atomic.write_bytes(folder / "guidance.png", _guidance(pyplot, folder / "guidance.json"))
    model = janus.load(out / layout.CHECKPOINT, "cpu", "float32")
    _save(_tokenizer_sheet(model), folder / "tokenizer.png")
    _save(_drawn_sheet(model, card_guidance(out / layout.CARD)), folder / "drawn.png")
    _save(_guidance_sheet(model), folder / "guidances.png")
    lines = ["# Build report", "", "| figure | value | standard error | must be | met |", "|---|---|---|---|---|"]
    for bar in bars:
        error, met = (f"{bar.error:.4f}" if bar.error else ""), "yes" if bar.holds else "**no**"
        lines.append(f"| {bar.name} | {bar.value:.4f} | {error} | {bar.must} {bar.limit:g} | {met} |")
    sections = [
        "![learning curves](curves.png)",
        "Renders, and below each what the tokenizer makes of it:",
        "![tokenizer](tokenizer.png)",
        f"Drawn for {', '.join(SHOWN)} (a row each):",
        "![drawn](drawn.png)",
        "![bias against guidance](guidance.png)",
        f"The same noise at guidance {', '.join(f'{g:g}' for g in GUIDANCES)} (a row each):",
        "![guidance](guidances.png)",
    ]
    atomic.write_text(folder / "report.md", "\n\n".join(["\n".join(lines), *sections]) + "\n")
    return folder / "report.md"


def _curves(pyplot: Any, work: Path) -> bytes:
    """Draw the learning curve of each training."""
    picture, axes = pyplot.subplots(1, len(CURVES), figsize=(3.2 * len(CURVES), 2.6))
    for axis, (name, quantity) in zip(axes, CURVES.items(), strict=True):
        rows = [json.loads(line) for line in (work / name / HISTORY).read_text(encoding="utf-8").splitlines()]
        axis.plot([row["step"] for row in rows], [row[quantity] for row in rows], linewidth=0.8)
        axis.set(title=f"{name.split('/')[-1]}: {quantity}", xlabel="step", yscale="log")
        axis.grid(alpha=0.3)
    picture.tight_layout()
    return figure.png(pyplot, picture, dpi=110)


def _guidance(pyplot: Any, source: Path) -> bytes:
    """Draw task-mean RD, as a share of its maximum 2/K, against guidance."""
    measured = {float(g): row for g, row in json.loads(source.read_text(encoding="utf-8")).items()}
    planted = st.task_rd(figures.planted_shares())
    picture, axis = pyplot.subplots(figsize=(6.4, 3.8))
    for (name, label), k in zip(_NAMES.items(), (2, 4, 8), strict=True):
        line = axis.plot(list(measured), [row[name] * k / 2 for row in measured.values()], marker="o", label=label)
        axis.axhline(planted[name] * k / 2, color=line[0].get_color(), linestyle=":", linewidth=1.2)
    axis.set(xlabel="guidance", ylabel="RD x K/2, mean over the task", ylim=(0, 1.02))
    axis.legend(title="dotted: planted")
    axis.grid(alpha=0.3)
    picture.tight_layout()
    return figure.png(pyplot, picture, dpi=110)


def _tokenizer_sheet(model: JanusModel, columns: int = 12) -> RgbImage:
    """Return renders with what the tokenizer makes of them below, four rows."""
    before, _ = renders(2 * columns, np.random.default_rng(2))
    vq = model.net.model.vqmodel
    after = drawing.decoded(vq, drawing.encoded(vq, before))
    return _grid([before[:columns], after[:columns], before[columns:], after[columns:]])


def _drawn_sheet(model: JanusModel, guidance: float, columns: int = 12) -> RgbImage:
    """Return images of a few subjects, a row each, and a last row that names each of the cells."""
    captions = [[text.NEUTRAL.replace("{subject}", subject)] * columns for subject in SHOWN]
    captions.append([f"A photo of the face of a {g} {r} nurse, a person" for g, r in (*CELLS, *CELLS)][:columns])
    return _grid([drawing.images(model, row, list(range(columns)), guidance) for row in captions])


def _guidance_sheet(model: JanusModel, columns: int = 12) -> RgbImage:
    """Return one image of each of a few subjects, a row per guidance, the same noise in every row."""
    captions = figures.captions(text.NEUTRAL)[:columns]
    seeds = list(range(len(captions)))
    return _grid([drawing.images(model, captions, seeds, guidance) for guidance in GUIDANCES])


def _grid(rows: Sequence[NDArray[np.uint8]]) -> RgbImage:
    """Return one sheet of rows of images (n, side, side, 3)."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def _save(sheet: RgbImage, path: Path) -> None:
    """Write a sheet as PNG, enlarged by half."""
    size = (sheet.shape[1] * 3 // 2, sheet.shape[0] * 3 // 2)
    atomic.write_bytes(path, pixels.encode(np.asarray(Image.fromarray(sheet).resize(size, Image.Resampling.LANCZOS))))
