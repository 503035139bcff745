"""The adapter `callable`: a Python function is the model. It takes a prompt and a seed, and returns an image.

`fairbench.run(draw, name="mine", version=1)`, or `--model my_model.py:draw`.
"""

from __future__ import annotations

import inspect
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field

from fairbench import contracts, registry
from fairbench.cards import catalog
from fairbench.cards.cards import NAME, ModelCard
from fairbench.errors import FairbenchError, OutOfMemory
from fairbench.notices import notice
from fairbench.plugins import files
from fairbench.protocols import TRANSPORT, Params
from fairbench.types import BuildContext, ImageRequest, ImageResult

log = logging.getLogger(__name__)
_IN_A_FILE: Final = re.compile(r"(.+\.py):(\w+)")


@dataclass(frozen=True, slots=True)
class Drawer:
    """A function that draws. source: what stands for it in keys. changed: another one had its name and version."""

    function: Callable[..., Any]
    source: dict[str, Any]
    changed: bool = False


_given: dict[str, Drawer] = {}
"""Name -> the function that `fairbench.run` was given."""


class CallableParams(Params):
    """function: FILE.py:NAME, relative to the card; or the name of a function that this process was given."""

    function: str = Field(json_schema_extra=TRANSPORT)  # `key_source` stands for it


class CallableAdapter:
    """Calls `draw(prompt: str, seed: int)`, or, where the parameters are called so, `draw(prompts, seeds)`.

    It returns a PIL image, or an array of height x width x 3 that holds uint8 or floats from 0 to 1; None: refused. In
    the form for several prompts, a list of these. seed: from 0 to 2**63 - 1, the only source of chance: the same prompt
    and seed must give the same image. Where the function raises, that image has failed, and the run goes on.
    """

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    target: ClassVar[str] = "function"
    Params: ClassVar[type[BaseModel]] = CallableParams

    def __init__(self, card: ModelCard, params: CallableParams, ctx: BuildContext) -> None:
        """Raise FairbenchError where there is no such function, or it does not take a prompt and a seed."""
        drawer = _find(params.function, ctx.base_dir)
        self._function, self.key_source = drawer.function, drawer.source
        self._title = f"The function {params.function}"
        self._takes_several = _takes_several(self._title, self._function)
        self.on_progress: Callable[[float], None] = lambda share: None
        if "process" in self.key_source:
            notice("own-key", f"{params.function} has no name and version: its images have a key of this process alone")
        if drawer.changed:
            notice("code-changed", f"{params.function} is another function than before, under one name and version")

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request."""
        if self._takes_several:
            return self._draw_several(requests)
        results = []
        for i, request in enumerate(requests, 1):
            results.append(self._draw(request))
            self.on_progress(i / len(requests))
        return results

    def effective_settings(self) -> dict[str, Any]:
        """Return what stands for the function's code."""
        return dict(self.key_source)

    def _draw(self, request: ImageRequest) -> ImageResult:
        start = time.perf_counter()
        try:
            answer = self._function(request.text, request.seed)
        except (FairbenchError, OutOfMemory):
            raise
        except (Exception, SystemExit) as err:
            log.debug("a request failed", exc_info=True)
            return contracts.crashed(err)
        return self._result(answer, time.perf_counter() - start)

    def _draw_several(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        start = time.perf_counter()
        try:
            answers = self._function([r.text for r in requests], [r.seed for r in requests])
        except Exception as err:
            if type(err).__name__ == "OutOfMemoryError":  # torch's
                raise OutOfMemory(str(err)) from err
            raise
        answers = contracts.one_per_request(self._title, answers, len(requests))
        seconds = (time.perf_counter() - start) / len(requests)
        return [self._result(answer, seconds) for answer in answers]

    def _result(self, answer: Any, seconds: float) -> ImageResult:
        if answer is None:
            return ImageResult("refused", error="the function returned None", seconds=seconds)
        (result,) = contracts.images(self._title, [answer], 1)
        return result if isinstance(answer, ImageResult) else replace(result, seconds=seconds)


def offer(function: Callable[..., Any], name: str | None = None, version: int | None = None) -> str:
    """Make a function known to this process as a model, and return what stands for it behind `--model`.

    With a name and a version its images are stored under these: raise the version whenever it draws otherwise. Without,
    under a key of this process. Raises FairbenchError for what is no function, and for a method, lambda or other
    object without a name of its own where `name` is not given.
    """
    if not callable(function) or isinstance(function, type):
        raise FairbenchError(f"model is {function!r}: name a model, or give a function of a prompt and a seed.")
    if name is None:
        name = _own_name(function)
    elif not isinstance(name, str) or not re.fullmatch(NAME, name) or len(name) > 80:
        raise FairbenchError(f"name is {name!r}: use a-z, 0-9, '.', '_' and '-', as in my-model.")
    if name in catalog.find("models"):
        raise FairbenchError(f"There is a model card called {name!r}: give the function another name=.")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise FairbenchError(f"version is {version!r}: give a whole number.")
    before = _given.get(name)
    source: dict[str, Any] = {"function": name, "version": version}
    if version is None:
        same = before is not None and before.function is function and "process" in before.source
        source = before.source if before and same else {"function": name, "process": secrets.token_hex(16)}
    changed = before is not None and before.source == source and _code(before.function) != _code(function)
    _given[name] = Drawer(function, source, changed)
    return f"callable:{name}"


def _own_name(function: Callable[..., Any]) -> str:
    own = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or own == "<lambda>":
        what = "lambda" if own == "<lambda>" else type(function).__name__
        raise FairbenchError(
            f"A {what} has no name to store its images under: say fairbench.run(..., name='my-model', version=1)."
        )
    return re.sub(r"[^a-z0-9._-]+", "-", own.lower()).strip("-._")[:80] or "function"


def _code(function: Any) -> Any:
    """Return what differs between two functions of different code; line numbers do not count."""
    code = getattr(function, "__code__", None)
    if code is None:
        return function
    return code.co_code, code.co_names, [c if not inspect.iscode(c) else c.co_code for c in code.co_consts]


def _find(named: str, base_dir: Path | None) -> Drawer:
    match = _IN_A_FILE.fullmatch(named)
    if match is None and named in _given:
        return _given[named]
    if match is None:
        raise FairbenchError(f"There is no function {named!r}: write FILE.py:NAME, or give it to fairbench.run.")
    file = files.import_file((base_dir or Path()) / Path(match[1]).expanduser())
    functions = [
        k for k, v in vars(file.module).items() if inspect.isfunction(v) and v.__module__ == file.module.__name__
    ]
    function = getattr(file.module, match[2], None)
    if function is None:
        raise FairbenchError(f"There is no function {match[2]!r} in {match[1]}{registry.suggest(match[2], functions)}.")
    if isinstance(function, type) or not callable(function):
        raise FairbenchError(f"{match[2]} in {match[1]} is no function: write one that takes a prompt and a seed.")
    version = getattr(function, "version", getattr(file.module, "version", 1))
    if isinstance(version, bool) or not isinstance(version, int):
        raise FairbenchError(f"The version of {named} is {version!r}: give a whole number.")
    return Drawer(function, {"function": match[2], "version": version, "sha256": file.sha256})


def _takes_several(title: str, function: Callable[..., Any]) -> bool:
    """Return whether a function takes lists of prompts and seeds. Raises FairbenchError where it takes neither form."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function of C has none
        return False
    try:
        signature.bind("a prompt", 0)
    except TypeError as err:
        raise FairbenchError(
            f"{title} takes {signature}: it must take a prompt and a seed, or, called so, prompts and seeds."
        ) from err
    return "prompts" in signature.parameters
