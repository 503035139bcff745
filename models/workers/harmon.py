"""Harmon: a masked autoencoder whose states a language model refines. Follows `scripts/text2image.py` of
github.com/wusize/Harmon, with the checkpoints of the hub repository wusize/harmon.

Not run by us. Three generators draw: numpy's (the order of the tokens), torch's on the CPU and on the GPU (the
diffusion of each token). The child seeds all three, and one image is drawn per call.
"""

import os
import sys


class HarmonModel:
    """The model on one GPU, in the language model's bfloat16."""

    def __init__(self, repository, weights, settings, device):
        import torch
        from mmengine.config import Config
        from src.builder import BUILDER

        self.settings = settings
        config = Config.fromfile(f"{repository}/{settings['config']}")
        config.model.vae.ckpt_path = f"{weights['harmon']}/kl16.ckpt"
        for part in (config.model.llm, config.model.tokenizer):
            part.pretrained_model_name_or_path = weights["qwen"]
        model = BUILDER.build(config.model).eval().to(device)
        self.model = model.to(model.dtype)
        state = torch.load(f"{weights['harmon']}/{settings['checkpoint']}", map_location="cpu", weights_only=True)
        sys.stderr.write(f"{self.model.load_state_dict(state, strict=False)}\n")  # not strict, as the authors do

    def generate(self, prompt, seed, width, height):
        """One image of `width` by `height`, multiples of 16."""
        import torch
        from PIL import Image

        text = self.settings["template"].replace("{prompt}", prompt)
        conditions = self.model.prepare_text_conditions(text, self.settings["negative"])
        rows = 1 if self.settings["guidance"] == 1.0 else 2  # the second row is the negative prompt
        pixels = self.model.sample(
            input_ids=conditions["input_ids"][:rows],
            attention_mask=conditions["attention_mask"][:rows],
            num_iter=self.settings["steps"],
            cfg=self.settings["guidance"],
            cfg_schedule=self.settings["guidance_schedule"],
            temperature=self.settings["temperature"],
            progress=False,
            image_shape=(height // 16, width // 16),
        )
        pixels = torch.clamp(127.5 * pixels[0].float() + 128.0, 0, 255).to("cpu", dtype=torch.uint8)
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def load(repository, weights, settings, device):
    """The model, ready to generate. The official code draws its noise on the current GPU."""
    import torch

    if not device.startswith("cuda"):
        raise ValueError(f"Harmon's code needs a GPU, not {device}")
    if ":" in device:
        torch.cuda.set_device(device)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    sys.path.insert(0, repository)
    return HarmonModel(repository, weights, settings, device)
