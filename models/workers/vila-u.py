"""VILA-U: tokens of an image, drawn one after another. Follows `inference.py` of github.com/mit-han-lab/vila-u.

Not run by us. Sampling (temperature 1, top-p 0.96, top-k 900) is written into the code, and so is the negative branch:
the template with an empty prompt.
"""

import inspect
import sys


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    import torch
    from transformers.generation.utils import GenerationMixin

    if not device.startswith("cuda"):
        raise ValueError(f"VILA-U's code calls .cuda(): `device` must be a CUDA device, not {device}")
    if "image_ids" not in inspect.signature(GenerationMixin.generate).parameters:
        raise RuntimeError(
            "this environment's transformers is not VILA-U's own: copy vila_u/train/transformers_replace of the "
            "repository over the installed transformers, as its environment_setup.sh does"
        )
    sys.path.insert(0, repository)
    import vila_u

    torch.cuda.set_device(torch.device(device).index or 0)
    return VilaU(vila_u.load(weights["model"], device_map={"": device}, device=device), settings)


class VilaU:
    """The model and its guidance."""

    def __init__(self, model, settings):
        self.model = model
        self.guidance = settings["guidance"]

    def generate(self, prompt, seed, width, height):
        """Draw with torch's global generator, which has been seeded."""
        import numpy as np
        from PIL import Image

        pixels = self.model.generate_image_content(prompt, cfg=self.guidance, generation_nums=1)
        return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy().astype(np.uint8))
