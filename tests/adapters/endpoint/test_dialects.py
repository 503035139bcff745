"""What is sent to each kind of server, and what a card may say of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fairbench.adapters.endpoint.params import EndpointParams
from tests.builders.endpoints import KEY, UNSEEDED, adapter, requests, sampling
from tests.builders.image_server import FIELDS, MODEL, png, serving

SERVICE = {"size": "64x64", "quality": "high", "background": "opaque", "moderation": "auto", "output_format": "png"}
ENGINE = {
    "size": "64x64",
    "negative_prompt": "",
    "num_inference_steps": 50,
    "guidance_scale": 4.0,
    "true_cfg_scale": 4.0,
    "generator_device": "cpu",
    "flow_shift": 3.0,
}
EVERY_FIELD: dict[str, dict[str, Any]] = {
    "vllm-omni": {
        **ENGINE,
        "extra_params": {"cfg_text_scale": 4.0, "cfg_interval": [0.4, 1]},
        "bot_task": "image",
        "system_prompt": "x",
        "use_system_prompt": "custom",
        "lora": {"name": "l"},
    },
    "sglang": {
        **ENGINE,
        "width": 64,
        "height": 64,
        "max_sequence_length": 512,
        "diffusers_kwargs": {"a": 1},
        "enhance_prompt": False,
    },
    "openai": SERVICE,
    "azure": SERVICE,
    "litellm": {**SERVICE, "response_format": "b64_json"},
    "gemini": {"aspect_ratio": "1:1", "image_size": "1K", "person_generation": "ALLOW_ADULT"},
}


@pytest.mark.parametrize("dialect", FIELDS)
def test_every_field_of_a_dialect_is_taken_by_a_server_that_refuses_all_others(
    dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    with serving(dialect, key=KEY) as server:
        results = adapter(server, send=EVERY_FIELD[dialect], key_variable="TEST_KEY").generate(requests(2))
        assert [r.status for r in results] == ["ok", "ok"]
        body = server.requests[0]
        if dialect == "gemini":
            people = {"aspectRatio": "1:1", "imageSize": "1K", "personGeneration": "ALLOW_ADULT"}
            assert body["generationConfig"]["imageConfig"] == people
        else:
            assert {name: body[name] for name in EVERY_FIELD[dialect]} == EVERY_FIELD[dialect]


@pytest.mark.parametrize("dialect", FIELDS)
def test_the_body_is_exactly_what_the_card_lists(dialect: str) -> None:
    with serving(dialect) as server:
        (request,) = requests(1)
        (result,) = adapter(server).generate([request])
        seed = request.seed % 2**31
        body = {"model": MODEL, "prompt": request.text, "n": 1, "size": "64x64"}
        expected = {
            "vllm-omni": {**body, "response_format": "b64_json", "seed": seed},
            "sglang": {**body, "response_format": "b64_json", "seed": seed},
            "openai": body,
            "azure": body,
            "litellm": {**body, "seed": seed},
            "gemini": {
                "contents": [{"role": "user", "parts": [{"text": request.text}]}],
                "generationConfig": {"responseModalities": ["IMAGE"], "seed": seed},
            },
        }[dialect]
        assert server.requests == [expected]
        # Byte for byte as it was sent, text chunk and all.
        assert result.encoded == png(request.text, 0 if dialect in UNSEEDED else seed)
        assert ("not-reproducible" in result.notes) == (dialect in UNSEEDED)


def test_seeds_of_a_prompt_differ_and_are_ours() -> None:
    with serving("vllm-omni") as server:
        adapter(server, seed_bits=63, concurrency=4).generate(requests(12))
        assert {b["seed"] for b in server.requests} == {r.seed for r in requests(12)}
        adapter(server, seed_bits=32).generate(requests(12))
        assert [b["seed"] for b in server.requests[12:]] == [r.seed % 2**32 for r in requests(12)]


def test_azure_is_told_its_api_version() -> None:
    with serving("azure") as server:
        adapter(server, server={"name": "azure", "version": "2026-08-01"}).generate(requests(1))
        assert ("POST", "/openai/v1/images/generations?api-version=2026-08-01") in server.seen


@pytest.mark.parametrize(
    ("dialect", "fields", "sentence"),
    [
        ("vllm-omni", {"send": {"num_inference_step": 3}}, "no field 'num_inference_step' .did you mean"),
        ("openai", {"send": {"negative_prompt": ""}}, "openai has no field 'negative_prompt'"),
        ("openai", {"send": {"response_format": "b64_json"}}, "'response_format' is set for each request"),
        ("sglang", {"send": {"seed": 1}}, "'seed' is set for each request"),
        ("sglang", {"extra": {"n": 4}}, "extra: 'n' is sent already"),
        ("openai", {"seeded": True}, "openai takes no seed"),
        ("gemini", {"seed_bits": 32}, "seeds of 31 bits at most"),
        ("gemini", {"send": {}}, "say what person_generation is"),
        ("vllm-omni", {"send": {"size": "1024"}}, "size must be WIDTHxHEIGHT"),
        ("vllm-omni", {"base_url": "ftp://host/v1"}, "must begin with http"),
        ("vllm-omni", {"base_url": "http://me:pw@host/v1"}, "no user name, password"),
        ("vllm-omni", {"base_url": "http://host:99999/v1"}, "this is no URL"),
        ("openai", {"key_variable": "sk-abc"}, "never a key"),
        ("openai", {"extra": {"headers": {"api_key": "x"}}}, "'api_key' looks like a key"),
        ("vllm-omni", {"extra": {"extra_params": {"x": float("nan")}}}, "send, extra"),
    ],
)
def test_a_card_that_the_server_would_misread_is_refused(dialect: str, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as caught:
        EndpointParams(**sampling(dialect, **fields))
    shown = [e["msg"] for e in caught.value.errors()]
    assert not any(secret in str(shown) for secret in ("pw@", "sk-abc"))
