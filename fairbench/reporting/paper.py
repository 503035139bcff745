"""What a paper needs of a run: a paragraph on how it was measured, whom to cite, and what makes the numbers again."""

from __future__ import annotations

import re
from dataclasses import fields

from fairbench.display.numbers import whole
from fairbench.reporting import citing, gallery, values
from fairbench.reporting.content import Content
from fairbench.runs import arguments
from fairbench.runs.files import OPTIONS
from fairbench.runs.record import RunRecord


def methods(content: Content) -> str:
    """Return a paragraph on how the run was made and measured."""
    record = content.record
    weights = record.model.weights
    revision = f" at revision {weights.revision}" if weights is not None and weights.revision else ""
    source = f" ({weights.repo}{revision})" if weights is not None and weights.repo else ""
    images, prompts = sum((record.statuses or {}).get("images", {}).values()), len(content.prompts())
    even = prompts > 0 and images % prompts == 0
    per_prompt = f"{images // prompts} images of each" if even else "unequal numbers of images of each"
    sampling = ", ".join(f"{name} {value}" for name, value in record.model.sampling.items() if _public(name, value))
    settings = f" with {sampling}" if sampling else ""
    drawn = f"We drew {whole(images)} images with {content.name}{source}{settings}"
    if gallery.of_files(content.run):  # nothing was drawn, and the settings are a path
        drawn = f"We measured {whole(images)} images of {content.name}"
    return (
        f"{drawn}, "
        f"for {prompts} prompts of the task {record.task.name} (version {record.task.version}), {per_prompt}, from "
        f"seed {record.declared.seed}. Faces were labelled by {record.labeller.title} ({record.labeller.name}, id "
        f"{record.labeller_id}){_calibration(record)}. "
        f"We report concentration, (K sum p^2 - 1)/(K - 1) over an attribute's K classes, "
        f"estimated without bias and averaged over prompts, with 95 % intervals for this list of prompts (fairbench "
        f"{record.fairbench}, run {record.run_id}). Labels are perceived presentation in pictures, never anyone's "
        "identity."
    )


def _public(name: str, value: object) -> bool:
    """Whether a setting can be told: paths and addresses are those of a machine. model: a served model's name."""
    return name == "model" or not re.search(r"[/\\]", str(value))


def _calibration(record: RunRecord) -> str:
    """Return what the labeller's errors were counted on, where they were; else that they were not."""
    counted = None if record.correction is None else record.correction.counted_on
    if counted is None:
        return ", whose errors are not calibrated"
    return f", whose errors were counted on {whole(counted[0])} images (domain: {counted[1]})"


def bibtex(content: Content) -> str:
    """Return BibTeX of what the run rests on."""
    metrics = dict.fromkeys(values.topic(row["metric"]) for row in content.measured.rows)
    return citing.bibtex(content.record, metrics, drawn=not gallery.of_files(content.run))


def evidence(content: Content) -> list[tuple[str, str]]:
    """Return what identifies the run and what it rests on, each with its name."""
    record = content.record
    weights = record.model.weights
    packages = record.environment.get("packages", {})
    found = {
        "run": record.run_id,
        "fairbench": record.fairbench,
        "model": record.model.name,
        "weights": "" if weights is None else f"{weights.repo or weights.path} {weights.revision or ''}".strip(),
        "licence of the model": record.model.licence,
        "method": record.method,
        "task": f"{record.task.name}, version {record.task.version}",
        "labeller": f"{record.labeller.name}, id {record.labeller_id}",
        "licence of the labeller": record.labeller.licence,
        "calibration": record.declared.calibration or "none",
        "seed": str(record.declared.seed),
        "key of the images": record.keys.images,
        "key of the faces": record.keys.faces,
        "key of the labels": record.keys.labels,
        "device": " ".join(filter(None, [record.device, record.dtype])),
        "Python": str(record.environment.get("python", "")),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    }
    return [(name, value) for name, value in found.items() if value]


def command(content: Content) -> str:
    """Return the command that makes the run again."""
    asked = content.record.settings
    if asked is None:
        return f"fairbench run --model {content.record.model.name} --task {content.record.task.name}"
    stated = {field.name: field.default for field in fields(asked)}
    names = [name for name in (*OPTIONS, "metrics", "dtype", "batch_size") if getattr(asked, name) != stated[name]]
    return arguments.command(asked, names)
