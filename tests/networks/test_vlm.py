"""Vision language models of transformers: three families of real classes with random weights, loaded from disk."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from fairbench.cards.cards import HubModel
from fairbench.errors import FairbenchError, WeightsError
from fairbench.networks.vlm import VisionLanguageModel
from fairbench.types import BuildContext, RgbImage
from tests.builders.vlms import FAMILIES, save_tiny_vlm

QUESTIONS = ("Is this A or B?", "How does the person's gender appear? A. male B. female", "Which? C")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_tiny_vlm(tmp_path_factory.mktemp(name), name) for name in FAMILIES}


def images(seed: int = 0) -> list[RgbImage]:
    rng = np.random.default_rng(seed)
    shapes = ((64, 64), (64, 120), (90, 40))
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def vlm(folder: Path) -> VisionLanguageModel:
    return VisionLanguageModel(HubModel(path=str(folder)), BuildContext())


@functools.cache
def one(family: str, folder: Path) -> VisionLanguageModel:
    return vlm(folder)


@functools.cache
def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()


def by_transformers(folder: Path, question: str, image: RgbImage | None, limit: int) -> str:
    """Ask as the library's own documentation does: one conversation, tokenised by the processor."""
    processor, net = loaded(folder)
    content = [] if image is None else [{"type": "image", "image": Image.fromarray(image)}]
    message = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    inputs = processor.apply_chat_template(
        message, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        out = net.generate(**inputs, max_new_tokens=limit, do_sample=False)
    return str(processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_library_whatever_else_is_asked(family: str, folders: dict[str, Path]) -> None:
    folder, pictures = folders[family], images()
    expected = [by_transformers(folder, q, i, 6) for q, i in zip(QUESTIONS, pictures, strict=True)]
    model = one(family, folder)
    assert model.answer(QUESTIONS, pictures, limit=6) == expected
    alone = [model.answer([q], [i], limit=6)[0] for q, i in zip(QUESTIONS, pictures, strict=True)]
    assert alone == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_image_and_question_matter_and_text_alone_is_answered(family: str, folders: dict[str, Path]) -> None:
    model, pictures = one(family, folders[family]), images()
    same_question = model.answer([QUESTIONS[0]] * 3, pictures, limit=6)
    same_image = model.answer(QUESTIONS, [pictures[0]] * 3, limit=6)
    assert len(set(same_question)) > 1
    assert len(set(same_image)) > 1
    assert model.answer(QUESTIONS, [None] * 3, limit=6) == [
        by_transformers(folders[family], q, None, 6) for q in QUESTIONS
    ]


def test_images_and_text_alone_may_stand_side_by_side(folders: dict[str, Path]) -> None:
    model, (first, *_) = one("llava", folders["llava"]), images()
    both = model.answer([QUESTIONS[0]] * 2, [first, None], limit=6)
    assert both == [by_transformers(folders["llava"], QUESTIONS[0], image, 6) for image in (first, None)]


def test_an_answer_has_at_most_so_many_tokens_and_nothing_asked_is_nothing(folders: dict[str, Path]) -> None:
    model, pictures = one("qwen2-vl", folders["qwen2-vl"]), images()
    long, short = (model.answer([QUESTIONS[0]], pictures[:1], limit=n)[0] for n in (8, 1))
    assert long.startswith(short)
    assert len(long) > len(short)
    assert model.answer([], []) == []


def _changed(folder: Path, target: Path, name: str, **fields: object) -> Path:
    shutil.copytree(folder, target)
    path = target / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return target


def test_a_checkpoints_own_penalties_bend_no_answer(folders: dict[str, Path], tmp_path: Path) -> None:
    plain, pictures = folders["qwen2-vl"], images()
    expected = vlm(plain).answer(QUESTIONS, pictures, limit=6)
    bending = {"repetition_penalty": 9.0, "suppress_tokens": list(range(11, 200)), "min_new_tokens": 6, "num_beams": 3}
    bent = _changed(plain, tmp_path / "bent", "generation_config.json", **bending, do_sample=True, temperature=9.0)
    assert vlm(bent).answer(QUESTIONS, pictures, limit=6) == expected


def test_what_is_no_such_model_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["qwen2-vl"]
    mute = shutil.copytree(folder, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(WeightsError, match=r"mute has no chat template"):
        vlm(mute).answer(["a"], [None])
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"pickled cannot be loaded as a vision language model .*safetensors"):
        vlm(pickled).answer(["a"], [None])
    code = _changed(folder, tmp_path / "code", "config.json", model_type="own", auto_map={"AutoConfig": "own.C"})
    (code / "own.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(WeightsError, match=r"without remote code"):
        vlm(code).answer(["a"], [None])
    with pytest.raises(WeightsError, match=r"does not exist"):
        vlm(tmp_path / "none").answer(["a"], [None])


def test_logits_that_are_no_numbers_are_told(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(folders["qwen2-vl"], tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    name = next(n for n in tensors if "lm_head" in n or "embed_tokens" in n)
    tensors[name] = torch.full_like(tensors[name], torch.inf)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FairbenchError, match=r"broken cannot answer in float32 .*not finite"):
        vlm(broken).answer(["a"], [None])
