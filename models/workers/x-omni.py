"""X-Omni: a language model draws image tokens, FLUX.1 [dev] the picture from them. Follows `generate.py` of
github.com/X-Omni-Team/X-Omni; the model itself is remote code beside its weights.

Not run by us. The authors set the global seed before the tokens are drawn and again before they are decoded.
"""


class XOmni:
    """The model with its decoder, in bfloat16."""

    def __init__(self, weights, settings, device):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.settings, self.device, folder = settings, device, weights["xomni"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
        model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.bfloat16, trust_remote_code=True)
        self.model = model.to(device)
        self.model.init_vision(weights["flux"])
        self.model.set_generation_mode("image")
        self.model.eval()

    def generate(self, prompt, seed, width, height):
        """One image of `width` by `height`, multiples of 16."""
        import torch
        from transformers.generation import GenerationConfig

        settings, tokenizer = self.settings, self.tokenizer
        rows, columns = height // 16, width // 16
        prefix = f"<SOM>{rows} {columns}<IMAGE>"
        config = GenerationConfig(
            max_new_tokens=rows * columns,
            do_sample=True,
            temperature=settings["temperature"],
            min_p=settings["min_p"],
            top_p=settings["top_p"],
            top_k=settings["top_k"],
            guidance_scale=settings["guidance"],
            suppress_tokens=tokenizer.convert_tokens_to_ids(self.model.config.mm_special_tokens),
        )
        inputs = tokenizer([prompt + prefix], return_tensors="pt", padding="longest", padding_side="left")
        negative = tokenizer.encode(prefix, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            tokens = self.model.generate(
                inputs=inputs.input_ids.to(self.device),
                attention_mask=inputs.attention_mask.to(self.device),
                generation_config=config,
                negative_prompt_ids=negative.to(self.device),
                use_model_defaults=False,
            )
            tokens = torch.nn.functional.pad(tokens, (0, 1), value=tokenizer.convert_tokens_to_ids("<EOM>"))
            torch.manual_seed(seed)
            _, images = self.model.mmdecode(tokenizer, tokens[0], skip_special_tokens=False)
        return images[0]


def load(repository, weights, settings, device):
    """The model, ready to generate. `repository` holds the authors' script alone."""
    return XOmni(weights, settings, device)
