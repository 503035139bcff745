"""Nexus-Gen V2: a language model draws 81 image embeddings, FLUX.1 [dev] the picture from them. Follows
`image_generation.py` of github.com/modelscope/Nexus-Gen.

Not run by us. The language model may answer in words alone, which is a refusal here.
"""

import sys
import tempfile
from pathlib import Path

from fairbench_worker import Refused

GRID = 18  # the 81 embeddings, as the vision encoder counts them: 18 * 18 / 4


class NexusGen:
    """The language model and its FLUX decoder, both on the device."""

    def __init__(self, weights, settings, device):
        from modeling.ar.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
        from modeling.ar.processing_qwen2_5_vl import Qwen2_5_VLProcessor
        from modeling.decoder.generation_decoder import NexusGenGenerationDecoder
        from transformers import AutoConfig

        self.settings, self.device, folder = settings, device, weights["nexus"]
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, config=AutoConfig.from_pretrained(folder), torch_dtype="auto", device_map=device
        ).eval()
        self.processor = Qwen2_5_VLProcessor.from_pretrained(folder)
        with tempfile.TemporaryDirectory() as parent:  # where the decoder looks for FLUX is written into its code
            Path(parent, "FLUX").mkdir()
            Path(parent, "FLUX", "FLUX.1-dev").symlink_to(weights["flux"])
            self.decoder = NexusGenGenerationDecoder(f"{folder}/generation_decoder.bin", parent, device=device)

    def generate(self, prompt, seed, width, height):
        """One image, or Refused with the model's own words."""
        import torch

        settings = self.settings
        text = settings["template"].replace("{prompt}", prompt)
        talk = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        text = self.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        inputs = self.processor(text=[text], padding=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            drawn = self.model.generate(
                **inputs,
                max_new_tokens=1024,
                return_dict_in_generate=True,
                generation_image_grid_thw=torch.tensor([[1, GRID, GRID]]).to(self.device),
            )
        if drawn["output_image_embeddings"] is None:
            answer = drawn["sequences"][:, inputs["input_ids"].shape[1] :]
            raise Refused(self.processor.batch_decode_all2all(answer, skip_special_tokens=True)[0])
        return self.decoder.decode_image_embeds(
            drawn["output_image_embeddings"],
            num_inference_steps=settings["steps"],
            height=height,
            width=width,
            seed=seed,
            negative_prompt=settings["negative"],
            cfg_scale=settings["guidance"],
            embedded_guidance=settings["embedded_guidance"],
        )


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return NexusGen(weights, settings, device)
