"""A run's results as the model card of the Hugging Face hub holds them: YAML of `model-index`.

Each result is a value of metrics.parquet, over this list of prompts; its interval and what else is known stands in the
metric's `args`. What the hub calls `verified` belongs to a service of the hub, and is never written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairbench.display.yaml_block import with_front_matter
from fairbench.exporting import markdown
from fairbench.exporting.job import Job
from fairbench.storage import atomic

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

FILE: Final = "README.md"
SOURCE: Final = "https://github.com/fairbench/fairbench-umm"
_LEFT_OUT: Final = ("share[", "gap[")
"""How the names of metrics of one class begin: a model card has room for results of attributes."""
_ARGS: Final = (
    "attribute",
    "estimate",
    "scope",
    "n0",
    "ci_low",
    "ci_high",
    "ci_method",
    "floor",
    "floor_p95",
    "ceiling",
    "error",
    "reason",
    "metric_version",
    "calibration_sha",
    "n_requested",
    "n_images",
    "n_faces",
    "n_excluded",
    "n_prompts",
)
"""Columns of the metrics table that stand beside a value."""


def write(job: Job) -> Path:
    """Write README.md, whose head can be merged into a model's card, and return its path."""
    with job.writing(r"README\.md") as folder:
        atomic.write_text(folder / FILE, text(job))
    return job.folder / FILE


def text(job: Job) -> str:
    """Return the card: results in the head, and in words below."""
    from huggingface_hub.repocard_data import eval_results_to_model_index

    index = eval_results_to_model_index(job.content.name, results(job))
    about = (
        "The head of this file holds the results for the card of the model. To merge it into the card on the hub, "
        'load this one with `huggingface_hub.ModelCard.load("README.md")`, and pass its `data.to_dict()` to '
        "`huggingface_hub.metadata_update`."
    )
    return with_front_matter({"model-index": index}, f"{markdown.text(job)}\n{about}\n")


def results(job: Job) -> list[EvalResult]:
    """Return every value of the task but those of single classes, in the order of metrics.parquet."""
    from huggingface_hub import EvalResult

    record = job.content.record
    found = []
    for row in job.content.run.metrics_table.to_pylist():
        if row["scope"] != "task" or row["value"] is None or row["metric"].startswith(_LEFT_OUT):
            continue
        about = {name: row[name] for name in _ARGS if _known(row[name])}
        found.append(
            EvalResult(
                task_type="text-to-image",
                dataset_type=record.task.name,
                dataset_name=f"{record.task.name}, version {record.task.version}",
                dataset_args={
                    "prompts": len(job.content.prompts()),
                    "labeller": record.labeller.name,
                    "method": record.method,
                    "seed": record.declared.seed,
                    "run": record.run_id,
                },
                metric_type=row["metric"],
                metric_name=f"{row['metric']} of {row['attribute']}, {row['estimate']}",
                metric_value=row["value"],
                metric_args={**about, "labels": job.label_note},
                source_name=f"fairbench {record.fairbench}",
                source_url=SOURCE,
            )
        )
    return found


def _known(value: Any) -> bool:
    return value is not None and value == value
