"""How the phantom's images are read back: by the shipped labeller, and by the nearest render in pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fairbench.cards import catalog
from fairbench.errors import WeightsError
from fairbench.labelling.classifiers.onnx import OnnxClassifier
from fairbench.labelling.crops.box import BoxCrop
from fairbench.phantom import reading
from fairbench.phantom.detector import PhantomDetector
from fairbench.phantom.making import corpus
from fairbench.phantom.nearest import NearestRender
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import BACKGROUNDS, draw, sample_scene
from fairbench.types import RgbImage


def folder() -> Path:
    """The shipped labeller's weights."""
    return (catalog.load_labeller("phantom").base_dir or Path()) / "weights"


@pytest.fixture(scope="module")
def reader() -> reading.Reader:
    return reading.reader(folder())


@pytest.fixture(scope="module")
def nearest() -> NearestRender:
    return NearestRender(np.random.default_rng(1), renders_per_cell=60)


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(i).filter(ImageFilter.GaussianBlur(radius))) for i in images])


# --- renders ---


def test_renders_come_in_turn() -> None:
    images, cells = reading.renders(19, np.random.default_rng(0))
    assert images.shape == (19, 64, 64, 3)
    assert images.dtype == np.uint8
    assert cells.tolist() == [*range(8), *range(8), 0, 1, 2]
    for other in range(3):
        assert not np.array_equal(images[other], images[other + 8])  # another scene each time


def test_each_is_the_cell_that_it_is_said_to_be_in_a_calm_scene() -> None:
    images, cells = reading.renders(8, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng, calm=True) for _ in range(8)]
    assert {scene.background for scene in scenes} <= set(BACKGROUNDS[:2])
    for image, cell, scene in zip(images, cells, scenes, strict=True):
        assert np.array_equal(image, draw(*CELLS[cell], scene))


@pytest.mark.parametrize("size", [8, 24])
def test_batches_are_the_renders_cut_up(size: int) -> None:
    parts = list(reading.batches(50, np.random.default_rng(2), size))
    assert [len(cells) for _, cells in parts] == [size] * (50 // size) + [50 % size]
    images, cells = reading.renders(50, np.random.default_rng(2))
    assert np.array_equal(np.concatenate([part for part, _ in parts]), images)
    assert np.array_equal(np.concatenate([part for _, part in parts]), cells)


def test_batches_hold_all_cells_alike() -> None:
    assert reading.BATCH % len(CELLS) == 0
    found = np.concatenate([cells for _, cells in reading.batches(3 * reading.BATCH, np.random.default_rng(0))])
    assert np.bincount(found).tolist() == [3 * reading.BATCH // 8] * 8
    assert list(reading.batches(0, np.random.default_rng(0))) == []


# --- the labeller ---


def test_the_labeller_reads_calm_renders(reader: reading.Reader) -> None:
    images, cells = reading.renders(240, np.random.default_rng(3))
    assert np.mean(reader.read(images) == cells) >= 0.995
    assert np.mean(reader.read(blurred(images, 1.0)) == cells) >= 0.99


def nobody() -> list[RgbImage]:
    """An even field, white, and shoulders without a head."""
    scene = sample_scene(np.random.default_rng(0))
    plain = [np.full((64, 64, 3), grey, dtype=np.uint8) for grey in (128, 255)]
    return [*plain, draw("male", "Asian", scene, head=False)]


def test_nobody_is_read_where_no_head_is(reader: reading.Reader) -> None:
    assert reader.read(np.stack(nobody())).tolist() == [reading.NOBODY] * 3
    assert reading.NOBODY not in range(len(CELLS))


def test_readings_stay_in_their_places_among_images_of_nobody(reader: reading.Reader) -> None:
    images, cells = reading.renders(6, np.random.default_rng(4))
    field, white, headless = nobody()
    mixed = np.stack([field, images[0], images[1], white, *images[2:], headless])
    expected = [reading.NOBODY, cells[0], cells[1], reading.NOBODY, *cells[2:], reading.NOBODY]
    assert reader.read(mixed).tolist() == expected


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"phantom_classifier\.onnx"):
        reading.reader(tmp_path)


# --- the other route ---


def test_the_nearest_render_is_the_right_one(nearest: NearestRender) -> None:
    images, cells = reading.renders(160, np.random.default_rng(6))
    assert np.mean(nearest.read(images) == cells) >= 0.98
    assert np.mean(nearest.read(blurred(images, 1.0)) == cells) >= 0.98


def test_it_finds_its_own_renders_exactly() -> None:
    own = NearestRender(np.random.default_rng(7), renders_per_cell=5)
    images, cells = reading.renders(40, np.random.default_rng(7))
    assert own.read(images).tolist() == cells.tolist()
    shuffled = np.random.default_rng(0).permutation(40)
    assert own.read(images[shuffled]).tolist() == cells[shuffled].tolist()


def test_it_shares_nothing_with_the_labeller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither detector, crop nor classifier is run, and no weights are read."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the other route ran a part of the labeller")

    images, cells = reading.renders(16, np.random.default_rng(9))
    for owner, name in ((PhantomDetector, "detect"), (OnnxClassifier, "classify"), (BoxCrop, "cut")):
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError, match="a part of the labeller"):
        reading.reader(folder()).read(images)
    found = NearestRender(np.random.default_rng(8), renders_per_cell=40).read(images)
    assert np.mean(found == cells) >= 0.9


def test_the_two_routes_agree_on_what_a_coarse_tokenizer_might_draw(
    reader: reading.Reader, nearest: NearestRender
) -> None:
    rng = np.random.default_rng(10)
    images, _ = reading.renders(160, rng)
    seen = np.stack([corpus.blurred(image, rng) for image in images])
    assert np.mean(reader.read(seen) == nearest.read(seen)) >= 0.97
