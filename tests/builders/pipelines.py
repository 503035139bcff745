"""Stand-ins for diffusers pipelines that are not built in small: they treat prompts as those do, and paint grey."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np

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
