"""The adapter `worker`: a model in an environment of its own, run by a recipe in a process of its own interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel

from fairbench import contracts
from fairbench.adapters.worker_tokens import Offered
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, ImageError
from fairbench.networks import weights
from fairbench.notices import notice
from fairbench.storage import pixels
from fairbench.types import BuildContext, ImageRequest, ImageResult
from fairbench.workers.fairbench_worker import OUT_OF_MEMORY, REFUSED
from fairbench.workers.params import WorkerParams
from fairbench.workers.places import Places
from fairbench.workers.process import WorkerDied, WorkerError
from fairbench.workers.session import Session

LOST_IN_A_ROW: Final = 3
"""After so many images that each ended the worker twice, none between them drawn, the worker is taken for broken."""
SYSTEM: Final = "system"
"""The setting of a card that holds the text before each prompt."""
SEEDS: Final = "random and torch: the image's seed; numpy: the seed modulo 2**32"


class WorkerAdapter:
    """Draws through a worker, one image per call, or `rows_per_call` where the recipe has a generator for each.

    What the card declares stands in the key (the recipe's sha256, the repository's commit, the weights' revisions,
    settings, size); what the worker says of itself is provenance. The run's dtype and blocks change nothing.
    """

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    target: ClassVar[str] = "recipe"
    Params: ClassVar[type[BaseModel]] = WorkerParams

    def __init__(self, card: ModelCard, params: WorkerParams, ctx: BuildContext) -> None:
        """Raise CardError where there is no such recipe, or the card has weights where no recipe gets them."""
        if card.weights is not None:
            raise CardError(
                f"The model card {card.name!r} has `weights`: those of a worker stand in `sampling.weights`."
            )
        self.params, self._places = params, Places(card, params, ctx.base_dir)
        self.key_source = {"recipe": self._places.recipe.sha256, **self._content_of_repository()}
        self._name, self._device = card.name, params.device or ctx.device
        self._lost = 0
        self.on_progress: Callable[[float], None] = lambda share: None
        # As attributes of the instance, so that the protocols of `audit` find what this recipe offers, and no more.
        offered = Offered(lambda: self._session, params)
        for name in offered.names(self._places.recipe.offers):
            setattr(self, name, getattr(offered, name))

    @staticmethod
    def with_system_prompt(sampling: Mapping[str, Any], text: str) -> dict[str, Any] | None:
        """Return the card's `sampling` under another system prompt; None where the card has no such setting."""
        settings = sampling.get("settings")
        if not isinstance(settings, Mapping) or SYSTEM not in settings:
            return None
        return {**sampling, "settings": {**settings, SYSTEM: text}}

    def _content_of_repository(self) -> dict[str, Any]:
        declared, folder = self.params.repository, self._places.repository
        if declared is None or declared.commit is not None or folder is None:
            return {}
        return {"repository": weights.folder_content(folder)}

    @cached_property
    def _session(self) -> Session:
        return Session(self._places, self._device)

    def missing(self) -> list[str]:
        """Return what has to be there before the worker can be started, a sentence each."""
        return self._places.missing()

    def close(self) -> None:
        """End the worker; the next image starts another. Without this it ends with this process."""
        if "_session" in self.__dict__:
            self._session.close()

    def effective_settings(self) -> dict[str, Any]:
        """Return what the card declares, and, where the worker ran, what it said of itself."""
        report = self.__dict__["_session"].report if "_session" in self.__dict__ else None
        recipe = self._places.recipe
        return {
            **self.params.model_dump(
                mode="json", exclude={"python", "seconds_per_image", "seconds_to_start", "device"}
            ),
            "recipe": {"name": recipe.path.stem, "sha256": recipe.sha256},
            "seeds": SEEDS,
            "worker": report,
        }

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request, in order.

        Raises FairbenchError where the worker cannot be started, contradicts its card, or dies again and again.
        """
        results: list[ImageResult] = []
        size = self.params.rows_per_call
        for start in range(0, len(requests), size):
            results += self._drawn(requests[start : start + size])
            self.on_progress(len(results) / len(requests))
        return results

    def _drawn(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Draw what one call can hold. Where that fails for several, or the worker died, each image is tried alone."""
        try:
            return self._call(requests)
        except WorkerDied as err:
            notice("worker-restarted", f"{self._name}: {err}")
        except WorkerError as err:
            if len(requests) == 1 and err.code != OUT_OF_MEMORY:
                return [self._without_image(err)]
        return [self._alone(request) for request in requests]

    def _alone(self, request: ImageRequest) -> ImageResult:
        try:
            return self._call([request])[0]
        except WorkerError as err:
            return self._without_image(err)
        except WorkerDied as err:
            self._lost += 1
            if self._lost >= LOST_IN_A_ROW:
                raise FairbenchError(
                    f"{self._name}: {self._lost} images in a row each ended the worker: {err}."
                ) from err
            return ImageResult("failed", error=str(err))

    def _call(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Draw images in one call. Raises WorkerError, WorkerDied; FairbenchError for images of another size."""
        params, rows = self.params, self.params.rows_per_call
        # A call always has so many rows: an image must not depend on how many others there are to draw.
        padded = [*requests, *[requests[-1]] * (rows - len(requests))]
        paths = [self._session.new_file(".image") for _ in padded]
        asked: dict[str, Any] = {"width": params.width, "height": params.height}
        if rows == 1:
            asked |= {"prompt": padded[0].text, "seed": padded[0].seed, "path": str(paths[0])}
        else:
            asked |= {"prompts": [r.text for r in padded], "seeds": [r.seed for r in padded]}
            asked |= {"paths": [str(path) for path in paths]}
        method = "generate" if rows == 1 else "generate_batch"
        answer = self._session.call(method, asked, params.seconds_per_image * rows)
        self._lost = 0
        seconds = float(answer["seconds"]) / len(requests)
        images = [self._image(path, seconds) for path in paths]
        return images[: len(requests)]

    def _image(self, path: Path, seconds: float) -> ImageResult:
        try:
            image = pixels.decode(self._session.take(path), "what the worker drew")
        except ImageError as err:
            return ImageResult("failed", error=f"{contracts.CRASH}{err}", seconds=seconds)
        height, width = image.shape[:2]
        if (width, height) != (self.params.width, self.params.height):
            raise FairbenchError(
                f"{self._name} drew an image of {width} x {height} pixels, its card declares {self.params.width} x "
                f"{self.params.height}: fix `width` and `height` in the card, or the recipe."
            )
        return ImageResult("ok", image, seconds=seconds)

    def _without_image(self, err: WorkerError) -> ImageResult:
        if err.code == REFUSED:
            return ImageResult("refused", error=err.sentence)
        if err.code == OUT_OF_MEMORY and self.params.rows_per_call > 1:
            raise FairbenchError(
                f"{self._name} ran out of memory with {self.params.rows_per_call} images per call: lower "
                "`rows_per_call` in the card."
            ) from err
        return ImageResult("failed", error=f"{contracts.CRASH}{err.sentence}")
