"""A FLUX of the real classes with random weights: a pipeline that reads each prompt with CLIP and with T5."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from tests.builders.diffusion import clip_text_encoder, clip_tokenizer

_WIDTH = 32


def save_tiny_flux(folder: Path) -> Path:
    """Write the checkpoint to `folder` and return it; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = clip_tokenizer()
        pieces = ["<pad>", "</s>", "<unk>", *(f"▁{c}" for c in "abcdefgh"), *"abcdefghijklmnopqrstuvwxyz,.▁"]
        t5 = T5Tokenizer(vocab=[(piece, -2.0) for piece in pieces], model_max_length=512, extra_ids=0)
        pipe = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=AutoencoderKL(
                sample_size=32,
                block_out_channels=(4,),
                layers_per_block=1,
                latent_channels=1,
                norm_num_groups=1,
                use_quant_conv=False,
                use_post_quant_conv=False,
                shift_factor=0.06,
                scaling_factor=1.5,
            ),
            text_encoder=clip_text_encoder(clip),
            tokenizer=clip,
            text_encoder_2=T5EncoderModel(
                T5Config(vocab_size=len(t5), d_model=_WIDTH, d_ff=_WIDTH, d_kv=8, num_heads=4, num_layers=1)
            ),
            tokenizer_2=t5,
            transformer=FluxTransformer2DModel(
                patch_size=1,
                in_channels=4,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=_WIDTH,
                pooled_projection_dim=_WIDTH,
                axes_dims_rope=(4, 4, 8),
            ),
        )
        pipe.save_pretrained(folder, safe_serialization=True)
    return folder
