"""Base of methods that draw a group for each image and then act inside the calls of a diffusers pipeline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from fairbench.errors import FairbenchError
from fairbench.methods import targets
from fairbench.methods.common import ModelMethod, index_at, stream
from fairbench.protocols import CallsPipeline, MethodContext, Params
from fairbench.types import ImageRequest


class PipelineMethod(ModelMethod):
    """What such methods share: the target and the options of the argument, the drawing, and which pipelines fit.

    method: its name. pipelines: the classes of diffusers that it works with. Options: what may stand in the argument
    beside the target, which is `gender` where none is given.
    """

    needs: ClassVar[Mapping[str, type]] = {"a diffusers pipeline": CallsPipeline}
    method: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[Params]]
    options: Params

    def __init__(self, argument: str | None) -> None:
        super().__init__(argument)
        target, self.options = targets.split(argument, self.method, self.Options)
        fix = (
            f"write gender, race, mix or shares, as in {self.method}:gender=female:0.6,male:0.4, and then any of "
            + ", ".join(
                f"{n}={'VALUE' if f.default is None else f.default}" for n, f in self.Options.model_fields.items()
            )
        )
        self.groups, self.shares = targets.read(target or "gender", self.method, fix)

    def settings(self) -> dict[str, Any]:
        """Return the groups with their shares, and all options."""
        return {"target": dict(zip(self.groups, self.shares.tolist(), strict=True)), **self.options.model_dump()}

    def wrap(self, model: CallsPipeline, ctx: MethodContext) -> None:
        """Act during each call of the pipeline. Raises FairbenchError for a pipeline that does not fit."""
        name, arguments = model.pipeline()
        if name is not None:  # else its files are not on this machine yet
            self._check_pipeline(ctx.card.name, name)
        self.check(ctx.card.name, arguments)
        loaded: list[Any] = []

        def during_call(pipe: Any, requests: Sequence[ImageRequest]) -> AbstractContextManager[None]:
            if not loaded:
                self._check_pipeline(ctx.card.name, type(pipe).__name__)
                loaded.append(self.load(pipe, arguments))
            return self.acting(pipe, loaded[0], requests)

        model.during_call = during_call

    def _check_pipeline(self, card: str, name: str) -> None:
        if name not in self.pipelines:
            raise FairbenchError(
                f"--method {self.method} works with {', '.join(self.pipelines)} of diffusers, but {card} is a {name}: "
                "use another model or another method."
            )

    def draw(self, request: ImageRequest) -> tuple[int, float]:
        """Return the index of an image's group, and a number from 0 to below 1; both from the image's own seed."""
        rng = stream(request.seed, self.method)
        return index_at(self.shares, rng.random()), rng.random()

    def check(self, card: str, arguments: Mapping[str, Any]) -> None:
        """Refuse what a pipeline is called with, before it is loaded. Raises FairbenchError."""

    @abstractmethod
    def load(self, pipe: Any, arguments: Mapping[str, Any]) -> Any:
        """Return what is computed once, before the first call of a pipeline. Raises FairbenchError."""

    @abstractmethod
    def acting(self, pipe: Any, loaded: Any, requests: Sequence[ImageRequest]) -> AbstractContextManager[None]:
        """Return a context in which one call of the pipeline draws one image per request."""
