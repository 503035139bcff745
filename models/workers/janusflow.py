"""JanusFlow: rectified flow inside a language model. Follows the README of github.com/deepseek-ai/Janus, whose loop is
a script and not a function.

Not run by us. The authors' loop keeps an empty cache between its steps; here it keeps none, which changes nothing. The
unconditional row is padding after the first token, and is not attended to.
"""

import sys

SIDE, CHANNELS = 48, 4  # of the latents of SDXL's VAE, whose factor is 8


class JanusFlow:
    """The model, its processor and SDXL's VAE, in bfloat16 as the authors run them."""

    def __init__(self, weights, settings, device):
        import torch
        from diffusers.models import AutoencoderKL
        from janus.janusflow.models import MultiModalityCausalLM, VLChatProcessor

        self.settings, self.device = settings, device
        self.processor = VLChatProcessor.from_pretrained(weights["janusflow"])
        self.model = MultiModalityCausalLM.from_pretrained(weights["janusflow"]).to(torch.bfloat16).to(device).eval()
        self.vae = AutoencoderKL.from_pretrained(weights["vae"]).to(torch.bfloat16).to(device).eval()

    def _embedded(self, prompt):
        import torch

        talk = [{"role": "User", "content": prompt}, {"role": "Assistant", "content": ""}]
        text = self.processor.apply_sft_template_for_multi_turn_prompts(
            conversations=talk, sft_format=self.processor.sft_format, system_prompt=""
        )
        ids = self.processor.tokenizer.encode(text + self.processor.image_gen_tag)
        tokens = torch.tensor([ids, ids], device=self.device)
        tokens[1, 1:] = self.processor.pad_id
        # The time's embedding takes the place of the last token.
        return self.model.language_model.get_input_embeddings()(tokens)[:, :-1]

    def _velocity(self, latents, step, text):
        import torch

        model = self.model
        time = torch.tensor([step / self.settings["steps"] * 1000.0] * 2).to(latents)
        image, time, skips = model.vision_gen_enc_model(torch.cat([latents, latents]), time)[:3]
        rows, columns = image.shape[-2:]
        image = model.vision_gen_enc_aligner(image.flatten(2).permute(0, 2, 1))
        attended = torch.ones((2, text.shape[1] + 1 + rows * columns), dtype=torch.int, device=self.device)
        attended[1, 1 : text.shape[1]] = 0
        inputs = torch.cat([text, time.unsqueeze(1), image], dim=1)
        states = model.language_model.model(inputs_embeds=inputs, attention_mask=attended, use_cache=False)
        states = model.vision_gen_dec_aligner_norm(states.last_hidden_state[:, -rows * columns :])
        states = model.vision_gen_dec_aligner(states).reshape(2, rows, columns, -1).permute(0, 3, 1, 2)
        drawn, empty = model.vision_gen_dec_model(states, skips, time).chunk(2)
        return self.settings["guidance"] * drawn - (self.settings["guidance"] - 1.0) * empty

    def generate(self, prompt, seed, width, height):
        """One image of 384 by 384 pixels."""
        import torch
        from PIL import Image

        noise = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            text = self._embedded(prompt)
            latents = torch.randn((1, CHANNELS, SIDE, SIDE), dtype=torch.bfloat16, generator=noise).to(self.device)
            length = torch.full_like(latents, 1.0 / self.settings["steps"])
            for step in range(self.settings["steps"]):
                latents = latents + length * self._velocity(latents, step, text)
            pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample[0]
        pixels = (pixels.float().clip(-1.0, 1.0).permute(1, 2, 0).cpu().numpy() + 1) / 2 * 255
        return Image.fromarray(pixels.astype("uint8"))


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return JanusFlow(weights, settings, device)
