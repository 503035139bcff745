"""The file of a calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairbench.errors import FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling.confusion import Calibration
from fairbench.storage import folders


def check(out: Path, domain: str) -> None:
    """Raise FairbenchError now for what would fail after the work: an empty domain, a file that cannot be written."""
    if not domain:
        raise FairbenchError("--domain is empty: say what kind of images these are, as in 'photographs'.")
    if out.suffix.lower() != ".json" or out.is_dir():
        raise FairbenchError(f"--out {out}: name a file that ends in .json.")
    folders.check_file(out, "a calibration", folders.json_with(confusion.FORMAT))


def write(calibration: Calibration, out: Path, images: Path, *, allow_implausible: bool) -> Calibration:
    """Write a calibration and return what the file says. images: the manifest that it was counted on.

    Raises CardError for a table in which a cell is read as another more often than as itself, unless that is allowed.
    """
    calibration = replace(calibration, implausible_allowed=allow_implausible)
    confusion.refuse_implausible(calibration, images)
    confusion.notice_few_images(calibration, images)
    calibration.write(out)
    return calibration
