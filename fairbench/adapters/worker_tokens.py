"""What a worker's recipe may offer besides images: tokens and their probabilities, embeddings, answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import FairbenchError
from fairbench.storage import pixels
from fairbench.types import FloatArray, ImageRequest, RgbImage
from fairbench.workers.params import WorkerParams
from fairbench.workers.process import WorkerDied, WorkerError
from fairbench.workers.session import Session

_TOKEN_MODEL: Final = ("tokens", "encode", "decode", "log_probs")


class Offered:
    """The methods of TokenModel, EmbeddingModel and UnderstandingModel, by way of a worker.

    session: returns it on first use. plain: draw tokens without guidance, at temperature 1 and without truncation.
    """

    def __init__(self, session: Callable[[], Session], params: WorkerParams, *, plain: bool = False) -> None:
        self._session, self._params, self._plain = session, params, plain

    @staticmethod
    def names(offers: Collection[str]) -> list[str]:
        """Return which methods a recipe's own make possible: those of a TokenModel together, or none of them."""
        of_tokens = (*_TOKEN_MODEL, "unguided") if set(_TOKEN_MODEL) <= set(offers) else ()
        return [*of_tokens, *(name for name in ("embed", "answer") if name in offers)]

    def unguided(self) -> Offered:
        """Return the model whose tokens follow the distribution that `log_probs` gives."""
        return Offered(self._session, self._params, plain=True)

    def tokens(self, requests: Sequence[ImageRequest]) -> NDArray[np.int64]:
        """Draw the image tokens (requests, N) that `generate` would decode."""
        how = {"width": self._params.width, "height": self._params.height, "plain": self._plain}
        rows = [self._array("tokens", {"prompt": r.text, "seed": r.seed, **how}, 1) for r in requests]
        return np.stack(rows).astype(np.int64)

    def encode(self, images: Sequence[RgbImage]) -> NDArray[np.int64]:
        """Return the image tokens (images, N) of images."""
        return self._of_images("encode", images).astype(np.int64)

    def embed(self, images: Sequence[RgbImage]) -> FloatArray:
        """Return the vision encoder's embeddings (images, hidden)."""
        return self._of_images("embed", images).astype(np.float32)

    def decode(self, tokens: NDArray[np.int64]) -> list[RgbImage]:
        """Return the images of tokens (images, N)."""
        paths = [self._session().new_file(".image") for _ in tokens]
        self._ask("decode", {"tokens": str(self._saved(tokens)), "paths": [str(p) for p in paths]}, len(tokens))
        return [pixels.decode(self._session().take(path), "what the worker decoded") for path in paths]

    def log_probs(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log p(token | text, tokens before it), (rows, N)."""
        params = {"texts": list(texts), "tokens": str(self._saved(tokens))}
        return self._checked("log_probs", self._array("log_probs", params, len(texts)), tokens.shape).astype(np.float32)

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
        """Return one answer per question; the recipe's `answer` is asked one question at a time."""
        options = {"temperature": temperature, "top_p": top_p, "limit": limit}
        answers = []
        for i, (question, image) in enumerate(zip(questions, images, strict=True)):
            path = None if image is None else self._image_file(image)
            params = {"question": question, "image": path, "seed": None if seeds is None else seeds[i]}
            answers.append(str(self._ask("answer", {**params, "options": options}, 1)["text"]))
        return answers

    def _of_images(self, method: str, images: Sequence[RgbImage]) -> NDArray[Any]:
        array = self._array(method, {"images": [self._image_file(image) for image in images]}, len(images))
        return self._checked(method, array, (len(images), *array.shape[1:]))

    def _checked(self, method: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if array.shape != shape or array.ndim != 2:
            raise FairbenchError(
                f"The recipe's {method} returned an array of shape {array.shape}, not {shape}: fix it."
            )
        return array

    def _image_file(self, image: RgbImage) -> str:
        path = self._session().new_file(".png")
        path.write_bytes(pixels.encode(image))
        return str(path)

    def _saved(self, array: NDArray[Any]) -> Path:
        path = self._session().new_file(".npy")
        np.save(path, array, allow_pickle=False)
        return path

    def _array(self, method: str, params: Mapping[str, Any], count: int) -> NDArray[Any]:
        path = self._session().new_file(".npy")
        self._ask(method, {**params, "path": str(path)}, count)
        array: NDArray[Any] = np.load(BytesIO(self._session().take(path)), allow_pickle=False)
        return array

    def _ask(self, method: str, params: Mapping[str, Any], count: int) -> dict[str, Any]:
        """Ask the worker; count: images or answers, each of which has the time of an image. Raises FairbenchError."""
        try:
            return self._session().call(method, params, self._params.seconds_per_image * max(1, count))
        except WorkerError as err:
            raise FairbenchError(f"The recipe's {method} failed: {err.sentence}.") from err
        except WorkerDied as err:
            raise FairbenchError(f"The recipe's {method} failed: {err}.") from err
        finally:
            sent = [params.get("tokens"), params.get("image"), *params.get("images", ())]
            for name in filter(None, sent):
                Path(name).unlink(missing_ok=True)
