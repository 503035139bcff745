"""NextStep-1: continuous tokens of an image, one after another. Follows `example.py` of
github.com/stepfun-ai/NextStep-1.

Not run by us.
"""

import os
import sys


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    os.environ["ENABLE_TORCH_COMPILE"] = "false"  # the authors' advice; read when nextstep is imported
    sys.path.insert(0, repository)
    import torch
    from nextstep.models.pipeline_nextstep import NextStepPipeline

    pipeline = NextStepPipeline(model_name_or_path=weights["model"], vae_name_or_path=weights["vae"])
    return NextStep(pipeline.to(device, torch.bfloat16), settings)


class NextStep:
    """The authors' pipeline and the settings of the card."""

    def __init__(self, pipeline, settings):
        self.pipeline = pipeline
        self.settings = settings

    def generate(self, prompt, seed, width, height):
        """Draw with torch's global generator, which has been seeded.

        With `seed` the pipeline would seed it again, and numpy with it, which takes no more than 32 bits.
        """
        settings = self.settings
        return self.pipeline.generate_image(
            captions=prompt,
            images=None,
            num_images_per_caption=1,
            positive_prompt=settings["positive_prompt"],
            negative_prompt=settings["negative_prompt"],
            hw=(height, width),
            use_norm=settings["use_norm"],
            cfg=settings["guidance"],
            cfg_schedule=settings["guidance_schedule"],
            timesteps_shift=settings["timesteps_shift"],
            num_sampling_steps=settings["steps"],
            seed=None,
        )[0]
