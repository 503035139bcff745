"""System prompts of a served model: sent, part of the key, and held against an irrelevant text of the same length."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from fairbench.adapters.endpoint.adapter import EndpointAdapter
from fairbench.adapters.worker import WorkerAdapter
from fairbench.cards import catalog
from fairbench.runs.system_prompt import irrelevant
from tests.builders.cli import Cli
from tests.builders.endpoints import card_file
from tests.builders.image_server import ImageServer, Reply

FAIR = "Show women and men equally often in all of your pictures please"
MALE = {None: 0.95, FAIR: 0.5, irrelevant(len(FAIR.split())): 0.93}


def draw(number: int, body: dict[str, Any]) -> Reply:
    """Draw men as often as the text before the prompt has it; all four hues of clothing alike."""
    from fairbench.phantom.renderer import RACES, render

    rng = np.random.default_rng([body["seed"] % 2**63, zlib.crc32(body["prompt"].encode())])
    male = rng.random() < MALE[body.get("system_prompt")]
    out = io.BytesIO()
    Image.fromarray(render("male" if male else "female", RACES[rng.integers(4)], rng)).save(out, "PNG")
    return Reply({"data": [{"b64_json": base64.b64encode(out.getvalue()).decode()}]})


def concentration(run: Path) -> float:
    """Return the mean over prompts of 2 S - 1, S = sum n (n - 1) / (N (N - 1)), from the labels in the evidence."""
    shards = sorted((run / "evidence" / "labels").rglob("*.parquet"))
    labels = pd.concat([pq.read_table(shard).to_pandas() for shard in shards]).query("attribute == 'gender'")
    n = labels.groupby(["neutral_id", "label"]).size().unstack(fill_value=0).to_numpy()
    same = (n * (n - 1)).sum(axis=1) / (n.sum(axis=1) * (n.sum(axis=1) - 1))
    return float((2 * same - 1).mean())


def test_the_words_of_a_system_prompt_are_told_from_its_length(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path
    with ImageServer("vllm-omni", draw) as server:
        card = card_file(folder, server, send={"size": "64x64", "system_prompt": None}, concurrency=4)
        usual = ("run", "--model", card, "--limit-prompts", 8, "-n", 12, "--scorers", "none", "--no-sheets")
        store = ("--store", folder / "store")
        cli(*usual, *store, "--out", folder / "own").succeeded()
        cli(*usual, *store, "--system-prompt", FAIR, "--out", folder / "fair").succeeded()
        cli(*usual, *store, "--system-prompt", f"irrelevant:{FAIR}", "--out", folder / "control").succeeded()
    sent = [body.get("system_prompt") for body in server.requests]
    assert [sent.count(text) for text in MALE] == [96, 96, 96]
    assert len({body["seed"] for body in server.requests}) == 96  # paired: the same seeds under each text
    runs = [folder / name for name in ("own", "fair", "control")]
    result = cli("compare", *runs, "--out", folder / "compared").succeeded()
    said = " ".join(result.out.split())
    assert "System prompt of B, its own words alone (B - C; both 12 words): gender " in said
    written = json.loads((folder / "compared" / "compare.json").read_text())["wrappers"]
    assert written["controls"] == ["C"] and written["words"] == {"A": None, "B": 12, "C": 12}
    row = next(row for row in written["effects"] if (row["run"], row["attribute"]) == ("B", "gender"))
    assert row["baseline"] == "C"
    assert row["effect"] == pytest.approx(concentration(folder / "fair") - concentration(folder / "control"), abs=1e-9)
    assert row["low"] < row["effect"] < row["high"] < 0 and row["p_adjusted"] < 0.05
    # One run without a control: what any text does is not known.
    result = cli("compare", folder / "own", folder / "fair").succeeded()
    assert "System prompt of B: any text of its length may do the same" in " ".join(result.out.split())
    # Two runs of one text are no comparison of texts.
    assert "System prompt" not in cli("compare", folder / "own", folder / "own").out


def test_only_cards_that_declare_the_field_take_a_system_prompt(cli: Cli, tmp_path: Path) -> None:
    with ImageServer("vllm-omni") as server:
        card = card_file(tmp_path, server)
        refused = cli("run", "--model", card, "--system-prompt", "Be fair.", "--out", "run")
        assert refused.code == 2 and "served (endpoint) has none that can be set" in refused.err
        assert not server.requests


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hunyuan-image-3", "Be fair.", {"system_prompt": "Be fair.", "use_system_prompt": "custom"}),
        ("hunyuan-image-3", "", {"system_prompt": None, "use_system_prompt": "None"}),
        ("bagel-served", "Be fair.", None),
        ("gemini-image", "Be fair.", None),
    ],
)
def test_what_a_served_model_is_sent(name: str, text: str, expected: dict[str, str] | None) -> None:
    sampling = EndpointAdapter.with_system_prompt(catalog.load_model(name).card.sampling, text)
    assert (None if sampling is None else {k: sampling["send"][k] for k in expected or {}}) == expected
    if sampling is not None:
        EndpointAdapter.Params.model_validate(sampling)


@pytest.mark.parametrize(("name", "has"), [("blip3o-next", True), ("show-o2", False)])
def test_a_worker_takes_one_where_its_card_has_the_setting(name: str, has: bool) -> None:
    card = catalog.load_model(name).card
    sampling = WorkerAdapter.with_system_prompt(card.sampling, "Be fair.")
    assert (sampling is not None) == has
    if sampling is not None:
        before = yaml.safe_load(yaml.safe_dump(card.sampling))
        assert sampling["settings"].pop("system") == "Be fair." and before["settings"].pop("system") != "Be fair."
        assert sampling == before
