"""Stable Diffusion 2 (velocity), XL and 3 of the real classes, tiny, with random weights: families that are trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from tests.builders.clip_pipelines import projecting
from tests.builders.diffusion import clip_text_encoder, clip_tokenizer, save_tiny_sd
from tests.builders.flux import save_tiny_flux

_WIDTH = 32


def save_tiny_velocity(folder: Path) -> Path:
    """Write the tiny Stable Diffusion, whose network is said to predict the velocity."""
    save_tiny_sd(folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "v_prediction"}))
    return folder


def save_tiny_sdxl(folder: Path) -> Path:
    return _saved(
        lambda: StableDiffusionXLPipeline(
            vae=_vae(4),
            text_encoder=clip_text_encoder(clip_tokenizer()),
            text_encoder_2=projecting(clip_tokenizer(), _WIDTH),
            tokenizer=clip_tokenizer(),
            tokenizer_2=clip_tokenizer(),
            unet=UNet2DConditionModel(
                sample_size=16,
                block_out_channels=(16, _WIDTH),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=2 * _WIDTH,
                attention_head_dim=4,
                norm_num_groups=8,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=_WIDTH + 6 * 8,
            ),
            scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
            add_watermarker=False,
        ),
        folder,
    )


def save_tiny_sd3(folder: Path) -> Path:
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{c}" for c in "abcdefgh"), *"abcdefghijklmnopqrstuvwxyz,.▁"]
    t5 = T5Tokenizer(vocab=[(piece, -2.0) for piece in pieces], model_max_length=512, extra_ids=0)
    return _saved(
        lambda: StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=16,
                patch_size=2,
                in_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                caption_projection_dim=_WIDTH,
                joint_attention_dim=2 * _WIDTH,
                pooled_projection_dim=2 * _WIDTH,
                out_channels=4,
                pos_embed_max_size=32,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_vae(4, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=projecting(clip_tokenizer(), _WIDTH),
            tokenizer=clip_tokenizer(),
            text_encoder_2=projecting(clip_tokenizer(), _WIDTH),
            tokenizer_2=clip_tokenizer(),
            text_encoder_3=T5EncoderModel(
                T5Config(vocab_size=len(t5), d_model=2 * _WIDTH, d_ff=_WIDTH, d_kv=8, num_heads=4, num_layers=1)
            ),
            tokenizer_3=t5,
        ),
        folder,
    )


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "sd": save_tiny_sd,
    "velocity": save_tiny_velocity,
    "sdxl": save_tiny_sdxl,
    "sd3": save_tiny_sd3,
    "flux": save_tiny_flux,
}
"""Name -> what writes it. All draw 32 x 32 pixels."""


def _vae(channels: int, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=channels,
        norm_num_groups=8,
        **options,
    )


def _saved(pipeline: Callable[[], Any], folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


def card_of(folder: Path, weights: Path, **fields: Any) -> Path:
    """Write a card that can be trained, and return its path."""
    card = {
        "name": "tiny",
        "title": "Tiny",
        "adapter": "diffusers",
        "weights": {"path": str(weights)},
        "sampling": {"steps": 2, "guidance": 2.0, "width": 32, "height": 32},
        "lora_targets": r".*\.attn[12]?\.to_(q|v)",
        "labeller": "phantom",
        "block_size": 2,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card | fields))
    return path
