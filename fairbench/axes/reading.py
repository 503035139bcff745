"""Frozen axes, read in a run's pictures: the command's result and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

import fairbench
from fairbench.axes import file, respondent, run_images
from fairbench.axes.findings import LEVEL, Finding, findings
from fairbench.axes.respondent import Respondent
from fairbench.axes.run_images import RunImages
from fairbench.display.dictionary import TABLES
from fairbench.display.json_values import plain
from fairbench.display.note import label_note
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling.questions import UNREAD
from fairbench.runs import evidence
from fairbench.runs.result import Run
from fairbench.storage import atomic, folders, kinds
from fairbench.storage.files import StoreName

NOTE: Final = label_note("questions")
CAUTION: Final = (
    "These are one model's answers, whose errors nobody counted: errors that depend on what else a picture shows look "
    "like differences between prompts. No finding stands until people have labelled a sample."
)
AXIS_COLUMNS: Final = tuple(TABLES["axes.csv"][1])
ANSWER_COLUMNS: Final = tuple(TABLES["answers.csv"][1])
PROMPT_COLUMNS: Final = ("axis", "prompt", "subject", "answer", "pictures", "answered")
MAX_UNREAD_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class AxesRead:
    """What a run's pictures show of frozen axes. unread: examples of answers that name no option."""

    run: str
    run_id: str
    task: str
    axes: file.AxesFile
    labeller: str
    self_judged: bool
    pictures: int
    without_pixels: int
    findings: list[Finding]
    unread: list[str]


def read(
    folder: Path,
    axes_file: Path,
    labeller: str,
    out: Path,
    *,
    per_prompt: int | None,
    store: StoreName | None,
    device: str,
    progress: Progress,
) -> AxesRead:
    """Ask a labeller's model about a run's pictures, and write the result into `out`. Options are the command's.

    per_prompt: of each prompt, its first pictures alone; None: all. Raises FairbenchError.
    """
    axes = file.read_frozen(axes_file)
    folders.check(out, kinds.AXES)
    finished = evidence.read(folder)
    task = finished.record.task
    if (task.name, task.version) != (axes.task, axes.task_version):
        raise FairbenchError(
            f"{axes_file}, field task: its axes are of {axes.task}, version {axes.task_version}, and {folder} is a run "
            f"of {task.name}, version {task.version}; name a run of that task, or propose axes for this one."
        )
    who = respondent.of_run(labeller, finished.record, device)
    images = run_images.of_run(finished)
    chosen = run_images.first_of_each(images, per_prompt)
    if not chosen:
        raise FairbenchError(f"{folder} has no pictures: nothing can be read in it.")
    codes, said = respondent.answers(
        who, [axis.as_question() for axis in axes.axes], Run(folder, store), chosen, progress
    )
    prompt = np.array([images.prompt_of[image] for image in chosen], dtype=np.int64)
    result = AxesRead(
        run=finished.name,
        run_id=finished.run_id,
        task=task.name,
        axes=axes,
        labeller=who.card.name,
        self_judged=who.self_judged,
        pictures=len(chosen),
        without_pixels=images.without,
        findings=findings(axes.axes, prompt, codes, len(images.prompts), UNREAD),
        unread=list(dict.fromkeys(said))[:MAX_UNREAD_EXAMPLES],
    )
    _write(result, who, images, out)
    return result


def summary(result: AxesRead) -> dict[str, Any]:
    """Return the result as plain data: what axes.json holds."""
    frozen = result.axes.frozen
    names = ("run", "run_id", "task", "labeller", "self_judged", "pictures", "without_pixels", "unread")
    content = {
        "note": NOTE,
        "caution": CAUTION,
        "fairbench": fairbench.__version__,
        **{name: getattr(result, name) for name in names},
        "reviewed_by": None if frozen is None else frozen.reviewed_by,
        "axes_sha256": None if frozen is None else frozen.sha256,
        "false_discovery_rate": LEVEL,
        "axes": [dict(zip(AXIS_COLUMNS, row, strict=True)) for row in _axes(result)],
        "answers": [dict(zip(ANSWER_COLUMNS, row, strict=True)) for row in _answers(result.findings)],
    }
    return dict(plain(content))


def _axes(result: AxesRead) -> Iterator[tuple[Any, ...]]:
    for each in result.findings:
        within, expected = each.in_prompt, each.axis.expected
        shown = expected if isinstance(expected, str) else "; ".join(f"{k}: {v:g}" for k, v in expected.items())
        numbers = (each.p, each.q, within.estimate, within.low, within.high, each.together)
        asked = int((each.counts.sum(axis=1) > 0).sum())
        counts = (each.pictures, each.unclear, each.unread, asked)
        yield each.axis.name, each.axis.question, shown, each.verdict, *numbers, *counts


def _answers(found: Sequence[Finding]) -> Iterator[tuple[Any, ...]]:
    for each in found:
        for k, answer in enumerate(each.answers):
            for scope, share in answer.share.items():
                limits = (share.estimate, share.low, share.high)
                yield each.axis.name, answer.answer, scope, *limits, answer.expected, int(each.counts[:, k].sum())


def _prompts(result: AxesRead, images: RunImages) -> Iterator[tuple[Any, ...]]:
    for each in result.findings:
        for prompt, row in zip(images.prompts, each.counts.tolist(), strict=True):
            for answer, count in zip(each.axis.answers, row, strict=True):
                yield each.axis.name, prompt.text, prompt.subject, answer, count, sum(row)


def _write(result: AxesRead, who: Respondent, images: RunImages, out: Path) -> None:
    tables = {
        "axes.csv": (AXIS_COLUMNS, _axes(result)),
        "answers.csv": (ANSWER_COLUMNS, _answers(result.findings)),
        "prompts.csv": (PROMPT_COLUMNS, _prompts(result, images)),
    }
    with folders.replacing(out, kinds.AXES) as new:
        for name, (columns, rows) in tables.items():
            atomic.write_text(new / name, atomic.csv_text([columns, *(plain(list(row)) for row in rows)]))
        for axis in result.axes.axes:
            card = yaml.safe_dump(respondent.as_card(who, axis), sort_keys=False, allow_unicode=True, width=110)
            atomic.write_text(new / "labellers" / f"axis-{axis.name}.yaml", card)
        atomic.write_text(new / "axes.json", json.dumps(summary(result), indent=2, allow_nan=False) + "\n")
