"""The classifier `nearest-render` and the labeller `phantom-pixels`: right, exact, and independent of `phantom`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fairbench.cards import catalog
from fairbench.errors import CardError
from fairbench.labelling.classifiers.onnx import OnnxClassifier
from fairbench.labelling.labeller import Labeller
from fairbench.networks import janus
from fairbench.phantom import drawing, layout, nearest, reading
from fairbench.phantom.detector import PhantomDetector
from fairbench.phantom.making import corpus
from fairbench.phantom.nearest import NearestRender, NearestRenderClassifier, NearestRenderParams
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.phantom.statistics import clopper_pearson
from fairbench.types import BuildContext, LabelSchema


@pytest.fixture(scope="module")
def labeller() -> Labeller:
    return Labeller(catalog.load_labeller("phantom-pixels"))


def cells(labeller: Labeller, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    return reading.Reader(labeller).read(images)


@pytest.mark.parametrize(("calm", "least"), [(True, 0.98), pytest.param(False, 0.95, marks=pytest.mark.long)])
def test_renders_through_the_tokenizer_are_read_as_what_they_are(labeller: Labeller, calm: bool, least: float) -> None:
    """By the exact lower limit of the share that is right, not by the share itself."""
    images, truth = reading.renders(184 if calm else 800, np.random.default_rng(21), calm=calm)
    vq = janus.load(catalog.find("models")["phantom"].parent / layout.CHECKPOINT, "cpu", "float32").net.model.vqmodel
    right = np.array([(cells(labeller, drawing.decoded(vq, drawing.encoded(vq, images))) == truth).sum()])
    low, _ = clopper_pearson(right, np.array([len(truth)]), 0.025)
    assert low[0] >= least


def test_it_runs_no_part_of_the_other_labeller(labeller: Labeller, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a part of the labeller `phantom` ran")

    images, truth = reading.renders(40, np.random.default_rng(9), calm=False)
    for owner, name in ((PhantomDetector, "detect"), (OnnxClassifier, "classify")):
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError, match="a part of the labeller"):
        Labeller(catalog.load_labeller("phantom")).read(list(images))
    assert cells(labeller, images).tolist() == truth.tolist()


def test_images_of_nobody_have_no_label(labeller: Labeller) -> None:
    rng = np.random.default_rng(2)
    bodies, _ = reading.renders(40, rng, calm=False, head=False)
    plain = [np.full((64, 64, 3), colour, np.uint8) for colour in rng.integers(0, 256, (40, 3), np.uint8)]
    mosaics = corpus.make(40, rng, corpus.clean, headless=0.0, empty=1.0).images
    for images in (bodies, np.stack(plain), mosaics):
        assert (cells(labeller, images) == reading.NOBODY).all()


def test_labels_do_not_depend_on_the_batch_nor_on_the_size_of_the_image(labeller: Labeller) -> None:
    images, truth = reading.renders(48, np.random.default_rng(3))
    together = labeller.classify(list(images))
    for name, probs in together.items():
        alone = np.concatenate([labeller.classify([image])[name] for image in images])
        assert np.array_equal(probs, alone)
    large = np.stack([np.asarray(Image.fromarray(image).resize((192, 192))) for image in images])
    assert cells(labeller, large).tolist() == truth.tolist()


def test_distances_are_those_of_every_pair_of_images() -> None:
    """Against differences, one pair at a time; the squares are sums of whole numbers, so nothing is rounded."""
    read = NearestRender(np.random.default_rng(7), renders_per_cell=3, calm=False)
    own, own_cells = reading.renders(24, np.random.default_rng(7), calm=False)
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    images[0], images[1] = 0, 255

    def halved(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BOX), np.float64)

    for image, row in zip(images, read.distances(images), strict=True):
        for cell in range(len(CELLS)):
            squares = [np.mean((halved(image) - halved(r)) ** 2) for r in own[own_cells == cell]]
            assert row[cell] == pytest.approx(np.sqrt(min(squares)) / 255, rel=1e-14)
    assert not read.distances(own).min(axis=1).any()  # its own renders, exactly


def test_probabilities_follow_the_distances() -> None:
    """In another order of labels than the renderer's, from the stated formula, one label at a time."""
    declared = LabelSchema({"race4": ("Asian", "WMELH", "Indian", "Black"), "gender": ("male", "female")})
    params = NearestRenderParams(renders_per_group=6, spread=0.05)
    classifier = NearestRenderClassifier(params, BuildContext(), declared)
    images, _ = reading.renders(8, np.random.default_rng(5), calm=False)
    probs = classifier.classify(list(images))
    of_cell = NearestRender(np.random.default_rng([0, 1]), 6, calm=False).distances(images)
    for i, distances in enumerate(of_cell):
        by_name = dict(zip(CELLS, distances, strict=True))
        for axis, name in enumerate(("gender", "race4")):
            nearest_of = [min(d for cell, d in by_name.items() if cell[axis] == x) for x in declared.labels[name]]
            weights = np.exp(-(np.array(nearest_of) ** 2) / (2 * 0.05**2))
            assert probs[name][i] == pytest.approx(weights / weights.sum(), rel=1e-6)


def test_a_card_with_other_labels_is_refused() -> None:
    for labels in ({"gender": GENDERS}, {"gender": GENDERS, "race4": RACES[:3]}):
        with pytest.raises(CardError, match=r"reads race4 as WMELH, Black, Indian, Asian: declare these labels"):
            NearestRenderClassifier(NearestRenderParams(), BuildContext(), LabelSchema(labels))


def test_sums_are_exact_in_the_worst_case() -> None:
    worst = np.full((1, 3 * nearest.SIDE**2), -128, np.float32)
    assert nearest._products(worst, worst).item() == 128**2 * 3 * nearest.SIDE**2
