"""The README of a dataset folder: what its tables hold, what labels mean and do not, licences, and the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fairbench.display.page import in_markdown
from fairbench.display.yaml_block import HUB_LICENCES, with_front_matter
from fairbench.exporting import dataset_tables as tables
from fairbench.exporting import markdown
from fairbench.exporting.job import Job
from fairbench.reporting import gallery
from fairbench.reporting.content import MEANS

if TYPE_CHECKING:
    import pandas as pd

SPLIT: Final = "test"
"""These are measurements, made to be looked at; nothing is meant to be trained on them."""
_SIZES: Final = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
}


def licences(job: Job) -> dict[str, str]:
    """Return the licences that the dataset rests on: of the model that drew, and of the labeller."""
    record = job.content.record
    return {"model": record.model.licence, "labeller": record.labeller.licence}


def without_pictures(job: Job) -> str:
    """Return why there are no pictures."""
    if job.content.record.model.adapter == "labels-only":
        return "There are no pictures: the run has labels alone."
    if gallery.of_files(job.content.run):
        return f"The pictures are {gallery.REAL_PEOPLE}, and are left out; an export with --with-images includes them."
    return "The pictures are left out; an export with --with-images includes them."


def text(job: Job, labels: pd.DataFrame, files: Mapping[str, str], where: str) -> str:
    """Return the whole README. labels: the table; files: config -> its file; where: what `load_dataset` is given."""
    return with_front_matter(_fields(job, labels, files), _body(job, labels, files, where))


def _fields(job: Job, labels: pd.DataFrame, files: Mapping[str, str]) -> dict[str, Any]:
    size = next((name for most, name in _SIZES.items() if len(labels) < most), "n>10M")
    annotators = "other" if job.content.run.read_by == "table" else "machine-generated"
    configs = [
        {
            "config_name": config,
            **({"default": True} if config == "labels" else {}),
            "data_files": [{"split": SPLIT, "path": path}],
        }
        for config, path in files.items()
    ]
    return {
        "pretty_name": f"{job.content.name}: labels of {job.content.record.task.name}",
        **_licence(job),
        "annotations_creators": [annotators],
        "task_categories": ["text-to-image"],
        "size_categories": [size],
        "tags": ["fairness", "bias", "fairbench", "croissant"],
        "configs": configs,
    }


def _licence(job: Job) -> dict[str, str]:
    """Return the licence as the hub takes it: an identifier where all parts have the same one, else `other`."""
    names = {licence.lower() for licence in licences(job).values()}
    if len(names) == 1 and names <= HUB_LICENCES:
        return {"license": names.pop()}
    said = "; ".join(f"{part}: {licence}" for part, licence in licences(job).items())
    return {"license": "other", "license_name": "as-stated-below", "license_details": said}


def _body(job: Job, labels: pd.DataFrame, files: Mapping[str, str], where: str) -> str:
    parts = [
        markdown.text(job).strip(),
        "## What this dataset holds",
        f"`labels` (the default): {len(labels):,} rows, one per face, and one per image without a face; no pixels.",
        (
            "`images`: the pictures, without metadata, in the same `image_id`."
            if "images" in files
            else in_markdown(without_pictures(job))
        ),
        f'```python\nfrom datasets import load_dataset\n\nlabels = load_dataset("{where}", split="{SPLIT}")\n```',
        "\n".join(["| column | what it holds |", "|---|---|", *_columns(job, labels)]),
        "Labels are as they were read, one by one: what is corrected for the labeller's errors stands above, and "
        "cannot be computed from single labels.",
        "## What the labels mean, and what they do not",
        "\n".join(f"- {in_markdown(sentence)}" for sentence in (job.label_note, *MEANS)),
        "## Licences",
        "\n".join(f"- of the {part}: {in_markdown(licence)}" for part, licence in licences(job).items()),
        "`croissant.json` describes these tables for machines; `export.json` has the sha256 of every file.",
    ]
    return "\n\n".join(parts) + "\n"


def _columns(job: Job, labels: pd.DataFrame) -> list[str]:
    meanings = tables.meanings(job.content.attributes)
    return [f"| {in_markdown(name)} | {in_markdown(meanings[name])} |" for name in labels.columns]
