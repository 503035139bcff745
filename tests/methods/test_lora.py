"""The method lora: an adapter changes the images and their key, and what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fairbench.cards import catalog
from fairbench.errors import CardError, FairbenchError, WeightsError
from fairbench.methods.lora import LoraMethod
from fairbench.networks import janus, logprobs, lora
from fairbench.networks.janus_logprobs import TokenLogProbs, token_inputs
from fairbench.runs import spec
from fairbench.synthesis.balanced import Balanced, read
from fairbench.training import output
from fairbench.training.job import Job
from fairbench.training.presets import Settings
from tests.builders.balanced import save_balanced, save_model

PROMPT = "A photo of the face of a nurse, a person"


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Balanced:
    return read(save_balanced(tmp_path_factory.mktemp("set"), per_group=1))


@pytest.fixture
def adapter(tiny_card: Path, balanced: Balanced, tmp_path: Path) -> Path:
    """A folder as a training leaves it, of an adapter that changes much."""
    found = catalog.load_model(str(tiny_card))
    net = janus.load(tiny_card.parent / "janus", "cpu", "float32").net
    assert found.card.lora_targets is not None
    model = lora.new(net, found.card.lora_targets, rank=4, alpha=4.0, dropout=0.1, seed=0)
    for index, value in enumerate(lora.tensors_of(model).values()):
        value.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(index))
    job = Job(Settings("sft", steps=1), found, balanced, tmp_path / "tuned")
    files = output.files(job, job.model(), model, lora.tensors_of(model))
    output.write(job, files, output.identity(job, 1), "cpu", 1)
    return job.out


def planned(card: Path, method: str) -> spec.RunSpec:
    settings = spec.RunSettings(str(card), "occupations", method, images_per_prompt=1, limit_prompts=1, device="cpu")
    return spec.make(settings)


def test_an_adapter_changes_the_image_and_its_key(tiny_card: Path, adapter: Path, tmp_path: Path) -> None:
    plain, tuned = planned(tiny_card, "none"), planned(tiny_card, f"lora:{adapter}")
    assert plain.image_key != tuned.image_key
    assert plain.requests[0].seed == tuned.requests[0].seed
    images = [p.adapter.generate(p.requests)[0].pixels for p in (plain, tuned)]
    assert (images[0] != images[1]).any()
    moved = shutil.copytree(adapter, tmp_path / "elsewhere" / "tuned")
    assert planned(tiny_card, f"lora:{moved}").run_id == tuned.run_id
    assert tuned.method.startswith("lora:tuned@")


def test_prompts_that_training_saw_are_told(tiny_card: Path, adapter: Path) -> None:
    record = json.loads((adapter / "provenance.json").read_text())
    asked = planned(tiny_card, "none").prompts
    assert not [n for n in planned(tiny_card, f"lora:{adapter}").notices if "trained on" in n.text]
    record["data"]["prompts"].append(asked[0].text)
    (adapter / "provenance.json").write_text(json.dumps(record))
    (told,) = [n.text for n in planned(tiny_card, f"lora:{adapter}").notices if "trained on" in n.text]
    assert told.startswith("1 of the 1 prompts are among those that the adapter was trained on")


def _log_probs(model: janus.JanusModel, tokens: np.ndarray) -> np.ndarray:
    return logprobs.log_probs(TokenLogProbs(model.net), partial(token_inputs, model), [PROMPT] * len(tokens), tokens)


def test_a_merged_adapter_gives_what_one_beside_the_weights_gives(tiny_card: Path, adapter: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 128, (2, 16))
    found = []
    for merge in (True, False):
        model = janus.load(tiny_card.parent / "janus", "cpu", "float32")
        plain = _log_probs(model, tokens)
        model.net = lora.worn(model.net, adapter, merge=merge)
        found.append(_log_probs(model, tokens))
        assert np.abs(found[-1] - plain).max() > 0.1
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_a_published_adapter_is_used_by_its_card(tiny_card: Path, adapter: Path, tmp_path: Path) -> None:
    published = tmp_path / "debiased.yaml"
    fields = {"method": "lora", "base": "tiny", "weights": {"path": "tuned"}, "licence": "MIT"}
    published.write_text(yaml.safe_dump(fields))
    assert planned(tiny_card, f"lora:{published}").image_key == planned(tiny_card, f"lora:{adapter}").image_key
    published.write_text(yaml.safe_dump(fields | {"base": "janus-pro-1b"}))
    with pytest.raises(CardError, match="for the model janus-pro-1b, not for tiny"):
        planned(tiny_card, f"lora:{published}")


def test_an_adapter_of_other_weights_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    with pytest.raises(CardError, match="was trained on other weights, those of tiny"):
        planned(other, f"lora:{adapter}")


def test_an_adapter_without_provenance_is_used_with_a_warning(
    tiny_card: Path, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (adapter / "provenance.json").unlink()
    planned(tiny_card, f"lora:{adapter}")
    assert "whether it was made for this model is not known" in caplog.text


def test_what_is_no_adapter_is_refused(tiny_card: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(FairbenchError, match="lora:PATH"):
        LoraMethod(None)
    with pytest.raises(CardError, match=r"it has no adapter_config\.json"):
        planned(tiny_card, f"lora:{tmp_path}")
    with pytest.raises(CardError, match="would do nothing"):
        spec.make(spec.RunSettings("phantom-exact", method=f"lora:{adapter}", device="cpu"))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(CardError, match=r"it has no adapter_model\.safetensors"):
        planned(tiny_card, f"lora:{adapter}")


def test_an_adapter_that_does_not_fit_is_refused_when_it_is_loaded(tiny_card: Path, adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    name = min(tensors)
    save_file({k: v for k, v in tensors.items() if k != name}, path)
    tuned = planned(tiny_card, f"lora:{adapter}")
    with pytest.raises(WeightsError, match=f"does not fit this model \\({name} is missing"):
        tuned.adapter.generate(tuned.requests)
    path.write_bytes(b"pickled")
    with pytest.raises(WeightsError, match="cannot be loaded as a LoRA adapter"):
        lora.load(janus.load(tiny_card.parent / "janus", "cpu", "float32").net, adapter)


def test_provenance_that_cannot_be_read_is_refused(tiny_card: Path, adapter: Path) -> None:
    (adapter / "provenance.json").write_text(json.dumps({"base": 3}))
    with pytest.raises(CardError, match=r"provenance\.json cannot be read"):
        planned(tiny_card, f"lora:{adapter}")
