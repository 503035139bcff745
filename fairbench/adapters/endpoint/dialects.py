"""The dialects of image servers: which fields a request has, where it goes, and where the image stands in the answer.

All but Gemini speak the form of OpenAI's `/v1/images/generations`, each with fields of its own; servers ignore unknown
ones without a word, so that a card may only name those of its dialect. Read from the sources of vllm-omni 0.30.0,
sglang 0.5.23, openai 3.57.0 and google-genai 3.6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from fairbench.adapters.endpoint.params import EndpointParams

ServerName = Literal["vllm-omni", "sglang", "openai", "azure", "litellm", "gemini"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """fields: what `send` may name. reserved: what the adapter sets. seed_bits: of the largest seed; None: takes none.

    asks_base64: `response_format: b64_json` is sent. declared: fields that a card must decide on. own_server: what it
    says of itself under /models is that of one model, and may contradict the card.
    """

    fields: frozenset[str]
    reserved: frozenset[str] = frozenset({"prompt", "model", "n", "seed", "response_format"})
    seed_bits: int | None = None
    asks_base64: bool = False
    key_header: str = "authorization"
    declared: tuple[str, ...] = ()
    own_server: bool = False


SYSTEM: Final = "system_prompt"
"""The field for what stands before the prompt."""
_DIFFUSION: Final = "size negative_prompt num_inference_steps guidance_scale true_cfg_scale generator_device flow_shift"
_OPENAI: Final = "size quality background moderation output_format"
_PERSONS: Final = {"aspect_ratio": "aspectRatio", "image_size": "imageSize", "person_generation": "personGeneration"}

DIALECTS: Final[Mapping[ServerName, Dialect]] = {
    "vllm-omni": Dialect(
        frozenset(f"{_DIFFUSION} extra_params bot_task system_prompt use_system_prompt lora".split()),
        seed_bits=63,
        asks_base64=True,
        own_server=True,
    ),
    "sglang": Dialect(
        frozenset(f"{_DIFFUSION} width height max_sequence_length diffusers_kwargs enhance_prompt".split()),
        seed_bits=63,
        asks_base64=True,
        own_server=True,
    ),
    "openai": Dialect(frozenset(_OPENAI.split())),
    "azure": Dialect(frozenset(_OPENAI.split()), key_header="api-key"),
    # A proxy hands on what the service behind it takes, so that only its card knows of base64 and seeds.
    "litellm": Dialect(
        frozenset(f"{_OPENAI} response_format".split()),
        reserved=frozenset({"prompt", "model", "n", "seed"}),
        seed_bits=63,
    ),
    "gemini": Dialect(
        frozenset(_PERSONS),
        reserved=frozenset({"contents", "generationConfig", "seed", "model"}),
        seed_bits=31,
        key_header="x-goog-api-key",
        declared=("person_generation",),
    ),
}


def under_system_prompt(send: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return what a card sends, under another system prompt. HunyuanImage takes one's own text as its kind "custom"."""
    kind = {"use_system_prompt": "custom" if text else "None"} if "use_system_prompt" in send else {}
    return {**send, SYSTEM: text or None, **kind}


def request(params: EndpointParams, prompt: str, seed: int) -> tuple[str, dict[str, Any]]:
    """Return the path below the base URL and the body of the request for one image.

    seed: ours, of 63 bits; the lowest `seed_bits` of it are sent, if the card says that the server draws from them.
    """
    sent = {name: value for name, value in params.send.items() if value is not None}
    seeds = {"seed": seed & ((1 << params.seed_bits) - 1)} if params.seeded else {}
    if params.server.name == "gemini":
        image = {_PERSONS[name]: value for name, value in sent.items()}
        config = {"responseModalities": ["IMAGE"], **({"imageConfig": image} if image else {}), **seeds}
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        path = f"models/{quote(params.model, safe='')}:generateContent"
        return path, {"contents": contents, "generationConfig": config, **params.extra}
    base64 = {"response_format": "b64_json"} if DIALECTS[params.server.name].asks_base64 else {}
    body = {"model": params.model, "prompt": prompt, "n": 1, **base64, **sent, **params.extra, **seeds}
    return "images/generations", body


def query(params: EndpointParams) -> dict[str, str]:
    """Return what stands behind the question mark of every URL."""
    version = params.server.version
    return {"api-version": version} if params.server.name == "azure" and version else {}


def models_path(params: EndpointParams) -> str:
    """Return the path under which the server says what it serves."""
    return f"models/{quote(params.model, safe='')}" if params.server.name == "gemini" else "models"
