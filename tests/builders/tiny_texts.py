"""Tokenizers of tiny pipelines, made here, and settings that their language models share."""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers.pre_tokenizers import ByteLevel

WIDTH = 16
"""Hidden width of the language models."""
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
"""Positions of a token in time, height and width."""
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<image>",
    "<sop>",
    "<eop>",
]


def letters() -> list[str]:
    """The 256 bytes as letters, so that every text has tokens."""
    return sorted(ByteLevel.alphabet())


def qwen_tokenizer() -> Any:
    vocab = {token: i for i, token in enumerate([*MARKS, *letters()])}
    return transformers.Qwen2Tokenizer(
        vocab=vocab, merges=[], chat_template=CHAT, model_max_length=4096, additional_special_tokens=MARKS[1:]
    )


VOCABULARY = len(MARKS) + 256
IDS = {mark: i for i, mark in enumerate(MARKS)}


def language_model(**more: Any) -> dict[str, Any]:
    """Settings that the language models share."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    } | more
