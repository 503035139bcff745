"""Emu3.5-Image: tokens of an image, drawn one after another. Follows `inference.py` and `configs/example_config_t2i.py`
of github.com/baaivision/Emu3.5, on one device.

Not run by us. inference.py seeds nothing that torch draws from; here torch's global generator has been seeded.
"""

import sys
from types import SimpleNamespace

from fairbench_worker import Refused

PIXELS_PER_TOKEN = 16
SPECIAL_TOKENS = {"BOS": "<|extra_203|>", "EOS": "<|extra_204|>", "PAD": "<|endoftext|>"}


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    sys.path.insert(0, repository)
    from src.utils.model_utils import build_emu3p5

    place = "cuda:0" if device == "cuda" else device
    model, tokenizer, vision_tokenizer = build_emu3p5(
        weights["model"],
        f"{repository}/src/tokenizer_emu3_ibq",
        weights["vision_tokenizer"],
        vq_type="ibq",
        model_device=place,
        vq_device=place,
    )
    return Emu35(model, tokenizer, vision_tokenizer, settings)


class Emu35:
    """The language model with its tokenizer and the tokenizer of images."""

    def __init__(self, model, tokenizer, vision_tokenizer, settings):
        self.model = model
        self.tokenizer = tokenizer
        self.vision_tokenizer = vision_tokenizer
        self.settings = settings

    def _token_ids(self, text):
        return self.tokenizer.encode(text, return_tensors="pt", add_special_tokens=False).to(self.model.device)

    def generate(self, prompt, seed, width, height):
        """Draw the first image of the answer. Raises Refused where the answer is text alone."""
        from src.utils.generation_utils import multimodal_decode, non_streaming_generate

        settings = self.settings
        cfg = SimpleNamespace(
            classifier_free_guidance=settings["guidance"],
            unconditional_type="no_text",
            target_height=height // PIXELS_PER_TOKEN,
            target_width=width // PIXELS_PER_TOKEN,
            sampling_params=settings["sampling_params"],
            special_token_ids={name: self.tokenizer.encode(token)[0] for name, token in SPECIAL_TOKENS.items()},
        )
        token_ids = non_streaming_generate(
            cfg,
            self.model,
            self.tokenizer,
            self._token_ids(settings["template"].format(question=prompt)),
            self._token_ids(settings["unconditional"]),
        )
        answer = self.tokenizer.decode(token_ids, skip_special_tokens=False)
        parts = multimodal_decode(answer, self.tokenizer, self.vision_tokenizer)
        images = [part for kind, part in parts if kind == "image"]
        if images:
            return images[0]
        if self.tokenizer.boi_token in answer:
            raise RuntimeError("Emu3.5 began an image and did not finish it: max_new_tokens is too small for this size")
        raise Refused(answer)
