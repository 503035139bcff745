"""Lumina-DiMOO: masked image tokens, filled in over some steps. Follows `inference/inference_t2i.py` of
github.com/Alpha-VLLM/Lumina-DiMOO, without its cache.

Not run by us. Guidance w is (1 + w) * conditional - w * unconditional.
"""

import sys


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    sys.path.insert(0, repository)
    import torch
    from diffusers import VQModel
    from model import LLaDAForMultiModalGeneration
    from transformers import AutoTokenizer

    folder = weights["model"]
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = LLaDAForMultiModalGeneration.from_pretrained(folder, torch_dtype=torch.bfloat16, device_map={"": device})
    decoder = VQModel.from_pretrained(folder, subfolder="vqvae").to(device)
    return DiMOO(model, decoder, tokenizer, settings, device)


class DiMOO:
    """The language model with its tokenizer and the decoder of image tokens."""

    def __init__(self, model, decoder, tokenizer, settings, device):
        self.model = model
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.settings = settings
        self.device = device

    def generate(self, prompt, seed, width, height):
        """Draw with a generator of the image's seed; 0 is a seed like any other (the authors' script: not seeded)."""
        import torch
        from config import SPECIAL_TOKENS
        from generators.image_generation_generator import generate_image
        from utils.image_utils import add_break_line, calculate_vq_params, decode_vq_to_image
        from utils.prompt_utils import create_prompt_templates, generate_text_to_image_prompt

        tokens, row, rows, columns = calculate_vq_params(height, width)
        text, empty_text = generate_text_to_image_prompt(prompt, create_prompt_templates())
        text_ids = self.tokenizer(text)["input_ids"]
        empty_ids = self.tokenizer(empty_text)["input_ids"]
        masked = add_break_line(
            [SPECIAL_TOKENS["mask_token"]] * tokens, rows, columns, new_number=SPECIAL_TOKENS["newline_token"]
        )
        begin = [SPECIAL_TOKENS["answer_start"], SPECIAL_TOKENS["boi"]]
        end = [SPECIAL_TOKENS["eoi"], SPECIAL_TOKENS["answer_end"]]
        codes = generate_image(
            self.model,
            torch.tensor([text_ids + begin + masked + end], device=self.device),
            seq_len=tokens,
            newline_every=row,
            timesteps=self.settings["steps"],
            temperature=self.settings["temperature"],
            cfg_scale=self.settings["guidance"],
            uncon_ids=torch.tensor([empty_ids], device=self.device),
            code_start=len(text_ids) + len(begin),
            generator=torch.Generator(self.device).manual_seed(seed),
            use_cache=False,
        )
        with torch.no_grad():
            return decode_vq_to_image(
                codes, save_path=None, vae_ckpt=None, image_height=height, image_width=width, vqvae=self.decoder
            )
