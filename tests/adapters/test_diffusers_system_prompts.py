"""A system prompt for each request: what a pipeline then draws, and that its own text stands again behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_prompting import takes_system_prompt
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.errors import CardError
from fairbench.types import BuildContext, ImageRequest
from tests.builders.diffusers_adapter import build as build_sd
from tests.builders.diffusion import save_tiny_sd
from tests.builders.folders import written_once
from tests.builders.tiny_pipelines import save

FAIR, OTHER = "Show anybody.", "Show nobody but animals, and in many more words than before."


@pytest.fixture(scope="module", params=["lumina2", "qwen-image-2.1"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Of the first the call takes the text; of the second it stands in a chat template, whose tokens are counted."""
    name = str(request.param)
    return name, written_once(tmp_path_factory, f"tiny-{name}", lambda folder: save(name, folder))


def build(pipeline: tuple[str, Path], ctx: BuildContext | None = None, **sampling: Any) -> DiffusersAdapter:
    name, folder = pipeline
    card = catalog.load_model(name).card
    settings = card.sampling | {"steps": 1, "width": 32, "height": 32} | sampling
    params = DiffusersAdapter.Params.model_validate(settings)
    return DiffusersAdapter(
        card.model_copy(update={"weights": HubModel(path=str(folder))}), params, ctx or BuildContext()
    )


def drawn(adapter: DiffusersAdapter, *system_prompts: str | None) -> list[np.ndarray]:
    requests = [ImageRequest(b"i", b"p", b"n", "a nurse", 0, 7, system_prompt=text) for text in system_prompts]
    results = adapter.generate(requests)
    assert [r.error for r in results] == [None] * len(requests)
    for text, result in zip(system_prompts, results, strict=True):
        assert text is None or text in result.notes["system-prompt"]
    return [r.pixels for r in results if r.pixels is not None]


def test_each_image_is_the_one_of_a_card_with_that_text(pipeline: tuple[str, Path]) -> None:
    adapter = build(pipeline)
    assert adapter.takes_system_prompts()
    own, fair, other, again, own_again = drawn(adapter, None, FAIR, OTHER, FAIR, None)
    (alone,), (as_card,) = drawn(build(pipeline), None), drawn(build(pipeline, system_prompt=FAIR), None)
    (other_card,) = drawn(build(pipeline, system_prompt=OTHER), None)
    assert np.array_equal(own, alone) and np.array_equal(own_again, alone)
    assert np.array_equal(fair, as_card) and np.array_equal(again, as_card) and np.array_equal(other, other_card)
    assert len({image.tobytes() for image in (own, fair, other)}) == 3
    # What a method wrote is each image's own, and no setting of the run.
    assert not any(FAIR in text for text in adapter.effective_settings()["system_prompt"])


def test_in_reduced_precision_rows_of_one_call_share_it(pipeline: tuple[str, Path]) -> None:
    ctx = BuildContext(dtype="bfloat16", block_size=2)
    mixed = drawn(build(pipeline, ctx), FAIR, FAIR, None)
    (fair, *_), (own, *_) = drawn(build(pipeline, ctx), FAIR, FAIR), drawn(build(pipeline, ctx), None, None)
    assert np.array_equal(mixed[0], fair) and np.array_equal(mixed[2], own) and not np.array_equal(fair, own)


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        *((f"{n}Pipeline", True) for n in ("QwenImage", "Sana", "Lumina2", "Flux2", "LongCatImage", "OvisImage")),
        *(
            (f"{n}Pipeline", False)
            for n in ("StableDiffusion", "StableDiffusionXL", "Flux", "StableDiffusion3", "ZImage")
        ),
        ("PipelineOfTomorrow", True),
    ],
)
def test_a_pipelines_class_tells_whether_it_has_one(name: str, takes: bool) -> None:
    assert takes_system_prompt(name) == takes


def test_a_pipeline_without_one_is_refused(tmp_path: Path) -> None:
    adapter = build_sd(save_tiny_sd(tmp_path / "sd"))
    assert not adapter.takes_system_prompts()
    with pytest.raises(CardError, match="StableDiffusionPipeline has no system prompt that can be set"):
        adapter.generate([ImageRequest(b"i", b"p", b"n", "a nurse", 0, 7, system_prompt=FAIR)])
