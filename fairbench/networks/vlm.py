"""A vision language model of transformers: an image and a question -> the model's most probable answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from fairbench.cards.cards import HubModel
from fairbench.errors import FairbenchError, WeightsError
from fairbench.networks import pretrained
from fairbench.types import BuildContext, RgbImage


class VisionLanguageModel:
    """Any checkpoint that AutoModelForImageTextToText loads from safetensors, without remote code. Loads on first use.

    Each question is computed alone, so that its answer depends on no other: a padded row rounds differently. Answers
    are the most probable token at each step, without the penalties and forced words that a checkpoint's own settings
    may hold.
    """

    def __init__(self, model: HubModel, ctx: BuildContext, dtype: str = "float32") -> None:
        self.name, self._ref, self._ctx, self._dtype = str(model.repo or model.path), model, ctx, dtype
        self.on_progress: Callable[[float], None] = lambda share: None

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Network and processor. Raises WeightsError."""
        classes = ("AutoModelForImageTextToText", "AutoProcessor")
        net, processor = pretrained.writer(self._ref, self._ctx, self._dtype, classes, "vision language model")
        if not getattr(processor, "chat_template", None):
            raise WeightsError(
                f"{net.name_or_path} has no chat template, so nobody knows how it is asked: name another model."
            )
        return net, processor

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

        Raises ValueError for seeds, as answers are not sampled here; FairbenchError where logits are not finite.
        """
        if seeds is not None:
            raise ValueError("answers of a vision language model are not sampled: leave seeds out")
        answers = []
        for i, (question, image) in enumerate(zip(questions, images, strict=True), 1):
            answers.append(self._answer(question, image, limit))
            self.on_progress(i / len(questions))
        return answers

    def _answer(self, question: str, image: RgbImage | None, limit: int) -> str:
        import torch

        net, processor = self._loaded
        inputs = self._inputs(question, image)
        with torch.inference_mode():
            settings = {"do_sample": False, "num_beams": 1, "output_logits": True, "return_dict_in_generate": True}
            out = net.generate(**inputs, max_new_tokens=limit, **settings)
        if not all(bool(logits.isfinite().all()) for logits in out.logits):
            raise FairbenchError(
                f"{self.name} cannot answer in {self._dtype} (its logits are not finite numbers): use float32."
            )
        words = out.sequences[0, inputs["input_ids"].shape[1] :]
        return str(processor.tokenizer.decode(words, skip_special_tokens=True)).strip()

    def _inputs(self, question: str, image: RgbImage | None) -> Any:
        """Return what the network reads of a question in the model's chat template, on its device.

        The library tokenises the template's text: it knows when the text has its beginning token already.
        """
        from PIL import Image

        net, processor = self._loaded
        content: list[dict[str, Any]] = [] if image is None else [{"type": "image", "image": Image.fromarray(image)}]
        message = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        inputs = processor.apply_chat_template(
            message, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return inputs.to(net.device, dtype=net.dtype)  # numbers with a point alone change their type

    def tokens_of(self, words: Sequence[str]) -> list[int]:
        """Return the tokens of those words that are one token each. Raises WeightsError where none is."""
        _, processor = self._loaded
        tokens = [processor.tokenizer.encode(word, add_special_tokens=False) for word in words]
        ids = sorted({one[0] for one in tokens if len(one) == 1})
        if not ids:
            raise WeightsError(f"{self.name} has no token for {' or '.join(map(repr, words))}: name another model.")
        return ids

    def probability_of(self, tokens: Sequence[int], question: str, image: RgbImage) -> float:
        """Return the probability that the answer's first token is one of these.

        Raises FloatingPointError where the model's numbers overflow its precision.
        """
        import torch

        net, _ = self._loaded
        inputs = self._inputs(question, image)
        with torch.inference_mode():
            logits = net(**inputs).logits[0, -1].double()
        if not bool(logits.isfinite().all()):
            raise FloatingPointError(f"the logits of {self.name} are not finite numbers")
        return float(logits.softmax(dim=-1)[list(tokens)].sum())
