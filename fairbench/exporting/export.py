"""`fairbench export`: a finished run in the form that another tool, a paper or an audit takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from fairbench import registry
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.exporting import dossier, hf_dataset, hub, hub_results, images, latex, markdown
from fairbench.exporting.job import Job
from fairbench.reporting.content import Content
from fairbench.runs.result import Run


class Format(NamedTuple):
    """What a format is, and the function that writes it and returns where it is: a file, or an address."""

    title: str
    write: Callable[[Job], Path | str]


FORMATS: Final[dict[str, Format]] = {
    "latex": Format("tables, methods paragraph and BibTeX for a paper", latex.write),
    "markdown": Format("the same for a README", markdown.write),
    "images": Format("the images as files, with a manifest as CSV and JSON lines", images.write),
    "dossier": Format("what was measured, on what, with which limits: a document for audits", dossier.write),
    "hf-dataset": Format("a folder that Hugging Face's datasets loads, with a Croissant description", hf_dataset.write),
    "hub-results": Format("results for a model's card on the Hugging Face hub", hub_results.write),
    "hub": Format("hf-dataset, pushed to a private repository of the hub", hub.write),
}
TARGETED: Final = frozenset({"hub"})
"""Formats that are followed by a colon and where to."""


def export(run: Run, to: str, out: Path | None, progress: Progress, *, with_images: bool = False) -> Path | str:
    """Write a run in a format of FORMATS and return where it is. Raises FairbenchError for an unknown format."""
    name, colon, target = to.partition(":")
    if name not in FORMATS:
        raise FairbenchError(f"--to {to}: there is no such format{registry.suggest(name, list(FORMATS))}.")
    if name in TARGETED and not target:
        raise FairbenchError(f"--to {to}: say where to, as {name}:NAME.")
    if name not in TARGETED and colon:
        raise FairbenchError(f"--to {to}: {name} takes nothing after it; --out names the folder.")
    return FORMATS[name].write(Job(Content(run), name, target, out, with_images, progress))
