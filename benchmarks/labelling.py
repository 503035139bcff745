"""Labelling: fairbench's stage against the networks alone, and against a loop like that of Shen et al.'s script.

Four contenders take turns on the same images in one process:
  fairbench   the stage as a run calls it: read and decode from the store, detect, crop, three classifiers, write tables
  networks    onnxruntime's session of the detector and the classifiers' forward passes, on inputs made beforehand and
              in the same batches; nothing else
  whole loop  insightface's `app.get` with all models of the pack, one image and one classifier at a time, all in memory
  det loop    the same with `allowed_modules=["detection"]`, as Shen's published script sets it
The networks have the formats and costs of buffalo_l and of Shen's MobileNetV3s, and random weights; see pack.py.
Usage: python benchmarks/labelling.py [--images 24] [--rounds 3] [--tiny]. Targets: fairbench at most 5 % beyond the
networks; the whole loop at least 2x fairbench.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
import torchvision
from common import alternate, machine, ratio, show, verdict
from pack import REAL, SPOT, TINY, Sizes, build, settled
from PIL import Image, ImageDraw
from shen import shen_loop

from fairbench import keys
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.display.progress import Silent
from fairbench.labelling.classifiers import preprocess
from fairbench.labelling.labeller import Labeller
from fairbench.runs.labels import CHIP_BATCH, LabelStage
from fairbench.storage import pixels, reading, schemas
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, RgbImage

ATTRIBUTES = {"gender": ["female", "male"], "race4": ["WMELH", "Black", "Indian", "Asian"], "age": ["young", "old"]}
BLOCK = 8


def picture(seed: int, side: int, det_size: int) -> RgbImage:
    """Return soft colours with the grain of a photograph and, somewhere in the middle, one red spot."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(60, 180, (12, 12, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    cells = det_size // SPOT
    x, y = rng.integers(cells // 3, cells - cells // 3, 2) + 0.5
    scale, reach = side / det_size, 0.75 * SPOT
    box = [scale * (c * SPOT + r) for c, r in ((x, -reach), (y, -reach), (x, reach), (y, reach))]
    grain = rng.normal(0, 5, (side, side, 1))
    image = Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8))
    ImageDraw.Draw(image).rectangle(box, fill=(255, 0, 0))
    return np.asarray(image)


class Bench:
    """Images in a store and in files, one pack, three classifiers, and the contenders."""

    def __init__(self, folder: Path, sizes: Sizes, images: int, side: int) -> None:
        self.sizes, self.folder, self.turn = sizes, folder, 0
        self.pack = build(folder / "pack", sizes)
        self.files: list[Path] = []
        self.requests: list[ImageRequest] = []
        self.store = Store(folder / "store")
        for start in range(0, images, BLOCK):
            self._add_block([picture(i, side, sizes.det_size) for i in range(start, min(start + BLOCK, images))], start)
        self.labeller = Labeller(Loaded(self._card(), folder / "card.yaml"))
        self.labeller.load()
        self.rows = reading.index(self.store, "bench", self.requests)
        self.detector = self.labeller.routes[0][0].built
        self.classifiers = [part.built for part in self.labeller.classifiers]
        self.blobs, self.chips = self._inputs()
        self.session = onnxruntime.InferenceSession(self.pack / "det_10g.onnx", providers=["CPUExecutionProvider"])
        self.answers: dict[str, Any] = {}

    def _add_block(self, images: list[RgbImage], start: int) -> None:
        data = [pixels.encode(image) for image in images]
        for i, content in enumerate(data, start):
            path = self.folder / f"img_{i}.png"
            path.write_bytes(content)
            self.files.append(path)
        text, seeds = "bench", range(start, start + len(images))
        prompt = keys.prompt_id(text)
        block = [ImageRequest(keys.image_id("bench", prompt, prompt, s), prompt, prompt, text, s, s) for s in seeds]
        self.requests += block
        columns: dict[str, object] = {
            n: [getattr(r, n) for r in block]
            for n in ("image_id", "prompt_id", "neutral_id", "text", "sample_index", "seed")
        }
        none = [None] * len(block)
        columns |= {"method": ["none"] * len(block), "status": ["ok"] * len(block), "error": none, "sha256": none}
        columns |= {
            "width": none,
            "height": none,
            "seconds": none,
            "notes": none,
            "image": [{"bytes": d, "path": None} for d in data],
        }
        self.store.write("images", "bench", schemas.build("images", columns))

    def _card(self) -> LabellerCard:
        """Write three classifiers; return a card as models/labellers/shen2024.yaml, without its fallback."""
        classifiers = []
        for i, (name, labels) in enumerate(ATTRIBUTES.items()):
            torch.manual_seed(i + 1)
            net = settled(torchvision.models.mobilenet_v3_large(weights=None, num_classes=len(labels)), 64)
            torch.save(net.state_dict(), self.folder / f"{name}.pt")
            classifiers.append(
                {
                    "type": "torchvision",
                    "architecture": "mobilenet_v3_large",
                    "weights": {"path": f"{name}.pt"},
                    "input": {"size": (224, 224), "range": (-1, 1), "resize": "torch-bilinear"},
                    "heads": {name: {"activation": "softmax"}},
                }
            )
        detector = {
            "type": "insightface",
            "weights": {"path": "pack/det_10g.onnx"},
            "det_size": self.sizes.det_size,
        }
        return LabellerCard.model_validate(
            {
                "name": "bench",
                "title": "bench",
                "classifiers": classifiers,
                "routes": [{"detector": detector, "crop": {"type": "square", "expand": 0.5}}],
                "attributes": {name: {"labels": labels} for name, labels in ATTRIBUTES.items()},
            }
        )

    def _inputs(self) -> tuple[list[Any], torch.Tensor]:
        """Return what the networks see: a detector input an image, and the chips."""
        model, blobs, chips = self.detector._model, [], []
        prepare = model._prepare_input_blob

        def kept(*given: Any) -> Any:
            blobs.append(prepare(*given))
            return blobs[-1]

        model._prepare_input_blob = kept
        for _, image in reading.ImageReader(self.store).stream(self.rows):
            assert isinstance(image, np.ndarray), image
            (faces,) = self.labeller.detect([image])
            if len(faces) != 1:
                raise SystemExit(f"{len(faces)} faces were found in an image that has one: not what was to be measured")
            chips.append(self.labeller.cut(image, faces[0]))
        del model._prepare_input_blob
        return blobs, torch.from_numpy(preprocess.batch(chips, self.classifiers[0]._params.input))

    def fairbench(self) -> None:
        self.turn += 1
        stage = LabelStage(self.store, self.labeller, f"faces{self.turn}", f"labels{self.turn}")
        stage.run(self.rows, Silent())
        shards = [table for _, table in self.store.scan("labels", f"labels{self.turn}")]
        place = {r.image_id: i for i, r in enumerate(self.requests)}
        found = {(place[r["image_id"]], r["attribute"]): r["label"] for t in shards for r in t.to_pylist()}
        self.answers["fairbench"] = [found[i, a] for i in range(len(place)) for a in ATTRIBUTES]

    def networks(self) -> None:
        with torch.inference_mode():
            for start in range(0, len(self.blobs), CHIP_BATCH):
                for blob in self.blobs[start : start + CHIP_BATCH]:
                    self.session.run(None, {"input": blob})
                chips = self.chips[start : start + CHIP_BATCH]
                for classifier in self.classifiers:
                    for batch in torch.split(chips, classifier._params.batch_size):
                        classifier._model(batch)

    def loop(self, name: str, modules: list[str] | None) -> Any:
        """Return a contender: the loop of Shen's script, less its aligned chips and grids of pictures."""
        from insightface.app import FaceAnalysis

        app = FaceAnalysis(str(self.pack), allowed_modules=modules, providers=["CPUExecutionProvider"])
        app.prepare(ctx_id=-1, det_size=(self.sizes.det_size,) * 2)
        if modules is None and len(app.models) != 5:
            raise SystemExit(f"insightface recognised {sorted(app.models)}, not the five models of the pack")
        nets = [c._model for c in self.classifiers]

        def run() -> None:
            kept = list(shen_loop(app, nets, self.files))
            self.answers[name] = [
                labels[int(logits.argmax())]
                for _, _, *each in kept
                for logits, labels in zip(each, ATTRIBUTES.values(), strict=True)
            ]

        return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512, help="of an image, in pixels")
    parser.add_argument("--tiny", action="store_true", help="small networks: shows that the script works, no more")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", FutureWarning)  # insightface's, about scikit-image
    sizes = TINY if args.tiny else REAL
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), sizes, args.images, args.side)
        contenders = {
            "fairbench": bench.fairbench,
            "networks": bench.networks,
            "whole loop": bench.loop("whole loop", None),
            "det loop": bench.loop("det loop", ["detection"]),
        }
        alternate(contenders, 1)  # warm-up
        times = alternate(contenders, args.rounds)
    kind = "small networks for a trial" if args.tiny else "architectures of buffalo_l and of Shen's classifiers"
    print(f"{machine()}, torch {torch.get_num_threads()} threads; {kind}, random weights")
    print(f"{args.images} images of {args.side} x {args.side}, one face each; medians of {args.rounds} rounds")
    show(
        ["contender", "seconds", "ms an image", "time / fairbench", "labels as fairbench"],
        [
            [
                name,
                f"{median(t):.2f}",
                f"{1000 * median(t) / args.images:.1f}",
                f"{ratio(times, name, 'fairbench'):.2f}",
                _agreement(bench.answers, name),
            ]
            for name, t in times.items()
        ],
    )
    beyond = 100 * (ratio(times, "fairbench", "networks") - 1)
    print(verdict("beyond the bare networks", beyond, 5, at_most=True, unit=" %"))
    print(verdict("whole loop against fairbench", ratio(times, "whole loop", "fairbench"), 2, at_most=False))
    print(f"det loop against fairbench: {ratio(times, 'det loop', 'fairbench'):.2f}x (no target)")


def _agreement(answers: dict[str, Any], name: str) -> str:
    if name not in answers:
        return "-"
    pairs = zip(answers[name], answers["fairbench"], strict=True)
    return f"{sum(a == b for a, b in pairs)} of {len(answers['fairbench'])}"


if __name__ == "__main__":
    main()
