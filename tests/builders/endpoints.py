"""Adapters and cards of served models that point at a local image server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fairbench import keys
from fairbench.adapters.endpoint.adapter import EndpointAdapter
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.cards.cards import ModelCard
from fairbench.display.progress import Silent
from fairbench.runs import images
from fairbench.storage.store import Store
from fairbench.types import BuildContext, ImageRequest
from tests.builders.image_server import MODEL, ImageServer

UNSEEDED = ("openai", "azure")
KEY = "sk-test/0123456789-abcdef+XYZ"


def sampling(dialect: str, **fields: Any) -> dict[str, Any]:
    """Return what a card for the local server declares."""
    send = {"person_generation": None} if dialect == "gemini" else {"size": "64x64"}
    usual = {"server": {"name": dialect}, "model": MODEL, "send": send, "seeded": dialect not in UNSEEDED}
    return {**usual, "seed_bits": 31, "attempts": 3, "timeout": 10, **fields}


def adapter(server: ImageServer, /, **fields: Any) -> EndpointAdapter:
    """Return an adapter for a local server."""
    return _adapter(server.dialect, **{"base_url": server.url, **fields})


def _adapter(dialect: str, **fields: Any) -> EndpointAdapter:
    params = EndpointParams(**sampling(dialect, **fields))
    return EndpointAdapter(ModelCard(name="served", title="Served", adapter="endpoint"), params, BuildContext())


def requests(count: int, text: str = "a portrait of a nurse") -> list[ImageRequest]:
    """Return requests of one prompt, as a run makes them."""
    prompt = keys.prompt_id(text)
    seeds = [keys.sample_seed(prompt, i, 0) for i in range(count)]
    return [
        ImageRequest(keys.image_id("k", prompt, prompt, s), prompt, prompt, text, i, s) for i, s in enumerate(seeds)
    ]


def card_file(folder: Path, server: ImageServer, /, **fields: Any) -> Path:
    """Write a model card for a local server and return its path. block_size: the card's own."""
    card = {
        "name": "served",
        "title": "Served",
        "adapter": "endpoint",
        "labeller": "phantom",
        "default_task": "phantom-occupations",
        "block_size": fields.pop("block_size", 4),
        "sampling": sampling(server.dialect, **{"base_url": server.url, **fields}),
    }
    path = folder / "served.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return path


def run_arguments(card: Path, folder: Path, *more: object) -> list[object]:
    """Return the arguments of a small run of a card, into a folder."""
    small = ("--limit-prompts", 2, "-n", 6, "--scorers", "none", "--no-sheets")
    return ["run", "--model", card, "--store", folder / "store", "--out", folder / "run", *small, *more]


def make_images(arguments: Sequence[str]) -> None:
    """Do the images stage of a run alone, in a process of its own: the store, the server's URL, images, concurrency."""
    folder, url, count, concurrency = arguments
    model = _adapter("vllm-omni", base_url=url, concurrency=int(concurrency))
    names = {"method": "none", "adapter": "endpoint", "block_size": 8, "fixed_block": False}
    images.generate(Store(Path(folder)), "k", requests(int(count)), model, progress=Silent(), **names)
