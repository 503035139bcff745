"""A whole build of the phantom at toy size: every stage as it is, a handful of steps, rows, subjects and images."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from fairbench.cards import catalog
from fairbench.phantom import check, figures, layout, nearest, text
from fairbench.phantom.making import (
    architecture,
    build,
    nets,
    report,
    train_clip,
    train_labeller,
    train_model,
    train_tokenizer,
)
from fairbench.training.schedule import Schedule

SIZE = build.Size(realised=4, held_out=8, guidance=2, renders=4, answers=8, stated=8)
SHIPPED = catalog.find("models")["phantom"].parent


def finds_all(seed: int) -> dict[str, bytes]:
    """A labeller for blurs: a detector that finds a head in every image, and the shipped classifier."""
    finder = nets.Detector(64)
    with torch.no_grad():
        for parameter in finder.parameters():
            parameter.zero_()
        finder.trunk[-1].bias[0] = 10.0
    name = layout.CLASSIFIER_FILE
    return {
        layout.DETECTOR_FILE: nets.to_onnx(finder, 64, "image", ["presence", "box"]),
        name: (SHIPPED / "labellers" / "weights" / name).read_bytes(),
    }


@contextmanager
def toy_sizes() -> Iterator[None]:
    """Set the constants of every stage for as long as the context lasts."""

    def plan(steps: int) -> Schedule:
        return Schedule(steps=steps, rate=1e-3, save_every=2, log_every=1)

    small: list[tuple[object, str, object]] = [
        (text, "EVALUATED", ("senator", "violinist", "citizen", "barber")),
        (report, "SHOWN", ("nurse",)),
        (architecture, "HIDDEN", 48),
        (architecture, "LAYERS", 1),
        (train_labeller, "train", finds_all),
        (train_tokenizer, "WARM_UP", plan(4)),
        (train_tokenizer, "QUANTISED", plan(5)),
        (train_tokenizer, "BATCH", 4),
        (train_tokenizer, "start_codebook", functools.partial(train_tokenizer.start_codebook, images=64)),
        (train_model, "train", functools.partial(train_model.train, schedule=plan(4))),
        (train_model, "make_pool", functools.partial(train_model.make_pool, images=64, with_pixels=64)),
        (train_model, "CAPTIONS", 8),
        (train_model, "EXCHANGES", 6),
        (train_clip, "train", functools.partial(train_clip.train, schedule=plan(4))),
        (train_clip, "BATCH", 8),
        (build, "GUIDANCES", (1.0, 2.0, 3.0)),
        (build, "Size", lambda **_: SIZE),
        (check, "check", functools.partial(check.check, size=check.Size(images=4, renders=4, others=8))),
        (figures, "NearestRender", functools.partial(nearest.NearestRender, renders_per_cell=4)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in small:
            patch.setattr(owner, name, value)
        yield
