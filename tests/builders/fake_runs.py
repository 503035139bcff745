"""Runs whose evidence is made up, so that their bias and the difference between them are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench import keys
from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.labelling import confusion, labeller
from fairbench.networks import identity
from fairbench.runs import evidence, prompts
from fairbench.storage import schemas
from fairbench.storage.store import Store
from fairbench.types import Prompt

Cells = NDArray[np.int64]
PROMPTS, IMAGES = 24, 60
FAIR = np.full(8, 1 / 8)
SIDED = np.array([0.05, 0.03, 0.02, 0.02, 0.52, 0.16, 0.1, 0.1])  # female x 4 races, male x 4 races


def draw_cells(shares: NDArray[np.float64], seed: int, prompts: int = PROMPTS, images: int = IMAGES) -> Cells:
    """Draw the cell (P, N) that each image of each prompt shows."""
    return np.random.default_rng(seed).choice(8, size=(prompts, images), p=shares)


@dataclass(frozen=True)
class FakeRun:
    """A made-up run. shown: the (P, N) cells of gender x race4; -1 is an image without a face."""

    shown: Cells
    model: str = "made"
    labeller: str = "phantom"
    detector: str = "one"
    task: str = "occupations-mini"
    first_subject: int = 0
    score: float | None = None
    backbone: str = "a clip"
    more: Mapping[str, Any] | None = None
    calibrated: bool = False
    states: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write run.json, prompts.parquet and the evidence."""
        loaded = catalog.load_labeller(self.labeller)
        texts = [f"A photo of a worker {i + self.first_subject}" for i in range(len(self.shown))]
        prompt_rows = [
            Prompt(keys.prompt_id(t), keys.prompt_id(t), self.task, 1, "face", t, t, stated=self.states) for t in texts
        ]
        parts = self._parts(loaded.card)
        images_key = keys.stage_key("images", {"model": self.model})
        faces_key = labeller.faces_key_of(parts, images_key)
        stage_keys = {
            "images": images_key,
            "faces": faces_key,
            "labels": labeller.labels_key_of(parts, faces_key),
            "scores": keys.stage_key("scores", {"of": [self.model, self.backbone]}),
        }
        store = Store(folder / evidence.FOLDER)
        tables = self._tables(prompt_rows, loaded.card, stage_keys)
        for stage, columns in tables.items():
            store.write(stage, stage_keys[stage], schemas.build(stage, columns))
        pa.parquet.write_table(prompts.table(prompt_rows), folder / "prompts.parquet", write_page_checksum=True)
        calibration = confusion.of_labeller(loaded)
        if self.calibrated and calibration is not None:
            calibration.write(folder / evidence.FOLDER / evidence.CALIBRATION)
        record = self._record(loaded.card, stage_keys)
        record["declared"] |= {
            "model": self.model,
            "image_key": stage_keys["images"],
            "labels_key": stage_keys["labels"],
            "method": {"name": record["method"], "version": 1},
            "crosses": loaded.card.crosses,
            "face_policy": identity.of_params(loaded.card.face_policy, None),
            "made": self.shown.tolist(),
            "task": {**record["task"], "prompts": keys.digest("prompts", texts).hex()},
            "scorers": {name: scorer["key"] for name, scorer in record["scorers"].items()},
            "calibration": None,
            "metrics": {},
            "metrics_stage": 2,
            "images": keys.digest("requests", sorted(tables["images"]["image_id"])).hex(),
        }
        record["run_id"] = keys.run_id(record["declared"])
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    def _parts(self, card: LabellerCard) -> dict[str, Any]:
        attributes = {name: identity.of_params(spec, None) for name, spec in card.attributes.items()}
        return {"detectors": [self.detector], "crops": [], "classifiers": [self.labeller], "attributes": attributes}

    def _record(self, card: LabellerCard, stage_keys: Mapping[str, str]) -> dict[str, Any]:
        parts = self._parts(card)
        backbone = self.backbone if self.score else None
        record = {
            "note": "",
            "fairbench": "0",
            "method": "none",
            "quota": False,
            "dtype": "float32",
            "labeller_parts": parts,
            "model": {"name": self.model, "adapter": "janus", "weights": {"path": "x"}, "sampling": {}, "lora": None},
            "declared": {"references": {}, "seed": 0},
            "keys": stage_keys,
            "labeller": card.model_dump(by_alias=True),
            "labeller_id": labeller.labeller_id_of(parts, card),
            "task": {"name": self.task, "version": 1},
            "no_calibration": None,
            "scorers": {"clip-score": {"key": stage_keys["scores"], "backbone": backbone}},
        }
        return {**record, **(self.more or {})}

    def _tables(
        self, prompt_rows: Sequence[Prompt], card: LabellerCard, stage_keys: Mapping[str, str]
    ) -> dict[str, Any]:
        images, faces, labels = (
            {n: [] for n in schemas.schema(stage).names} for stage in ("images", "faces", "labels")
        )
        genders, races = (card.attributes[a].labels for a in ("gender", "race4"))
        for prompt, row in zip(prompt_rows, self.shown.tolist(), strict=True):
            for i, cell in enumerate(row):
                seed = keys.sample_seed(prompt.neutral_id, i, 0)
                image = keys.image_id(stage_keys["images"], prompt.prompt_id, prompt.neutral_id, seed)
                add(
                    images,
                    image_id=image,
                    prompt_id=prompt.prompt_id,
                    neutral_id=prompt.neutral_id,
                    text=prompt.text,
                    sample_index=i,
                    seed=seed,
                    method="none",
                    status="ok",
                )
                face = keys.face_id(stage_keys["faces"], image, 0)
                box = {"face_id": face, "face_index": 0, "area_frac": 0.3, "is_primary": True, "is_central": True}
                add(faces, image_id=image, **({"status": "ok", **box} if cell >= 0 else {"status": "no_face"}))
                shown = [("gender", genders, cell // 4), ("race4", races, cell % 4)] if cell >= 0 else []
                for attribute, names, index in shown:
                    add(
                        labels,
                        face_id=face,
                        image_id=image,
                        neutral_id=prompt.neutral_id,
                        attribute=attribute,
                        status="ok",
                        label=names[index],
                        prob=1.0,
                        probs=np.eye(len(names))[index],
                    )
        tables: dict[str, Any] = {"images": images, "faces": faces, "labels": labels}
        if self.score is not None:
            noise = np.random.default_rng(len(self.model)).normal(self.score, 0.8, len(images["image_id"]))
            tables["scores"] = {
                "image_id": images["image_id"],
                "neutral_id": images["neutral_id"],
                "value": noise.tolist(),
                "scorer": ["clip-score"] * len(noise),
                "status": ["ok"] * len(noise),
                "features": [None] * len(noise),
                "error": [None] * len(noise),
            }
        return tables


def add(columns: dict[str, list[Any]], **values: Any) -> None:
    """Add a row to columns; None where no value is named."""
    for name, column in columns.items():
        column.append(values.get(name))


BIASED = FakeRun(draw_cells(SIDED, 1), "biased", score=28.0, calibrated=True)
BALANCED = FakeRun(draw_cells(FAIR, 2), "balanced", score=27.9, calibrated=True)
