"""One resolver for every kind of plug-in: a table of built-ins, then third parties' entry points.

Listing names imports nothing. A third party's plug-in is called `distribution/name`, so it can never shadow ours; two
distributions (or two entry points) that claim one name are an error.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from fairbench.errors import FairbenchError, PluginError
from fairbench.storage.renamed import RENAMED

_A, _C, _M = "fairbench.adapters.", "fairbench.labelling.classifiers.", "fairbench.metrics."
_D, _S = "fairbench.labelling.detectors.", "fairbench.scorers."
BUILTIN: Final[Mapping[str, Mapping[str, str]]] = {
    "adapters": {
        "janus": _A + "janus:JanusAdapter",
        "diffusers": _A + "diffusers:DiffusersAdapter",
        "folder": _A + "folder:FolderAdapter",
        "phantom-exact": "fairbench.phantom.exact:PhantomExactAdapter",
    },
    "detectors": {
        "insightface": _D + "insightface:InsightFaceDetector",
        "dlib": _D + "dlib:DlibDetector",
        "phantom": "fairbench.phantom.detector:PhantomDetector",
    },
    "crops": {
        "square": "fairbench.labelling.crops.square:SquareCrop",
        "fairface-chip": "fairbench.labelling.crops.fairface_chip:FairFaceChip",
        "box": "fairbench.labelling.crops.box:BoxCrop",
    },
    "classifiers": {
        "onnx": _C + "onnx:OnnxClassifier",
        "torchvision": _C + "torchvision:TorchvisionClassifier",
        "confused": _C + "confused:ConfusedClassifier",
        "clip-zeroshot": _C + "clip_zeroshot:ClipZeroShotClassifier",
    },
    "scorers": {
        "clip-score": _S + "clip_score:ClipScore",
        "clip-iqa": _S + "clip_iqa:ClipIqa",
        "inception-score": _S + "inception_score:InceptionScore",
    },
    "methods": {
        "none": "fairbench.methods.none:NoMethod",
        "any-gender-suffix": "fairbench.methods.any_suffix:AnyGenderSuffix",
        "any-race-suffix": "fairbench.methods.any_suffix:AnyRaceSuffix",
        "any-mix-suffix": "fairbench.methods.any_suffix:AnyMixSuffix",
        "balanced-prompting": "fairbench.methods.balanced_prompting:BalancedPrompting",
        "ethical-intervention": "fairbench.methods.ethical_intervention:EthicalIntervention",
        "chain-of-thought": "fairbench.methods.chain_of_thought:ChainOfThought",
        "verbalized-sampling": "fairbench.methods.verbalized_sampling:VerbalizedSampling",
        "lora": "fairbench.methods.lora:LoraMethod",
    },
    "metrics": {
        "rd": _M + "rd:rd",
        "rd-normalised": _M + "rd_normalised:rd_normalised",
        "entropy": _M + "entropy:entropy",
        "kl-uniform": _M + "kl_uniform:kl_uniform",
        "js-uniform": _M + "js_uniform:js_uniform",
        "tv-uniform": _M + "tv_uniform:tv_uniform",
        "tv-score": _M + "tv_score:tv_score",
        "spd": _M + "spd:spd",
        "mmdt-gap": _M + "mmdt_gap:mmdt_gap",
        "mad": _M + "mad:mad",
        "l2-softmax": _M + "l2_softmax:l2_softmax",
        "majority-share": _M + "majority_share:majority_share",
        "distance-to-reference": _M + "distance_to_reference:distance_to_reference",
        "attribute-following": _M + "attribute_following:attribute_following",
        "no-face-rate": _M + "no_face_rate:no_face_rate",
    },
}
KINDS: Final = tuple(BUILTIN)


@functools.cache
def _third_party(kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"fairbench.{kind}"):
        name = f"{_distribution(point)}/{point.name}"
        if name in found and found[name].value != point.value:
            raise FairbenchError(
                f"Two installed plug-ins claim the {kind[:-1]} {name!r} ({found[name].value} and {point.value}): "
                "uninstall one of them."
            )
        found[name] = point
    return found


def _distribution(point: EntryPoint) -> str:
    if point.dist is None:
        raise FairbenchError(f"The entry point {point.name!r} ({point.value}) belongs to no installed distribution.")
    return str(point.dist.name).lower().replace("_", "-")


def names(kind: str) -> list[str]:
    """Return all names of a kind, built-ins first. Imports no plug-in."""
    return [*BUILTIN.get(kind, {}), *sorted(_third_party(kind))]


def resolve(kind: str, name: str) -> Any:
    """Import and return a plug-in. Raises FairbenchError with the nearest name where there is none.

    Raises PluginError where a third party's cannot be imported or does not offer what its kind must (contracts.py).
    """
    target = BUILTIN.get(kind, {}).get(name)
    if target is not None:
        module, attribute = target.split(":")
        return getattr(importlib.import_module(module), attribute)
    point = _third_party(kind).get(name)
    if point is None and kind == "metrics" and name in RENAMED:
        raise FairbenchError(f"The estimate {name!r} is called {RENAMED[name]!r} now; every run has it.")
    if point is None:
        raise FairbenchError(f"There is no {kind[:-1]} {name!r}{suggest(name, names(kind))}.")
    return _loaded(kind, name, point.value)


def _loaded(kind: str, name: str, value: str) -> Any:
    from fairbench import contracts

    try:
        plugin = EntryPoint(name, value, "").load()
    except (Exception, SystemExit) as err:  # importing runs the package's own code
        raise PluginError(f"{title(kind, name)} ({value}) cannot be imported: {contracts.one_line(err)}.") from err
    contracts.check(kind, f"{title(kind, name)} ({value})", plugin)
    return plugin


def is_third_party(name: str) -> bool:
    """Whether a plug-in of this name comes from another distribution."""
    return "/" in name


def title(kind: str, name: str) -> str:
    """Return how a sentence about a plug-in begins."""
    return f"The {kind[:-1]} {name!r}"


_LISTED = 24


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)', or a list of what there is; for the end of a sentence."""
    known = list(known)
    if RENAMED.get(name) in known:
        return f" (it is called {RENAMED[name]!r} now)"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f" (did you mean {near[0]!r}?)"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f" (known: {', '.join(known[:_LISTED])}{more})" if known else ""


def parse_params(plugin: Any, params: Mapping[str, Any]) -> BaseModel:
    """Validate a plug-in's parameters with its own `Params`. Raises pydantic's ValidationError, or PluginError."""
    try:
        return params_of(plugin).model_validate(dict(params))
    except ValidationError:
        raise
    except Exception as err:  # a validator of a third party's may raise anything
        raise PluginError(
            f"The parameters of {plugin.__module__}:{plugin.__qualname__} cannot be checked: {err!r}."
        ) from err


def params_of(plugin: Any) -> type[BaseModel]:
    """Return a plug-in's `Params`; a plug-in without them takes no parameters."""
    from fairbench.protocols import Params

    model: type[BaseModel] = getattr(plugin, "Params", Params)
    return model


__all__ = ["BUILTIN", "KINDS", "ValidationError", "is_third_party", "names", "params_of", "parse_params", "resolve",
           "suggest", "title"]  # fmt: skip
