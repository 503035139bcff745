"""Measure the shipped phantom again, in minutes: every bar of the build, at smaller n and with its sampling error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fairbench import registry
from fairbench.adapters.janus import JanusAdapter
from fairbench.cards import catalog, csvfile, truth_table, yamlfile
from fairbench.display.progress import Progress
from fairbench.errors import CardError
from fairbench.labelling import confusion
from fairbench.networks import janus
from fairbench.phantom import drawing, figures, planted, reading, text
from fairbench.phantom import statistics as st
from fairbench.phantom.making.build import CALIBRATION, REALISED

SLACK = 3.0
"""Every bar is granted this many standard errors: a phantom as good as the bar fails one time in a thousand."""
NEAR = 0.001
"""Most that the unbiased squared distance to the realised truth may be: a total variation of at most 0.045."""


@dataclass(frozen=True)
class Size:
    """How much is measured: images a prompt, renders a cell, and the number of other questions and images."""

    images: int = 250
    renders: int = 600
    others: int = 600


def check(folder: Path, seed: int, progress: Progress, size: Size = Size()) -> list[figures.Bar]:
    """Return all bars of the phantom in `folder`, which has the layout of `models/`. Raises CardError, WeightsError."""
    # Everything is read first: a damaged file is not found out after minutes of drawing.
    guidance = card_guidance(folder / "phantom.yaml")
    truth, n = realised(folder / REALISED)
    rates = calibrated_rates(folder / CALIBRATION)
    model = janus.load(folder / "phantom" / "janus", "cpu", "float32")
    reader = reading.reader(folder / "labellers" / "weights")
    passage = figures.passage(model, reader, size.renders, seed, progress)
    cells = drawing.read_back(
        model, reader, figures.captions(text.NEUTRAL), size.images, seed, guidance,
        progress=progress,
    )  # fmt: skip
    counts = drawing.counted(cells)
    bars = [
        *figures.tokenizer_bars(passage, SLACK), calibration_bar(rates, passage), realised_bar(counts, truth, n),
        *figures.bias_bars(counts, seed, SLACK),
        figures.stated_bar(model, reader, size.others, seed, guidance, SLACK),
        figures.independent_bar(model, reader, size.others, seed, guidance, SLACK),
    ]  # fmt: skip
    with progress.stage("questions", 2, "steps") as stage:
        bars += figures.understanding_bars(model, size.others, seed, SLACK)
        stage.advance()
        bars.append(figures.clip_bar(folder / "phantom" / "clip", model, size.others, seed, SLACK))
        stage.advance()
    return [*bars, figures.bytes_bar(folder)]


def realised_bar(counts: NDArray[np.int64], truth: NDArray[np.float64], n: NDArray[np.int64]) -> figures.Bar:
    """What is drawn now against the realised truth (32, 8), which rests on n (32,) faces."""
    away = st.squared_distance(counts, truth, n)
    return figures.Bar("squared distance to the realised truth", away.value, "at most", NEAR, away.error, SLACK)


def calibration_bar(rates: NDArray[np.float64], passage: figures.Passage) -> figures.Bar:
    """The calibration against the renders read now: the largest difference of a cell's rate of right readings (8,)."""
    share = np.diag(passage.confusion) / passage.n
    worst = int(np.abs(share - rates).argmax())
    error = st.share(int(passage.confusion[worst, worst]), int(passage.n[worst])).error
    away = float(abs(share[worst] - rates[worst]))
    return figures.Bar("calibration: largest change of a rate", away, "at most", 0.005, error, SLACK)


def card_guidance(path: Path) -> float:
    """Return the guidance that the phantom's card sets. Raises CardError."""
    loaded = catalog.load_model(str(path))
    try:
        return float(registry.parse_params(JanusAdapter, loaded.card.sampling).model_dump()["guidance"])
    except ValidationError as err:
        raise yamlfile.params_error(loaded.path, loaded.card.name, err, ("sampling",)) from err


def calibrated_rates(path: Path) -> NDArray[np.float64]:
    """Return how often each of CELLS was read right when the labeller was calibrated, (8,). Raises CardError."""
    found = confusion.read(path)
    if found.cells != planted.CELLS:
        raise CardError(f"{path} has other cells than the planted table: build the phantom again.")
    return np.diag(found.rates()[: len(found.cells)])


def realised(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the realised truth of every subject of the task, (32, 8), and the faces that it rests on, (32,).

    Raises CardError.
    """
    shares = truth_table.read(path, planted.COLUMNS)
    n = {}
    for line, row in csvfile.read_csv(path, ("subject", "n"), others="allow"):
        if not row["n"].isdecimal() or int(row["n"]) < 2:
            raise CardError(f"{path}, line {line}, field n: {row['n']!r} is no number of faces above 1: build again.")
        n[row["subject"]] = int(row["n"])
    absent = next((s for s in text.EVALUATED if s not in shares), None)
    if absent is not None:
        raise CardError(f"{path} has no row for {absent!r}: build the phantom again.")
    return np.stack([shares[s] for s in text.EVALUATED]), np.array([n[s] for s in text.EVALUATED])
