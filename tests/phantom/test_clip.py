"""The phantom's own CLIP: what its captions mean, and that training repeats itself, resumes, and saves what loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairbench.networks import openclip
from fairbench.phantom import clip, text
from fairbench.phantom.drawing import as_pixels
from fairbench.phantom.making import corpus, train_clip
from fairbench.phantom.planted import CELLS, cumulative
from fairbench.phantom.renderer import RACES, render
from fairbench.scorers.clip_score import ClipScore
from fairbench.training.schedule import Schedule
from fairbench.types import BuildContext
from tests.builders.progress import Recorder

PLAN = Schedule(steps=6, rate=3e-3, save_every=2, log_every=1)
EVERY = np.arange(len(CELLS))
FILES = {"open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def trained(folder: Path, seed: int = 0) -> Path:
    model, _ = train_clip.train(folder / "state", seed, schedule=PLAN)
    train_clip.save(model, folder / "clip")
    return folder / "clip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> openclip.OpenClip:
    return openclip.load(openclip.OpenClipParams(path=str(folder)), BuildContext())


# --- captions ---


def test_a_caption_fits_the_cells_that_its_text_asks_for():
    rng = np.random.default_rng(0)
    captions = [clip.caption(rng, (*text.TEMPLATES, *text.HELD_OUT)) for _ in range(300)]
    found = clip.fits(captions, *np.divmod(EVERY, len(RACES)))
    asked = [np.diff(cumulative(c.text), prepend=0.0) > 0 for c in captions]  # the planted table's own reading
    assert np.array_equal(found, asked)
    assert {int(row.sum()) for row in found} == {1, 2, 4, 8}  # both attributes, race, gender, none
    assert any(clip.UNKNOWN in c.text for c in captions)


def test_only_captions_that_state_something_can_be_wrong():
    rng = np.random.default_rng(0)
    captions = [clip.caption(rng, neutral=False) for _ in range(100)]
    assert not clip.fits(captions, *np.divmod(EVERY, len(RACES))).all(axis=1).any()


def test_words_are_tokens_whatever_their_case_and_punctuation():
    words = train_clip.tokenizer()
    one, other = "A photo of a Female Asian nurse, a person", "a photo of a female asian nurse a person!"
    assert words(one).input_ids == words(other).input_ids
    assert words.unk_token_id not in words(text.NEUTRAL.replace("{subject}", "machine offbearer")).input_ids
    heard, meant = words("a zookeeper at work"), words(f"a {clip.UNKNOWN} at work")
    assert heard.input_ids == meant.input_ids
    longest = max((words(line).input_ids for line in text.corpus() if "{" not in line), key=len)
    assert len(longest) <= train_clip.CONTEXT


# --- training ---


def test_a_batch_counts_what_fits_and_nothing_fits_an_image_of_nobody(monkeypatch):
    headless = corpus.make(train_clip.BATCH, np.random.default_rng(0), corpus.clean, headless=1.0, empty=0.0)
    monkeypatch.setattr(corpus, "make", lambda *_: headless)

    class Constant(torch.nn.Module):
        """Says that every pair fits, and is sure of it."""

        def get_logits(self, images: Any, tokens: Any) -> tuple[Any, Any]:
            every = torch.full((len(tokens), len(images)), 20.0)
            return every.T, every

    loss, figures = train_clip.Agreement(Constant())(0, np.random.default_rng(0))
    assert loss.item() == pytest.approx(20.0)
    assert figures["accuracy"].item() == 0.0


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    again, other = trained(tmp_path / "again"), trained(tmp_path / "other", seed=1)
    assert content(again) == content(folder)
    assert content(folder).keys() == FILES
    differing = {name for name, data in content(other).items() if data != content(folder)[name]}
    assert differing == {"open_clip_model.safetensors"}


@pytest.mark.long
def test_a_stopped_training_goes_on_as_if_it_had_not_been(folder, tmp_path):
    class Stop(Exception):
        pass

    def stop(name: str, done: int, total: int) -> None:
        if done == 3:  # one step after the last state
            raise Stop

    with pytest.raises(Stop):
        train_clip.train(tmp_path / "state", 0, Recorder(stop), PLAN)
    resumed = Recorder()
    _, history = train_clip.train(tmp_path / "state", 0, resumed, PLAN)
    assert resumed.events == [("clip", done, 4) for done in range(5)]
    assert [row["step"] for row in history] == list(range(6))
    assert content(trained(tmp_path)) == content(folder)


def test_a_few_steps_lower_the_loss(folder):
    _, history = train_clip.train(folder.parent / "state", 0, schedule=PLAN)  # finished: nothing is computed again
    assert history[-1]["loss"] < history[0]["loss"]


# --- the saved folder ---


def test_the_saved_folder_loads_in_single_precision(folder, loaded):
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    model, _ = train_clip.train(folder.parent / "state", 0, schedule=PLAN)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value.half().float()), name
    assert sum(len(data) for data in content(folder).values()) <= 1_000_000


def test_images_and_texts_are_read_as_in_training(folder, loaded):
    from PIL import Image

    image = render("female", "Indian", np.random.default_rng(0))
    assert torch.allclose(loaded.preprocess(Image.fromarray(image)), as_pixels(image[None])[0], atol=1e-6)
    objective = train_clip.Agreement(loaded.model)
    assert torch.equal(loaded.tokenizer(["A photo of a nurse"]), objective._tokens(["A photo of a nurse"]))


# --- the area under the curve ---


class Oracle:
    """Made-up scores: `sign` where a prompt fits the image by the planted table's reading, else -`sign`."""

    def __init__(self, cells: np.ndarray, sign: float) -> None:
        self._cells, self._sign = cells, sign

    def features(self, images: Any, prompts: list[str]) -> np.ndarray:
        shares = [np.diff(cumulative(p), prepend=0.0)[cell] for p, cell in zip(prompts, self._cells, strict=True)]
        return self._sign * np.where(np.array(shares) > 0, 1.0, -1.0)[:, None]


@pytest.mark.parametrize(("sign", "area"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_the_area_of_made_up_scores(sign, area):
    cells = np.tile(EVERY, 4)
    images = [np.zeros((2, 2, 3), np.uint8)] * len(cells)
    assert clip.roc_auc(Oracle(cells, sign), images, cells, np.random.default_rng(0)) == area  # type: ignore[arg-type]


def test_the_area_of_a_saved_model(folder):
    scorer = ClipScore(ClipScore.Params(path=str(folder)), BuildContext())
    drawn = corpus.make(16, np.random.default_rng(0), corpus.blurred, headless=0.0, empty=0.0)
    cells = drawn.gender * len(RACES) + drawn.race
    areas = {clip.roc_auc(scorer, list(drawn.images), cells, np.random.default_rng(seed)) for seed in (1, 1, 2)}
    assert len(areas) == 2  # the captions depend on the generator alone
    assert all(0 <= area <= 1 for area in areas)
