"""What the card of a model in an environment of its own declares, under `sampling:`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from fairbench.cards.cards import COMMIT, Card, HubModel
from fairbench.protocols import TRANSPORT, Params


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as err:
        raise ValueError(f"must be plain data (numbers, texts, lists): {err}") from err
    return value


class Repository(Card):
    """The model's official code: a commit of a git repository, or a folder that somebody has already.

    The commit stands in the key of the images; for a folder without one, the content of its files.
    """

    url: str | None = Field(None, pattern=r"^https://", json_schema_extra=TRANSPORT)
    path: str | None = Field(None, json_schema_extra=TRANSPORT, description="relative to the card")
    commit: str | None = Field(None, pattern=COMMIT)

    @model_validator(mode="after")
    def _one_source(self) -> Repository:
        if (self.url is None) == (self.path is None):
            raise ValueError("give either `url` (with `commit`) or `path` (a folder)")
        if self.url is not None and self.commit is None:
            raise ValueError("`url` needs `commit`, the commit that is checked out")
        return self


class WorkerWeights(HubModel):
    """Weights that the recipe gets as the path of a folder; of a local `path`, a folder or a file."""

    files: list[str] | None = Field(
        None, json_schema_extra=TRANSPORT, description="patterns of the files to download; null: all of them"
    )


class WorkerParams(Params):
    """The recipe, what it runs, and its settings. A recipe has no defaults of its own: all numbers stand here."""

    recipe: str = Field(json_schema_extra=TRANSPORT, description="name in models/workers, or a path from the card")
    repository: Repository | None = None
    weights: dict[str, WorkerWeights] = Field(default_factory=dict)
    settings: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(default_factory=dict)
    width: int = Field(ge=8, le=8192, description="pixels; an image of another size stops the run")
    height: int = Field(ge=8, le=8192)
    python_version: str | None = Field(None, pattern=r"^3\.(8|9|1[0-3])$", description="of the environment")
    rows_per_call: int = Field(
        1, ge=1, le=256, description="images per call; above 1 the recipe needs generate_batch, with a generator each"
    )
    python: str | None = Field(
        None, json_schema_extra=TRANSPORT, description="the interpreter; null: of the environment of `fairbench setup`"
    )
    device: str | None = Field(None, pattern=r"^(cpu|mps|cuda(:\d+)?)$", json_schema_extra=TRANSPORT)
    seconds_per_image: float = Field(600.0, gt=0, le=86_400, json_schema_extra=TRANSPORT)
    seconds_to_start: float = Field(1800.0, gt=0, le=86_400, json_schema_extra=TRANSPORT)
