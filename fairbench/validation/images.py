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
from fairbench.stats.estimands import IntArray, concentration_of_shares
from fairbench.stats.intervals import concentration_interval
from fairbench.stats.rarefaction import rd_at_interval
from fairbench.types import BuildContext, ImageRequest, RgbImage
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, grid, share
from fairbench.validation.corrected import bias_measures

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
    classes = np.eye(groups.max() + 1, dtype=np.int64)[groups]
    captions = [text.NEUTRAL.replace("{subject}", s) for s in _SUBJECTS]
    shares = np.diff(np.stack([cumulative(c) for c in captions]), axis=1, prepend=0) @ classes
    truth = float(concentration_of_shares(shares).mean())
    captions_of_cells = [f"A photo of the face of a {gender} {race} {_SUBJECTS[0]}, a person" for gender, race in CELLS]
    table = reader.counts(captions_of_cells, settings["calibration"], rng)
    n0 = settings["n"] // 2
    rd_truth = worlds.expected_rd(shares, n0, rng)
    raw, corrected, rd, covered = [], [], [], []
    for _ in range(cell.replicates):
        read = reader.counts(captions, settings["n"], rng)
        counts = read[:, :-1] @ classes
        raw.append(concentration_interval(counts, "this list"))
        corrected.append(
            correction_interval.concentration_interval(read, table, "this list", rng, groups.tolist(), draws=200)
        )
        rd.append(rd_at_interval(counts, n0, "this list", rng, times=200))
        low, high = share_interval(counts)
        covered.append(((low <= shares) & (shares <= high)).mean())
    raw_errors = np.array([i.estimate for i in raw]) - truth
    least = 0.93 if settings["labeller"] == "phantom" else None
    return [
        *bias_measures(raw_errors, np.array([i.estimate for i in corrected]) - truth),
        share("cover raw concentration", [i.low <= truth <= i.high for i in raw], least),
        share("cover concentration", [i.low <= truth <= i.high for i in corrected], 0.93),
        share("cover raw rd@n0", [i.low <= rd_truth <= i.high for i in rd], least),
        average("cover raw shares", np.array(covered), least),
    ]


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
    sizes = {"n": [10], "calibration": [20]} if quick else {"n": [50], "calibration": [500]}
    times, labellers = 40 if quick else 30, ("phantom", "phantom-noisy")
    cells = grid("images", times, labeller=labellers, attribute=_GROUPS, **sizes)
    return cells[::5] if quick else cells


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
STUDIES = (IMAGES,)
