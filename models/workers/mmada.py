"""MMaDA: masked image tokens, filled in over some steps. Follows `inference_t2i.py` of github.com/Gen-Verse/MMaDA.

Not run by us. Guidance w is (1 + w) * conditional - w * unconditional.
"""

import sys

PIXELS_PER_TOKEN = 16


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    sys.path.insert(0, repository)
    import torch
    from training.prompting_utils import UniversalPrompting
    from transformers import AutoTokenizer

    from models import MAGVITv2, MMadaModelLM

    tokenizer = AutoTokenizer.from_pretrained(weights["model"], padding_side="left")
    prompting = UniversalPrompting(tokenizer, max_text_len=settings["max_text_tokens"], use_reserved_token=True)
    decoder = MAGVITv2.from_pretrained(weights["decoder"]).to(device).eval()
    model = MMadaModelLM.from_pretrained(weights["model"], trust_remote_code=True, torch_dtype=torch.bfloat16)
    return MMaDA(model.to(device).eval(), decoder, prompting, settings, device)


class MMaDA:
    """The language model with its prompting and the decoder of image tokens."""

    def __init__(self, model, decoder, prompting, settings, device):
        self.model = model
        self.decoder = decoder
        self.prompting = prompting
        self.settings = settings
        self.device = device

    def generate(self, prompt, seed, width, height):
        """Draw with a generator of the image's seed, on the device of the logits."""
        import numpy as np
        import torch
        from PIL import Image

        from models import get_mask_schedule

        settings = self.settings
        limit = settings["max_text_tokens"]
        words = len(self.prompting.text_tokenizer(prompt)["input_ids"])
        if words > limit - 2:  # begin and end of the text
            raise ValueError(f"the prompt has {words} tokens; MMaDA reads {limit - 2} and would cut the rest")
        tokens = (height // PIXELS_PER_TOKEN) * (width // PIXELS_PER_TOKEN)
        mask_id = self.model.config.mask_token_id
        masked = torch.full((1, tokens), mask_id, dtype=torch.long, device=self.device)
        input_ids, attention_mask = self.prompting(([prompt], masked), "t2i_gen")
        empty_ids, empty_mask = self.prompting(([""], masked), "t2i_gen")
        with torch.no_grad():
            codes = self.model.t2i_generate(
                input_ids=input_ids,
                uncond_input_ids=empty_ids,
                attention_mask=attention_mask,
                uncond_attention_mask=empty_mask,
                temperature=settings["temperature"],
                timesteps=settings["steps"],
                guidance_scale=settings["guidance"],
                noise_schedule=get_mask_schedule(settings["mask_schedule"]),
                generator=torch.Generator(self.device).manual_seed(seed),
                seq_len=tokens,
                mask_token_id=mask_id,
                resolution=limit,  # not pixels: how many tokens of the prompt's part the guidance exchanges
                codebook_size=settings["codebook_size"],
                uni_prompting=self.prompting,
            )
            pixels = self.decoder.decode_code(codes.clamp(0, settings["codebook_size"] - 1))
        pixels = ((pixels + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0
        return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy().astype(np.uint8))
