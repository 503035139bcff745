"""Ovis-U1: a blank image and a fixed sentence around the prompt condition a diffusion decoder. Calls `pipe_t2i` of
`test_txt_to_img.py` of github.com/AIDC-AI/Ovis-U1; the model itself is remote code beside its weights.

Not run by us. `pipe_t2i` draws every image from seed 42 unless it is given one, which its own `main` does not do.
"""

import sys


class OvisU1:
    """The model, in bfloat16."""

    def __init__(self, weights, settings, device):
        import torch
        from transformers import AutoModelForCausalLM

        self.settings = settings
        model = AutoModelForCausalLM.from_pretrained(
            weights["ovis"], torch_dtype=torch.bfloat16, trust_remote_code=True
        )
        self.model = model.eval().to(device).to(torch.bfloat16)

    def generate(self, prompt, seed, width, height):
        """One image of `width` by `height`, multiples of 16."""
        from test_txt_to_img import pipe_t2i

        settings = self.settings
        return pipe_t2i(self.model, prompt, height, width, settings["steps"], settings["guidance"], seed=seed)[0]


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return OvisU1(weights, settings, device)
