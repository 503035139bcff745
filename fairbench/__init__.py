"""fairbench: how demographically fair is an image-generating model, and did that debiasing method help?

The labels are perceived presentation in pictures under a benchmark's categories, never anyone's identity.

>>> import fairbench
>>> fairbench.metrics.rd(counts=[[30, 10], [5, 5]])
array([0.5, 0. ])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairbench import metrics as metrics
    from fairbench.api import annotate as annotate
    from fairbench.api import calibrate as calibrate
    from fairbench.api import calibrate_from as calibrate_from
    from fairbench.api import collect as collect
    from fairbench.api import compare as compare
    from fairbench.api import export as export
    from fairbench.api import load as load
    from fairbench.api import report as report
    from fairbench.api import run as run
    from fairbench.calibration.result import Calibration as Calibration
    from fairbench.cards.cards import ModelCard as ModelCard
    from fairbench.comparison.result import Comparison as Comparison
    from fairbench.errors import FairbenchError as FairbenchError
    from fairbench.listing.names import list_labellers as list_labellers
    from fairbench.listing.names import list_methods as list_methods
    from fairbench.listing.names import list_metrics as list_metrics
    from fairbench.listing.names import list_models as list_models
    from fairbench.listing.names import list_scorers as list_scorers
    from fairbench.listing.names import list_tasks as list_tasks
    from fairbench.measure.interval import interval as interval
    from fairbench.metrics.base import ShareMetric as ShareMetric
    from fairbench.metrics.decorator import metric as metric
    from fairbench.protocols import MetricSpec as MetricSpec
    from fairbench.protocols import Params as Params
    from fairbench.protocols import ScorerSpec as ScorerSpec
    from fairbench.registry import register as register
    from fairbench.runs.result import Run as Run
    from fairbench.types import ImageRequest as ImageRequest
    from fairbench.types import ImageResult as ImageResult

__version__ = "0.2.0"

_MODULES = {
    "api": ("annotate", "calibrate", "calibrate_from", "collect", "compare", "export", "load", "report", "run"),
    "calibration.result": ("Calibration",),
    "cards.cards": ("ModelCard",),
    "comparison.result": ("Comparison",),
    "errors": ("FairbenchError",),
    "listing.names": (
        "list_labellers",
        "list_methods",
        "list_metrics",
        "list_models",
        "list_scorers",
        "list_tasks",
    ),
    "measure.interval": ("interval",),
    "metrics.base": ("ShareMetric",),
    "metrics.decorator": ("metric",),
    "protocols": ("MetricSpec", "Params", "ScorerSpec"),
    "registry": ("register",),
    "runs.result": ("Run",),
    "types": ("ImageRequest", "ImageResult"),
}
"""Module -> the public names that it holds. Each is imported when it is first asked for: `--help` stays instant."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Calibration",
    "Comparison",
    "FairbenchError",
    "ImageRequest",
    "ImageResult",
    "MetricSpec",
    "ModelCard",
    "Params",
    "Run",
    "ScorerSpec",
    "ShareMetric",
    "__version__",
    "annotate",
    "calibrate",
    "calibrate_from",
    "collect",
    "compare",
    "export",
    "interval",
    "list_labellers",
    "list_methods",
    "list_metrics",
    "list_models",
    "list_scorers",
    "list_tasks",
    "load",
    "metric",
    "metrics",
    "register",
    "report",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    from importlib import import_module

    if name == "metrics":
        return import_module("fairbench.metrics")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fairbench' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"fairbench.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
