"""The calibration of a labeller: its errors, counted once on images of known truth.

It is one JSON file beside the labeller card that names it, and belongs to one labeller *and* one kind of image
(`domain`): an accuracy measured on other images corrects nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from fairbench import registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.errors import CardError
from fairbench.labelling import cells, domain
from fairbench.labelling.cells import NO_FACE as NO_FACE
from fairbench.labelling.cells import NO_PERSON as NO_PERSON
from fairbench.labelling.cells import Cell as Cell
from fairbench.labelling.domain import Domain
from fairbench.labelling.labeller import Labeller
from fairbench.notices import notice
from fairbench.storage import atomic

FORMAT: Final = "fairbench.calibration"
VERSION: Final = 1
FEW_IMAGES: Final = 30
"""A row of fewer images is reported: its rates are imprecise, and an error that never occurred counts as impossible."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A joint confusion table: what was true (rows) against what the labeller read (columns).

    columns: all combinations of labels, then NO_FACE. rows: the same combinations in the same order, then NO_PERSON
    where images that show nobody were counted too. counts: non-negative integers (rows, columns), kept read-only.
    independent_check: numbers that say how well another route to the truth agrees. implausible_allowed: the user
    accepts what `refuse_implausible` objects to. run_images: the hash of the ids of a run's images, where it was
    counted on some of them. Raises CardError where the parts do not fit together.
    """

    labeller: str
    labeller_id: str
    domain: str
    attributes: tuple[str, ...]
    rows: tuple[Cell, ...]
    columns: tuple[Cell, ...]
    counts: NDArray[np.int64]
    command: str
    seed: int
    notes: str = ""
    implausible_allowed: bool = False
    independent_check: Mapping[str, float] = field(default_factory=dict)
    run_images: str = ""

    def __post_init__(self) -> None:
        problem = cells.problem(self.attributes, self.rows, self.columns)
        problem = problem or cells.number_problem(
            np.asarray(self.counts), self.rows, self.columns, self.independent_check
        )
        if problem:
            raise CardError(f"Calibration of {self.labeller}, field {problem}.")
        counts = np.array(self.counts, dtype=np.int64)
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)
        check = {name: float(value) for name, value in sorted(self.independent_check.items())}
        object.__setattr__(self, "independent_check", check)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The combinations of labels: the columns without NO_FACE."""
        return self.columns[:-1]

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of every attribute, in the order in which they first stand in the columns."""
        return cells.labels_of(self.attributes, self.cells)

    @property
    def images_of(self) -> Domain:
        """What kind of images it was counted on, to be compared with those of a run."""
        return domain.parse(self.domain, self.run_images)

    def margin(self, attributes: Sequence[str]) -> Calibration:
        """Return the table of some of the attributes, in their order here: the counts of the others added up."""
        kept = [i for i, name in enumerate(self.attributes) if name in attributes]
        labels = list(self.labels.values())
        joint = tuple(itertools.product(*(labels[i] for i in kept)))
        of_cell = [joint.index(tuple(cell[i] for i in kept)) for cell in self.cells]
        rows, columns = ([*of_cell, len(joint)][: len(side)] for side in (self.rows, self.columns))
        counts = np.zeros((max(rows) + 1, len(joint) + 1), dtype=np.int64)
        np.add.at(counts, (np.array(rows)[:, None], np.array(columns)[None, :]), self.counts)
        return replace(
            self,
            attributes=tuple(self.attributes[i] for i in kept),
            rows=(*joint, NO_PERSON)[: len(counts)],
            columns=(*joint, NO_FACE),
            counts=counts,
        )

    def rates(self) -> NDArray[np.float64]:
        """Return P(column | row), shape (rows, columns); a row without counts is NaN."""
        return _divided(self.counts, self.counts.sum(axis=1, keepdims=True))

    def miss_rate(self) -> NDArray[np.float64]:
        """Return, for each row, the share of images in which no face was found, shape (rows,)."""
        return np.asarray(self.rates()[:, -1])

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all; the same calibration gives the same bytes.

        Raises StoreError, and CardError for a field that `read` would refuse.
        """
        values = {FORMAT: VERSION, **{f.name: getattr(self, f.name) for f in fields(self)}}
        values["counts"] = self.counts.tolist()
        for name in ("implausible_allowed", "independent_check", "run_images"):
            if not values[name]:
                del values[name]
        lines = (f"{json.dumps(name)}: {_json(name, value)}" for name, value in values.items())
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        _typed(json.loads(text), path)
        atomic.write_text(path, text)


class _File(BaseModel):
    """The file's fields and their types; how they fit together is checked by Calibration."""

    model_config = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    version: int = Field(alias=FORMAT)
    labeller: str = Field(min_length=1)
    labeller_id: str = Field(pattern=r"^[0-9a-f]{12,64}$")
    domain: str = Field(min_length=1)
    attributes: list[str]
    rows: list[list[str]]
    columns: list[list[str]]
    counts: list[list[Annotated[int, Field(ge=0, le=2**53)]]]
    command: str = Field(min_length=1)
    seed: int
    notes: str = ""
    independent_check: dict[str, float] = Field(default_factory=dict)
    implausible_allowed: bool = False
    run_images: str = Field("", pattern=r"^([0-9a-f]{32,64})?$")


def read(path: Path) -> Calibration:
    """Read a calibration file. Raises CardError that names the file, the field and the fix."""
    file = _parsed(path)
    if len({len(row) for row in file.counts}) > 1:
        raise CardError(f"{path}, field counts: its rows differ in length; each needs one number per column.")
    tables: dict[str, Any] = {
        "attributes": tuple(file.attributes),
        "rows": tuple(map(tuple, file.rows)),
        "columns": tuple(map(tuple, file.columns)),
        "counts": np.array(file.counts, dtype=np.int64),
    }
    try:
        return Calibration(**file.model_dump(exclude={"version", *tables}), **tables)
    except CardError as err:
        raise CardError(f"{path}: {err}") from err


def of_labeller(loaded: Loaded[LabellerCard], given: Path | None = None) -> Calibration | None:
    """Return the calibration that a labeller card names, None where it names none. given: a file used in its place.

    Raises CardError: the file cannot be read, it was made for another labeller, other attributes or other labels, or it
    is implausible.
    """
    card = loaded.card
    if card.calibration is None and given is None:
        return None
    path = given or (loaded.base_dir or Path.cwd()) / Path(str(card.calibration)).expanduser()
    calibration = read(path)
    if calibration.labeller != card.name:
        raise CardError(f"{path} is the calibration of {calibration.labeller!r}, not of {card.name!r}: name its own.")
    for attribute, labels in calibration.labels.items():
        if attribute not in card.attributes:
            hint = registry.suggest(attribute, card.attributes)
            raise CardError(f"{path}, field attributes: {card.name} gives no {attribute!r}{hint}.")
        declared = card.attributes[attribute].labels
        if list(labels) != declared:
            raise CardError(
                f"{path}, field columns: the labels of {attribute} are {list(labels)}, the card of {card.name} "
                f"declares {declared}: calibrate again."
            )
    refuse_implausible(calibration, path)
    return calibration


def refuse_implausible(calibration: Calibration, where: Path) -> None:
    """Refuse a table with a cell that is read more often as another one than as itself: usually, labels were mixed up.

    A correction would exchange the shares of such cells. where: what the sentence names. Raises CardError, unless
    `implausible_allowed`.
    """
    faces = calibration.counts[: len(calibration.cells), :-1]
    wrong = [(row, int(row.argmax()), i) for i, row in enumerate(faces) if row.max() > row[i]]
    if not wrong or calibration.implausible_allowed:
        return
    row, read_as, own = wrong[0]
    cell, other = (" ".join(calibration.cells[i]) for i in (own, read_as))
    more = f" ({len(wrong)} of {len(faces)} cells are so)" if len(wrong) > 1 else ""
    raise CardError(
        f"{where}, field counts: {cell!r} is read as {other!r} more often ({row[read_as]} of {row.sum()} faces) than "
        f"as itself ({row[own]}){more}: look for labels or columns that were swapped in the manifest, or, where "
        f"{calibration.labeller} really is that wrong, calibrate with --allow-implausible."
    )


def notice_few_images(calibration: Calibration, where: Path | str) -> None:
    """Report the rows that rest on fewer than FEW_IMAGES images."""
    totals = calibration.counts.sum(axis=1).tolist()
    few = [f"{' '.join(row)}: {n}" for row, n in zip(calibration.rows, totals, strict=True) if n < FEW_IMAGES]
    if few:
        text = f"{where}: rows of the calibration of {calibration.labeller} rest on fewer than {FEW_IMAGES} images"
        notice("small-calibration", text, count=len(few), examples=few)


def check_labeller(calibration: Calibration, labeller: Labeller, where: Path | str) -> None:
    """Refuse a calibration that was made before a change of the labeller that can change a count.

    where: what the sentence names, such as the calibration's file. Raises CardError.
    """
    if calibration.labeller_id != labeller.id:
        raise CardError(
            f"{where}, field labeller_id: it is {calibration.labeller_id}, the labeller {labeller.card.name} is "
            f"{labeller.id}: its card or its weights changed since; calibrate again."
        )


def _parsed(path: Path) -> _File:
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_refuse_duplicates)
    except OSError as err:
        raise CardError(f"{path} cannot be read ({err.strerror}): name a calibration file.") from err
    except (ValueError, RecursionError) as err:
        raise CardError(f"{path} is not a JSON file in UTF-8 ({err}): fix it or calibrate again.") from err
    if not isinstance(data, dict) or FORMAT not in data:
        raise CardError(f"{path} is no calibration file (it has no field {FORMAT!r}): name one that is.")
    if data[FORMAT] != VERSION:
        raise CardError(
            f"{path}, field {FORMAT}: it is {data[FORMAT]!r}, this fairbench reads {VERSION}: calibrate again, or use "
            "the fairbench that made it."
        )
    return _typed(data, path)


def _typed(data: dict[str, Any], path: Path) -> _File:
    try:
        return _File.model_validate(data)
    except ValidationError as err:
        first = yamlfile.problems(yamlfile.YamlFile(path, data), err)[0]
        raise CardError(f"{path}, field {first.field}: {first.message}.") from err


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


def _json(name: str, value: Any) -> str:
    """Return plain data as JSON, tables with one row per line."""
    if name not in {"rows", "columns", "counts"}:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "[\n" + ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value) + "\n]"


def _divided(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(part / np.where(whole > 0, whole, np.nan))
