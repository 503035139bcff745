"""From pixels: mannequins drawn with planted shares, read by the phantom's labellers, estimated, and compared."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import catalog
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.phantom import text
from fairbench.phantom.exact import PhantomExactAdapter, PhantomExactParams
from fairbench.phantom.planted import CELLS, cumulative
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.stats import correction_interval
from fairbench.stats.bounds import share_interval
from fairbench.stats.estimands import Floats, IntArray, concentration_of_shares
from fairbench.stats.intervals import concentration_interval, rd_at_interval
from fairbench.types import BuildContext, ImageRequest, RgbImage
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, share
from fairbench.validation.corrected import bias_bar

_SUBJECTS: Final = text.EVALUATED[:8]
_BATCH: Final = 64
_GROUPS: Final = {
    "gender": np.repeat(np.arange(len(GENDERS)), len(RACES)),
    "race4": np.tile(np.arange(len(RACES)), len(GENDERS)),
    "gender x race4": np.arange(len(CELLS)),
}
"""The class of each of CELLS, for every attribute."""


def run(cell: Cell) -> list[Measure]:
    """Draw and read `replicates` blocks of images of the same prompts; each is a small run of its own."""
    rng, settings = cell.rng(), cell.settings
    groups = _GROUPS[settings["attribute"]]
    reader = _Reader(settings["labeller"])
    exact = settings["labeller"] == "phantom"
    classes = np.eye(groups.max() + 1, dtype=np.int64)[groups]
    captions = [text.NEUTRAL.replace("{subject}", s) for s in _SUBJECTS]
    shares = np.diff(np.stack([cumulative(c) for c in captions]), axis=1, prepend=0) @ classes
    truth = float(concentration_of_shares(shares).mean())
    table = reader.counts([_caption_of(cell) for cell in CELLS], settings["calibration"], rng)
    n0 = settings["n"] // 2
    rd_truth = worlds.expected_rd(shares, n0, rng)
    raw, corrected, rd, covered = [], [], [], []
    for _ in range(cell.replicates):
        read = reader.counts(captions, settings["n"], rng)
        counts = read[:, :-1] @ classes
        raw.append(concentration_interval(counts, "these prompts"))
        corrected.append(
            correction_interval.concentration_interval(read, table, "these prompts", rng, groups.tolist(), draws=200)
        )
        rd.append(rd_at_interval(counts, n0, "these prompts", rng, times=200))
        covered.append(_covered(*share_interval(counts), shares))
    raw_errors = np.array([i.estimate for i in raw]) - truth
    most = bias_bar(raw_errors.mean())
    least = 0.93 if exact else None
    return [
        average("bias raw", raw_errors),
        average("bias", np.array([i.estimate for i in corrected]) - truth, -most, most),
        share("cover raw concentration", [i.low <= truth <= i.high for i in raw], least),
        share("cover concentration", [i.low <= truth <= i.high for i in corrected], 0.93),
        share("cover raw rd@n0", [i.low <= rd_truth <= i.high for i in rd], least),
        average("cover raw shares", np.array(covered), least),
    ]


def _caption_of(cell: tuple[str, str]) -> str:
    """Return a caption that names a cell."""
    gender, race = cell
    return f"A photo of the face of a {gender} {race} {_SUBJECTS[0]}, a person"


def _covered(low: Floats, high: Floats, truth: Floats) -> float:
    """Return the share of intervals (P, K) that hold their truth."""
    return float(((low <= truth) & (truth <= high)).mean())


class _Reader:
    """Draws captions by `phantom-exact` and reads them by a labeller."""

    def __init__(self, labeller: str) -> None:
        card = catalog.load_model("phantom-exact").card
        # Every image shows a head: one that shows nobody would need the row "no person" in the calibration.
        params = PhantomExactParams(image_size=int(card.sampling["image_size"]), no_head_rate=0.0)
        self._adapter = PhantomExactAdapter(card, params, BuildContext())
        self._labeller = Labeller(catalog.load_labeller(labeller))

    def counts(self, captions: list[str], images: int, rng: np.random.Generator) -> IntArray:
        """Return how often each of CELLS, or no face, was read in so many images per caption, (captions, 9)."""
        rows = []
        for caption in captions:
            seeds = rng.integers(2**63, size=images)
            cells = [self._read(caption, seeds[i : i + _BATCH].tolist()) for i in range(0, images, _BATCH)]
            rows.append(np.bincount(np.concatenate(cells), minlength=len(CELLS) + 1))
        return np.stack(rows)

    def _read(self, caption: str, seeds: list[int]) -> NDArray[np.int64]:
        images: list[RgbImage] = []
        for result in self._adapter.generate([ImageRequest(b"", b"", b"", caption, 0, seed) for seed in seeds]):
            assert result.pixels is not None
            images.append(result.pixels)
        reading = self._labeller.read(images, one_per_image=True)
        classes = reading.by_image(self._labeller.classes_of(("gender", "race4"), reading.codes), len(images))
        return np.where(classes == NOT_LABELLED, len(CELLS), classes)


def _cells(quick: bool) -> list[Cell]:
    sizes = {"n": 10, "calibration": 20} if quick else {"n": 50, "calibration": 500}
    grid = [(labeller, a) for labeller in ("phantom", "phantom-noisy") for a in _GROUPS]
    return [
        Cell("images", {"labeller": labeller, "attribute": a, **sizes}, 6 if quick else 30)
        for labeller, a in (grid[::5] if quick else grid)
    ]


IMAGES = Study(
    name="images",
    title="From pixels: rendered mannequins with planted shares",
    about=(
        f"Replicates are runs of the model `phantom-exact`: {len(_SUBJECTS)} prompts of n images, a head in each, "
        "drawn, detected, cropped and classified. `phantom` reads nearly without error, `phantom-noisy` errs by a "
        "declared joint table. `calibration`: images per cell, drawn and read once. Truth: the planted shares. n0 "
        "is half of n. `cover raw shares`: Jeffreys intervals of every prompt and class."
    ),
    cells=_cells,
    run=run,
)
