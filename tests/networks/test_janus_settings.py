"""What the Janus adapter says of its settings, and what it refuses before it reads a folder's files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fairbench.adapters.janus import JanusAdapter
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.display.progress import SILENT
from fairbench.errors import WeightsError
from fairbench.networks import textmodel, weights
from fairbench.protocols import EffectiveSettings
from fairbench.runs import spec
from fairbench.synthesis import balanced as synthesis_balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.presets import Settings
from fairbench.types import BuildContext, ImageRequest
from tests.builders.balanced import save_balanced
from tests.builders.janus import janus_adapter


class TestEffectiveSettings:
    def test_defaults_and_hashes_are_told_without_loading(self, tiny_janus: Path) -> None:
        bare = janus_adapter(tiny_janus)
        assert isinstance(bare, EffectiveSettings)
        told = json.loads(json.dumps(bare.effective_settings()))
        assert bare._loaded is None
        assert told["weights"] == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(tiny_janus.iterdir())
        }
        del told["weights"]
        assert told == {
            "guidance": 5.0,
            "temperature": 1.0,
            "prompt_format": None,
            "tokens_per_image": 16,
            "image_size": 16,
            "dtype": "float32",
            "attention": None,
            "compile": False,
            "rows_per_call": None,
            "lora": None,
        }

    def test_after_generation_the_chat_template_is_told(self, tiny_janus: Path) -> None:
        ids = b"\0" * 16
        made = janus_adapter(tiny_janus, {"guidance": 1, "temperature": 0.5}, dtype="bfloat16", block_size=2)
        made.generate([ImageRequest(ids, ids, ids, "A nurse", 0, 1)])
        told = made.effective_settings()
        assert told["prompt_format"] == "<|User|>: {text}\n\n<|Assistant|>:"
        assert (told["guidance"], told["temperature"]) == (1.0, 0.5)
        assert (told["dtype"], told["rows_per_call"], told["tokens_per_image"]) == ("bfloat16", 2, 16)
        assert told["attention"] == "sdpa"

    def test_a_form_of_the_card_is_told_as_it_stands_there(self, tiny_janus: Path) -> None:
        form = "User: {text}\n\nAssistant:"
        assert janus_adapter(tiny_janus, {"prompt_format": form}).effective_settings()["prompt_format"] == form

    def test_a_model_that_is_not_here_says_what_it_can(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        card = ModelCard(name="m", title="M", adapter="janus", weights=HubModel(repo="me/none", revision="0" * 40))
        told = JanusAdapter(card, JanusAdapter.Params(), BuildContext()).effective_settings()
        assert told["tokens_per_image"] is None
        assert told["weights"] == {"repo": "me/none", "revision": "0" * 40}


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> synthesis_balanced.Balanced:
    return synthesis_balanced.read(save_balanced(tmp_path_factory.mktemp("set"), per_group=1))


@pytest.fixture
def no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of somebody's files, none of which may be read: `janus:/usr` once hashed the whole machine."""
    (tmp_path / "usr" / "lib").mkdir(parents=True)
    (tmp_path / "usr" / "lib" / "libc.so").write_bytes(b"x")

    def unexpected(path: Path) -> str:
        raise AssertionError(f"{path} was hashed")

    monkeypatch.setattr(weights, "sha256", unexpected)
    return tmp_path / "usr"


class TestFoldersThatAreNoModel:
    def test_a_run_refuses_it_before_it_reads_its_files(self, no_model: Path) -> None:
        with pytest.raises(WeightsError, match=r"usr has no readable config\.json: name a Janus folder"):
            spec.make(spec.RunSettings(model=f"janus:{no_model}", task="occupations-mini", device="cpu"))

    def test_a_training_refuses_it(self, balanced: synthesis_balanced.Balanced, no_model: Path, tmp_path: Path) -> None:
        card = ModelCard(name="m", title="M", adapter="janus", weights=HubModel(path=str(no_model)), lora_targets=".*")
        job = Job(Settings("sft", steps=1), catalog.Loaded(card, None), balanced, tmp_path / "out")
        with pytest.raises(WeightsError, match=r"no readable config\.json"):
            finetune.train(job, SILENT)

    def test_a_text_model_is_refused(self, no_model: Path) -> None:
        model = textmodel.CausalAnswers(HubModel(path=str(no_model)), BuildContext())
        with pytest.raises(WeightsError, match=r"text_model: .*usr has no config\.json"):
            model.identity()

    def test_a_folder_that_does_not_exist_is_told_as_before(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not exist"):
            spec.make(spec.RunSettings(model=f"janus:{tmp_path / 'absent'}", task="occupations-mini", device="cpu"))
