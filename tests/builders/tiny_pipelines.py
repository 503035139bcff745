"""Tiny pipelines of the real classes, in the format of the hub: text encoders, tokenizers and processors are made here.

Their weights are random and the same every time; what they draw means nothing. Each is some 100,000 parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.builders.tiny_texts import CHAT, IDS, ROPE, VOCABULARY, WIDTH, language_model, qwen_tokenizer


def save(name: str, folder: Path) -> Path:
    """Write the pipeline `name` of PIPELINES to `folder` and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe = PIPELINES[name]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                _spread(part)
        pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _spread(network: torch.nn.Module) -> None:
    """Draw all weights anew where they would be empty memory, or so near 0 that every prompt gave the same image."""
    for name, weight in network.named_parameters():
        if not weight.isfinite().all() or "pad_token" in name:
            torch.nn.init.normal_(weight)
        elif weight.dim() > 1:
            torch.nn.init.normal_(weight, std=1.0 / weight[0].numel() ** 0.5)


def _scheduler() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


def _vae(channels: int, levels: int = 1, **options: Any) -> Any:
    return diffusers.AutoencoderKL(
        sample_size=32,
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **({"shift_factor": 0.06, "scaling_factor": 1.5} | options),
    )


def _qwen_vl(text: dict[str, Any], **vision: Any) -> dict[str, Any]:
    """Return what the configurations of both kinds of Qwen that see have in common."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "out_hidden_size": WIDTH}
    return {
        "text_config": text,
        "vision_config": {"depth": 1, "num_heads": 2, **sizes, **vision},
        "image_token_id": IDS["<|image_pad|>"],
        "video_token_id": IDS["<|video_pad|>"],
        "vision_start_token_id": IDS["<|vision_start|>"],
        "vision_end_token_id": IDS["<|vision_end|>"],
    }


def longcat() -> Any:
    config = transformers.Qwen2_5_VLConfig(**_qwen_vl(language_model(rope_parameters=ROPE), patch_size=14))
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(), qwen_tokenizer(), transformers.Qwen2VLVideoProcessor(), CHAT
    )
    return diffusers.LongCatImagePipeline(
        scheduler=_scheduler(),
        vae=_vae(16, levels=2),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=qwen_tokenizer(),
        text_processor=processor,
        transformer=diffusers.LongCatImageTransformer2DModel(
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
        ),
    )


def ernie() -> Any:
    text = language_model(head_dim=8)
    config = transformers.Mistral3Config(
        text_config=transformers.MistralConfig(**text),
        vision_config=transformers.PixtralVisionConfig(
            hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, image_size=28
        ),
        image_token_id=IDS["<|image_pad|>"],
    )
    enhancer = transformers.Ministral3ForCausalLM(
        transformers.Ministral3Config(
            **text,
            eos_token_id=IDS["<|endoftext|>"],
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e4,
                "llama_4_scaling_beta": 0.1,
                "original_max_position_embeddings": 4096,
            },
        )
    )
    enhancer_tokenizer = qwen_tokenizer()
    enhancer_tokenizer.model_max_length = 8  # so many tokens may it write
    return diffusers.ErnieImagePipeline(
        transformer=diffusers.ErnieImageTransformer2DModel(
            hidden_size=32,
            num_attention_heads=2,
            num_layers=1,
            ffn_hidden_size=32,
            in_channels=16,
            out_channels=16,
            text_in_dim=WIDTH,
            rope_axes_dim=(4, 6, 6),
        ),
        vae=diffusers.AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
        ),
        text_encoder=transformers.Mistral3Model(config),
        tokenizer=qwen_tokenizer(),
        scheduler=_scheduler(),
        pe=enhancer,
        pe_tokenizer=enhancer_tokenizer,
    )


def glm() -> Any:
    codes = 128
    config = transformers.GlmImageConfig(
        text_config=language_model(
            num_hidden_layers=1,
            vision_vocab_size=codes,
            rope_parameters=ROPE,
            pad_token_id=IDS["<|endoftext|>"],
            eos_token_id=VOCABULARY - 1,  # cannot be drawn; see the test of a sequence that ends early
        ),
        vision_config={
            "depth": 1,
            "hidden_size": WIDTH,
            "num_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "intermediate_size": WIDTH,
        },
        vq_config={"embed_dim": WIDTH, "num_embeddings": codes, "latent_channels": WIDTH},
        image_token_id=IDS["<image>"],
        image_start_token_id=IDS["<|vision_start|>"],
        image_end_token_id=IDS["<|vision_end|>"],
    )
    tokenizer = qwen_tokenizer()
    marks = {"image_token": "<image>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<|vision_start|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=marks,
    )
    return diffusers.GlmImagePipeline(
        tokenizer=transformers.ByT5Tokenizer(extra_ids=0),
        processor=transformers.GlmImageProcessor(transformers.GlmImageImageProcessor(), tokenizer, CHAT),
        text_encoder=transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=259, d_model=WIDTH, d_ff=WIDTH, d_kv=8, num_heads=2, num_layers=1)
        ),
        vision_language_encoder=transformers.GlmImageForConditionalGeneration(config),
        vae=_vae(4, levels=4, latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=diffusers.GlmImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=WIDTH,
            time_embed_dim=16,
            condition_dim=8,
            prior_vq_quantizer_codebook_size=codes,
        ),
        scheduler=_scheduler(),
    )


def qwen21() -> Any:
    text = language_model(head_dim=8, rope_parameters=ROPE)
    config = transformers.Qwen3VLConfig(**_qwen_vl(text, deepstack_visual_indexes=[], num_position_embeddings=16))
    processor = transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(), qwen_tokenizer(), transformers.Qwen3VLVideoProcessor(), CHAT
    )
    return diffusers.QwenImage21Pipeline(
        scheduler=_scheduler(),
        vae=diffusers.AutoencoderKLQwenImage21(
            base_dim=8,
            decoder_base_dim=8,
            z_dim=8,
            dim_mult=[1, 1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[0.0] * 8,
            latents_std=[1.0] * 8,
        ),
        text_encoder=transformers.Qwen3VLForConditionalGeneration(config),
        processor=processor,
        transformer=diffusers.QwenImage21Transformer2DModel(
            in_channels=8,
            out_channels=8,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
        ),
    )


def lumina2() -> Any:
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*marks, *(f"<0x{i:02X}>" for i in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz,."]
    tokenizer = transformers.GemmaTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[])
    return diffusers.Lumina2Pipeline(
        transformer=diffusers.Lumina2Transformer2DModel(
            sample_size=32,
            in_channels=4,
            hidden_size=32,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=2,
            multiple_of=16,
            axes_dim_rope=(4, 6, 6),
            axes_lens=(300, 64, 64),
            cap_feat_dim=WIDTH,
        ),
        scheduler=_scheduler(),
        vae=_vae(4, levels=4),
        text_encoder=transformers.Gemma2Model(
            transformers.Gemma2Config(**language_model(vocab_size=len(pieces), head_dim=8, query_pre_attn_scalar=8))
        ),
        tokenizer=tokenizer,
    )


def z_image() -> Any:
    return diffusers.ZImagePipeline(
        scheduler=_scheduler(),
        vae=_vae(16, levels=2),
        text_encoder=transformers.Qwen3Model(transformers.Qwen3Config(**language_model(head_dim=8))),
        tokenizer=qwen_tokenizer(),
        transformer=diffusers.ZImageTransformer2DModel(
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 32, 32],
        ),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "longcat-image": longcat,
    "ernie-image": ernie,
    "glm-image": glm,
    "qwen-image-2.1": qwen21,
    "lumina2": lumina2,
    "z-image": z_image,
}
"""Name of the shipped card -> its pipeline, tiny."""
