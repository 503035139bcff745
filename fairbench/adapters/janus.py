"""Janus and Janus-Pro: unified multimodal models that draw an image as a sequence of discrete tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from fairbench.adapters.token_adapter import TokenAdapter
from fairbench.networks import janus, janus_answers, janus_tokens
from fairbench.networks.pretrained import config_of
from fairbench.protocols import LATER
from fairbench.protocols import Params as BaseParams
from fairbench.types import FloatArray, RgbImage

if TYPE_CHECKING:
    from fairbench.networks.janus import JanusModel


class JanusAdapter(TokenAdapter):
    """Images from a Janus checkpoint; see TokenAdapter."""

    version: ClassVar[int] = 1

    class Params(BaseParams):
        """Sampling settings; the defaults are those of the model's authors."""

        guidance: float = Field(5.0, ge=1.0, allow_inf_nan=False, description="classifier-free guidance; 1: none")
        temperature: float = Field(1.0, gt=0.0, allow_inf_nan=False)
        prompt_format: str | None = Field(
            None,
            json_schema_extra={**LATER},
            description="the conversation around a prompt, put for {text}; null: the checkpoint's own template",
        )

        @field_validator("prompt_format")
        @classmethod
        def _holds_text(cls, value: str | None) -> str | None:
            if value is not None and value.count("{text}") != 1:
                raise ValueError("must hold {text} exactly once")
            return value

    def _check_format(self, folder: Path) -> None:
        janus.check_format(folder)

    def _open(self, folder: Path) -> JanusModel:
        return janus.load(folder, self.ctx.device, self.ctx.dtype, self.params.prompt_format)

    def _sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], read_once: bool, on_step: Callable[[int], None]
    ) -> NDArray[np.int64]:
        guidance, temperature = self.params.guidance, self.params.temperature
        model: JanusModel = self.model
        return model.sample(prompts, seeds, guidance, temperature, read_once=read_once, on_step=on_step)

    def effective_settings(self) -> dict[str, Any]:
        """Return what images are made with, defaults included, as plain data for run.json.

        What only a loaded checkpoint knows (the chat template in words) is None where nothing was generated.
        """
        vision, prompt_format = self._vision_config(), self.params.prompt_format
        if self._loaded is not None:
            prompt_format = self._loaded.conversation("{text}")
            vision = self._loaded.net.config.vision_config.to_dict()
        return {
            "guidance": self.params.guidance,
            "temperature": self.params.temperature,
            "prompt_format": prompt_format,
            "tokens_per_image": vision.get("num_image_tokens"),
            "image_size": vision.get("image_size"),
            **self._shared_settings(),
        }

    def _vision_config(self) -> dict[str, Any]:
        """Return what config.json says of images, as far as it is on this machine."""
        folder = self._folder
        return {} if folder is None else dict(config_of(folder).get("vision_config", {}))

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) that the model's own image tokenizer gives."""
        return janus_tokens.encode(self.model, images)

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        return janus_tokens.embed(self.model, images)

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
        """Return one answer per question, with or without an image; see `janus_answers.answer`."""
        settings: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "limit": limit}
        settings["on_step"] = lambda step: self.on_progress(step / limit)
        return janus_answers.answer(self.model, questions, images, seeds, **settings)

    # What training needs (protocols Trainable, Distillable and TrainableAnswers).

    def token_scorer(self) -> Any:
        """Return a module whose forward gives log p of image tokens; see `janus_logprobs.TokenLogProbs`."""
        from fairbench.networks.janus_logprobs import TokenLogProbs

        return TokenLogProbs(self.model.net)

    def token_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs, for image tokens (rows, N), each row under its own text."""
        from fairbench.networks.janus_logprobs import token_inputs

        return token_inputs(self.model, texts, tokens)

    def token_logits(self) -> Any:
        """Return a module whose forward gives the logits of image tokens; see `janus_logprobs.TokenLogits`."""
        from fairbench.networks.janus_logprobs import TokenLogits

        return TokenLogits(self.model.net)

    def blank_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return the inputs of the unconditional rows, for image tokens (rows, N)."""
        from fairbench.networks.janus_logprobs import blank_inputs

        return blank_inputs(self.model, texts, tokens)

    def drawn_at(self) -> tuple[float, float]:
        """Return guidance and temperature."""
        return self.params.guidance, self.params.temperature

    def on_rows(self, told: Callable[[Sequence[bool] | None], None]) -> None:
        """Call `told` before rows are drawn, with which of them are unconditional, and with None afterwards."""
        self.model.on_rows = told

    def image_reading(self) -> int:
        """Return the version of how images are read."""
        return janus_tokens.READING_VERSION

    def text_format(self) -> str | None:
        """Return the conversation around a prompt; None: the checkpoint's own template."""
        text_format: str | None = self.params.prompt_format
        return text_format

    def language_model(self) -> Any:
        """Return the decoder."""
        return self.model.net.model.language_model

    def answer_scorer(self) -> Any:
        """Return a module whose forward gives log p of an answer's words; see `janus_logprobs.AnswerLogProbs`."""
        from fairbench.networks.janus_logprobs import AnswerLogProbs

        return AnswerLogProbs(self.model.net)

    def answer_inputs(
        self, questions: Sequence[str], answers: Sequence[str], images: Sequence[RgbImage]
    ) -> tuple[tuple[Any, ...], list[int]]:
        """Return its inputs, an image, a question and an answer per row, and the tokens of each answer."""
        from fairbench.networks.janus_logprobs import answer_inputs

        return answer_inputs(self.model, questions, answers, images)
