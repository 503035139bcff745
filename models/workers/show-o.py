"""Show-o (v1): masked image tokens, filled in over some steps. Follows `inference_t2i.py` of github.com/showlab/Show-o.

Not run by us. The tokens' guidance is (1 + w) * conditional - w * unconditional: `guidance` is w, so 5 is a scale of 6.
One image per call, because `t2i_generate` takes one generator for its whole batch.
"""

import sys


class ShowO:
    """The language model with its prompting and the decoder of image tokens."""

    def __init__(self, repository, weights, settings, device):
        import torch
        from omegaconf import OmegaConf
        from training.prompting_utils import UniversalPrompting
        from transformers import AutoTokenizer

        from models import MAGVITv2, Showo

        self.settings, self.device = settings, torch.device(device)
        self.config = OmegaConf.load(f"{repository}/{settings['config']}")
        self.prompting = UniversalPrompting(
            AutoTokenizer.from_pretrained(weights["phi"], padding_side="left"),
            max_text_len=self.config.dataset.preprocessing.max_seq_length,
        )
        self.decoder = MAGVITv2.from_pretrained(weights["magvitv2"]).to(self.device).eval()
        # Else the base model is what the checkpoint's configuration says: a hub id, perhaps with its own weights.
        model = Showo.from_pretrained(weights["showo"], llm_model_path=weights["phi"], load_from_showo=True)
        self.model = model.to(self.device).eval()

    def _check(self, prompt):
        words = len(self.prompting.text_tokenizer(prompt)["input_ids"])
        most = self.config.dataset.preprocessing.max_seq_length - 2  # task, start and end tokens in 1 + 128 positions
        if words > most:
            raise ValueError(f"the prompt has {words} tokens; Show-o reads {most} and would cut the rest")

    def generate(self, prompt, seed, width, height):
        """One image; the card's configuration decides its size."""
        import torch
        from PIL import Image
        from training.prompting_utils import create_attention_mask_predict_next

        from models import get_mask_chedule

        self._check(prompt)
        sizes, guided = self.config.model.showo, self.settings["guidance"] > 0
        masked = torch.full((1, sizes.num_vq_tokens), self.model.config.mask_token_id, device=self.device)
        ids = self.prompting(([prompt], masked), "t2i_gen")[0]
        empty = self.prompting(([""], masked), "t2i_gen")[0] if guided else None
        special = self.prompting.sptids_dict
        attention = create_attention_mask_predict_next(
            torch.cat([ids, empty]) if guided else ids,
            pad_id=int(special["<|pad|>"]),
            soi_id=int(special["<|soi|>"]),
            eoi_id=int(special["<|eoi|>"]),
            rm_pad_in_image=True,
        )
        with torch.no_grad():
            codes = self.model.t2i_generate(
                input_ids=ids,
                uncond_input_ids=empty,
                attention_mask=attention,
                guidance_scale=self.settings["guidance"],
                temperature=self.settings["temperature"],
                timesteps=self.settings["steps"],
                noise_schedule=get_mask_chedule(self.settings["schedule"]),
                generator=torch.Generator(self.device).manual_seed(seed),
                config=self.config,
            )
            pixels = self.decoder.decode_code(codes.clamp(0, sizes.codebook_size - 1))[0]
        pixels = ((pixels + 1) / 2).clamp(0, 1) * 255
        return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy().astype("uint8"))


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return ShowO(repository, weights, settings, device)
