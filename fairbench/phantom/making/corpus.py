"""Labelled renders, degraded as an image model or a file format might degrade them, for the phantom's labeller."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import RACES, bust_box, draw, sample_scene
from fairbench.types import RgbImage

Degrade = Callable[[RgbImage, np.random.Generator], RgbImage]


@dataclass(frozen=True, slots=True)
class Corpus:
    """images: uint8 (n, side, side, 3). head: bool (n). boxes: (n, 4), fractions of the side; zeros without a head.

    gender, race: indices into the renderer's GENDERS and RACES, -1 where nobody is shown.
    """

    images: NDArray[np.uint8]
    head: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    gender: NDArray[np.int64]
    race: NDArray[np.int64]


def make(n: int, rng: np.random.Generator, degrade: Degrade, headless: float = 0.2, empty: float = 0.1) -> Corpus:
    """Render n images, all cells equally likely. headless, empty: shares without a head, and without anybody at all."""
    images, heads, boxes, cells = [], [], [], []
    for kind in rng.random(n):
        scene, cell = sample_scene(rng), int(rng.integers(len(CELLS)))
        head = kind >= empty + headless
        if kind < empty:
            image, cell = _nobody(rng), -1
        else:
            image = draw(*CELLS[cell], scene, head=head)
        images.append(degrade(image, rng))
        heads.append(head)
        boxes.append(bust_box(scene) if head else (0.0, 0.0, 0.0, 0.0))
        cells.append(cell)
    cell_indices = np.array(cells)
    gender, race = (np.where(cell_indices < 0, -1, index) for index in np.divmod(cell_indices, len(RACES)))
    return Corpus(np.stack(images), np.array(heads), np.array(boxes, dtype=np.float32), gender, race)


def _nobody(rng: np.random.Generator, size: int = 64) -> RgbImage:
    """Return random colours, from one plain field to a fine mosaic."""
    parts = int(rng.choice([1, 2, 4, 8, 16, 64]))
    mosaic = rng.integers(0, 256, (parts, parts, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(mosaic).resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


def clean(image: RgbImage, rng: np.random.Generator) -> RgbImage:
    """Return the image as it is."""
    return image


def blurred(image: RgbImage, rng: np.random.Generator) -> RgbImage:
    """Return the image blurred by 1 to 2 pixels (standard deviation), as a coarse image tokenizer does at 64 x 64."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 2.0))), dtype=np.uint8)


def degraded(image: RgbImage, rng: np.random.Generator) -> RgbImage:
    """Return the image after a random choice of coarser resolution, blur, light, contrast, colour cast, noise, JPEG."""
    side = image.shape[0]
    picture = Image.fromarray(image)
    coarse, blur, light, noise, jpeg = rng.random(5) < (0.2, 0.5, 0.5, 0.4, 0.3)
    if coarse:
        fewer = int(rng.integers(side // 4, side))
        picture = picture.resize((fewer, fewer), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2)))
    if light or noise:
        values = np.asarray(picture, dtype=np.float64)
        if light:
            values = values * rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3) + rng.uniform(-20.0, 30.0)
        if noise:
            values = values + rng.normal(0.0, rng.uniform(2.0, 14.0), values.shape)
        picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if jpeg:
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=int(rng.integers(25, 95)))
        picture = Image.open(file).convert("RGB")
    return np.asarray(picture, dtype=np.uint8)
