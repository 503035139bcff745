"""What every plug-in's parameters rest on."""

from __future__ import annotations

from fairbench.strict import StrictModel


class Params(StrictModel):
    """Base of every plug-in's parameters: refuses unknown fields, and a truth value where a number is expected."""
