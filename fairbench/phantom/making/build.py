"""Make the phantom from nothing: labeller, image tokenizer, language model, CLIP, and every figure about them.

The result is a folder with the layout of `models/` (see layout.py): cards, Janus checkpoint, CLIP, realised truth, and
the labeller's weights and calibration. Beside them, work/ holds what a stopped build goes on from, and report/ its
figures. Every stage writes its result whole, and is skipped where that is there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import Labeller
from fairbench.networks import janus as networks_janus
from fairbench.networks.janus import JanusModel
from fairbench.networks.weights import sha256
from fairbench.phantom import drawing, figures, layout, planted, reading, text
from fairbench.phantom import statistics as st
from fairbench.stats.bounds import share_interval
from fairbench.stats.estimands import shares
from fairbench.storage import atomic, folders, kinds

GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
CHOOSABLE = 2.0
"""The default guidance is the one, up to this, whose images are nearest to the planted truth."""
CARDS = (layout.CARD, layout.LABELLER_CARD, "labellers/phantom-noisy.yaml")
NOISY_CALIBRATION = "weights/phantom_noisy_calibration.json"


@dataclass(frozen=True)
class Size:
    """How much is measured: images per prompt (realised truth, held-out templates, each guidance), renders per cell."""

    realised: int = 5000
    held_out: int = 400
    guidance: int = 100
    renders: int = 5000
    answers: int = 1000
    stated: int = 3000


@dataclass(frozen=True)
class Builder:
    """One build. out: its folder. A stage that is finished is not done again."""

    out: Path
    seed: int
    progress: Progress
    size: Size = Size()

    @property
    def work(self) -> Path:
        """What a stopped build goes on from."""
        return self.out / "work"

    @property
    def weights(self) -> Path:
        """The labeller's files."""
        return self.out / layout.LABELLER_WEIGHTS

    @property
    def checkpoint(self) -> Path:
        """The Janus checkpoint, in transformers format."""
        return self.out / layout.CHECKPOINT

    def run(self) -> list[figures.Bar]:
        """Make and measure everything; return all bars. Raises FairbenchError for a folder of another seed."""
        self._claim()
        self.labeller()
        self.janus()
        self.clip()
        model = networks_janus.load(self.checkpoint, "cpu", "float32")
        reader = reading.reader(self.weights)
        self.cards(guidance := self.guidance(model, reader))
        bars = self.measure(model, reader, guidance)
        atomic.write_text(self.out / "report" / "bars.json", json.dumps([b.record() for b in bars], indent=2) + "\n")
        return bars

    def _claim(self) -> None:
        """Refuse to go on with a build of another seed."""
        folders.check(self.out, kinds.PHANTOM)
        path = self.work / "seed.json"
        if path.exists() and (other := json.loads(path.read_text(encoding="utf-8"))) != self.seed:
            raise FairbenchError(f"{self.out} holds a build with seed {other}: name that seed, or another folder.")
        atomic.write_text(path, json.dumps(self.seed))

    def labeller(self) -> None:
        """Train detector and classifier on renders."""
        from fairbench.phantom.making import train_labeller

        if all((self.weights / name).exists() for name in (layout.DETECTOR_FILE, layout.CLASSIFIER_FILE)):
            return
        with self.progress.stage("labeller", 1, "steps") as stage:
            for name, data in train_labeller.train(self.seed).items():
                atomic.write_bytes(self.weights / name, data)
            stage.advance()

    def janus(self) -> None:
        """Train the image tokenizer and then the model around it; save the checkpoint in half precision."""
        from fairbench.phantom.making import train_model, train_tokenizer

        if (self.checkpoint / "model.safetensors").exists():
            return
        vq, _ = train_tokenizer.train(self.work / "tokenizer", self.seed, self.progress)
        model, _ = train_model.train(vq, self.work / "model", self.seed, progress=self.progress)
        train_model.save(model, self.checkpoint)

    def clip(self) -> None:
        """Train the scorer of text and image."""
        from fairbench.phantom.making import train_clip

        folder = self.out / layout.CLIP
        if (folder / "open_clip_model.safetensors").exists():
            return
        model, _ = train_clip.train(self.work / "clip", self.seed, self.progress)
        train_clip.save(model, folder)

    def guidance(self, model: JanusModel, reader: reading.Reader) -> float:
        """Draw at every guidance; return the choosable one with the least total variation from the planted truth."""
        rows = {}
        for guidance in GUIDANCES:
            counts = self._counts(model, reader, text.NEUTRAL, self.size.guidance, guidance, f"guidance {guidance:g}")
            distance = st.total_variation(counts, figures.planted_shares(), np.random.default_rng(self.seed))
            rows[guidance] = {**st.task_rd(shares(counts)), "total_variation": distance.value}
        atomic.write_text(self.out / "report" / "guidance.json", json.dumps(rows, indent=2) + "\n")
        return min((g for g in GUIDANCES if g <= CHOOSABLE), key=lambda g: rows[g]["total_variation"])

    def _counts(
        self, model: JanusModel, reader: reading.Reader, template: str, images: int, guidance: float, stage: str
    ) -> NDArray[np.int64]:
        """Return how often each cell was drawn, (subjects, 8), in so many images per subject."""
        record_path = self.work / "drawn" / f"{stage.replace(' ', '-')}.json"
        images_of = (figures.captions(template), images, self.seed, guidance)
        return drawing.count_cells(drawing.read_back(model, reader, *images_of, record_path, self.progress, stage))

    def cards(self, guidance: float) -> None:
        """Write the package's cards with this build's guidance and hashes."""
        source = catalog.find("models")["phantom"].parent
        for name in CARDS:
            card = (source / name).read_text(encoding="utf-8")
            for file in (layout.DETECTOR_FILE, layout.CLASSIFIER_FILE):
                card = card.replace(sha256(source / layout.LABELLER_WEIGHTS / file), sha256(self.weights / file))
            # The shipped calibration of phantom-noisy is of another detector; `fairbench calibrate` makes this one's.
            card = card.replace(f"calibration: {NOISY_CALIBRATION}\n", "calibration: null\n")
            if name == layout.CARD:
                card = re.sub(r"(?m)^  guidance:.*$", f"  guidance: {guidance:g}", card)
            atomic.write_text(self.out / name, card)

    def measure(self, model: JanusModel, reader: reading.Reader, guidance: float) -> list[figures.Bar]:
        """Measure all that `fairbench phantom check` measures, at large n; write calibration and realised truth."""
        size, seed = self.size, self.seed
        record_path = self.work / "drawn" / "decoded-renders.json"
        trip = figures.round_trip(model, reader, size.renders, seed, self.progress, record_path)
        independent = figures.independent_bar(model, reader, size.stated, seed, guidance, 0)
        self._calibrate(trip, independent)
        counts = self._counts(model, reader, text.NEUTRAL, size.realised, guidance, "realised truth")
        atomic.write_text(self.out / layout.REALISED, realised_csv(counts))
        images = size.held_out // len(text.HELD_OUT)
        held_out = [
            self._counts(model, reader, template, images, guidance, f"held-out template {i}")
            for i, template in enumerate(text.HELD_OUT, start=1)
        ]
        bars = [*figures.tokenizer_bars(trip, 0), independent, *figures.bias_bars(counts, seed, 0)]
        bars.append(figures.paraphrase_bar(np.sum(held_out, axis=0), seed))
        bars.append(figures.stated_bar(model, reader, size.stated, seed, guidance, 0))
        bars += figures.understanding_bars(model, size.answers, seed, 0)
        bars.append(figures.clip_bar(self.out / layout.CLIP, model, size.answers, seed, 0))
        return [*bars, figures.bytes_bar(self.out)]

    def _calibrate(self, trip: figures.RoundTrip, independent: figures.Bar) -> None:
        """Write the calibration of the labeller `phantom`."""
        labeller = Labeller(catalog.load_labeller(str(self.out / layout.LABELLER_CARD)))
        calibration = confusion.Calibration(
            labeller="phantom",
            labeller_id=labeller.id,
            domain="generated by phantom",
            attributes=("gender", "race4"),
            rows=planted.CELLS,
            columns=(*planted.CELLS, confusion.NO_FACE),
            counts=trip.confusion,
            seed=self.seed,
            command=f"fairbench phantom build --out DIR --seed {self.seed} --images {self.size.realised}",
            notes="Renders, encoded by the model's image tokenizer and drawn again by its decoder, as it draws its own "
            "images. Every render shows a mannequin with a head: there is no row for images of nobody.",
            independent_check={
                "generated_images": self.size.stated,
                "agreement_with_nearest_render": independent.value,
            },
        )
        calibration.write(self.out / layout.CALIBRATION)


def realised_csv(counts: NDArray[np.int64]) -> str:
    """Return the realised truth of counts (32, 8): shares, the faces they rest on, and Jeffreys' 95 % intervals."""
    limits = [f"{cell}_{side}" for cell in planted.COLUMNS for side in ("low", "high")]
    lines = [["subject", *planted.COLUMNS, "n", *limits]]
    for subject, row, *interval in zip(text.EVALUATED, counts, *share_interval(counts), strict=True):
        shares = [f"{c / row.sum():.6f}" for c in row]
        lines.append([subject, *shares, row.sum(), *(f"{v:.6f}" for v in np.stack(interval, axis=1).ravel())])
    return atomic.csv_text(lines)
