"""The process of a model in an environment of its own: it loads a recipe, and draws when it is asked.

`python fairbench_worker.py REQUESTS ANSWERS FOLDER` runs under the model's own interpreter, Python 3.8 to 3.13. It
imports the standard library alone, and numpy where arrays travel. REQUESTS and ANSWERS are descriptors of pipes that
nothing else knows, for lines of JSON-RPC 2.0. Images and arrays are files in FOLDER, which is the caller's.

A recipe is a Python file that defines `load(repository, weights, settings, device)`. What that returns has
`generate(prompt, seed, width, height)`, which returns a PIL image, and may have the methods of `OPTIONAL`. Before each
call the generators of `random`, numpy and torch are set to the image's seed. docs/workers.md says more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import json
import os
import platform
import queue
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

PROTOCOL = 1
OPTIONAL = ("generate_batch", "tokens", "encode", "decode", "log_probs", "embed", "answer")
"""Methods that what `load` returns may have besides `generate`."""
NOT_LOADED, OUT_OF_MEMORY, REFUSED, FAILED, UNKNOWN_METHOD = -32000, -32001, -32002, -32003, -32601
PACKAGES = (
    *("torch", "transformers", "diffusers", "accelerate", "tokenizers", "numpy", "pillow", "flash-attn", "xformers"),
    *("timm", "sentencepiece", "mmengine", "xtuner", "peft", "bitsandbytes"),
)
"""Distributions whose versions are reported where they are installed."""


class Refused(Exception):
    """Raised by a recipe whose model answered in words, or not at all, where an image was asked for.

    Its text, the model's own words if there are any, is kept as the reason why there is no image.
    """


class _Unusable(Exception):
    """A recipe breaks its contract."""


class _Model:
    """The recipe's model, and the requests that it answers."""

    def __init__(self) -> None:
        self.model: Any = None

    def initialize(
        self, recipe: str, repository: str, weights: dict[str, str], settings: dict[str, Any], device: str
    ) -> dict[str, Any]:
        """Load the recipe and its model, and return what is known of both."""
        load = getattr(_module(recipe), "load", None)
        if not callable(load):
            raise _Unusable("it defines no function `load`")
        self.model = load(repository, weights, settings, device)
        if not callable(getattr(self.model, "generate", None)):
            raise _Unusable("what `load` returns has no method `generate`")
        torch = sys.modules.get("torch")
        return {
            "protocol": PROTOCOL,
            "python": platform.python_version(),
            "packages": _versions(),
            "device": str(torch.cuda.get_device_name(device)) if torch and device.startswith("cuda") else device,
            "methods": [name for name in OPTIONAL if callable(getattr(self.model, name, None))],
        }

    def generate(self, prompt: str, seed: int, width: int, height: int, path: str) -> dict[str, Any]:
        """Draw one image into `path`."""
        start = time.perf_counter()
        image, seeds = _seeded(seed, lambda: self.model.generate(prompt, seed, width, height))
        size = _save(image, path, "generate")
        return {"seconds": time.perf_counter() - start, "seeds": seeds, "size": size}

    def generate_batch(
        self, prompts: list[str], seeds: list[int], width: int, height: int, paths: list[str]
    ) -> dict[str, Any]:
        """Draw several images, one into each of `paths`. Each must come from a generator of its own."""
        start = time.perf_counter()
        before: dict[str, Any] = {}
        after: dict[str, Any] = {"random": None}
        while set(before) != set(after):  # a library that was first imported while drawing is looked at, too
            _seed(0)
            before = _generator_states()
            images = list(self.model.generate_batch(prompts, seeds, width, height))
            after = _generator_states()
        shared = [name for name in sorted(after) if before[name] != after[name]]
        if shared:
            raise _Unusable(f"generate_batch drew from the shared generator of {shared[0]}: use one per image")
        sizes = _save_all(images, paths, "generate_batch")
        return {"seconds": time.perf_counter() - start, "sizes": sizes}

    def tokens(self, prompt: str, seed: int, width: int, height: int, plain: bool, path: str) -> dict[str, Any]:
        """Draw image tokens, an array (N,): those of `generate`, or without guidance and truncation (plain)."""
        drawn, seeds = _seeded(seed, lambda: self.model.tokens(prompt, seed, width, height, plain))
        return {"shape": _save_array(drawn, path), "seeds": seeds}

    def encode(self, images: list[str], path: str) -> dict[str, Any]:
        """Write the image tokens (images, N) of image files."""
        return {"shape": _save_array(self.model.encode(_opened(images)), path)}

    def decode(self, tokens: str, paths: list[str]) -> dict[str, Any]:
        """Draw the images of tokens (images, N), one into each of `paths`."""
        return {"sizes": _save_all(list(self.model.decode(_array(tokens))), paths, "decode")}

    def log_probs(self, texts: list[str], tokens: str, path: str) -> dict[str, Any]:
        """Write log p(token | text, tokens before it), (rows, N)."""
        return {"shape": _save_array(self.model.log_probs(texts, _array(tokens)), path)}

    def embed(self, images: list[str], path: str) -> dict[str, Any]:
        """Write the vision encoder's embeddings (images, hidden)."""
        return {"shape": _save_array(self.model.embed(_opened(images)), path)}

    def answer(self, question: str, image: str | None, seed: int | None, options: dict[str, Any]) -> dict[str, Any]:
        """Answer one question. options: temperature, top_p, limit; what the recipe takes not must be without effect."""
        taken = inspect.signature(self.model.answer).parameters
        for name in sorted({"temperature", "top_p"} - set(taken)):
            if options[name] != 1.0:
                raise _Unusable(f"answer takes no {name}, and {options[name]} is asked for")
        options = {name: value for name, value in options.items() if name in taken}
        picture = None if image is None else _opened([image])[0]
        text, seeds = _seeded(seed or 0, lambda: self.model.answer(question, picture, seed, **options))
        return {"text": str(text), "seeds": seeds}


def _seeded(seed: int, draw: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """Return what `draw` returns from generators that are set to `seed`, and the numbers that they were set to.

    A library that was first imported while drawing had a generator that nobody had set: then it is drawn again.
    """
    while True:
        seeds = _seed(seed)
        drawn = draw()
        if set(seeds) == _libraries():
            return drawn, seeds


def _libraries() -> set[str]:
    """Return which libraries have a generator that is shared by all of the process."""
    return {"random"} | {name for name in ("numpy", "torch") if hasattr(sys.modules.get(name), "random")}


def _seed(seed: int) -> dict[str, int]:
    """Set all shared generators; return library -> the number that its generator was set to."""
    libraries, seeds = _libraries(), {"random": seed}
    random.seed(seed)
    if "numpy" in libraries:
        seeds["numpy"] = seed % 2**32  # its generator of old takes no more
        sys.modules["numpy"].random.seed(seeds["numpy"])
    if "torch" in libraries:
        seeds["torch"] = seed
        torch = sys.modules["torch"]
        torch.manual_seed(seed)
        torch.cuda.manual_seed_all(seed)  # remembered by torch until CUDA is used
    return seeds


def _generator_states() -> dict[str, Any]:
    """Return library -> the state of its shared generator, in a form that can be compared."""
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy" in _libraries():
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        states["numpy"] = (kind, keys.tobytes(), rest)
    if "torch" in _libraries():
        torch = sys.modules["torch"]
        states["torch"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["torch.cuda"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return states


def _module(path: str) -> ModuleType:
    module = ModuleType("fairbench_recipe")
    module.__file__ = path
    sys.modules[module.__name__] = module  # for dataclasses, and for classes that are pickled
    exec(compile(Path(path).read_bytes(), path, "exec"), vars(module))  # noqa: S102 - no bytecode beside the recipe
    return module


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _save(image: Any, path: str, method: str) -> list[int]:
    """Write an image, as BMP (a tenth of PNG's time) or as PNG where BMP cannot hold it, and return its size."""
    if not callable(getattr(image, "save", None)) or not hasattr(image, "size"):
        raise _Unusable(f"{method} returned {type(image).__name__}: return a PIL image")
    image.save(path, format="BMP" if getattr(image, "mode", None) == "RGB" else "PNG", compress_level=0)
    return list(image.size)


def _save_all(images: list[Any], paths: list[str], method: str) -> list[list[int]]:
    if len(images) != len(paths):
        raise _Unusable(f"{method} returned {len(images)} images where {len(paths)} were asked for")
    return [_save(images[i], path, method) for i, path in enumerate(paths)]


def _opened(paths: list[str]) -> list[Any]:
    return [importlib.import_module("PIL.Image").open(path).convert("RGB") for path in paths]


def _array(path: str) -> Any:
    return importlib.import_module("numpy").load(path, allow_pickle=False)


def _save_array(values: Any, path: str) -> list[int]:
    """Write an array, or a tensor of torch on any device, as .npy; return its shape."""
    import numpy

    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = numpy.asarray(values)
    numpy.save(path, array, allow_pickle=False)
    return list(array.shape)


def _error(err: BaseException, loading: bool) -> dict[str, Any]:
    """Return an exception as the error object of an answer."""
    message = " ".join(str(err).split())[:2000]
    if isinstance(err, Refused):
        return {"code": REFUSED, "message": message or "the model drew nothing"}
    if isinstance(err, _Unusable):
        return {"code": NOT_LOADED if loading else FAILED, "message": message}
    no_memory = type(err).__name__ == "OutOfMemoryError" or isinstance(err, MemoryError)
    code = NOT_LOADED if loading else OUT_OF_MEMORY if no_memory else FAILED
    return {"code": code, "message": f"{type(err).__name__}: {message}".rstrip(": ")}


def _answered(model: _Model, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    name = str(request.get("method"))
    method = getattr(model, name, None) if name in ("initialize", "generate", *OPTIONAL) else None
    if method is None or (name in OPTIONAL and not callable(getattr(model.model, name, None))):
        answer["error"] = {"code": UNKNOWN_METHOD, "message": f"this model has no method {name!r}"}
        return answer
    try:
        answer["result"] = method(**request.get("params", {}))
    except (Exception, SystemExit) as err:  # noqa: BLE001 - whatever a model raises is its caller's to judge
        traceback.print_exc()
        answer["error"] = _error(err, loading=name == "initialize")
    if "error" in answer and answer["error"]["code"] == OUT_OF_MEMORY:
        gc.collect()  # out here the traceback has let go of the image's tensors
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
    return answer


def _read(descriptor: int, requests: queue.Queue[dict[str, Any]], folder: str) -> NoReturn:
    """Queue requests as they come. When the caller has gone, remove its folder, and end all that was started here."""
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            requests.put(json.loads(line.decode("utf-8")))
    shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _write(descriptor: int, answer: dict[str, Any]) -> None:
    data = (json.dumps(answer) + "\n").encode("utf-8")
    while data:
        data = data[os.write(descriptor, data) :]


def main(requests_from: int, answers_to: int, folder: str) -> NoReturn:
    """Answer requests until their pipe is closed."""
    os.dup2(2, 1)  # what libraries print belongs into the log
    for descriptor in (requests_from, answers_to):
        os.set_inheritable(descriptor, False)  # processes that the model starts must not keep them open
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
    sys.modules["fairbench_worker"] = sys.modules[__name__]  # where recipes import `Refused` from
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    model = _Model()
    threading.Thread(target=_read, args=(requests_from, requests, folder), daemon=True).start()
    while True:
        _write(answers_to, _answered(model, requests.get()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
