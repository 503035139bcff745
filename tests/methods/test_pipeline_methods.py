"""Methods that act inside a diffusers pipeline, on tiny checkpoints of the real classes, from command to pixels.

Random weights draw no faces: nothing here says what the methods do to anybody's images.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

import fairbench
from fairbench import keys, registry
from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.errors import FairbenchError
from fairbench.methods import fair_diffusion
from fairbench.methods.fair_diffusion import FairDiffusion
from fairbench.methods.fairimagen import SUBJECTS, FairImagen, stated_prompts
from fairbench.methods.pipeline import PipelineMethod
from fairbench.networks import prompt_embeddings
from fairbench.protocols import MethodContext
from fairbench.runs.prompts import expand
from fairbench.types import BuildContext, ImageRequest
from tests.builders.cli import Cli
from tests.builders.clip_pipelines import save_tiny_sd3, save_tiny_sdxl
from tests.builders.diffusion import save_tiny_sd
from tests.builders.flux import save_tiny_flux
from tests.builders.folders import written_once

SAVE = {"sd": save_tiny_sd, "sdxl": save_tiny_sdxl, "sd3": save_tiny_sd3, "flux": save_tiny_flux}
FITTING = [
    ("fair-diffusion", "sd"),
    ("fair-diffusion", "sdxl"),
    *(("fairimagen", name) for name in ("sd", "sdxl", "sd3")),
]
WARM = {"fair-diffusion": "warmup=0,", "fairimagen": ""}
"""Options without which a run of two steps would not be guided."""
PROMPTS = ("a nurse", "A photo of the face of a chef, a person", "the pilot")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: written_once(tmp_path_factory, f"tiny-{name}", save) for name, save in SAVE.items()}


@pytest.fixture(autouse=True)
def _few_prompts_of_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairbench.methods.fairimagen.SUBJECTS", SUBJECTS[:2])


def card(folder: Path, **sampling: Any) -> ModelCard:
    settings = {"steps": 2, "guidance": 4.0, "width": 32, "height": 32} | sampling
    weights = HubModel(path=str(folder))
    return ModelCard(name="tiny", title="Tiny", adapter="diffusers", weights=weights, sampling=settings)


def build(folder: Path, method: str | None, ctx: BuildContext | None = None, **sampling: Any) -> DiffusersAdapter:
    model = card(folder, **sampling)
    adapter = DiffusersAdapter(model, DiffusersAdapter.Params.model_validate(model.sampling), ctx or BuildContext())
    if method is not None:
        make(method).wrap(adapter, MethodContext(model, 0))
    return adapter


def make(target: str) -> PipelineMethod:
    name, _, argument = target.partition(":")
    made: PipelineMethod = registry.resolve("methods", name)(argument or None)
    return made


def requests(count: int = 3) -> list[ImageRequest]:
    return [ImageRequest(b"i", b"p", b"n", PROMPTS[i % 3], 0, keys.sample_seed(b"n", i, 0)) for i in range(count)]


def pixels(adapter: DiffusersAdapter, asked: list[ImageRequest]) -> list[np.ndarray]:
    results = adapter.generate(asked)
    assert [r.error for r in results] == [None] * len(asked)
    assert [r.notes for r in results] == [{}] * len(asked)
    return [r.pixels for r in results if r.pixels is not None]


def differ(first: list[np.ndarray], second: list[np.ndarray]) -> list[bool]:
    return [not np.array_equal(a, b) for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("method", ["fair-diffusion", "fairimagen"])
def test_a_run_from_the_command_line(cli: Cli, tmp_path: Path, folders: dict[str, Path], method: str) -> None:
    """Strength 0 draws the plain images bit for bit, under a key of its own; so has each argument."""
    tiny = card(folders["sd"])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.model_dump(mode="json", exclude_defaults=True)))
    options = ("--task", "occupations-mini", "--limit-prompts", 2, "-n", 1, "--labeller", "phantom", "--device", "cpu")
    images, ids, hooks = {}, set(), {}
    target = f"{method}:race=Asian:0.5,Black:0.25,WMELH:0.25,{WARM[method]}"
    for name, argument in {"plain": "none", "off": f"{target}strength=0", "on": f"{target}strength=1"}.items():
        out = tmp_path / name
        cli("run", "--model", tmp_path / "tiny.yaml", "--method", argument, *options, "--out", out).succeeded()
        run, hooks[name] = fairbench.load(out), json.loads((out / "run.json").read_text())["hooks"]
        rows = run.images().drop_duplicates("image_id").sort_values("text")
        images[name] = [np.asarray(run.picture(i)) for i in rows["image_id"]]
        ids |= set(rows["image_id"])
    assert len(ids) == 6
    assert differ(images["plain"], images["off"]) == [False, False]
    assert differ(images["plain"], images["on"]) == [True, True]
    assert hooks["plain"] is None and hooks["on"]["settings"]["strength"] == 1
    assert hooks["on"]["settings"]["target"] == {"Asian": 0.5, "Black": 0.25, "White": 0.25}


@pytest.mark.parametrize(("method", "name"), FITTING)
def test_an_image_is_the_same_in_any_batch_and_order(folders: dict[str, Path], method: str, name: str) -> None:
    asked, target = requests(2), f"{method}:{WARM[method]}gender"
    adapter = build(folders[name], target)
    together = pixels(adapter, asked)
    alone = [pixels(adapter, [request])[0] for request in reversed(asked)]
    assert differ(together, alone[::-1]) == [False, False]
    assert all(differ(together, pixels(build(folders[name], None), asked)))


@pytest.mark.parametrize(("method", "name"), FITTING[1:])
def test_strength_0_changes_no_bit_in_reduced_precision(folders: dict[str, Path], method: str, name: str) -> None:
    ctx = BuildContext(dtype="bfloat16", block_size=2)
    off = pixels(build(folders[name], f"{method}:{WARM[method]}strength=0", ctx), requests(2))
    assert differ(off, pixels(build(folders[name], None, ctx), requests(2))) == [False, False]


@pytest.mark.parametrize(("method", "name"), [("fair-diffusion", "sd"), ("fairimagen", "sd")])
def test_in_blocks_a_row_has_the_group_of_its_own_image(
    folders: dict[str, Path], method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In reduced precision; also in the last block, which is padded."""
    seen: list[np.ndarray] = []
    owner, function = (
        (fair_diffusion.semantic_guidance, "guided") if method == "fair-diffusion" else (prompt_embeddings, "moved")
    )
    monkeypatch.setattr(owner, function, lambda pipe, loaded, rows, last: seen.append(rows) or nullcontext())
    made, asked = make(f"{method}:{WARM[method]}"), requests(5)
    adapter = build(folders[name], None, BuildContext(dtype="bfloat16", block_size=2))
    made.wrap(adapter, MethodContext(card(folders[name]), 0))
    pixels(adapter, asked)
    drawn = [made.draw(request)[0] for request in [*asked, asked[-1]]]
    assert set(drawn) == {0, 1}
    if method == "fair-diffusion":
        assert [rows.shape for rows in seen] == [(2, 2)] * 3
        assert np.concatenate(seen, axis=1)[0].tolist() == [1.0 if group == 0 else -1.0 for group in drawn]
    else:
        model, draws = made.load(adapter._pipe, {}), [made.draw(request) for request in [*asked, asked[-1]]]
        np.testing.assert_allclose(np.concatenate(seen), [0.36 * model.noise(*draw) for draw in draws], rtol=1e-12)


def test_groups_follow_their_shares_and_not_the_images_noise() -> None:
    made = make("fair-diffusion:gender=female:0.7,male:0.3")
    draws = [made.draw(request) for request in requests(3000)]
    assert made.groups == ["female", "male"]
    counts = Counter(group for group, _ in draws)
    assert stats.binomtest(counts[0], 3000, 0.7).pvalue > 1e-3
    for group in (0, 1):
        assert stats.kstest([position for g, position in draws if g == group], "uniform").pvalue > 1e-3
    noise = [np.random.Generator(np.random.PCG64(request.seed)).random() for request in requests(3000)]
    assert stats.pearsonr(noise, [group for group, _ in draws]).pvalue > 1e-3
    assert [make("fairimagen").draw(r) for r in requests(9)] != [make("fair-diffusion").draw(r) for r in requests(9)]


def test_four_groups_are_guided_towards_one_and_away_from_three(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[np.ndarray] = []
    monkeypatch.setattr(
        fair_diffusion.semantic_guidance, "guided", lambda p, e, w, s: weights.append(w) or nullcontext()
    )
    made = FairDiffusion("race")
    made.acting(None, None, requests(8))  # type: ignore[arg-type]
    assert weights[0].shape == (4, 8)
    assert (weights[0].max(axis=0) == 1).all()
    np.testing.assert_allclose(weights[0].sum(axis=0), 0, atol=1e-12)
    assert weights[0].argmax(axis=0).tolist() == [made.draw(request)[0] for request in requests(8)]


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_after_the_projection_the_groups_means_coincide(folders: dict[str, Path], name: str) -> None:
    pipe, made = build(folders[name], None)._pipe, FairImagen("mix")
    model = made.load(pipe, {})
    means = np.stack([prompt_embeddings.pooled(pipe, stated_prompts(group)).mean(axis=0) for group in made.groups])
    assert np.ptp(means, axis=0).max() > 0.01
    np.testing.assert_allclose(np.ptp(means @ model.projection, axis=0), 0, atol=1e-5)


def test_prompts_of_the_fit_state_groups_and_no_occupation_that_is_judged() -> None:
    prompts = stated_prompts("female Asian")
    assert len(set(prompts)) == len(prompts) and all("female Asian" in prompt for prompt in prompts)
    assert "A photo of a young female Asian person" in prompts
    for name in ("occupations", "occupations-labour", "phantom-occupations", "phantom-mitigation-unseen"):
        judged = {prompt.subject for prompt in expand(catalog.load_task(name).card)}
        assert judged and not judged & set(SUBJECTS)


# --- what is refused ---


@pytest.mark.parametrize(
    ("target", "name", "sampling", "why"),
    [
        (
            "fair-diffusion",
            "sd3",
            {},
            "works with StableDiffusionPipeline, StableDiffusionXLPipeline of",
        ),
        ("fair-diffusion", "flux", {}, "but tiny is a FluxPipeline: use another model or another method"),
        ("fairimagen", "flux", {}, "but tiny is a FluxPipeline: use another model or another method"),
        ("fair-diffusion:warmup=1", "sd", {"guidance": 1.0}, "needs classifier-free guidance"),
        ("fair-diffusion", "sd", {}, "warmup=5 leaves none of the 2 steps of tiny: give a smaller warmup"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_one_sentence(
    cli: Cli, tmp_path: Path, folders: dict[str, Path], target: str, name: str, sampling: dict[str, Any], why: str
) -> None:
    tiny = card(folders[name], **sampling)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.model_dump(mode="json", exclude_defaults=True)))
    done = cli("run", "--model", tmp_path / "tiny.yaml", "--method", target, "--task", "occupations-mini", "--dry-run")
    assert done.code == 2 and why in " ".join(done.err.split()), done.err
    assert "Traceback" not in done.err
    # Where the files are not here yet, it is said once they are loaded.
    adapter, method = build(folders[name], None, **sampling), make(target)
    if name in {"flux", "sd3"}:
        method.check = lambda card, arguments: None  # type: ignore[method-assign]
        adapter._declared = lambda: (None, {})  # type: ignore[method-assign]
        method.wrap(adapter, MethodContext(tiny, 0))
        with pytest.raises(FairbenchError, match=f"--method {method.method} works with"):
            adapter.generate(requests(1))


@pytest.mark.parametrize("method", ["fair-diffusion", "fairimagen"])
@pytest.mark.parametrize("model", ["phantom", "gpt-image-2"])
def test_other_models_are_one_sentence(cli: Cli, method: str, model: str) -> None:
    done = cli("run", "--model", model, "--method", method, "--task", "occupations-mini", "--dry-run")
    assert done.code == 2 and f"--method {method} needs a diffusers pipeline" in " ".join(done.err.split()), done.err


def test_what_only_the_loaded_pipeline_shows_is_one_sentence(folders: dict[str, Path]) -> None:
    with pytest.raises(FairbenchError, match=r"dimension=40 is more than the \d+ directions"):
        build(folders["sd"], "fairimagen:dimension=40", steps=1).generate(requests(1))
    distilled = build(folders["sd"], "fair-diffusion:warmup=0")
    distilled._pipe.unet.register_to_config(time_cond_proj_dim=8)
    with pytest.raises(FairbenchError, match="this distilled UNet has inside"):
        distilled.generate(requests(1))
    narrow = build(folders["sdxl"], "fairimagen")
    narrow._pipe.text_encoder_2.config.projection_dim = 8
    with pytest.raises(FairbenchError, match="has states of width 16 and pooled embeddings of width 8"):
        narrow.generate(requests(1))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("fair-diffusion:age", "'age' is no attribute; write gender, race, mix or shares"),
        ("fair-diffusion:gender,strength=much", "strength=much: Input should be a valid number"),
        ("fair-diffusion:strength=1,strength=2", "strength stands twice"),
        ("fair-diffusion:threshold=1", "threshold=1: Input should be less than 1"),
        ("fair-diffusion:gender,warm=1", "is no attribute.*any of strength=4.0, threshold=0.95, warmup=5"),
        ("fairimagen:strength=1.5", "strength=1.5: Input should be less than or equal to 1"),
        ("fairimagen:dimension=0", "dimension=0: Input should be greater than or equal to 1"),
        ("fairimagen:gender=female:1", "there is one group; give two or more"),
        ("fairimagen:gender=female:0.5,male:0.4", "the shares of gender sum to 0.9"),
    ],
)
def test_bad_arguments_are_one_sentence(target: str, why: str) -> None:
    with pytest.raises(FairbenchError, match=why) as caught:
        make(target)
    assert str(caught.value).startswith(f"--method {target.partition(':')[0]}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fair-diffusion", "fairimagen"])
def test_what_the_help_offers_is_accepted(name: str) -> None:
    with pytest.raises(FairbenchError) as caught:
        make(f"{name}:age")
    offered = str(caught.value).rstrip(".").rpartition("any of ")[2].split(", ")
    assert {option.partition("=")[0] for option in offered} == {*type(make(name)).Options.model_fields}
    for option in offered:
        make(f"{name}:{option.replace('VALUE', '8')}")


def test_every_option_is_in_the_settings_that_the_key_holds() -> None:
    first, second = make("fair-diffusion:decay=0.1"), make("fair-diffusion:gender")
    assert first.settings() != second.settings()
    assert second.settings() == make("fair-diffusion").settings() == make("fair-diffusion:warmup=5").settings()
    assert {*FairDiffusion.Options.model_fields} < set(second.settings())
    assert make("fairimagen").settings()["fit"]["subjects"] == list(SUBJECTS[:2])
