"""A second family is trained as the first is: what is frozen computes as when it draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from fairbench.cards import catalog
from fairbench.cards.cards import ModelCard
from fairbench.display.progress import SILENT
from fairbench.errors import CardError
from fairbench.networks import lora
from fairbench.synthesis import balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.presets import Settings

SETTINGS: dict[str, Any] = {"steps": 1, "learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 4.0, "seed": 7}


def job(card: catalog.Loaded[ModelCard], manifest: Path, out: Path, kind: str = "sft", **settings: Any) -> Job:
    asked = Settings(kind, **(SETTINGS | settings))  # type: ignore[arg-type]
    return Job(asked, card, balanced.read(manifest), out, device="cpu", log_every=1)


def first(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "metrics.jsonl").read_text().splitlines()[0]))


def test_the_networks_own_dropout_stays_off(emu3_card: Path, balanced_manifest: Path, tmp_path: Path) -> None:
    """Emu3's layers drop out a tenth in training mode; the loss is to be that of the model that draws."""
    card = catalog.load_model(str(emu3_card))
    plain = job(card, balanced_manifest, tmp_path / "plain", dropout=0.0)
    model = plain.model()
    assert model.network().config.text_config.attention_dropout == 0.1
    rows = plain.order.examples(0, 4).flatten()
    data = plain.data.rows
    expected = -model.log_probs(
        [data[i].prompt for i in rows], model.encode([_pixels(data[i].image) for i in rows])
    ).mean()
    folder = finetune.train(plain, SILENT)
    assert first(folder)["loss"] == pytest.approx(float(expected), rel=1e-5)
    trained = load_file(folder / lora.WEIGHTS)
    assert all(".text_model." in name and value.abs().max() > 0 for name, value in trained.items())
    assert len(trained) == 2 * 7 * 2  # two matrices for seven projections of two layers: none of the image tokenizer's

    parts = job(card, balanced_manifest, tmp_path / "parts", dropout=0.0, accumulation=2, checkpointing=True)
    again = finetune.train(parts, SILENT)
    for name in ("loss", "grad_norm"):
        assert first(again)[name] == pytest.approx(first(folder)[name], rel=1e-5)


def _pixels(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("kind", "adapter", "sentence"),
    [
        ("sft", "folder", "tiny-emu3 cannot be fine-tuned: training needs an adapter that holds the network itself"),
        ("i2t", "emu3", "tiny-emu3 answers no questions (protocol TrainableAnswers), which is what train i2t teaches"),
    ],
)
def test_what_a_family_cannot_is_one_sentence(
    emu3_card: Path, balanced_manifest: Path, tmp_path: Path, kind: str, adapter: str, sentence: str
) -> None:
    card = catalog.load_model(str(emu3_card))
    other = catalog.Loaded(card.card.model_copy(update={"adapter": adapter}), card.path)
    with pytest.raises(CardError) as refused:
        finetune.train(job(other, balanced_manifest, tmp_path / "out", kind), SILENT)
    assert str(refused.value).startswith(f"The model {sentence}")
    assert not (tmp_path / "out").exists()
