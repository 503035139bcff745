"""A Stable Diffusion of the real classes in the real on-disk format, with random weights and 32 x 32 pixel images.

It draws nothing that means anything; it is there so that loading, seeding, batching, schedulers and the safety checker
are tested on what `from_pretrained` really reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

SIZE = 32
"""Width and height of its images, in pixels."""
_WIDTH = 32


def save_tiny_sd(folder: Path, safety_checker: Literal["absent", "always", "never"] = "absent") -> Path:
    """Write the checkpoint (about 0.5 million parameters) to `folder` and return it; the same weights every time.

    safety_checker: none at all, one that withholds every image, or one that withholds no image.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = clip_tokenizer()
        pipe = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=clip_text_encoder(tokenizer),
            tokenizer=tokenizer,
            unet=_unet(),
            scheduler=PNDMScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
            ),
            safety_checker=None if safety_checker == "absent" else _checker(fires=safety_checker == "always"),
            feature_extractor=None
            if safety_checker == "absent"
            else CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}),
            requires_safety_checker=safety_checker != "absent",
        )
        pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level BPE over single bytes and a few merges."""
    letters = sorted(ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e</w>"), ("a", "n"), ("e", "r</w>")]
    pieces = [*letters, *(c + "</w>" for c in letters), *("".join(m) for m in merges)]
    vocab = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def clip_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=2 * _WIDTH,
            projection_dim=_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(_WIDTH // 2, _WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=SIZE,
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=8,
    )


def _checker(fires: bool) -> StableDiffusionSafetyChecker:
    vision = CLIPVisionConfig(
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=8,
        projection_dim=_WIDTH,
    )
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision.to_dict(), projection_dim=_WIDTH))
    # An image is withheld where its cosine to a concept exceeds the concept's threshold: -2 always, 2 never.
    checker.concept_embeds_weights.data.fill_(-2.0 if fires else 2.0)
    checker.special_care_embeds_weights.data.fill_(2.0)
    return checker
