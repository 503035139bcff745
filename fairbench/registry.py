"""Finds plug-ins by kind and name: the built-in ones in a table, those of other packages among their entry points.

To add a built-in, write its module and a line in `BUILTIN`. A package adds one with an entry point in the group
`fairbench.<kind>`, such as `fairbench.metrics`; it is then called `distribution/name`, so it can never hide a built-in
one. Two entry points that claim one name are an error. Listing names imports no plug-in.
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

BUILTIN: Final[Mapping[str, Mapping[str, str]]] = {
    "adapters": {
        "janus": "fairbench.adapters.janus:JanusAdapter",
        "diffusers": "fairbench.adapters.diffusers:DiffusersAdapter",
        "folder": "fairbench.adapters.folder:FolderAdapter",
        "phantom-exact": "fairbench.phantom.exact:PhantomExactAdapter",
    },
    "detectors": {
        "insightface": "fairbench.labelling.detectors.insightface:InsightFaceDetector",
        "dlib": "fairbench.labelling.detectors.dlib:DlibDetector",
        "phantom": "fairbench.phantom.detector:PhantomDetector",
    },
    "crops": {
        "square": "fairbench.labelling.crops.square:SquareCrop",
        "fairface-chip": "fairbench.labelling.crops.fairface_chip:FairFaceChip",
        "box": "fairbench.labelling.crops.box:BoxCrop",
    },
    "classifiers": {
        "onnx": "fairbench.labelling.classifiers.onnx:OnnxClassifier",
        "torchvision": "fairbench.labelling.classifiers.torchvision:TorchvisionClassifier",
        "confused": "fairbench.labelling.classifiers.confused:ConfusedClassifier",
        "clip-zeroshot": "fairbench.labelling.classifiers.clip_zeroshot:ClipZeroShotClassifier",
    },
    "scorers": {
        "clip-score": "fairbench.scorers.clip_score:ClipScore",
        "clip-iqa": "fairbench.scorers.clip_iqa:ClipIqa",
        "inception-score": "fairbench.scorers.inception_score:InceptionScore",
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
        "rd": "fairbench.metrics._rd:rd",
        "rd-normalised": "fairbench.metrics._rd_normalised:rd_normalised",
        "entropy": "fairbench.metrics._entropy:entropy",
        "kl-uniform": "fairbench.metrics._kl_uniform:kl_uniform",
        "js-uniform": "fairbench.metrics._js_uniform:js_uniform",
        "tv-uniform": "fairbench.metrics._tv_uniform:tv_uniform",
        "tv-score": "fairbench.metrics._tv_score:tv_score",
        "spd": "fairbench.metrics._spd:spd",
        "mmdt-gap": "fairbench.metrics._mmdt_gap:mmdt_gap",
        "mad": "fairbench.metrics._mad:mad",
        "l2-softmax": "fairbench.metrics._l2_softmax:l2_softmax",
        "majority-share": "fairbench.metrics._majority_share:majority_share",
        "distance-to-reference": "fairbench.metrics._distance_to_reference:distance_to_reference",
        "attribute-following": "fairbench.metrics._attribute_following:attribute_following",
        "no-face-rate": "fairbench.metrics._no_face_rate:no_face_rate",
    },
}
"""kind -> name -> "module:attribute"."""
KINDS: Final = tuple(BUILTIN)
MAX_SUGGESTIONS: Final = 24
"""Names that an error lists where none is similar to the one asked for."""


@functools.cache
def _third_party(kind: str) -> dict[str, EntryPoint]:
    """Return `distribution/name` -> entry point of every installed plug-in of a kind."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"fairbench.{kind}"):
        name = f"{_distribution(point)}/{point.name}"
        if name in points and points[name].value != point.value:
            raise FairbenchError(
                f"Two installed plug-ins claim the {kind[:-1]} {name!r} ({points[name].value} and {point.value}): "
                "uninstall one of them."
            )
        points[name] = point
    return points


def _distribution(point: EntryPoint) -> str:
    if point.dist is None:
        raise FairbenchError(f"The entry point {point.name!r} ({point.value}) belongs to no installed distribution.")
    return str(point.dist.name).lower().replace("_", "-")


def names(kind: str) -> list[str]:
    """Return all names of a kind, built-in ones first. Imports no plug-in."""
    return [*BUILTIN.get(kind, {}), *sorted(_third_party(kind))]


def resolve(kind: str, name: str) -> Any:
    """Import and return a plug-in. Raises FairbenchError with the nearest name where there is none.

    Raises PluginError where a third-party plug-in cannot be imported or lacks what its kind must offer (contracts.py).
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
    """Return whether a plug-in of this name comes from another distribution."""
    return "/" in name


def title(kind: str, name: str) -> str:
    """Return the beginning of a sentence about a plug-in, as in "The metric 'rd'"."""
    return f"The {kind[:-1]} {name!r}"


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: ' (did you mean X?)', or a list of the names that exist."""
    names = list(candidates)
    if RENAMED.get(name) in names:
        return f" (it is called {RENAMED[name]!r} now)"
    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if similar:
        return f" (did you mean {similar[0]!r}?)"
    more = f" and {len(names) - MAX_SUGGESTIONS} more" if len(names) > MAX_SUGGESTIONS else ""
    return f" (known: {', '.join(names[:MAX_SUGGESTIONS])}{more})" if names else ""


def parse_params(plugin: Any, params: Mapping[str, Any]) -> BaseModel:
    """Validate a plug-in's parameters with its own `Params`. Raises pydantic's ValidationError, or PluginError."""
    try:
        return params_of(plugin).model_validate(dict(params))
    except ValidationError:
        raise
    except Exception as err:  # a third-party validator may raise anything
        raise PluginError(
            f"The parameters of {plugin.__module__}:{plugin.__qualname__} cannot be checked: {err!r}."
        ) from err


def params_of(plugin: Any) -> type[BaseModel]:
    """Return a plug-in's `Params`; a plug-in without them takes no parameters."""
    from fairbench.protocols import Params

    model: type[BaseModel] = getattr(plugin, "Params", Params)
    return model
