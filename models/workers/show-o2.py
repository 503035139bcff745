"""Show-o2: flow matching on the Wan 2.1 latents. Follows `show-o2/inference_t2i.py` of github.com/showlab/Show-o.

Not run by us. The script hands its images to Stable Diffusion's safety checker, which blackens some; this recipe does
not. The checkpoint and the VAE are pickles: they are read with `weights_only`.
"""

import os
import sys

TRANSPORT = ("path_type", "prediction", "loss_weight", "train_eps", "sample_eps", "snr_type", "do_shift")


class ShowO2:
    """Model, tokenizer, sampler and VAE; the sizes are those of the authors' configuration."""

    def __init__(self, config, weights, settings, device):
        import torch
        from models.misc import get_text_tokenizer
        from transport import Sampler, create_transport
        from utils import get_hyper_params

        from models import Showo2Qwen2_5, WanVAE

        self.config, self.settings, self.device = config, settings, torch.device(device)
        self.dtype = getattr(torch, config.model.weight_type)
        self.vae = WanVAE(vae_pth=f"{weights['vae']}/Wan2.1_VAE.pth", dtype=self.dtype, device=self.device)
        self.tokenizer, ids = get_text_tokenizer(weights["qwen"], return_showo_token_ids=True)
        folders = {"llm_model_path": weights["qwen"], "clip_pretrained_model_path": weights["siglip"]}
        own = {"use_safetensors": False, "load_from_showo": True}  # a pickle, which holds the base model's weights too
        model = Showo2Qwen2_5.from_pretrained(weights["showo2"], **own, **folders)
        self.model = model.to(self.device).to(self.dtype).eval()
        config.dataset.preprocessing.num_t2i_image_tokens += 1  # the time token
        self.sizes = get_hyper_params(config, self.tokenizer, ids)
        terms = {name: config.transport[name] for name in TRANSPORT}
        self.sampler = Sampler(create_transport(seq_len=self.sizes[0], **terms))

    def generate(self, prompt, seed, width, height):
        """One image; the card's configuration decides its size."""
        import torch
        from models.misc import prepare_gen_input
        from PIL import Image
        from utils import denorm

        from models import omni_attn_mask_naive

        tokens, _, _, length, most, channels, patch, columns, rows, pad, bos, eos, boi, eoi = self.sizes[:14]
        words = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if words > most:
            raise ValueError(f"the prompt has {words} tokens; Show-o2 reads {most} and would cut the rest")
        ids = (bos, eos, boi, eoi, pad, self.sizes[16], most, self.device)
        text, no_text, position, no_position = prepare_gen_input([prompt], self.tokenizer, tokens, *ids)
        noise = torch.randn((1, channels, rows * patch, columns * patch), generator=torch.Generator().manual_seed(seed))
        noise = noise.to(torch.bfloat16).to(self.device)
        if self.settings["guidance"] > 0:
            noise, text, position = (torch.cat(p) for p in ((noise, noise), (text, no_text), (position, no_position)))
        mask = omni_attn_mask_naive(len(text), length, position, self.device).to(self.dtype)
        sample = self.sampler.sample_ode(
            sampling_method=self.settings["sampler"],
            num_steps=self.settings["steps"],
            atol=self.config.transport.atol,
            rtol=self.config.transport.rtol,
            reverse=self.config.transport.reverse,
            time_shifting_factor=self.settings["shift"],
        )
        inputs = {"text_tokens": text, "attention_mask": mask, "modality_positions": position, "max_seq_len": length}
        with torch.no_grad():
            latents = sample(noise, self.model.t2i_generate, guidance_scale=self.settings["guidance"], **inputs)[-1][:1]
            pixels = self.vae.batch_decode(latents.unsqueeze(2)).squeeze(2)
        return Image.fromarray(denorm(pixels)[0])


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    sys.path.insert(0, f"{repository}/show-o2")
    from omegaconf import OmegaConf

    return ShowO2(OmegaConf.load(f"{repository}/show-o2/{settings['config']}"), weights, settings, device)
