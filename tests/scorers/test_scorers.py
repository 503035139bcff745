"""The scorers on tiny local checkpoints: shapes, ranges, independence of batches, and the ways weights can be wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fairbench import registry
from fairbench.errors import WeightsError
from fairbench.protocols import TRANSPORT
from fairbench.scorers.clip_score import OPENAI_VIT_B_32, ClipScore
from fairbench.scorers.inception_score import InceptionScore
from fairbench.types import BuildContext

NAMES = ("clip-score", "clip-iqa", "inception-score")
WIDTHS = {"clip-score": 1, "clip-iqa": 1, "inception-score": 1000}
PROMPTS = ["a photo of a nurse", "x" * 200, "a photo of a nurse"]


@pytest.fixture(scope="module")
def checkpoints(tiny_openclip, tiny_inception):
    """The parameters that name a tiny checkpoint, by scorer."""
    clip = {"path": str(tiny_openclip)}
    inception = {"weights": {"path": str(tiny_inception)}}
    return {"clip-score": clip, "clip-iqa": clip, "inception-score": inception}


@pytest.fixture(scope="module")
def images():
    """Three images of different shape and content, one of them a single pixel."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in [(40, 64, 3), (64, 40, 3)]]
    return [*noise, np.full((1, 1, 3), 200, dtype=np.uint8)]


@pytest.fixture(scope="module", params=NAMES)
def scored(request, checkpoints, images):
    """Each scorer with the features of all images in one batch; loading and computing them once keeps this quick."""
    scorer = build(request.param, checkpoints[request.param])
    return scorer, scorer.features(images, PROMPTS)


def build(name, params, **more):
    plugin = registry.resolve("scorers", name)
    return plugin(registry.parse_params(plugin, {**params, **more}), BuildContext())


def test_one_float32_row_an_image_and_the_promised_values(scored, images):
    scorer, found = scored
    assert found.shape == (len(images), WIDTHS[scorer.spec.name])
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() > 0.01  # the images do differ
    values = scorer.summarise(found)
    assert tuple(values) == scorer.spec.values
    assert all(isinstance(value, float) for value in values.values())


@pytest.mark.parametrize("name", NAMES)
def test_spec_bears_the_registered_name_and_higher_is_better(name):
    spec = registry.resolve("scorers", name).spec
    assert (spec.name, spec.direction) == (name, "higher")


def test_an_image_does_not_depend_on_its_batch(scored, checkpoints, images):
    scorer, together = scored
    name = scorer.spec.name
    backwards = build(name, checkpoints[name], batch_size=2).features(images[::-1], PROMPTS[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, rtol=1e-5, atol=1e-5)  # float32: sums round otherwise


def test_scoring_repeats_exactly_and_leaves_the_global_generator_alone(scored, images):
    scorer, first = scored
    state = torch.random.get_rng_state()
    second = scorer.features(images, PROMPTS)
    np.testing.assert_array_equal(first, second)
    assert scorer.summarise(first) == scorer.summarise(second)
    assert torch.equal(state, torch.random.get_rng_state())


def test_no_image_gives_null_and_not_zero(scored):
    scorer, _ = scored
    found = scorer.features([], [])
    assert found.shape == (0, WIDTHS[scorer.spec.name])
    assert scorer.summarise(found) == dict.fromkeys(scorer.spec.values)


def test_only_clip_score_reads_the_prompt(scored, images):
    scorer, own = scored
    other = scorer.features(images, ["a cat and a dog"] * len(images))
    assert np.array_equal(own, other) != scorer.spec.needs_prompt
    assert scorer.spec.needs_prompt == (scorer.spec.name == "clip-score")


@pytest.mark.parametrize("name", NAMES)
def test_batch_size_is_marked_as_transport(name):
    extra = registry.resolve("scorers", name).Params.model_fields["batch_size"].json_schema_extra
    assert extra == TRANSPORT


@pytest.mark.parametrize("name", NAMES)
def test_default_weights_without_network_are_an_error_with_the_fix(name, monkeypatch, tmp_path):
    monkeypatch.setenv("FAIRBENCH_OFFLINE", "1")
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("FAIRBENCH_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match="FAIRBENCH_WEIGHTS_DIR"):
        build(name, {})


@pytest.mark.parametrize("name", NAMES)
def test_weights_with_another_sha256_are_refused(name, tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"something else")
    weights = {"path": str(file), "sha256": "0" * 64}
    with pytest.raises(WeightsError, match="declares 0000"):
        build(name, {"weights": weights} if name == "inception-score" else {"model": "ViT-B-32", "weights": weights})


def test_backbones_name_model_and_weights(checkpoints):
    assert build("clip-score", checkpoints["clip-score"]).backbone == "open_clip clip"
    named = build("inception-score", checkpoints["inception-score"]).backbone
    assert named.startswith("torchvision inception_v3, inception.pth, sha256 ")


def test_clip_takes_the_pinned_openai_model_unless_another_is_named():
    assert ClipScore.Params().model_dump(include={"model", "weights"}, exclude_none=True) == OPENAI_VIT_B_32
    assert ClipScore.Params(batch_size=4).model == OPENAI_VIT_B_32["model"]
    named = ClipScore.Params(repo="owner/model", revision="0" * 40)
    assert named.model is None and named.weights is None
    with pytest.raises(ValidationError, match="belong together"):
        ClipScore.Params(model="ViT-L-14")
    with pytest.raises(ValidationError, match="Extra inputs"):
        ClipScore.Params(prefix="A photo depicts")


def test_clip_score_lies_between_0_and_100_and_opposed_pairs_score_0(checkpoints, images):
    scorer = build("clip-score", checkpoints["clip-score"])
    prompts = list("abcdefghijklmnop")
    found = scorer.features(images[:1] * len(prompts), prompts)
    assert found.min() == 0.0 and 0.0 < found.max() <= 100.0


def test_clip_score_cuts_a_long_prompt_at_the_context(checkpoints, images):
    scorer = build("clip-score", checkpoints["clip-score"])
    fits = "abcdefghij" * 8  # one token a letter, of which 77 less start and end are seen
    image = images[:1]
    shorter = scorer.features(image, [fits[:74]])
    cut = scorer.features(image, [fits[:75]])
    assert scorer.features(image, [fits + "and more"]) == pytest.approx(cut, abs=1e-5)
    assert abs(shorter - cut).max() > 1e-3


def test_clip_iqa_is_a_probability(checkpoints, images):
    scorer = build("clip-iqa", checkpoints["clip-iqa"])
    found = scorer.features(images, PROMPTS)
    assert ((found > 0) & (found < 1)).all()
    assert scorer.summarise(np.array([[0.25], [0.75], [0.8]], np.float32))["clip_iqa"] == pytest.approx(0.6)


def test_inception_score_needs_an_image_a_split(checkpoints):
    scorer = build("inception-score", checkpoints["inception-score"], splits=3)
    logits = np.eye(3, dtype=np.float32)
    assert scorer.summarise(logits[:2]) == {"inception_score": None}
    assert scorer.summarise(logits) == {"inception_score": pytest.approx(1.0)}  # one image alone is no variety


def test_inception_score_splits_in_the_given_order(checkpoints):
    certain = (1000.0 * np.eye(4, dtype=np.float32))[[0, 0, 1, 2, 3]]
    halves = build("inception-score", checkpoints["inception-score"], splits=2)
    assert halves.summarise(certain)["inception_score"] == pytest.approx((1 + 3) / 2)  # two images, then three
    whole = build("inception-score", checkpoints["inception-score"])
    assert whole.summarise(certain)["inception_score"] == whole.summarise(certain[::-1])["inception_score"]


@pytest.mark.parametrize("content", ["text", "other network", "code"])
def test_inception_refuses_what_is_no_inception_v3(content, tmp_path):
    file, witness = tmp_path / "weights.pth", tmp_path / "witness"

    class Code:
        def __reduce__(self):
            return witness.write_text, ("ran",)

    if content == "text":
        file.write_text("not weights")
    else:
        torch.save(Code() if content == "code" else torch.nn.Linear(2, 2).state_dict(), file)
    params = InceptionScore.Params(weights={"path": str(file)})
    with pytest.raises(WeightsError, match="not a state dict of torchvision's inception_v3"):
        InceptionScore(params, BuildContext())
    assert not witness.exists()


def test_large_and_equal_logits_stay_finite(checkpoints):
    scorer = build("inception-score", checkpoints["inception-score"])
    assert scorer.summarise(np.full((5, 1000), 1e4, np.float32))["inception_score"] == pytest.approx(1.0)
    assert math.isfinite(scorer.summarise(np.diag([1e30] * 4).astype(np.float32))["inception_score"])
