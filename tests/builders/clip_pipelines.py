"""An SDXL and a Stable Diffusion 3 of the real classes with random weights, each with its several text encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.builders.diffusion import clip_text_encoder, clip_tokenizer

WIDTH = 32
"""Width of the first CLIP encoder's states; the second has half of it."""


def save_tiny_sdxl(folder: Path) -> Path:
    """Write the checkpoint to `folder` and return it; the same weights every time."""
    return _save(_sdxl, folder)


def save_tiny_sd3(folder: Path) -> Path:
    """Write the checkpoint, with a T5 encoder, to `folder` and return it; the same weights every time."""
    return _save(_sd3, folder)


def _save(make: Any, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make().save_pretrained(folder, safe_serialization=True)
    return folder


def projecting(tokenizer: Any, width: int) -> Any:
    """Return a CLIP text encoder with a projection, whose states are as wide as what it projects to."""
    config = clip_text_encoder(tokenizer).config
    config.update({"hidden_size": width, "projection_dim": width})
    return transformers.CLIPTextModelWithProjection(config)


def _sdxl() -> Any:
    tokenizer, second = clip_tokenizer(), WIDTH // 2
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(4, shift=False),
        text_encoder=clip_text_encoder(tokenizer),
        text_encoder_2=projecting(tokenizer, second),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=diffusers.UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH + second,
            attention_head_dim=4,
            norm_num_groups=8,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + second,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def _sd3() -> Any:
    tokenizer, second = clip_tokenizer(), WIDTH // 2
    pieces = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz,.▁"]
    t5 = transformers.T5Tokenizer(vocab=[(piece, -2.0) for piece in pieces], model_max_length=512, extra_ids=0)
    joint = 2 * WIDTH
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=joint,
            caption_projection_dim=32,
            pooled_projection_dim=WIDTH + second,
            out_channels=4,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=_vae(4, shift=True),
        text_encoder=projecting(tokenizer, WIDTH),
        tokenizer=tokenizer,
        text_encoder_2=projecting(tokenizer, second),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=len(t5), d_model=joint, d_ff=joint, d_kv=8, num_heads=4, num_layers=1)
        ),
        tokenizer_3=t5,
    )


def _vae(channels: int, shift: bool) -> Any:
    return diffusers.AutoencoderKL(
        sample_size=32,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        **({"shift_factor": 0.06, "scaling_factor": 1.5} if shift else {}),
    )
