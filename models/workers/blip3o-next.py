"""BLIP3o-NEXT: a language model draws discrete image tokens, SANA 1.5 the picture from their states. Follows
`inference.py` of the branch BLIP3o-NEXT of github.com/JiuhaiChen/BLIP3o.

Not run by us. `generate_images` drops its own `generator`, so only the global generators draw. The tokenizer of images
is not loaded: drawing does not need it, and the code that loads it reads an undefined name.
"""

import sys


class Blip3oNext:
    """The language model with its SANA decoder, in bfloat16."""

    def __init__(self, weights, settings, device):
        import torch
        from blip3o.model.language_model.blip3o_qwen_inference import blip3oQwenConfig, blip3oQwenForInferenceLM
        from transformers import AutoTokenizer

        self.settings, self.device, folder = settings, device, weights["blip3o"]
        config = blip3oQwenConfig.from_pretrained(folder)
        config.diffusion_name_or_path = weights["sana"]  # a hub id without a revision in the checkpoint
        config.delay_load, config.unfreeze_mm_vision_tower, config.mm_tunable_parts = True, False, ""
        model = blip3oQwenForInferenceLM.from_pretrained(folder, config=config, torch_dtype=torch.bfloat16)
        self.model = model.to(device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def generate(self, prompt, seed, width, height):
        """One image of 1024 by 1024 pixels, drawn from the global generators, which hold the image's seed."""
        talk = [
            {"role": "system", "content": self.settings["system"]},
            {"role": "user", "content": self.settings["template"].replace("{prompt}", prompt)},
        ]
        text = self.tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        text += f"<im_start><S{self.settings['scale']}>"
        inputs = self.tokenizer([text], return_tensors="pt", padding=True, padding_side="left")
        _, images = self.model.generate_images(
            inputs.input_ids.to(self.device),
            inputs.attention_mask.to(self.device),
            max_new_tokens=self.settings["tokens"],
            temperature=self.settings["temperature"],
            top_p=self.settings["top_p"],
            top_k=self.settings["top_k"],
            num_inference_steps=self.settings["decoder_steps"],
            guidance_scale=self.settings["decoder_guidance"],
        )
        return images[0]


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return Blip3oNext(weights, settings, device)
