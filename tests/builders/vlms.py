"""Vision-language models with random weights on disk: the real classes and file layouts of three published families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from tests.builders import bpe

_CORPUS: Final = ("How does the person's gender appear? Answer with the letter of one option alone. A. male B. female",)
_SPECIAL: Final = ("<|pad|>", "<s>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<image>")
_SPECIAL_OF_QWEN: Final = ("<|image_pad|>", "<|video_pad|>")
_SPECIAL_OF_IDEFICS: Final = ("<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
_TEMPLATE: Final = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT: Final = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIDE: Final = 28


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that begins every text with a token which the template writes, too, as published ones do."""
    special = (*_SPECIAL, *_SPECIAL_OF_QWEN, *_SPECIAL_OF_IDEFICS)
    names = {"pad_token": "<|pad|>", "eos_token": "<|im_end|>", "bos_token": "<s>"}
    tokenizer = bpe.tokenizer(_CORPUS, 330, special, **names)
    begin = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[begin])
    return tokenizer


def _llama(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=tokenizer.eos_token_id, **_TEXT)


def _qwen2_vl(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    special = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image", "<|image_pad|>"),
            ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"),
            ("vision_end", "<|vision_end|>"),
        )
    }
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    text = {**_TEXT, "vocab_size": len(tokenizer), "num_key_value_heads": 2, "rope_parameters": rope}
    text |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0, "bos_token_id": 1}
    net = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **special))
    # Any size of image: as many tokens as it has patches, as the published models do.
    images = Qwen2VLImageProcessor(min_pixels=_SIDE**2, max_pixels=16 * _SIDE**2)
    template = _TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    return net, Qwen2VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=template)


def _llava(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    vision = CLIPVisionConfig(image_size=_SIDE, patch_size=14, **_TEXT)
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=_llama(tokenizer), image_token_id=image, image_seq_length=4)
    images = CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def _idefics3(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = Idefics3Config(
        vision_config={**_TEXT, "image_size": _SIDE, "patch_size": 14},
        text_config=_llama(tokenizer),
        image_token_id=image,
        pad_token_id=0,
        scale_factor=2,
    )
    side = {"longest_edge": _SIDE}
    images = Idefics3ImageProcessor(size=side, max_image_size=side, do_image_splitting=False)
    template = _TEMPLATE.replace("IMAGE", "<image>")
    return Idefics3ForConditionalGeneration(config), Idefics3Processor(
        images, tokenizer, image_seq_len=1, chat_template=template
    )


FAMILIES: Final[Mapping[str, Callable[[PreTrainedTokenizerFast], tuple[Any, Any]]]] = {
    "qwen2-vl": _qwen2_vl,
    "llava": _llava,
    "idefics3": _idefics3,
}


def save_tiny_vlm(folder: Path, family: str = "qwen2-vl", seed: int = 0, scale: float = 8.0) -> Path:
    """Save a random model of one of FAMILIES with its processor; return its folder.

    scale: of the weights of its matrices, so that answers depend on the image and the question.
    """
    torch.manual_seed(seed)
    net, processor = FAMILIES[family](_tokenizer())
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter *= scale
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
