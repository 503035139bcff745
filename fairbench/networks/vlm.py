"""A vision language model of transformers: an image and a question -> the model's most probable answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from fairbench.cards.cards import HubModel
from fairbench.errors import WeightsError
from fairbench.networks import weights
from fairbench.networks.hub import first_line
from fairbench.types import BuildContext, RgbImage

_SPECIAL_TOKENS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


class VisionLanguageModel:
    """Any checkpoint that AutoModelForImageTextToText loads from safetensors, without remote code. Loads on first use.

    Questions of one call are one batch, padded on the left; answers are the most probable token at each step, without
    the penalties and forced words that a checkpoint's own settings may hold.
    """

    def __init__(self, model: HubModel, ctx: BuildContext, dtype: str = "float32") -> None:
        self.name, self._ref, self._ctx, self._dtype = str(model.repo or model.path), model, ctx, dtype
        self.on_progress: Callable[[float], None] = lambda share: None

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Network and processor. Raises WeightsError."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
        from transformers.utils import logging

        folder = weights.model_folder(self._ref, self._ctx.base_dir)
        logging.disable_progress_bar()  # its bar would tear the run's own
        try:
            local = {"local_files_only": True, "trust_remote_code": False}
            processor = AutoProcessor.from_pretrained(folder, **local)
            dtype = getattr(torch, self._dtype)
            net = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, use_safetensors=True, **local)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as err:
            raise WeightsError(
                f"{folder} cannot be loaded as a vision language model of transformers with safetensors and without "
                f"remote code ({first_line(err)}): name another model."
            ) from err
        if not getattr(processor, "chat_template", None):
            raise WeightsError(f"{folder} has no chat template, so nobody knows how it is asked: name another model.")
        own = net.generation_config
        net.generation_config = GenerationConfig(**{name: getattr(own, name) for name in _SPECIAL_TOKENS})
        processor.tokenizer.padding_side = "left"
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        return net.eval().requires_grad_(False).to(self._ctx.device), processor

    def load(self) -> None:
        """Load the weights now. Raises WeightsError."""
        _ = self._loaded

    def answer(
        self,
        questions: Sequence[str],
        images: Sequence[RgbImage | None],
        seeds: Sequence[int] | None = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        limit: int = 32,
    ) -> list[str]:
        """Return one answer per question, of at most `limit` tokens; see `protocols.UnderstandingModel`.

        All rows must have an image, or none. Raises ValueError for seeds: answers are not sampled here.
        """
        import torch
        from PIL import Image

        if seeds is not None:
            raise ValueError("answers of a vision language model are not sampled: leave seeds out")
        if not questions:
            return []
        net, processor = self._loaded
        shown = [Image.fromarray(image) for image in images if image is not None]
        texts = [self._conversation(q, image is not None) for q, image in zip(questions, images, strict=True)]
        inputs = processor(
            text=texts, images=[[image] for image in shown] or None, padding=True, return_tensors="pt"
        ).to(net.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(net.dtype)
        with torch.inference_mode():
            out = net.generate(**inputs, max_new_tokens=limit, do_sample=False, num_beams=1)
        words = out[:, inputs["input_ids"].shape[1] :]
        answers: list[str] = processor.batch_decode(words, skip_special_tokens=True)
        return [answer.strip() for answer in answers]

    def _conversation(self, question: str, with_image: bool) -> str:
        """Return a question in the model's chat template, with the place of its image."""
        _, processor = self._loaded
        content: list[dict[str, str]] = [{"type": "image"}] if with_image else []
        message = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        text: str = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return text
