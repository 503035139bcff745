"""BLIP3-o (branch main): Qwen2.5-VL draws image features, an SDXL decoder draws the picture from them.

Not run by us. Follows `inference.py` of github.com/JiuhaiChen/BLIP3o. Everything draws from the global generators. The
decoder's pipeline keeps the features of its negative prompt, drawn with the first image's noise, for all later images:
they are forgotten before each image, so that an image does not depend on which was drawn first.
"""

import sys


def _read_locally(kind, folders):
    """Let `kind.from_pretrained` find in local folders what the official code names by hub ids without a revision."""
    original = kind.from_pretrained
    kind.from_pretrained = lambda name, **more: original(folders.get(name, name), **more)


class Blip3o:
    """The decoder's pipeline, which holds the language model."""

    def __init__(self, weights, settings):
        import torch
        from blip3o.model.builder import load_pretrained_model
        from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
        from transformers import AutoProcessor

        _read_locally(FlowMatchEulerDiscreteScheduler, {"Alpha-VLLM/Lumina-Next-SFT-diffusers": weights["lumina"]})
        _read_locally(AutoProcessor, {"Qwen/Qwen2.5-VL-3B-Instruct": weights["processor"]})
        self.settings = settings
        tokenizer, model, _ = load_pretrained_model(weights["blip3o"])
        self.pipe = DiffusionPipeline.from_pretrained(
            f"{weights['blip3o']}/diffusion-decoder",
            custom_pipeline="pipeline_llava_gen",
            torch_dtype=torch.bfloat16,
            use_safetensors=True,
            variant="bf16",
            multimodal_encoder=model,
            tokenizer=tokenizer,
            safety_checker=None,
        )
        self.pipe.vae.to("cuda:0")
        self.pipe.unet.to("cuda:0")

    def generate(self, prompt, seed, width, height):
        """One image, drawn from the global generators, which hold the image's seed."""
        from blip3o.conversation import conv_templates

        talk = conv_templates["qwen"].copy()
        talk.append_message(talk.roles[0], self.settings["template"].replace("{prompt}", prompt))
        talk.append_message(talk.roles[1], None)
        self.pipe.negative_prompt.clear()
        drawn = self.pipe(
            [talk.get_prompt()],
            height=height,
            width=width,
            num_inference_steps=self.settings["decoder_steps"],
            guidance_scale=self.settings["decoder_guidance"],
        )
        return drawn.image


def load(repository, weights, settings, device):
    """The model, ready to generate. The official code puts it on the first visible GPU, whatever is asked."""
    if device not in ("cuda", "cuda:0"):
        raise ValueError(f"BLIP3-o's code is bound to cuda:0, not {device}; choose a GPU with CUDA_VISIBLE_DEVICES")
    sys.path.insert(0, repository)
    return Blip3o(weights, settings)
