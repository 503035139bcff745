"""run.json: what a run declared, what it counted, and where it was computed. One model writes it and reads it.

A leaderboard's evidence holds a copy with fewer fields. Those that a copy may lack, or a file of fairbench 0.1.0, have
a default. Fields that are not declared here, as a later fairbench may write them, are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard, ModelCard
from fairbench.display.json_values import plain
from fairbench.errors import FairbenchError
from fairbench.runs.arguments import RunSettings
from fairbench.runs.known_truth import KnownTruth
from fairbench.storage import jsonfile

FILE: Final = "run.json"
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
LabellerId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Versioned(_Part):
    """A plug-in by name and version."""

    name: str
    version: int


class DeclaredTask(_Part):
    """prompts: the hash of their texts, in order."""

    name: str
    version: int
    prompts: str


class Declared(_Part):
    """The settings that can change a number. The run's id is their hash, so fields of a later fairbench are kept.

    references: attribute -> subject -> the share of each label. images: the hash of their sorted ids. calibration: the
    hash of its counts. scorers: name -> key, null where the scorer is left out.
    """

    model_config = ConfigDict(extra="allow")

    model: str
    image_key: str
    method: Versioned
    task: DeclaredTask
    labels_key: str
    face_policy: dict[str, Any]
    crosses: list[list[str]]
    references: dict[str, dict[str, tuple[float, ...]]]
    images: str
    seed: int
    calibration: str | None
    scorers: dict[str, str | None]
    metrics: dict[str, int]
    metrics_stage: int


class Keys(_Part):
    """The keys of a run's stages in the store."""

    images: Id
    faces: Id
    labels: Id


class RecordedModel(ModelCard):
    """The model's card. A copy has only its name and the source of its weights."""

    model_config = ConfigDict(extra="ignore")

    title: str = ""
    adapter: str = ""

    @property
    def public_title(self) -> str:
        """The title, or the name where the title may hold a path of this machine.

        That of a model without a card is ADAPTER TARGET; the target may be a folder, a file or an address.
        """
        on_hub = self.weights is not None and self.weights.repo is not None
        without_card = self.title.startswith(f"{self.adapter} ") and not on_hub
        return self.name if without_card or not self.title else self.title


class RecordedTask(_Part):
    """The task, and the texts of its prompts, in order; a copy has no texts.

    references_source: who measured the references. references_sha256: attribute -> the hash of the file they are from.
    """

    name: str
    version: int
    prompts: list[str] | None = None
    references_source: str | None = None
    references_sha256: dict[str, str] = {}


class LabellerParts(_Part):
    """What a labeller's id and keys are the hashes of: type, version and parameters of each of its plug-ins."""

    model_config = ConfigDict(extra="allow")

    detectors: list[Any]
    crops: list[Any]
    classifiers: list[Any]
    attributes: dict[str, Any]


class RecordedScorer(_Part):
    """key: None where the scorer could not be had. backbone: the model it used; None where it measured nothing."""

    key: Id | None
    backbone: str | None


class RecordedCorrection(_Part):
    """Whether the labeller's errors were corrected: under which assumptions, or the reason why not.

    refused: the attributes that are not corrected, and why. other_domain: why there are ranges and no values. domain,
    images: what the calibration's images are, and how many.
    """

    reason: str | None = None
    refused: dict[str, str] = {}
    other_domain: str | None = None
    assumptions: str | None = None
    calibration_sha: str | None = None
    domain: str | None = None
    images: int | None = None

    @property
    def counted_on(self) -> tuple[int, str] | None:
        """How many images, and of what domain, the errors were counted on; None where they were not."""
        return None if self.domain is None or self.images is None else (self.images, self.domain)


class Failure(_Part):
    """An image whose status is not ok."""

    image_id: str = ""
    status: str = ""
    error: str = ""


class RecordedNotice(_Part):
    """What a reader of the numbers has to know, see docs/notices.md."""

    code: str
    count: int
    text: str
    examples: list[str] = []
    fix: str = ""
    strict: bool = False


class RecordedFile(_Part):
    """A Python file of plug-ins or of a model's function, by its name and content."""

    name: str
    sha256: str


class RecordedWorker(_Part):
    """What one worker of a run on several did, and how fast. seconds: stage -> how long it worked on it.

    deaths: how often it died and was started again. images_per_second: while it made images; None where it made none.
    """

    host: str
    images: int
    labels: int
    scores: int
    seconds: dict[str, float]
    deaths: int
    images_per_second: float | None


class RunRecord(_Part):
    """The content of run.json, in the order in which it is written."""

    run_id: Id
    note: str
    fairbench: str
    """The version that wrote the file."""
    declared: Declared
    keys: Keys
    model: RecordedModel
    method: str
    quota: bool
    task: RecordedTask
    labeller: LabellerCard
    labeller_id: LabellerId
    labeller_parts: LabellerParts | None = None
    scorers: dict[str, RecordedScorer]
    settings: RunSettings | None = None
    """What the user asked for."""
    device: str | None = None
    dtype: str | None = None
    block_size: int | None = None
    no_calibration: str | None = None
    """Why the labeller card's calibration could not be used."""
    correction: RecordedCorrection | None = None
    truth: list[KnownTruth] = []
    statuses: dict[str, dict[str, int]] | None = None
    """Table or scorer -> status -> number of rows."""
    made_in_this_process: dict[str, int] = {}
    failures: list[Failure] = []
    """The first of the images that have no pixels."""
    unread: dict[Id, str] = {}
    """Id of an image that could not be read when its faces were wanted -> reason."""
    damaged_shards: list[str] = []
    seconds: dict[str, float] = {}
    workers: list[RecordedWorker] = []
    """The workers of `--executor ray`; none where the run's own process did all."""
    notices: list[RecordedNotice] = []
    metric_versions: dict[str, int] | None = None
    effective_settings: Any = None
    """What the adapter in fact worked with, defaults and file hashes included, where it says so."""
    hooks: dict[str, Any] | None = None
    """What the image key holds of a method that hooks the model, its settings among it."""
    environment: dict[str, Any] = {}
    plugin_files: list[RecordedFile] = []
    """Python files that the run imported: of --plugins, FAIRBENCH_PLUGINS and --model FILE.py:FUNCTION."""
    scores_without_evidence: list[str] | None = None
    """Scorers of several numbers per image, which evidence leaves out; None: the file does not say."""

    def json_text(self) -> str:
        """Return the text of run.json."""
        return text_of(self.model_dump(by_alias=True))


def text_of(content: Mapping[str, Any]) -> str:
    """Return plain data as the text of a run.json; what is no finite number is null, bytes are hex."""
    return json.dumps(plain(content), indent=2, default=_plain, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in {FILE}")


def read(path: Path) -> RunRecord:
    """Read a run.json. Raises FairbenchError that names the file, the first field that is wrong, and the fix."""
    content = jsonfile.read(path, unreadable="name the folder of a finished run", broken="do the run again")
    if not isinstance(content, dict) or "run_id" not in content:
        raise FairbenchError(f"{path}, field run_id: it is missing; name the folder of a finished run.")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as err:
        first = yamlfile.problems(yamlfile.YamlFile(path, content), err)[0]
        raise FairbenchError(f"{path}, field {first.field}: {first.message}; do the run again.") from err
