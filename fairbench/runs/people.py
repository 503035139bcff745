"""people.json in a run's folder: what labels by people, on a random sample of the run's images, say of it.

Written by `fairbench calibrate --from`; `show` prints it first. The target is what most of these annotators perceive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fairbench.cards import yamlfile
from fairbench.errors import FairbenchError

FILE: Final = "people.json"
ESTIMATES: Final = {
    "people": "by people, with the labeller's reading of all images",
    "local-table": "by the labeller's errors on these images: tighter, if they do not depend on the prompt",
    "people-alone": "by people's labels alone",
}
"""Estimate -> what it is, in the order of the printed table."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Row(_Part):
    """One estimate of this list of prompts, as in the metrics table; without a value, `reason` says why."""

    metric: str
    attribute: str
    estimate: Literal["people", "local-table", "people-alone"]
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    error: float | None = None
    reason: str | None = None


class People(_Part):
    """The content of people.json. images: labelled ones; annotators: how many people, `who` they are in words.

    labels_sha256: of the labels that the estimates rest on.
    """

    run_id: str
    labels_sha256: str
    images: int
    annotators: int
    who: str = ""
    rows: list[Row]

    def find(self, metric: str, estimate: str, attribute: str) -> Row | None:
        """Return one estimate, None where there is none."""
        wanted = (metric, estimate, attribute)
        return next((row for row in self.rows if (row.metric, row.estimate, row.attribute) == wanted), None)


def read(folder: Path, run_id: str) -> People | None:
    """Return what people say of a run, None where nobody was asked.

    Raises FairbenchError that names the file, the field and the fix, also where the file is of another run.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as err:
        raise FairbenchError(f"{path} cannot be read ({err}): do `fairbench calibrate --from` again.") from err
    try:
        people = People.model_validate(content)
    except ValidationError as err:
        first = yamlfile.problems(yamlfile.YamlFile(path, content if isinstance(content, dict) else {}), err)[0]
        raise FairbenchError(
            f"{path}, field {first.field}: {first.message}; do `fairbench calibrate --from` again."
        ) from err
    if people.run_id != run_id:
        raise FairbenchError(
            f"{path}, field run_id: it is of run {people.run_id}, and this folder holds {run_id}; do "
            "`fairbench calibrate --from` again, or delete the file."
        )
    return people
