"""people.json and people.csv in a run's folder: what labels by people, on a random sample of its images, say of it.

Written by `fairbench calibrate --from`, bound to the run and to the labels; `show` prints it first. A run that is made
again into its folder keeps them. The target is what most of these annotators perceive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from fairbench.cards import yamlfile
from fairbench.errors import FairbenchError
from fairbench.storage import atomic, folders, kinds

FILE: Final = "people.json"
TABLE: Final = "people.csv"
PEOPLE: Final = "people"
LOCAL: Final = "local-table"
ALONE: Final = "people-alone"
LOWEST, HIGHEST = "people-lowest", "people-highest"
"""As PEOPLE, where all images on which people cannot decide belong to the groups that concentrate least, or most."""
POOLED: Final = "people-pooled"
"""As PEOPLE, of all prompts' people together."""
READ: Final = "read"
"""As the labeller reads the same faces, not corrected."""
ESTIMATES: Final = {
    PEOPLE: "by people, with the labeller's reading of all images",
    LOCAL: "by the labeller's errors on these images: tighter, if they do not depend on the prompt",
    ALONE: "by people's labels alone",
}
"""Estimate -> what it is, in the order of the printed table."""
CONCENTRATION: Final = "concentration"
UNDECIDED: Final = "share[undecided]"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Row(_Part):
    """One estimate of this list of prompts, as in the metrics table; without a value, `reason` says why.

    n_prompts: those it is a mean of; n_left_out: others.
    """

    metric: str
    attribute: str
    estimate: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    error: float | None = None
    n_prompts: int | None = None
    n_left_out: int | None = None
    reason: str | None = None


class Labelled(_Part):
    """What the labels of an attribute or cross are. outcomes: label -> images; `unclear` and `cannot tell` too.

    unanswered: sampled images without a label. difference: the estimate PEOPLE minus LOCAL, with its standard error;
    flagged: whether it is beyond two of them; None where there is no local table.
    """

    classes: tuple[str, ...]
    outcomes: dict[str, int]
    unanswered: int = 0
    difference: float | None = None
    difference_error: float | None = None
    flagged: bool | None = None


class People(_Part):
    """The content of people.json. images: labelled ones; annotators: how many people, `who` they are in words.

    labels_sha256: of the labels that the estimates rest on. annotation: the id of what was asked. stratify: the
    attribute whose reading images were drawn by. attributes: attribute or cross -> its labels.
    """

    run_id: str
    labels_sha256: str
    images: int
    annotators: int
    who: str = ""
    rows: list[Row]
    note: str = ""
    target: str = ""
    errors: str = ""
    fairbench: str = ""
    annotation: str = ""
    stratify: str | None = None
    attributes: dict[str, Labelled] = {}

    def find(self, metric: str, estimate: str, attribute: str) -> Row | None:
        """Return one estimate, None where there is none."""
        wanted = (metric, estimate, attribute)
        return next((row for row in self.rows if (row.metric, row.estimate, row.attribute) == wanted), None)


def write(people: People, folder: Path) -> None:
    """Write both files into the run's folder, both or none. Raises FairbenchError, StoreError."""
    names = list(Row.model_fields)
    lines = [["" if value is None else value for value in row.model_dump().values()] for row in people.rows]
    with folders.replacing(folder, kinds.PEOPLE) as new:
        atomic.write_text(new / FILE, json.dumps(people.model_dump(), indent=2, allow_nan=False) + "\n")
        atomic.write_text(new / TABLE, atomic.csv_text([names, *lines]))


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
