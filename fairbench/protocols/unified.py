"""What the adapter of a unified model may offer besides images: tokens, embeddings, answers, and being trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairbench.types import FloatArray, ImageRequest, RgbImage

if TYPE_CHECKING:
    pass


@runtime_checkable
class TokenModel(Protocol):
    """What the adapter of a unified model may offer besides `generate`: image tokens and their probabilities.

    `audit` needs it, and `train` with `Trainable` besides; an adapter without it can only be measured by `run`. The
    audit also draws from the model's own distribution: it sets the fields of `Params` named guidance, temperature and
    top_p to 1, and top_k to None; an adapter whose settings stand elsewhere has a method `unguided() -> TokenModel`.
    """

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) of images."""
        ...

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Return the images of tokens (images, N)."""
        ...

    def tokens(self, requests: Sequence[ImageRequest]) -> NDArray[np.int64]:
        """Draw the image tokens (requests, N) that `generate` would decode. A row of -1 stands for a failure."""
        ...

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it), (rows, N), at guidance 1, temperature 1, without truncation."""
        ...


@runtime_checkable
class EmbeddingModel(Protocol):
    """What the adapter of a model with a vision encoder may offer besides `generate`: how it sees images."""

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        ...


@runtime_checkable
class UnderstandingModel(Protocol):
    """What the adapter of a unified model may offer besides `generate`: answers to questions."""

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
        """Return one answer per question, of at most `limit` tokens.

        images: None for a question in text alone. seeds: one per question; None takes the most probable tokens.
        """
        ...


@runtime_checkable
class Steerable(Protocol):
    """What the adapter of a model that draws token by token may offer: hidden states of its decoder, to be shifted.

    decoder_shift: set by a method. It takes the seeds of the images of a batch and returns, for some decoder layers by
    their index, what is added to the layer's output for each of them, (images, positions, hidden). The positions are
    those that an image's tokens are drawn from, from the prompt's last one on, and the ends of lines between them where
    the model reads such. Where it draws with guidance, the unconditional rows are left alone. None, as it is built:
    nothing is added.
    """

    decoder_shift: Callable[[Sequence[int]], Mapping[int, FloatArray]] | None

    def decoder_layers(self) -> int | None:
        """Return the number of decoder layers without loading the model; None where that is not known."""
        ...

    def token_states(self, texts: Sequence[str], seeds: Sequence[int], layers: Sequence[int]) -> FloatArray:
        """Draw images, unshifted; return the output of these layers, float32 (images, layers, positions, hidden).

        Loads the weights.
        """
        ...


@runtime_checkable
class Trainable(TokenModel, Protocol):
    """What an adapter whose network is a torch module here may offer, so that `train` can fine-tune it.

    Its constructor loads no weights, as any adapter's. Scorers and inputs belong together:
    `scorer(*inputs)` gives log-probabilities in float32, through which gradients flow.
    """

    def image_reading(self) -> Any:
        """Return plain data that changes whenever `encode` gives other tokens for the same image and weights."""
        ...

    def text_format(self) -> str | None:
        """Return what is put around a prompt, which stands for its {text}; None: what the checkpoint itself says."""
        ...

    def network(self) -> Any:
        """Return the frozen torch module whose layers a low-rank adapter changes in place; loads the weights."""
        ...

    def language_model(self) -> Any:
        """Return the part of the network whose layers gradient checkpointing computes twice."""
        ...

    def token_scorer(self) -> Any:
        """Return a torch module around the network that gives log p of image tokens, (rows, N)."""
        ...

    def token_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs, for image tokens (rows, N), each row under its own text."""
        ...


@runtime_checkable
class Distillable(Trainable, Protocol):
    """What a `Trainable` adapter that draws token by token may offer besides, for `train distill`: whole distributions.

    Its inputs of `token_scorer` are those of `token_logits` too, the tokens last.
    """

    def token_logits(self) -> Any:
        """Return a torch module around the network that gives logits of image tokens, (rows, N, codes)."""
        ...

    def blank_inputs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return its inputs for the unconditional rows that guidance leads away from."""
        ...

    def drawn_at(self) -> tuple[float, float]:
        """Return guidance and temperature of `tokens`: softmax((blank + guidance (logits - blank)) / temperature)."""
        ...

    def on_rows(self, told: Callable[[Sequence[bool] | None], None]) -> None:
        """From now on call `told` before `tokens` computes rows, with which are unconditional, and with None after."""
        ...


@runtime_checkable
class TrainableAnswers(Protocol):
    """What a `Trainable` adapter may offer besides, for the control `train i2t`: log-probabilities of answers."""

    def answer_scorer(self) -> Any:
        """Return a torch module around the network that gives log p of an answer's words, (rows, longest answer)."""
        ...

    def answer_inputs(
        self, questions: Sequence[str], answers: Sequence[str], images: Sequence[RgbImage]
    ) -> tuple[tuple[Any, ...], list[int]]:
        """Return its inputs, an image, a question and an answer per row, and the tokens of each answer.

        These are the last ones of their row; the end-of-text token is an answer's last.
        """
        ...
