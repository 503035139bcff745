"""The shipped cards of served models, held against the dialects and the settings that their authors name."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from fairbench.adapters.endpoint import dialects
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.cards import catalog
from fairbench.runs import spec
from tests.builders.cli import Cli
from tests.builders.endpoints import sampling
from tests.builders.image_server import ImageServer

BAGEL = {
    "cfg_text_scale": 4.0,
    "cfg_img_scale": 1.0,
    "cfg_interval": [0.4, 1.0],
    "timestep_shift": 3.0,
    "cfg_renorm_type": "global",
    "cfg_renorm_min": 0.0,
    "think": False,
}
AUTHORS: dict[str, dict[str, Any]] = {
    "bagel-served": {"size": "1024x1024", "num_inference_steps": 50, "extra_params": BAGEL},
    "omnigen2": {"size": "1024x1024", "num_inference_steps": 50, "guidance_scale": 5.0, "negative_prompt": ""},
    "hunyuan-image-3": {"num_inference_steps": 50, "guidance_scale": 2.5, "bot_task": "image"},
    "sensenova-u1": {"size": "2048x2048", "num_inference_steps": 50},
    "nextstep-1.1": {"size": "512x512", "guidance_scale": 7.5},
    "glm-image-served": {"size": "1024x1024", "num_inference_steps": 50, "guidance_scale": 1.5},
    "gpt-image-2": {"model": "gpt-image-2-2026-04-21", "moderation": "auto"},
    "gemini-image": {},
}
UNSEEDED = {"gpt-image-2", "gemini-image"}


def params_of(name: str) -> EndpointParams:
    return EndpointParams(**catalog.load_model(name).card.sampling)


@pytest.mark.parametrize("name", AUTHORS)
def test_a_cards_request_is_one_that_its_server_takes_and_its_authors_name(name: str) -> None:
    params = params_of(name)
    server = ImageServer(params.server.name)
    server.model = params.model
    server.close()
    seed = 2**63 - 1  # the largest of ours
    _, body = dialects.request(params, "a nurse", seed)
    assert server.problem(body) is None
    assert {field: body[field] for field in AUTHORS[name]} == AUTHORS[name]
    assert ("seed" in body) == (name not in UNSEEDED) == params.seeded
    assert not {"use_system_prompt", "system_prompt"} & body.keys()  # what a server puts before a prompt
    if params.server.name == "sglang":
        assert body["response_format"] == "b64_json" and body["enhance_prompt"] is False


def test_every_card_of_this_adapter_is_held_against_its_authors() -> None:
    cards = {name for name in catalog.find("models") if catalog.load_model(name).card.adapter == "endpoint"}
    assert cards == AUTHORS.keys()
    own = {name for name in cards if params_of(name).base_url is None}
    assert own == cards - UNSEEDED and all(params_of(name).url_variable for name in cards)
    assert len({params_of(name).url_variable for name in cards}) == len(cards)


@pytest.mark.parametrize("name", AUTHORS)
def test_a_dry_run_says_what_is_missing(name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    params = params_of(name)
    for variable in filter(None, (params.url_variable, params.key_variable)):
        monkeypatch.delenv(variable, raising=False)
    shown = cli("run", "--model", name, "--dry-run", "-n", 2, "--limit-prompts", 2, "--labeller", "phantom").succeeded()
    absent = f"address: Where is {name}'s server?" if params.base_url is None else "key: Set the environment variable"
    assert f"missing: {absent}" in shown.out and "cost: unknown (name it with --price)" in shown.out


def image_key(**fields: Any) -> str:
    card = {"name": "s", "title": "S", "adapter": "endpoint", "sampling": {**sampling("vllm-omni"), **fields}}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        path.write_text(yaml.safe_dump({**card, "labeller": "phantom"}))
        return spec.make(spec.RunSettings(model=str(path), images_per_prompt=1, limit_prompts=1)).image_key


def test_the_image_key_covers_what_can_change_an_image_and_nothing_else() -> None:
    same = {
        "base_url": "http://elsewhere:1/v1",
        "url_variable": "URL",
        "key_variable": "KEY",
        "key_header": "api-key",
        "concurrency": 9,
        "requests_per_minute": 5,
        "timeout": 5,
        "attempts": 9,
        "price_per_image": 1,
        "expected_seconds": 5,
        "image_hosts": ["a.example"],
        "refusal_texts": ["blocked"],
    }
    changed: dict[str, Any] = {
        "server": {"name": "vllm-omni", "version": "0.30.0"},
        "model": "org/model-2",
        "revision": "a" * 40,
        "send": {"size": "128x64"},
        "extra": {"x": 1},
        "seeded": False,
        "seed_bits": 32,
        "text_answer": "refused",
    }
    assert same.keys() | changed.keys() == EndpointParams.model_fields.keys()
    assert {image_key(**{name: value}) for name, value in same.items()} == {image_key()}
    keys = [image_key()] + [image_key(**{name: value}) for name, value in changed.items()]
    assert len(set(keys)) == len(keys)
