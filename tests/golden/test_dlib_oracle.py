"""dlib's own calls, in the order of FairFace's script, beside our detector and crop: several faces, wide and high."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.errors import WeightsError
from fairbench.labelling import faces as faces_stage
from fairbench.labelling.crops.fairface_chip import FairFaceChip, FairFaceChipParams
from fairbench.labelling.detectors.dlib import CNN, LANDMARKS, DlibDetector, DlibParams, bounded_side, weight_file
from fairbench.networks import weights
from fairbench.storage import pixels
from fairbench.types import BuildContext, FoundFace, RgbImage

dlib = pytest.importorskip("dlib")
CTX = BuildContext()


@pytest.fixture(scope="module")
def crowd() -> RgbImage:
    """Six faces, 1280 x 886: a picture that the package insightface carries."""
    spec = importlib.util.find_spec("insightface")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "data" / "images" / "t1.jpg"
    image = pixels.decode(path.read_bytes(), path.name)
    assert image.shape == (886, 1280, 3)
    return image


Found = tuple[list[tuple[int, ...]], list[RgbImage]]


def official(image: RgbImage, finder: Any, max_size: int, upsample: int) -> Found:
    """FairFace's `detect_face`: boxes in the scaled image, and 300-pixel chips, in the order of detection."""
    old_height, old_width, _ = image.shape
    if old_width > old_height:
        new_width, new_height = max_size, int(max_size * old_height / old_width)
    else:
        new_width, new_height = int(max_size * old_width / old_height), max_size
    image = dlib.resize_image(image, rows=new_height, cols=new_width)
    found = [getattr(d, "rect", d) for d in finder(image, upsample)]
    predictor = dlib.shape_predictor(str(weight_file(LANDMARKS)))
    shapes = dlib.full_object_detections()
    for rect in found:
        shapes.append(predictor(image, rect))
    chips = dlib.get_face_chips(image, shapes, size=300, padding=0.25) if found else []
    return [(r.left(), r.top(), r.right(), r.bottom()) for r in found], list(chips)


def ours(image: RgbImage, detector: DlibDetector, max_size: int) -> Found:
    """The same from detector, table and crop, boxes in pixels of the scaled image."""
    height, width = image.shape[:2]
    rows = faces_stage.image_rows("", b"i" * 16, [FoundFace(f, 0) for f in detector.detect([image])[0]], width, height)
    stored = [s.detected.face for s in faces_stage.stored_faces(faces_stage.table(rows)) if rows[0]["status"] == "ok"]
    longer = max(height, width)
    factors = [int(max_size * side / longer) / side for side in (width, height, width, height)]
    crop = FairFaceChip(FairFaceChipParams(max_size=max_size), CTX)
    boxes = [tuple(round(edge * f) for edge, f in zip(face.bbox_xyxy, factors, strict=True)) for face in stored]
    return boxes, [crop.cut(image, face) for face in stored]


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "high"])
@pytest.mark.parametrize(("max_size", "upsample"), [(800, 0), (1000, 0), (700, 1)])
def test_chips_of_several_faces_are_those_of_dlibs_own_calls(
    crowd: RgbImage, turned: bool, max_size: int, upsample: int
) -> None:
    image = np.ascontiguousarray(np.pad(crowd[:, :700], ((200, 300), (0, 0), (0, 0)))) if turned else crowd
    boxes, chips = official(image, dlib.get_frontal_face_detector(), max_size, upsample)
    assert len(boxes) >= 2
    detector = DlibDetector(DlibParams(model="hog", upsample=upsample, max_size=max_size), CTX)
    our_boxes, our_chips = ours(image, detector, max_size)
    assert sorted(our_boxes) == sorted(boxes)
    for box, chip in zip(our_boxes, our_chips, strict=True):
        np.testing.assert_array_equal(chip, chips[boxes.index(box)])


@pytest.mark.long
def test_the_cnn_finds_what_it_finds_by_dlibs_own_calls(crowd: RgbImage, tmp_path: Path) -> None:
    """Also where `weights` names the file."""
    finder = dlib.cnn_face_detection_model_v1(str(weight_file(CNN)))
    boxes, chips = official(crowd, finder, 900, 0)
    assert len(boxes) == 6
    copy = tmp_path / "other_name.dat"
    copy.write_bytes(weight_file(CNN).read_bytes())
    own = {"path": str(copy), "sha256": weights.sha256(copy)}
    detector = DlibDetector(DlibParams.model_validate({"upsample": 0, "max_size": 900, "weights": own}), CTX)
    our_boxes, our_chips = ours(crowd, detector, 900)
    assert sorted(our_boxes) == sorted(boxes)
    for box, chip in zip(our_boxes, our_chips, strict=True):
        np.testing.assert_array_equal(chip, chips[boxes.index(box)])


# --- bounds ---


@pytest.mark.parametrize(
    ("size", "limit", "side"),
    [
        ((2937, 4406), 1_800_000, 1643),
        ((886, 1280), 1_800_000, None),
        ((1000, 1000), 1_000_000, None),
        ((1001, 1000), 1_000_000, 1000),
        ((10, 300_000), 1_000_000, 173205),
        ((886, 1280), None, None),
    ],
)
def test_a_bound_shrinks_what_is_larger_and_nothing_else(
    size: tuple[int, int], limit: int | None, side: int | None
) -> None:
    assert bounded_side(*size, limit) == side
    if side is not None and limit is not None:
        assert side * max(1, int(side * min(size) / max(size))) <= limit


def test_faces_of_a_bounded_image_are_given_in_its_own_pixels(crowd: RgbImage) -> None:
    """The bound loses no face here, and moves none by more than the grid of the smaller image."""
    whole = DlibDetector(DlibParams(model="hog", upsample=0), CTX).detect([crowd])[0]
    bound = DlibParams(model="hog", upsample=0, max_pixels=600_000)
    small = DlibDetector(bound, CTX).detect([crowd])[0]
    assert len(whole) == len(small) == 6
    for one, other in zip(*(sorted(f.bbox_xyxy for f in found) for found in (whole, small)), strict=True):
        np.testing.assert_allclose(one, other, atol=0.25 * (one[2] - one[0]))
    same = DlibParams(model="hog", upsample=0, max_pixels=886 * 1280)
    assert DlibDetector(same, CTX).detect([crowd])[0] == whole


# --- files ---


def test_a_wheel_with_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are stored under keys that stand for the wheel's files, and hold no hash of them."""
    monkeypatch.setattr("fairbench.networks.weights.sha256", lambda path: "0" * 64)
    with pytest.raises(WeightsError, match=r"has sha256 0+, not .*face-recognition-models 0\.3\.0"):
        DlibDetector(DlibParams(), CTX)


def test_weights_that_are_not_as_declared_or_no_network_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "net.dat"
    file.write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"net\.dat has sha256"):
        DlibDetector(DlibParams.model_validate({"weights": {"path": str(file), "sha256": "0" * 64}}), CTX)
    made = DlibDetector(DlibParams.model_validate({"weights": {"path": str(file)}}), CTX)
    with pytest.raises(WeightsError, match=r"net\.dat is not a CNN detector") as caught:
        made.detect([np.zeros((64, 64, 3), np.uint8)])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="those of the CNN"):
        DlibParams.model_validate({"model": "hog", "weights": {"path": str(file)}})
    with pytest.raises(ValueError, match="leave one of the two out"):
        DlibParams(max_size=800, max_pixels=1_000_000)
