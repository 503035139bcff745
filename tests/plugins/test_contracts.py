"""What a plug-in's calls may return: what is taken, how it is converted, and the one sentence for everything else."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fairbench import contracts
from fairbench.errors import FairbenchError, PluginError
from fairbench.protocols import Params
from fairbench.storage import pixels as storage_pixels
from fairbench.types import Face, ImageResult

TITLE = "The adapter 'their-package/x'"
RAMP = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


@pytest.mark.parametrize(
    "given",
    [
        RAMP,
        Image.fromarray(RAMP),
        RAMP.astype(np.float64) / 255,
        (RAMP / 255).astype(np.float32),
        (RAMP / 255 + 1e-5).astype(np.float32),
        Image.fromarray(RAMP).convert("RGBA"),
    ],
    ids=["uint8", "PIL", "float64", "float32", "float32 just outside", "PIL with alpha"],
)
@pytest.mark.parametrize("bare", [False, True])
def test_images_of_each_accepted_form_are_the_same_pixels(given: Any, bare: bool) -> None:
    (result,) = contracts.images(TITLE, [given if bare else ImageResult("ok", given, seconds=1.5)], 1)
    assert isinstance(result.pixels, np.ndarray)
    assert result.pixels.dtype == np.uint8
    np.testing.assert_array_equal(result.pixels, RAMP)
    assert result.seconds == (0 if bare else 1.5)


def test_a_float16_image_is_rounded_to_the_nearest_level() -> None:
    (result,) = contracts.images(TITLE, [(RAMP / 255).astype(np.float16)], 1)
    assert np.abs(result.pixels.astype(int) - RAMP).max() <= 1  # type: ignore[union-attr]


def test_images_without_pixels_pass_as_they_are() -> None:
    refused = ImageResult("refused", error="no")
    assert contracts.images(TITLE, (r for r in [refused]), 1) == [refused]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (RAMP.astype(np.float32), "float32 from 0 to 238"),
        (RAMP / 127.5 - 1, "from -1 to"),
        (np.full((2, 3, 3), np.nan), "from nan to nan"),
        (RAMP.astype(np.int64), "int64"),
        (RAMP[:, :, 0], "of shape (2, 3)"),
        (np.zeros((3, 8, 9), np.uint8), "of shape (3, 8, 9)"),
        (np.zeros((0, 3, 3), np.uint8), "of shape (0, 3, 3)"),
        (np.zeros((2, 3, 4), np.uint8), "of shape (2, 3, 4)"),
        ("image.png", "returned str"),
        (None, "returned NoneType"),
        (Image.new("F", (3, 2)), "PIL image that cannot be used"),
    ],
)
def test_any_other_image_is_one_sentence(given: Any, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        contracts.images(TITLE, [ImageResult("ok", RAMP), given], 2)
    assert str(caught.value).startswith(TITLE)
    assert words in str(caught.value)


@pytest.mark.parametrize("results", [None, 3, [ImageResult("ok", RAMP)] * 3, []])
def test_other_than_one_result_per_request_is_refused(results: Any) -> None:
    with pytest.raises(PluginError, match="per request"):
        contracts.images(TITLE, results, 2)


FACE = Face((0, 0, 1, 1), 0.5)


@pytest.mark.parametrize("given", [None, [], [[FACE], []], [FACE], [[(0, 0, 1, 1)]], "x", [[Face((1, 2), 1)]]])  # type: ignore[arg-type]
def test_detections_are_one_list_of_faces_per_image(given: Any) -> None:
    assert contracts.detections(TITLE, [(FACE,)], 1) == [[FACE]]
    with pytest.raises(PluginError, match="one list of Face per image"):
        contracts.detections(TITLE, given, 1)


LABELS = {"gender": ("Male", "Female")}


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"gender": None},
        {"gender": [[0.5, 0.5, 0]]},
        {"gender": [[0.5, 0.5]] * 2},
        {"gender": [[3, -2]]},
        {"gender": [[0.5, 0.4]]},
        {"gender": [[np.nan, 0.5]]},
        {"gender": [["a", "b"]]},
        {"gender": [[1, 0]], "age": [[1, 0]]},
    ],
)
def test_probabilities_have_the_declared_shape_and_range(given: Any) -> None:
    taken = contracts.probabilities(TITLE, {"gender": [[1, 0]]}, LABELS, 1)["gender"]
    assert taken.dtype == np.float32
    with pytest.raises(PluginError, match=r"^The adapter 'their-package/x' returned"):
        contracts.probabilities(TITLE, given, LABELS, 1)


@pytest.mark.parametrize("given", [None, [], [1.0, 2.0], [[1.0]], np.zeros((2, 0)), [["a"], ["b"]], "ab"])
def test_features_have_a_row_per_image(given: Any) -> None:
    assert contracts.features(TITLE, [[1], [2]], 2).tolist() == [[1.0], [2.0]]
    assert np.isinf(contracts.features(TITLE, [[1e300], [2]], 2)).any()  # counted as failed by whoever asked
    with pytest.raises(PluginError, match=r"shape \(2, D\)"):
        contracts.features(TITLE, given, 2)


@pytest.mark.parametrize(
    "given", [None, {}, {"a": 1.0}, {"a": 1.0, "b": "x"}, {"a": 1, "b": np.nan}, {"a": 1, "b": [1]}]
)
def test_a_summary_has_a_finite_number_or_none_for_every_value(given: Any) -> None:
    assert contracts.summary(TITLE, {"a": np.float32(1), "b": None, "c": 3}, ["a", "b"]) == {"a": 1.0, "b": None}
    with pytest.raises(PluginError, match=r"from summarise|finite number or None"):
        contracts.summary(TITLE, given, ["a", "b"])


@pytest.mark.parametrize("given", [None, "ab", ["a"], ["a", 1], ["a", None]])
def test_rewritten_prompts_are_one_text_per_sample(given: Any) -> None:
    assert contracts.texts(TITLE, ("a", "b"), 2) == ["a", "b"]
    with pytest.raises(PluginError, match="one text per sample"):
        contracts.texts(TITLE, given, 2)


def test_a_guard_names_the_plug_in_and_passes_sentences_on() -> None:
    sentence = r"^The adapter 'their-package/x' failed: it raised KeyError: 'a'\.$"
    with pytest.raises(PluginError, match=sentence), contracts.guard(TITLE):
        raise KeyError("a")
    with pytest.raises(FairbenchError, match=r"^mine$"), contracts.guard(TITLE):
        raise FairbenchError("mine")
    with pytest.raises(KeyboardInterrupt), contracts.guard(TITLE):
        raise KeyboardInterrupt


def test_an_adapter_declares_what_stands_behind_the_colon() -> None:
    """It once had to be called `path`, which nothing said."""

    class Settings(Params):
        level: int = 3

    class Flat:
        version = 1
        target = "level"
        Params = Settings

        def generate(self, requests: object) -> object:
            return requests

    contracts.check("adapters", "The adapter flat", Flat)
    Flat.target = "lewel"
    with pytest.raises(PluginError, match="`target` names no field of its `Params`"):
        contracts.check("adapters", "The adapter flat", Flat)


def test_a_models_own_file_is_kept_if_it_is_an_image_of_its_pixels_size() -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(RAMP).save(turned, "JPEG", exif=exif)
    pixels = storage_pixels.decode(turned.getvalue())
    assert pixels.shape[:2] == RAMP.shape[1::-1]
    good = ImageResult("ok", pixels, encoded=turned.getvalue())
    assert contracts.images(TITLE, [good], 1) == [good]
    for broken in (b"no image", turned.getvalue()[:5], "text", b""):
        with pytest.raises(PluginError, match="an `encoded` that is no image file of its pixels' size"):
            contracts.images(TITLE, [ImageResult("ok", pixels, encoded=broken)], 1)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="no image file of its pixels' size"):
        contracts.images(TITLE, [ImageResult("ok", RAMP, encoded=turned.getvalue())], 1)
    with pytest.raises(ValueError, match="only an ok result has an image file"):
        ImageResult("failed", error="x", encoded=b"x")
