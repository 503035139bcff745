"""Stand-ins for diffusers pipelines: they tokenize and treat prompts as the real ones do, and paint grey."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import torch

from tests.builders.diffusion import clip_tokenizer


class StandIn:
    """A pipeline that tokenizes as the real ones do, and paints what it read."""

    def __init__(self) -> None:
        self.tokenizer = clip_tokenizer()
        self.scheduler = diffusers.PNDMScheduler()
        self.components = {"tokenizer": self.tokenizer, "scheduler": self.scheduler}
        self.seen: dict[str, Any] = {}

    def set_progress_bar_config(self, disable: bool) -> None:
        self.quiet = disable

    def to(self, device: str) -> StandIn:
        return self

    def read(self, texts: list[str], length: int = 77) -> Any:
        tokens = self.tokenizer(texts, max_length=length, truncation=True, padding="max_length", return_tensors="pt")
        return tokens.input_ids

    def paint(self, texts: list[str], **seen: Any) -> Any:
        self.seen = seen
        self.read(texts)
        return SimpleNamespace(images=np.full((len(texts), 8, 8, 3), 0.5))


class Lumina(StandIn):
    """Puts a system prompt before each prompt, as Lumina 2 does."""

    def __call__(
        self,
        prompt: Any = None,
        system_prompt: str | None = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: Any = None,
        output_type: str = "pil",
    ) -> Any:
        system_prompt = "You paint." if system_prompt is None else system_prompt
        return self.paint([system_prompt + " <Prompt Start> " + p for p in prompt])


class Sana(StandIn):
    def __call__(
        self,
        prompt: Any = None,
        complex_human_instruction: Any = ("Be bold.", "User Prompt: "),
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: Any = None,
        output_type: str = "pil",
        clean_caption: bool = True,
    ) -> Any:
        head = "\n".join(complex_human_instruction or [])
        return self.paint([head + p for p in prompt], clean_caption=clean_caption)


TEMPLATE = "<|im_start|>system\nDescribe it:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


class Qwen(StandIn):
    """Cuts what its tokenizer let through, as Qwen-Image does: it keeps so many tokens behind its own."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_template_encode = TEMPLATE
        self.prompt_template_encode_start_idx = len(
            self.tokenizer(TEMPLATE.partition("{}")[0], add_special_tokens=False)["input_ids"]
        )

    def __call__(
        self,
        prompt: Any = None,
        true_cfg_scale: float = 4.0,
        negative_prompt: Any = None,
        num_inference_steps: int = 1,
        max_sequence_length: int = 512,
        generator: Any = None,
        output_type: str = "pil",
    ) -> Any:
        start = self.prompt_template_encode_start_idx
        self.read([self.prompt_template_encode.format(p) for p in prompt], 1024 + start)
        return SimpleNamespace(images=np.full((len(prompt), 8, 8, 3), 0.5))


class Ernie(StandIn):
    """Rewrites prompts unless it is told not to, and draws the rewriting from torch's global stream."""

    def _enhance_prompt_with_pe(self, prompt: str, device: str) -> str:
        self.tokenizer(f'{{"prompt": "{prompt}"}}')
        return f"{prompt} {'abcdefgh'[int(torch.randint(8, ()))]}"

    def __call__(
        self,
        prompt: Any = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: Any = None,
        output_type: str = "pil",
        use_pe: bool = True,
    ) -> Any:
        texts = [self._enhance_prompt_with_pe(p, "cpu") for p in prompt] if use_pe else prompt
        return self.paint(texts, use_pe=use_pe, rows=len(prompt), generator=generator)


class Cleaning(StandIn):
    """Reads another text than the prompt, without a switch."""

    def __call__(
        self,
        prompt: Any = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: Any = None,
        output_type: str = "pil",
    ) -> Any:
        return self.paint([p.replace("nurse", "person") for p in prompt])


class LowerCase(StandIn):
    """Puts prompts into lower case and squeezes blanks, as PixArt does: that is no other text."""

    def __call__(
        self,
        prompt: Any = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: Any = None,
        output_type: str = "pil",
    ) -> Any:
        return self.paint([" ".join(p.lower().split()) for p in prompt])
