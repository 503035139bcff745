"""BAGEL: flow matching in a language model. Follows `inference.ipynb` of github.com/ByteDance-Seed/Bagel on one device.

Not run by us.
"""

import sys

SETTINGS = ["cfg_text_scale", "cfg_img_scale", "cfg_interval", "timestep_shift", "num_timesteps", "cfg_renorm_min"]
SETTINGS += ["cfg_renorm_type"]
LARGEST = 1024  # pixels of a side: 64 latents, each 16 pixels
PARTS = ["language_model.model.embed_tokens", "time_embedder", "latent_pos_embed", "vae2llm", "llm2vae", "connector"]
"""With vit_pos_embed: hooks of these parts move the inputs, which are made on the CPU, to the device."""


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    sys.path.insert(0, repository)
    import torch
    from accelerate import init_empty_weights, load_checkpoint_and_dispatch
    from data.data_utils import add_special_tokens
    from data.transforms import ImageTransform
    from inferencer import InterleaveInferencer
    from modeling.autoencoder import load_ae
    from modeling.bagel import Bagel, BagelConfig, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel
    from modeling.qwen2 import Qwen2Tokenizer

    folder = weights["model"]
    llm_config = Qwen2Config.from_json_file(f"{folder}/llm_config.json")
    llm_config.qk_norm = True
    llm_config.tie_word_embeddings = False
    llm_config.layer_module = "Qwen2MoTDecoderLayer"
    vit_config = SiglipVisionConfig.from_json_file(f"{folder}/vit_config.json")
    vit_config.rope = False
    vit_config.num_hidden_layers -= 1
    vae_model, vae_config = load_ae(local_path=f"{folder}/ae.safetensors")
    known = {"llm_config": llm_config, "vit_config": vit_config, "vae_config": vae_config}
    sizes = {"vit_max_num_patch_per_side": 70, "latent_patch_size": 2, "max_latent_size": 64}
    config = BagelConfig(visual_gen=True, visual_und=True, connector_act="gelu_pytorch_tanh", **known, **sizes)
    with init_empty_weights():
        model = Bagel(Qwen2ForCausalLM(llm_config), SiglipVisionModel(vit_config), config)
        model.vit_model.vision_model.embeddings.convert_conv2d_to_linear(vit_config, meta=True)
    tokenizer, new_token_ids, _ = add_special_tokens(Qwen2Tokenizer.from_pretrained(folder))
    place = "cuda:0" if device == "cuda" else device
    model = load_checkpoint_and_dispatch(
        model,
        checkpoint=f"{folder}/ema.safetensors",
        device_map=dict.fromkeys(["", "vit_pos_embed", *PARTS], place),
        offload_buffers=True,
        dtype=torch.bfloat16,
        force_hooks=True,
    ).eval()
    vae_transform, vit_transform = ImageTransform(1024, 512, 16), ImageTransform(980, 224, 14)
    inferencer = InterleaveInferencer(model, vae_model, tokenizer, vae_transform, vit_transform, new_token_ids)
    return BagelModel(inferencer, settings)


class BagelModel:
    """The authors' inferencer and the settings of the card."""

    def __init__(self, inferencer, settings):
        self.inferencer = inferencer
        self.drawing = {name: settings[name] for name in SETTINGS}

    def generate(self, prompt, seed, width, height):
        """Draw the first noise with torch's global CPU generator, which has been seeded; the rest is deterministic."""
        if max(width, height) > LARGEST:
            raise ValueError(f"BAGEL draws at most {LARGEST} pixels per side, not {width} x {height}")
        return self.inferencer(text=prompt, think=False, image_shapes=(height, width), **self.drawing)["image"]

    def answer(self, question, image, seed, temperature=1.0, limit=32):
        """Return the model's words about an image, or without one; the likeliest ones where seed is None."""
        return self.inferencer(
            image=image,
            text=question,
            understanding_output=True,
            do_sample=seed is not None,
            text_temperature=temperature,
            max_think_token_n=limit + 1,  # the first one begins the answer
        )["text"]
