"""The phantom's sizes, and the transformers objects that they make: configuration, text tokenizer, processor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.models import janus

SIDE, GRID = 64, 4
"""An image has 64 x 64 pixels and 4 x 4 tokens of 16 x 16 pixels."""
CODES, CODE_SIZE = 512, 16
HIDDEN, LAYERS, HEADS = 192, 4, 4
WORDS = 1280
"""Upper limit of the text vocabulary: 256 bytes, the special tokens, and merges for every word of the corpus."""

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
IMAGE, BOI, EOI = "<image_placeholder>", "<begin_of_image>", "<end_of_image>"
USER, ASSISTANT = "<|User|>", "<|Assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|User|>: ' if message['role'] == 'user' else '<|Assistant|>: ' }}"
    "{% for part in message['content'] %}"
    "{{ part['text'] | trim if part['type'] == 'text' else '<image_placeholder>\n' }}"
    "{% endfor %}"
    "{{ '\n\n' if message['role'] == 'user' else '<｜end▁of▁sentence｜>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)
"""The conversation format of the Janus processors."""


def text_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer that reads any text; every word of the corpus is one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special, alphabet = [BOS, EOS, PAD, IMAGE, BOI, EOI, USER, ASSISTANT], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    # With what stands before and after a text in a conversation; the second form is a question below an image.
    core.train_from_iterator((form % text for text in corpus for form in (": %s\n\n", ": \n%s\n\n")), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        add_bos_token=True,
        extra_special_tokens={"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI},
    )


def processor(tokenizer: PreTrainedTokenizerFast) -> janus.JanusProcessor:
    """Return the processor that belongs to the model: pixels in [-1, 1], no system prompt."""
    images = janus.JanusImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, min_size=SIDE, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return janus.JanusProcessor(
        images, tokenizer, chat_template=CHAT_TEMPLATE, use_default_system_prompt=False, num_image_tokens=GRID**2
    )


def vq_config() -> Any:
    """Return the image tokenizer's configuration: four halvings, about 1.5 million parameters."""
    return janus.JanusVQVAEConfig(
        embed_dim=CODE_SIZE,
        num_embeddings=CODES,
        latent_channels=64,
        base_channels=32,
        channel_multiplier=[1, 1, 2, 2, 2],
        num_res_blocks=1,
        num_patches=GRID,
        projection_dim=HIDDEN,
        image_token_embed_dim=HIDDEN,
    )


def config(tokenizer: PreTrainedTokenizerFast) -> janus.JanusConfig:
    """Return the whole model's configuration: about 4 million parameters."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN * 8 // 3,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        **_special_ids(tokenizer),
    )
    vision = janus.JanusVisionConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=2.0,
        image_size=SIDE,
        patch_size=SIDE // GRID,
        num_image_tokens=GRID**2,
        projection_dim=HIDDEN,
    )
    return janus.JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=vq_config(),
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def generation_config(tokenizer: PreTrainedTokenizerFast) -> Any:
    """Return a fresh configuration: one derived from the model's loses `generation_kwargs` when read back.

    It serves transformers' own `generate`, which fails at guidance 1: so Janus's usual 5. Runs use the card's guidance.
    """
    return GenerationConfig(
        **_special_ids(tokenizer),
        guidance_scale=5,
        temperature=1.0,
        generation_kwargs={"boi_token_id": tokenizer.boi_token_id},
    )
