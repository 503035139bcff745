"""Train the phantom's face detector and classifier on renders, in about two minutes on two cores.

`python -m fairbench.phantom.making.train_labeller --out DIR [--seed S]` writes DETECTOR_FILE and CLASSIFIER_FILE,
and prints how they do on fresh renders. The same seed and torch release give the same files on one kind of processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from fairbench.labelling.crops.box import BoxCrop, BoxParams
from fairbench.labelling.labeller import Labeller
from fairbench.networks.weights import sha256
from fairbench.phantom import reading
from fairbench.phantom.detector import SIDE
from fairbench.phantom.layout import CLASSIFIER_FILE, DETECTOR_FILE
from fairbench.phantom.making import corpus, nets
from fairbench.storage import atomic
from fairbench.types import BuildContext, Face, RgbImage

_IMAGES, _EPOCHS, _BATCH, _LEARNING_RATE = 20_000, 8, 100, 2e-3
_HELD_OUT = 4000
_BOX_JITTER = 0.025
"""Standard deviation of each edge in the classifier's training, as a share of the image's side."""

Loss = Callable[[nn.Module, Sequence[torch.Tensor]], torch.Tensor]


def detector_loss(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the cross-entropy of the presence plus the absolute error of the box where there is a head."""
    images, head, boxes = batch
    presence, predicted = net(images)
    box_error = (predicted - boxes).abs().mean(dim=1)
    total: torch.Tensor = functional.binary_cross_entropy(presence, head) + 10 * (box_error * head).mean()
    return total


def classifier_loss(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of the two attributes' cross-entropies."""
    chips, gender, race = batch
    by_gender, by_race = net(chips)
    return functional.cross_entropy(by_gender, gender) + functional.cross_entropy(by_race, race)


def chips(data: corpus.Corpus, rng: np.random.Generator) -> list[RgbImage]:
    """Return the chip of every image with a head, cut from its true box after each edge was moved a little."""
    crop, side = BoxCrop(BoxParams(), BuildContext()), data.images.shape[1]
    moved = (data.boxes + rng.normal(0.0, _BOX_JITTER, data.boxes.shape)) * side
    chips = []
    for i in np.flatnonzero(data.head):
        x1, y1, x2, y2 = (float(v) for v in moved[i])
        chip = Image.fromarray(crop.cut(data.images[i], Face((x1, y1, x2, y2), 1.0)))
        chips.append(np.asarray(chip.resize((nets.CHIP, nets.CHIP), Image.Resampling.BILINEAR), dtype=np.uint8))
    return chips


def _batches(tensors: Sequence[torch.Tensor], order: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Cut the tensors into batches; the first of them, pixels, becomes float (n, 3, side, side) in 0..1."""
    for index in torch.split(order, _BATCH):
        pixels, *targets = (tensor[index] for tensor in tensors)
        yield [pixels.permute(0, 3, 1, 2).float() / 255, *targets]


def fit(net: nn.Module, loss: Loss, tensors: Sequence[torch.Tensor], seed: int) -> None:
    """Train in place with Adam, at a learning rate that falls to zero along a cosine."""
    net.to(memory_format=torch.channels_last)  # the layout of the pixels; twice as fast on a CPU
    shuffle = torch.Generator().manual_seed(seed)
    steps = _EPOCHS * -(-len(tensors[0]) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(_EPOCHS):
        for batch in _batches(tensors, torch.randperm(len(tensors[0]), generator=shuffle)):
            optimiser.zero_grad()
            loss(net, batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch, and keep it to one thread: that sums in one order, and a second brings such small networks little."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def train(seed: int) -> dict[str, bytes]:
    """Return file name -> ONNX bytes of both networks."""
    rng = np.random.default_rng(seed)
    data = corpus.make(_IMAGES, rng, corpus.degraded)
    headed = torch.from_numpy(data.head)
    scenes = [torch.from_numpy(data.images), headed.float(), torch.from_numpy(data.boxes)]
    labels = [torch.from_numpy(attribute)[headed] for attribute in (data.gender, data.race)]
    with _reproducible(seed):
        finder, reader = nets.Detector(SIDE), nets.Classifier()
        fit(finder, detector_loss, scenes, seed)
        fit(reader, classifier_loss, [torch.from_numpy(np.stack(chips(data, rng))), *labels], seed)
    return {
        DETECTOR_FILE: nets.to_onnx(finder, SIDE, "image", ["presence", "box"]),
        CLASSIFIER_FILE: nets.to_onnx(reader, nets.CHIP, "chip", ["gender", "race4"]),
    }


def accuracy(labeller: Labeller, data: corpus.Corpus) -> dict[str, float]:
    """Return shares: heads missed, false alarms, right labels of each attribute; and the boxes' mean overlap (IoU).

    Labels and overlap are over the heads that were detected.
    """
    faces = labeller.detect(list(data.images))
    detected = np.array([bool(several) for several in faces])
    hits = np.flatnonzero(detected & data.head)
    probs = labeller.classify([labeller.cut(data.images[i], faces[i][0]) for i in hits])
    boxes = np.array([faces[i][0].face.bbox_xyxy for i in hits]) / data.images.shape[1]
    return {
        "missed": float(np.mean(~detected[data.head])),
        "false alarms": float(np.mean(detected[~data.head])),
        "gender": float(np.mean(probs["gender"].argmax(axis=1) == data.gender[hits])),
        "race4": float(np.mean(probs["race4"].argmax(axis=1) == data.race[hits])),
        "overlap": float(np.mean(_overlap(boxes, data.boxes[hits]))),
    }


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union, row by row, of boxes (n, 4)."""
    edges = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.clip(edges, 0, None), axis=1)
    areas = sum(np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b))
    return np.asarray(intersection / (areas - intersection))


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write both files, and print their sha256 and held-out figures."""
    parser = argparse.ArgumentParser(description="Train the phantom's detector and classifier.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the two ONNX files to")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    start = time.perf_counter()
    files = train(args.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")  # noqa: T201
    for name, data in files.items():
        atomic.write_bytes(args.out / name, data)
        print(f"{args.out / name}: {len(data)} bytes, sha256 {sha256(args.out / name)}")  # noqa: T201
    labeller = reading.labeller_of(args.out)
    for degrade in (corpus.clean, corpus.blurred, corpus.degraded):
        fresh = corpus.make(_HELD_OUT, np.random.default_rng(args.seed + 1), degrade)
        figures = accuracy(labeller, fresh)
        print(f"{degrade.__name__:>9}: " + ", ".join(f"{k} {v:.2%}" for k, v in figures.items()))  # noqa: T201


if __name__ == "__main__":
    main()
