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
from fairbench.phantom import drawing, figures, layout, planted, reading, text
from fairbench.phantom import statistics as st

SLACK = 3.0
"""Every bar is granted this many standard errors: a phantom as good as the bar fails one time in a thousand."""
MAX_SQUARED_DISTANCE = 0.001
"""Upper limit of the unbiased squared distance to the realised truth: a total variation of at most 0.045."""


@dataclass(frozen=True)
class Size:
    """How much is measured: images per prompt, renders per cell, and the number of other questions and images."""

    images: int = 250
    renders: int = 600
    others: int = 600


def check(folder: Path, seed: int, progress: Progress, size: Size = Size()) -> list[figures.Bar]:
    """Return all bars of the phantom in `folder`, which has the layout of `models/`. Raises CardError, WeightsError."""
    # Everything is read first, so that a damaged file is reported before minutes of drawing.
    guidance = card_guidance(folder / layout.CARD)
    truth, n = realised(folder / layout.REALISED)
    rates = calibrated_rates(folder / layout.CALIBRATION)
    model = janus.load(folder / layout.CHECKPOINT, "cpu", "float32")
    reader = reading.reader(folder / layout.LABELLER_WEIGHTS)
    round_trip = figures.round_trip(model, reader, size.renders, seed, progress)
    captions = figures.captions(text.NEUTRAL)
    cells = drawing.read_back(model, reader, captions, size.images, seed, guidance, progress=progress)
    counts = drawing.count_cells(cells)
    bars = figures.tokenizer_bars(round_trip, SLACK)
    bars += [calibration_bar(rates, round_trip), realised_bar(counts, truth, n)]
    bars += figures.bias_bars(counts, seed, SLACK)
    bars.append(figures.stated_bar(model, reader, size.others, seed, guidance, SLACK))
    bars.append(figures.independent_bar(model, reader, size.others, seed, guidance, SLACK))
    with progress.stage("questions", 2, "steps") as stage:
        bars += figures.understanding_bars(model, size.others, seed, SLACK)
        stage.advance()
        bars.append(figures.clip_bar(folder / layout.CLIP, model, size.others, seed, SLACK))
        stage.advance()
    return [*bars, figures.bytes_bar(folder)]


def realised_bar(counts: NDArray[np.int64], truth: NDArray[np.float64], n: NDArray[np.int64]) -> figures.Bar:
    """Return the bar for the counts drawn now, (32, 8), against the realised truth (32, 8) from n (32,) faces."""
    distance = st.squared_distance(counts, truth, n)
    name = "squared distance to the realised truth"
    return figures.Bar(name, distance.value, "at most", MAX_SQUARED_DISTANCE, distance.error, SLACK)


def calibration_bar(rates: NDArray[np.float64], round_trip: figures.RoundTrip) -> figures.Bar:
    """Return the bar for the calibration: the largest change of a cell's rate of right readings (8,), against now."""
    shares = np.diag(round_trip.confusion) / round_trip.n
    worst = int(np.abs(shares - rates).argmax())
    error = st.share(int(round_trip.confusion[worst, worst]), int(round_trip.n[worst])).error
    change = float(abs(shares[worst] - rates[worst]))
    return figures.Bar("calibration: largest change of a rate", change, "at most", 0.005, error, SLACK)


def card_guidance(path: Path) -> float:
    """Return the guidance that the phantom's card sets. Raises CardError."""
    loaded = catalog.load_model(str(path))
    try:
        return float(registry.parse_params(JanusAdapter, loaded.card.sampling).model_dump()["guidance"])
    except ValidationError as err:
        raise yamlfile.params_error(loaded.path, loaded.card.name, err, ("sampling",)) from err


def calibrated_rates(path: Path) -> NDArray[np.float64]:
    """Return how often each of CELLS was read right when the labeller was calibrated, (8,). Raises CardError."""
    calibration = confusion.read(path)
    if calibration.cells != planted.CELLS:
        raise CardError(f"{path} has other cells than the planted table: build the phantom again.")
    return np.diag(calibration.rates()[: len(calibration.cells)])


def realised(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the realised truth of every subject of the task, (32, 8), and the faces that it rests on, (32,).

    Raises CardError.
    """
    shares = truth_table.read(path, planted.COLUMNS)
    n = {}
    for line, row in csvfile.read_csv(path, csvfile.Columns(("subject", "n"), others="allow")):
        if not row["n"].isdecimal() or int(row["n"]) < 2:
            raise CardError(f"{path}, line {line}, field n: {row['n']!r} is no number of faces above 1: build again.")
        n[row["subject"]] = int(row["n"])
    if absent := next((s for s in text.EVALUATED if s not in shares), None):
        raise CardError(f"{path} has no row for {absent!r}: build the phantom again.")
    return np.stack([shares[s] for s in text.EVALUATED]), np.array([n[s] for s in text.EVALUATED])
