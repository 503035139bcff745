"""Labels of a run's own images: which run they belong to."""

from __future__ import annotations

from pathlib import Path

from fairbench.calibration.manifest import PATH, LabelledImages
from fairbench.errors import CardError
from fairbench.labelling import domain
from fairbench.labelling.domain import Domain
from fairbench.runs import evidence


class RunImages:
    """The images of a finished run. domain: what they are."""

    def __init__(self, folder: Path) -> None:
        run = evidence.read(folder)
        self._folder, self._sha256 = folder, {row.sha256 for row in run.rows}
        self.domain: Domain = domain.of_run(run.record.model, run.record.declared.images)

    def refuse_others(self, labelled: LabelledImages) -> None:
        """Raise CardError for a manifest that names an image that is not of this run."""
        for image in labelled.images:
            if image.sha256 not in self._sha256:
                raise CardError(
                    f"{labelled.file}, line {image.line}, field {PATH}: {image.path} is no image of the run "
                    f"{self._folder}: remove the line, or leave --run out and declare --domain."
                )
