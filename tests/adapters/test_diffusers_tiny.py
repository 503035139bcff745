"""Shipped cards on tiny checkpoints of their own pipelines: from disk, with their own settings, through a whole run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import fairbench
from fairbench.adapters import diffusers_pipelines
from fairbench.adapters.diffusers import DiffusersAdapter, _result
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.errors import CardError
from fairbench.types import BuildContext, ImageRequest
from tests.builders.cli import Cli
from tests.builders.folders import written_once
from tests.builders.tiny_pipelines import PIPELINES, save

BF16 = BuildContext(dtype="bfloat16", block_size=2)
LOW = 0x1234_5678
"""Low 32 bits that seeds share."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {n: written_once(tmp_path_factory, f"tiny-{n}", lambda f, n=n: save(n, f)) for n in PIPELINES}  # type: ignore[misc]


def tiny_card(name: str, folder: Path, **sampling: Any) -> ModelCard:
    """The shipped card with the tiny checkpoint, two steps, and images of 32 x 32 pixels."""
    card = catalog.load_model(name).card
    settings = card.sampling | {"steps": 2, "width": 32, "height": 32} | sampling
    return card.model_copy(update={"weights": HubModel(path=str(folder)), "sampling": settings})


def build(card: ModelCard, ctx: BuildContext | None = None) -> DiffusersAdapter:
    params = DiffusersAdapter.Params.model_validate(card.sampling)
    return DiffusersAdapter(card, params, ctx or BuildContext(block_size=2))


def request(text: str, seed: int) -> ImageRequest:
    return ImageRequest(b"i", b"p", b"n", text, 0, seed)


def pixels(adapter: DiffusersAdapter, *requests: ImageRequest) -> list[np.ndarray]:
    results = adapter.generate(requests)
    assert [r.error for r in results] == [None] * len(requests)
    return [r.pixels for r in results if r.pixels is not None]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name == "glm-image" else ()) for name in PIPELINES]
)
def test_a_killed_run_gives_the_images_of_one_that_was_not(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folders: dict[str, Path], name: str
) -> None:
    """Whatever the batch, the block, the order and the start, bit for bit; and no two images of a prompt are equal."""
    card = tiny_card(name, folders[name])
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card.model_dump(mode="json", exclude_defaults=True)))
    args = ("run", "--model", "card.yaml", "--task", "occupations-mini", "--limit-prompts", 1, "-n", 2)
    args = (*args, "--labeller", "phantom", "--device", "cpu", "--batch-size", 1, "--store", "store", "--out", "run")
    call, calls = diffusers_pipelines.call, itertools.count()

    def killed(*given: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return call(*given)

    monkeypatch.setattr(diffusers_pipelines, "call", killed)
    assert cli(*args).code != 0
    cli(*args).succeeded()
    assert next(calls) == 3, "images that were there were made again"
    run = fairbench.load(tmp_path / "run", store=tmp_path / "store")
    rows = sorted(run.images().drop_duplicates("image_id").itertuples(), key=lambda row: -int(row.sample_index))
    # All in one call, in the other order, with another block size.
    adapter = build(card, BuildContext(block_size=3))
    again = pixels(adapter, *(request(row.text, int(row.seed)) for row in rows))
    for row, image in zip(rows, again, strict=True):
        assert np.array_equal(np.asarray(run.picture(row.image_id)), image)
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(again, 2))
    assert {image.shape for image in again} == {(32, 32, 3)}
    settings = adapter.effective_settings()
    assert settings["pipeline"] == type(adapter._pipe).__name__ and settings["rewrite_prompts"] is False
    if (declared := card.sampling.get("system_prompt")) is not None:
        assert declared.split("\n")[0] in str(settings["system_prompt"])


@pytest.mark.parametrize("name", sorted(PIPELINES.keys() - {"glm-image"}))  # which sees one image at a time
def test_blocks_in_reduced_precision_are_full_and_follow_prompt_and_seed(folders: dict[str, Path], name: str) -> None:
    adapter = build(tiny_card(name, folders[name], steps=1), BF16)
    one, two = request("a nurse", 1), request("a photo of the face of a chef, a person", 2)
    both = pixels(adapter, one, two)
    assert np.array_equal(pixels(adapter, one)[0].shape, both[0].shape) and not np.array_equal(*both)


def test_glm_images_tokens_follow_the_whole_seed(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline starts torch's global stream at the low 32 bits, so that such images shared all their tokens."""
    adapter = build(tiny_card("glm-image", folders["glm-image"], steps=1))
    language_model, sequences = adapter._pipe.vision_language_encoder, []
    draw = language_model.generate

    def spy(*args: Any, **kwargs: Any) -> Any:
        sequences.append(draw(*args, **kwargs))
        return sequences[-1]

    monkeypatch.setattr(language_model, "generate", spy)
    before = torch.get_rng_state()
    pixels(adapter, *(request("a nurse", LOW | high << 32) for high in (1, 2)))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(sequences) == 2 and not torch.equal(*sequences)


def test_an_image_that_glms_language_model_ends_early_is_counted_as_failed(folders: dict[str, Path]) -> None:
    """Its end mark is not ruled out; the run died of a reshape."""
    adapter = build(tiny_card("glm-image", folders["glm-image"], steps=1))
    adapter._pipe.vision_language_encoder.generation_config.eos_token_id = list(range(64))
    (result,) = adapter.generate([request("a nurse", 1)])
    assert (result.status, result.pixels) == ("failed", None)
    assert "ended before it had drawn all image tokens" in str(result.error)


def test_ernies_language_model_rewrites_only_where_the_card_says_so(folders: dict[str, Path]) -> None:
    """By the pipeline's own default it rewrites every prompt, from a stream that no seed reaches."""
    plain = build(tiny_card("ernie-image", folders["ernie-image"], steps=1))
    assert plain._pipe.pe is None, "it takes no memory of the device"
    asked = [request("a nurse", LOW | high << 32) for high in (1, 2)]
    rewriting = build(tiny_card("ernie-image", folders["ernie-image"], steps=1, rewrite_prompts=True), BF16)
    torch.manual_seed(1)
    texts = [r.notes["prompt-rewritten"] for r in rewriting.generate(asked)]
    torch.manual_seed(2)
    assert [r.notes["prompt-rewritten"] for r in rewriting.generate(asked[::-1])] == texts[::-1]
    assert texts[0] != texts[1], "the rewriting follows the whole seed"
    assert [r.notes for r in plain.generate(asked)] == [{}, {}]


def test_longcat_rewrites_only_where_the_card_says_so(folders: dict[str, Path]) -> None:
    plain = build(tiny_card("longcat-image", folders["longcat-image"], steps=1))
    plain._pipe.rewire_prompt = None  # would fail if it were called
    assert plain.generate([request("a nurse", 1)])[0].status == "ok"


def test_longcat_without_a_negative_prompt_takes_a_block(folders: dict[str, Path]) -> None:
    """The pipeline encodes an absent one once, and could not match it to two rows."""
    card = tiny_card("longcat-image", folders["longcat-image"], steps=1)
    bare = card.model_copy(update={"sampling": {k: v for k, v in card.sampling.items() if k != "negative_prompt"}})
    asked = request("a nurse", 1), request("a chef", 2)
    assert all(map(np.array_equal, pixels(build(bare, BF16), *asked), pixels(build(card, BF16), *asked)))


def test_z_images_chat_template_does_not_reach_the_notes(folders: dict[str, Path]) -> None:
    """It writes its template into the list that it is given, and prompts seemed to be cut and rewritten."""
    adapter = build(tiny_card("z-image", folders["z-image"], steps=1, max_sequence_length=64))
    short, long = adapter.generate([request("a nurse", 1), request("a nurse " * 20 + "end", 1)])
    assert short.notes == {} and list(long.notes) == ["prompt-cut"]
    assert long.notes["prompt-cut"].endswith('end"')


def test_a_system_prompt_is_noted_word_for_word_and_can_be_set(folders: dict[str, Path]) -> None:
    for sampling, prefix in (
        ({}, "You are an assistant designed to generate"),
        ({"system_prompt": "Be fair."}, "Be fair."),
    ):
        adapter = build(tiny_card("lumina2", folders["lumina2"], steps=1, **sampling))
        note = adapter.generate([request("a nurse", 1)])[0].notes["system-prompt"]
        assert note.startswith(prefix) and note.endswith(" <Prompt Start> {prompt}")
        assert adapter.effective_settings()["system_prompt"] == [note]


def test_further_arguments_reach_the_pipeline(folders: dict[str, Path]) -> None:
    """Lumina's authors guide in the first quarter of the steps, and the pipeline throughout unless it is told."""
    images = [
        pixels(build(tiny_card("lumina2", folders["lumina2"], steps=4, arguments=arguments)), request("a nurse", 1))[0]
        for arguments in ({"cfg_trunc_ratio": 0.25}, {"cfg_trunc_ratio": 1.0}, {})
    ]
    assert not np.array_equal(images[0], images[1]) and np.array_equal(images[1], images[2])
    with pytest.raises(CardError, match=r"takes no `cfg_trunc_rate` \(did you mean 'cfg_trunc_ratio'"):
        build(tiny_card("lumina2", folders["lumina2"], arguments={"cfg_trunc_rate": 1.0})).generate([request("x", 1)])


def test_a_size_that_the_model_does_not_make_is_refused(folders: dict[str, Path]) -> None:
    """Qwen-Image 2.1 rounds down to multiples of 32 without a word."""
    adapter = build(tiny_card("qwen-image-2.1", folders["qwen-image-2.1"], steps=1, width=40))
    with pytest.raises(CardError, match="asked for 40 x 32 pixels, the pipeline made 32 x 32"):
        adapter.generate([request("a nurse", 1)])


def test_a_checkpoints_own_schedule_must_be_the_cards(folders: dict[str, Path]) -> None:
    """With `sample_sigmas` in its configuration the pipeline ignores the number of steps."""
    adapter = build(tiny_card("qwen-image-2.1", folders["qwen-image-2.1"]))
    pipe = adapter._pipe
    pipe.register_to_config(sample_sigmas=[1.0, 0.8, 0.5])
    with pytest.raises(CardError, match=r"takes 3 steps, by its own schedule \(sample_sigmas\); set `steps: 3`"):
        diffusers_pipelines.check(pipe, adapter._params, "card")


def test_opacity_is_laid_over_white() -> None:
    rgba = np.array([[[0.2, 0.4, 0.6, 1.0], [0.2, 0.4, 0.6, 0.0], [0.2, 0.4, 0.6, 0.5]]])
    result = _result(rgba, False, 0.0, {})
    assert result.pixels is not None
    assert result.pixels.tolist() == [[[51, 102, 153], [255, 255, 255], [153, 178, 204]]]
