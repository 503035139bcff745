"""UniWorld-V1: Qwen2.5-VL's states condition FLUX.1 [dev]. Follows `univa/serve/cli.py` of
github.com/PKU-YuanGroup/UniWorld-V1.

Not run by us. A small head on the states decides whether the model draws or answers; an answer is a refusal here, where
the authors' evaluation scripts skip the head and always draw.
"""

import sys

from fairbench_worker import Refused

ASSISTANT = 77091  # the token "assistant", whose state the head reads


class UniWorld:
    """The language model with its head, and the FLUX pipeline around the model's own denoiser."""

    def __init__(self, weights, settings, device):
        import torch
        from transformers import AutoProcessor
        from univa.models.qwen2p5vl.modeling_univa_qwen2p5vl import UnivaQwen2p5VLForConditionalGeneration
        from univa.utils.flux_pipeline import FluxPipeline

        self.settings, self.device, folder = settings, device, weights["uniworld"]
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = UnivaQwen2p5VLForConditionalGeneration.from_pretrained(
            folder, torch_dtype=torch.bfloat16, attn_implementation="flash_attention_2"
        ).to(device)
        state = torch.load(f"{folder}/task_head_final.pt", map_location="cpu", weights_only=True)
        (inner, width), (outer, _) = state["0.weight"].shape, state["3.weight"].shape
        layers = (torch.nn.Linear(width, inner), torch.nn.SiLU(), torch.nn.Dropout(0.3), torch.nn.Linear(inner, outer))
        self.head = torch.nn.Sequential(*layers).eval().to(device)
        self.head.load_state_dict(state)
        denoiser = self.model.denoise_tower.denoiser
        self.pipe = FluxPipeline.from_pretrained(weights["flux"], transformer=denoiser, torch_dtype=torch.bfloat16)
        self.pipe.to(device)

    def generate(self, prompt, seed, width, height):
        """One image, or Refused with the model's own answer."""
        import torch
        from univa.utils.denoiser_prompt_embedding_flux import encode_prompt

        pipe, settings, most = self.pipe, self.settings, self.settings["t5_tokens"]
        words = len(pipe.tokenizer_2(prompt)["input_ids"])
        if words > most:
            raise ValueError(f"the prompt has {words} tokens; UniWorld's T5 reads {most} and would cut the rest")
        talk = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        text = "<|im_end|>\n".join(text.split("<|im_end|>\n")[1:])  # without the system prompt, as the authors do
        inputs = self.processor(text=[text], padding=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            states = self.model(**inputs, return_dict=True, output_hidden_states=True).hidden_states[-1]
            answers, draws = self.head(states[inputs.input_ids == ASSISTANT][-1].float())
            if answers >= draws:
                tokens = self.model.generate(**inputs, max_new_tokens=128)[:, inputs.input_ids.shape[1] :]
                raise Refused(self.processor.batch_decode(tokens, skip_special_tokens=True)[0])
            states = self.model(inputs.input_ids, attention_mask=inputs.attention_mask, output_type="denoise_embeds")
            encoders, tokenizers = [pipe.text_encoder, pipe.text_encoder_2], [pipe.tokenizer, pipe.tokenizer_2]
            t5, pooled = encode_prompt(encoders, tokenizers, prompt, most, self.device, 1)
            return pipe(
                prompt_embeds=torch.cat([t5, states], dim=1),
                pooled_prompt_embeds=pooled,
                height=height,
                width=width,
                num_inference_steps=settings["steps"],
                guidance_scale=settings["guidance"],
                generator=torch.Generator(self.device).manual_seed(seed),
            ).images[0]


def load(repository, weights, settings, device):
    """The model, ready to generate."""
    sys.path.insert(0, repository)
    return UniWorld(weights, settings, device)
