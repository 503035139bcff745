"""The sentence that stands wherever labels are shown."""

from __future__ import annotations

from typing import Final

LABEL_NOTE: Final = (
    "Labels are perceived presentation in pictures under the labeller's categories, as a classifier sees it; "
    "they are never anyone's identity."
)
