"""Pydantic models of the cards. Unknown fields are refused, everywhere."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from fairbench.cards import texts
from fairbench.strict import StrictModel

NAME = r"^[a-z0-9][a-z0-9._-]*$"
SHA256 = r"^[0-9a-f]{64}$"
COMMIT = r"^[0-9a-f]{40}$"
RESERVED = ("faces", "quality")
"""The metrics table's `attribute` of rates of faces and of scores: no labeller may use these names."""
Name = Annotated[str, Field(pattern=NAME, max_length=80)]
MAX_PROMPT = 10_000
"""Characters of a prompt's template; text encoders read a few hundred."""
Text = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(texts.plain)]
"""What people read or a model draws; characters that cannot be seen are refused."""
Label = Annotated[str, Field(max_length=200), AfterValidator(texts.plain_name)]
"""The name of a class, as it stands in tables."""


RESERVED_LABELS = ("no person", "no face")
"""Row and column of every calibration."""
CROSS = "_x_"
"""Between the attributes of a cross, as in gender_x_race4; in no attribute's name."""
MAX_CELLS = 100_000
"""Combinations of labels, "not labelled" included, that one prompt's faces are counted in."""


class Card(StrictModel):
    """Base of all cards."""


class HubModel(Card):
    """A model folder: on the Hugging Face hub (`repo`, pinned by `revision`), or on disk (`path`)."""

    repo: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = Field(None, pattern=COMMIT, description="the commit; null: unpinned, and marked so")
    path: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> HubModel:
        if (self.repo is None) == (self.path is None):
            raise ValueError("give either `repo` (a hub id) or `path` (a folder)")
        return self


class FileWeights(Card):
    """One file of weights. Looked for at `path` (relative to the card), then by its name in FAIRBENCH_WEIGHTS_DIR and
    in the cache, then fetched from `url` or from `file` in the hub repository `repo`; its sha256 is always checked.
    """

    path: str | None = None
    url: str | None = Field(None, pattern=r"^https://")
    repo: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = Field(None, pattern=COMMIT)
    file: str | None = None
    sha256: str | None = Field(None, pattern=SHA256)

    @model_validator(mode="after")
    def _complete(self) -> FileWeights:
        if not (self.path or self.url or self.file):
            raise ValueError("give `path`, `url`, or `file` (with `repo` for the hub)")
        if self.repo and not self.file:
            raise ValueError("`repo` needs `file`, the file's name in that repository")
        if (self.url or self.repo) and not self.sha256:
            raise ValueError("weights that are downloaded need their `sha256`")
        return self

    @property
    def filename(self) -> str:
        """The file's own name."""
        return (self.path or self.file or self.url or "").rsplit("/", 1)[-1]


class PluginRef(BaseModel):
    """`type` names a plug-in; the other fields are its parameters and are checked by that plug-in's own `Params`."""

    model_config = {"extra": "allow", "frozen": True}
    type: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as written in the card."""
        return dict(self.model_extra or {})


class DtypeChoice(Card):
    """Which torch dtype to use on which device."""

    cpu: Literal["float32", "bfloat16"] = "float32"
    cuda: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    mps: Literal["float32", "bfloat16", "float16"] = "float32"


class TruthTable(Card):
    """What a model is known to draw: P(attributes | subject), for models made so that it is known. Changes no image.

    The CSV has a column `subject` and one column per joint cell, named by the labels joined with "_" in the order of
    `attributes`, as in female_Black; each row sums to 1. A row stands for its subject and for subjects that hold it as
    whole words (the longest such row); the row `*` stands for all others. Further columns are ignored.
    """

    name: Name
    file: str = Field(description="relative to the card, or package:PACKAGE/PATH for a file inside a Python package")
    attributes: Annotated[list[Name], Field(min_length=1)]


Verified = Literal["real weights", "tiny checkpoint", "local server", "signatures", "nothing"]
"""How a card was tried. tiny checkpoint: the same classes with random weights. local server: a stand-in that speaks the
service's dialect. signatures: calls held against the signatures of the official code."""


WAYS_IN: Final = ("endpoint", "worker", "diffusers", "folder")
"""Adapters that stand for many models each; every other one runs its model in this process: `native`."""


class ModelCard(Card):
    """`models/<name>.yaml`: everything that is needed to make images with one model."""

    name: Name
    title: Text
    adapter: str
    weights: HubModel | None = None
    sampling: dict[str, Any] = Field(default_factory=dict, description="checked by the adapter's own Params")
    dtype: DtypeChoice = DtypeChoice()
    block_size: int = Field(8, ge=1, le=4096, description="images per block; part of the key in reduced precision")
    images_per_prompt: int = Field(160, ge=1, le=20_000)
    labeller: str = "fairface"
    licence: Text = "unknown"
    source: Text | None = None
    memory_gb: float | None = Field(None, gt=0, le=100_000, description="device memory for one block, in GiB")
    disk_gb: float | None = Field(None, gt=0, le=100_000, description="size of the download, in GiB")
    parameters: Text | None = Field(
        None, max_length=24, description='as in "8B"; "7B of 14B": active of all; "6B + 4B": of two networks'
    )
    verified: Verified | None = Field(
        None, description="the strongest check that this card passed; null: the model was made here, and always runs"
    )
    unverified: Text | None = Field(None, description="what nobody ran or could look up")
    trust_remote_code: bool = False
    lora_targets: str | None = Field(None, description="regular expression over module names")
    lora: str | None = Field(None, description="folder of a LoRA adapter to generate with; --method lora:PATH sets it")
    text_model: HubModel | None = Field(
        None, description="a causal language model for methods that ask one; null: the model itself, if it answers"
    )
    default_task: str | None = None
    scorers: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="scorer: its parameters; what a run scores unless --scorers says otherwise"
    )
    truth: list[TruthTable] = Field(default_factory=list, description="printed beside what is measured; in no key")
    notes: Text | None = None

    @property
    def way_in(self) -> str:
        """How images are made: one of WAYS_IN, or `native`."""
        return self.adapter if self.adapter in WAYS_IN else "native"

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        try:
            re.compile(self.lora_targets or "")
        except re.error as err:
            raise ValueError(f"lora_targets is not a regular expression: {err}") from err
        names = [t.name for t in self.truth]
        if len(set(names)) != len(names):
            raise ValueError("truth: two tables have the same name; rename one")
        return self


class Template(Card):
    """One prompt template; `{subject}` is replaced, and nothing else is touched."""

    id: Name
    text: Text
    states: dict[str, Label] = Field(default_factory=dict, description="attribute: the label that the text names")
    category: str = Field("", max_length=1000, description="of its prompts, where the subjects have none")
    subjects: str | None = Field(None, description="CSV of its own subjects, instead of the task's")

    @model_validator(mode="after")
    def _has_subject(self) -> Template:
        if self.text.count("{subject}") != 1:
            raise ValueError("text must hold {subject} exactly once")
        return self


class TaskCard(Card):
    """`tasks/<name>/task.yaml`: a prompt suite. `extends: other` takes every field that is not given from that task."""

    name: Name
    version: int = Field(ge=1, le=1_000_000)
    title: Text
    templates: Annotated[list[Template], Field(min_length=1, max_length=1000)]
    subjects: str = Field(
        description="CSV with a column `subject`, and optionally `category`, `concept` (the subject in every "
        "language), `form` (grammatical) and `states.ATTRIBUTE`"
    )
    whole_prompts: bool = Field(False, description="whether `subjects` has whole prompts in a column `prompt`")
    language: str = "en"
    faces: Literal["largest", "all", "central"] | None = Field(
        None, description="which faces of an image count; null: those of the labeller's card"
    )
    source: Text
    licence: Text
    scored_as: Text | None = Field(
        None, description="what scorers compare images with instead of the prompt; {concept} stands for the prompt's"
    )
    content_note: Text | None = Field(None, description="what people meet in it; pages then leave the pictures out")
    reviewed_by: Text | None = Field(
        None, description="who speaks the language and checked the prompts; `nobody`: runs say that nobody did"
    )
    references: dict[str, str] = Field(default_factory=dict, description="attribute: CSV of subject and label columns")
    references_source: Text | None = Field(
        None, description="who measured the references' shares, of whom, and where they were published"
    )
    margins: dict[str, float] = Field(default_factory=dict, description="equivalence margins, for comparisons")
    notes: Text | None = None

    @model_validator(mode="after")
    def _unique(self) -> TaskCard:
        ids = [t.id for t in self.templates]
        if len(set(ids)) != len(ids):
            raise ValueError("two templates have the same id")
        if self.references and self.references_source is None:
            raise ValueError(
                "references: no source; say in `references_source` who measured these shares, of whom, and where they "
                "were published"
            )
        return self


class AttributeSpec(Card):
    """An attribute's declared labels, in the classifier's order; or a coarser attribute made by mapping another's."""

    labels: Annotated[list[Label], Field(min_length=2)]
    source: str | None = Field(None, alias="from")
    map: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> AttributeSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice")
        reserved = next((label for label in self.labels if label in RESERVED_LABELS), None)
        if reserved is not None:
            raise ValueError(f"label {reserved!r}: a calibration says so of images that show nobody; rename it")
        if (self.source is None) != (not self.map):
            raise ValueError("`from` and `map` belong together")
        unknown = sorted(set(self.map.values()) - set(self.labels))
        if unknown:
            raise ValueError(f"map leads to {unknown[0]!r}, which is not among the labels")
        unreached = sorted(set(self.labels) - set(self.map.values())) if self.map else []
        if unreached:
            raise ValueError(f"map leads nothing to {unreached[0]!r}, which would count as a group that never occurs")
        return self


class Route(Card):
    """A detector and the crop that belongs to it. The first route of a labeller that finds a face is used."""

    detector: PluginRef
    crop: PluginRef


class FacePolicy(Card):
    """Which faces count. Excluded faces are counted as excluded, never dropped in silence."""

    select: Literal["largest", "all", "central"] = "largest"
    min_area: float = Field(0.0, ge=0.0, lt=1.0, description="smallest share of the image's area")
    min_prob: float = Field(0.0, ge=0.0, lt=1.0, description="smallest probability of a label")

    def one_per_image(self) -> FacePolicy:
        """Return the policy for images that show one person each: where all faces count, the largest does."""
        return self.model_copy(update={"select": "largest"}) if self.select == "all" else self


class LabellerCard(Card):
    """`models/labellers/<name>.yaml`: face detector + crop + classifiers + label schema + face policy."""

    name: Name
    title: Text
    routes: Annotated[list[Route], Field(min_length=1)]
    classifiers: Annotated[list[PluginRef], Field(min_length=1)]
    attributes: Annotated[dict[Name, AttributeSpec], Field(min_length=1)]
    crosses: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    face_policy: FacePolicy = FacePolicy()
    calibration: str | None = Field(None, description="a calibration file, relative to the card; in no key")
    licence: Text = "unknown"
    source: str | None = None
    notes: Text | None = None

    @model_validator(mode="after")
    def _references(self) -> LabellerCard:
        for name, spec in self.attributes.items():
            base = self.attributes.get(spec.source or name)
            if base is None or (spec.source and base.source):
                raise ValueError(f"attribute {name}: `from` must name an attribute that a classifier gives")
            if spec.source and set(spec.map) != set(base.labels):
                raise ValueError(f"attribute {name}: map must have exactly the labels of {spec.source}")
            if name in RESERVED:
                raise ValueError(f"attribute {name}: this name stands for something else in the metrics table")
            if CROSS in name:
                raise ValueError(f"attribute {name}: {CROSS!r} joins the attributes of a cross; rename it")
        cells = math.prod(len(spec.labels) + 1 for spec in self.attributes.values() if spec.source is None)
        if cells > MAX_CELLS:
            raise ValueError(f"attributes: their labels have {cells} combinations, at most {MAX_CELLS} are counted")
        for i, cross in enumerate(self.crosses):
            if any(set(cross) == set(other) for other in self.crosses[:i]):
                raise ValueError(f"crosses: {' x '.join(cross)} stands twice, in whichever order; remove one")
            unknown = next((name for name in cross if name not in self.attributes), None)
            if unknown is not None:
                raise ValueError(f"crosses: {unknown!r} is not an attribute of this card")
            sources = [self.attributes[name].source or name for name in cross]
            if len(set(sources)) != len(sources):
                raise ValueError(f"crosses: two of {cross} come from one attribute; cross different ones")
        return self
