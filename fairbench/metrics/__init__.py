"""The built-in metrics, callable by name: `fairbench.metrics.rd(counts=[[30, 10], [5, 5]])`.

Each maps counts (..., K) of faces, given by name, or shares (..., K) to values (...). A module per metric; its name
begins with an underscore, so that importing it never replaces the function by the module.

>>> from fairbench import metrics
>>> metrics.rd(counts=[[30, 10], [5, 5]])
array([0.5, 0. ])
>>> metrics.entropy(shares=[[0.5, 0.5], [1.0, 0.0]])
array([1., 0.])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairbench.metrics._attribute_following import attribute_following as attribute_following
    from fairbench.metrics._distance_to_reference import distance_to_reference as distance_to_reference
    from fairbench.metrics._entropy import entropy as entropy
    from fairbench.metrics._js_uniform import js_uniform as js_uniform
    from fairbench.metrics._kl_uniform import kl_uniform as kl_uniform
    from fairbench.metrics._l2_softmax import l2_softmax as l2_softmax
    from fairbench.metrics._mad import mad as mad
    from fairbench.metrics._majority_share import majority_share as majority_share
    from fairbench.metrics._mmdt_gap import mmdt_gap as mmdt_gap
    from fairbench.metrics._no_face_rate import no_face_rate as no_face_rate
    from fairbench.metrics._rd import rd as rd
    from fairbench.metrics._rd_normalised import rd_normalised as rd_normalised
    from fairbench.metrics._spd import spd as spd
    from fairbench.metrics._tv_score import tv_score as tv_score
    from fairbench.metrics._tv_uniform import tv_uniform as tv_uniform

__all__ = [
    "attribute_following",
    "distance_to_reference",
    "entropy",
    "js_uniform",
    "kl_uniform",
    "l2_softmax",
    "mad",
    "majority_share",
    "mmdt_gap",
    "no_face_rate",
    "rd",
    "rd_normalised",
    "spd",
    "tv_score",
    "tv_uniform",
]


def __getattr__(name: str) -> Any:
    """Return a built-in metric, imported when it is first asked for."""
    if name in __all__:
        from fairbench import registry

        return registry.resolve("metrics", name.replace("_", "-"))
    names = ", ".join(__all__)
    estimate = " It is estimated from counts: fairbench.interval(counts, 'concentration')." * (name == "concentration")
    raise AttributeError(f"module {__name__!r} has no metric {name!r} (known: {names}).{estimate}")


def __dir__() -> list[str]:
    return __all__
