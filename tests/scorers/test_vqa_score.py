"""`vqa-score` on a tiny LLaVA with random weights, against transformers run directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from fairbench.errors import WeightsError
from fairbench.scorers.vqa_score import VqaScore
from fairbench.types import BuildContext
from tests.builders import bpe
from tests.builders.cli import Cli
from tests.builders.folders import written_once

TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)
SPECIAL = ("<pad>", "</s>", "<image>")
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
PROMPTS = ["a nurse", "a photo of the face of a pilot who looks at us", 'a {} "quoted" nurse', "a nurse"]


def save_tiny_llava(folder: Path, corpus: tuple[str, ...] = ("Yes", " Yes", "No")) -> Path:
    """Write a random LLaVA, whose tokenizer has Yes with and without a space as tokens, unless the corpus lacks it."""
    tokenizer = bpe.tokenizer(corpus * 50, 300, SPECIAL, pad_token="<pad>", eos_token="</s>")
    text = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=1, **LAYERS)
    vision = CLIPVisionConfig(image_size=28, patch_size=14, **LAYERS)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=2, image_seq_length=4)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = LlavaForConditionalGeneration(config)
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    options = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    net.save_pretrained(folder)
    LlavaProcessor(images, tokenizer, chat_template=TEMPLATE, **options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_once(tmp_path_factory, "tiny-llava", save_tiny_llava)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (30 + 9 * i, 60 - 7 * i, 3), dtype=np.uint8) for i in range(len(PROMPTS))]


def build(folder: Path) -> VqaScore:
    return VqaScore(VqaScore.Params.model_validate({"model": {"path": str(folder)}}), BuildContext())


def test_it_is_the_probability_of_yes(folder: Path) -> None:
    processor, net = AutoProcessor.from_pretrained(folder), LlavaForConditionalGeneration.from_pretrained(folder)
    yes = [processor.tokenizer.convert_tokens_to_ids(token) for token in ("Yes", "ĠYes")]
    assert None not in yes and len(set(yes)) == 2
    expected = []
    for image, prompt in zip(pictures(), PROMPTS, strict=True):
        text = f'USER: <image>\nDoes this figure show "{prompt}"? Please answer yes or no. ASSISTANT:'
        inputs = processor(text=text, images=Image.fromarray(image), return_tensors="pt")
        with torch.no_grad():
            expected.append(float(net(**inputs).logits[0, -1].softmax(dim=-1)[yes].sum()))
    scorer = build(folder)
    found = scorer.features(pictures(), PROMPTS)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)
    assert len(set(expected)) == len(PROMPTS) and max(expected) > 1.5 * min(expected) and max(expected) < 1
    for i, (image, prompt) in enumerate(zip(pictures(), PROMPTS, strict=True)):
        np.testing.assert_array_equal(scorer.features([image], [prompt])[0], found[i])
    assert scorer.features([], []).shape == (0, 1) and scorer.summarise(found[:0]) == {"vqa_score": None}
    assert scorer.backbone == f"{folder.name}, float32"


def test_a_model_without_a_token_for_yes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no token for 'Yes' or ' Yes'"):
        build(save_tiny_llava(tmp_path / "without", ("No", "no")))


def test_a_run_is_scored(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vqa.yaml").write_text(f"type: vqa-score\nmodel: {{path: {folder}}}\n")
    args = ("run", "--model", "phantom-exact", "--limit-prompts", "1", "-n", "2", "--no-sheets", "--json")
    (value,) = [m for m in cli(*args, "--scorers", "vqa.yaml").json()["metrics"] if m["metric"] == "vqa_score"]
    assert 0 < value["value"] < 1
