"""OmniGen2: flow matching on a language model's states. Follows `inference.py` of github.com/VectorSpaceLab/OmniGen2.

Not run by us.
"""

import sys

PIXELS_PER_TOKEN = 16


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    sys.path.insert(0, repository)
    import torch
    from omnigen2.models.transformers.transformer_omnigen2 import OmniGen2Transformer2DModel
    from omnigen2.pipelines.omnigen2.pipeline_omnigen2 import OmniGen2Pipeline

    folder = weights["model"]
    pipeline = OmniGen2Pipeline.from_pretrained(folder, torch_dtype=torch.bfloat16, trust_remote_code=True)
    pipeline.transformer = OmniGen2Transformer2DModel.from_pretrained(
        folder, subfolder="transformer", torch_dtype=torch.bfloat16
    )
    return OmniGen2(pipeline.to(device), settings)


class OmniGen2:
    """The authors' pipeline and the settings of the card."""

    def __init__(self, pipeline, settings):
        self.pipeline = pipeline
        self.settings = settings

    def generate(self, prompt, seed, width, height):
        """Draw the first noise on the CPU, so that it does not depend on the device."""
        import torch

        if width % PIXELS_PER_TOKEN or height % PIXELS_PER_TOKEN:
            raise ValueError(f"OmniGen2 resamples {width} x {height}: give multiples of {PIXELS_PER_TOKEN} pixels")
        settings = self.settings
        conversation = self.pipeline._apply_chat_template(prompt)
        tokens = len(self.pipeline.processor.tokenizer(conversation)["input_ids"])
        if tokens > settings["max_sequence_length"]:
            raise ValueError(f"the prompt has {tokens} tokens in its template, more than OmniGen2 is told to read")
        return self.pipeline(
            prompt=prompt,
            negative_prompt=settings["negative_prompt"],
            max_sequence_length=settings["max_sequence_length"],
            width=width,
            height=height,
            max_pixels=width * height,
            num_inference_steps=settings["steps"],
            text_guidance_scale=settings["guidance"],
            cfg_range=tuple(settings["guidance_range"]),
            num_images_per_prompt=1,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="pil",
        ).images[0]
