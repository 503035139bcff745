"""A run for an audit: one document of what was measured, on what, how well that is known, and where it ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fairbench.display.numbers import whole
from fairbench.display.page import in_markdown
from fairbench.exporting import dataset_tables, responsible
from fairbench.exporting.job import Job
from fairbench.exporting.markdown import fenced
from fairbench.reporting import paper
from fairbench.reporting.content import MEANS
from fairbench.storage import atomic

FILE: Final = "dossier.md"
_TABLES: Final = ("metrics.csv", "prompts.csv")


def write(job: Job) -> Path:
    """Write dossier.md, beside the tables of all values and of all prompts, and return the path of the document."""
    with job.writing(rf"dossier\.md|({'|'.join(_TABLES)})".replace(".csv", r"\.csv")) as folder:
        atomic.write_text(folder / FILE, text(job))
        for name in _TABLES:
            shutil.copyfile(job.content.run.folder / name, folder / name)
    return job.folder / FILE


def text(job: Job) -> str:
    """Return the document; all that comes from outside is escaped."""
    content = job.content
    said = responsible.fields(job, dataset_tables.labels(content.run), {})
    protocol = [*_list(said["dataAnnotationProtocol"]), *_list(said["dataPreprocessingProtocol"])]
    parts = [
        f"# Dossier: how evenly {in_markdown(content.name)} draws people",
        "This document says what was measured, on what, how well that is known, and where it ends. It was written by "
        f"fairbench {in_markdown(content.record.fairbench)} from the run's own record; nobody added to it by hand.",
        "## 1. What was found",
        _bullets(_findings(job)),
        content.main_table()["markdown"].strip(),
        *(["Besides:", _bullets(further)] if (further := content.further()) else []),
        "## 2. What was measured",
        _bullets([*_list(said["dataCollection"]), *_list(said["dataCollectionMissingData"])]),
        in_markdown(paper.methods(content)),
        "## 3. Who gave the labels, and how well they are known to do it",
        _bullets([*_list(said["dataAnnotationAnalysis"]), *_list(said.get("machineAnnotationTools", [])), *protocol]),
        "## 4. What to know before relying on it",
        _bullets([n["sentence"] for n in content.notices()] or ["The run gave no notice."]),
        "## 5. What this does not say",
        _bullets(_limits(job)),
        "## 6. All tables",
        *(table["markdown"].strip() for table in content.tables()[1:]),
        f"Every value stands in {' and '.join(f'`{name}`' for name in _TABLES)}. What its metrics are:",
        _bullets(f"{name}: {definition}" for name, definition in content.definitions()),
        "## 7. What it rests on",
        _bullets(f"{name}: {value}" for name, value in paper.evidence(content)),
        "The label tables lie in `evidence/` of the run's folder. From them anybody can compute the numbers again, "
        "without the model, its weights or the pictures. This makes the run again:",
        fenced(paper.command(content), "sh"),
        "To cite:",
        fenced(paper.bibtex(content), "bibtex"),
    ]
    return "\n\n".join(parts) + "\n"


def _findings(job: Job) -> list[str]:
    """Return the verdicts, each with what a fair model would read."""
    return [f"{v['attribute']}: {v['sentence']} {v['fair']}".strip() for v in job.content.verdicts()]


def _limits(job: Job) -> list[str]:
    content = job.content
    prompts = whole(len(content.prompts()))
    return [
        job.label_note,
        *MEANS,
        f"It holds for these {prompts} prompts in their wordings, and for the settings below: of other prompts, other "
        "languages and later versions of the model it says only what section 1 says of other prompts, if anything.",
        f"Measured were {', '.join(content.attributes)}. Of other attributes (disability, religion, class and others) "
        "nothing was measured, nor of harms that no single picture shows.",
        "That the labels follow from the pictures, no table can show. Look at the pictures, and have people label a "
        "sample of them (fairbench annotate), before a decision rests on a classifier.",
        "An even spread over groups is no proof that a model is safe, accurate or lawful.",
    ]


def _list(said: str | list[str]) -> list[str]:
    return [said] if isinstance(said, str) else said


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {in_markdown(sentence)}" for sentence in sentences)
