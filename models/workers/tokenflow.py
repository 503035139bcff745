"""TokenFlow-t2i: tokens of an image, scale by scale. Follows `t2i/llava_t2i/eval/run_llava_samples.py` of
github.com/ByteVisionLab/TokenFlow, except that each image has its own seed (the script passes none).

Not run by us.
"""

import os
import sys


def load(repository, weights, settings, device):
    """Load the model, ready to generate."""
    import torch
    import transformers

    if not device.startswith("cuda"):
        raise ValueError(f"TokenFlow's code makes CUDA tensors: `device` must be a CUDA device, not {device}")
    sys.path.insert(0, f"{repository}/t2i")
    os.chdir(repository)  # the tokenizer's CLIP teacher is looked for in ./clip_model, or downloaded there
    from llava_t2i.dataset.process import crop_and_encode_text_and_img
    from llava_t2i.model import LlavaLlamaForCausalLM

    torch.cuda.set_device(torch.device(device).index or 0)
    torch.set_default_tensor_type("torch.cuda.FloatTensor")
    model = LlavaLlamaForCausalLM.from_pretrained(
        weights["model"],
        attn_implementation="eager",
        mm_vision_tower=f"{weights['tokenizer']}/{settings['tokenizer_file']}",
    )
    model = model.eval().to(torch.bfloat16).cuda()
    model.get_vision_tower().to(torch.bfloat16)
    model.config.use_cache = False
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        weights["model"],
        model_max_length=model.config.tokenizer_model_max_length,
        padding_side="right",
        use_fast=False,
    )
    model.reinit_image_token_start_end(tokenizer)
    return TokenFlow(model, tokenizer, crop_and_encode_text_and_img, settings)


class TokenFlow:
    """The model, its tokenizer and the function that encodes a prompt."""

    def __init__(self, model, tokenizer, encode, settings):
        self.model = model
        self.tokenizer = tokenizer
        self.encode_prompt = encode
        self.settings = settings

    def _token_ids(self, text):
        tokens, limit = len(self.tokenizer.encode(text)), self.settings["max_text_tokens"]
        if tokens > limit:
            raise ValueError(f"the prompt has {tokens} tokens; TokenFlow reads {limit} and would cut the rest")
        return self.encode_prompt(self.tokenizer, text, image=None, max_text_token_num=limit)[0]

    def generate(self, prompt, seed, width, height):
        """Draw with a generator of the image's seed."""
        import torch
        from PIL import Image

        prefixes = [self._token_ids(prompt), self._token_ids(self.settings["negative_prompt"])]
        with torch.inference_mode():
            images = self.model.autoregressive_infer_cfg(
                B=1,
                prefix_text_codes=prefixes,
                g_seed=seed,
                cfg=self.settings["guidance"],
                topk_list=self.settings["top_k"],
                topp_list=self.settings["top_p"],
            )
        return Image.fromarray(images[0].numpy())
