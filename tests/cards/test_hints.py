"""A model or LoRA that cannot be used: the sentence says what it looks like, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.adapters.janus import JanusAdapter
from fairbench.cards import catalog
from fairbench.errors import CardError
from fairbench.methods import lora
from fairbench.methods.lora import LoraMethod
from fairbench.notices import collecting
from tests.builders.cli import Cli


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("me/my-sdxl", "hub write diffusers:me/my-sdxl (or janus:me/my-sdxl)"),
        ("deepseek-ai/Janus-Pro-7B", "write janus:deepseek-ai/Janus-Pro-7B (or diffusers:"),
        ("https://huggingface.co/me/my-sdxl", "write diffusers:me/my-sdxl"),
        ("openai:gpt-image-1", "There is no adapter 'openai' (adapters: janus, "),
        ("difusers:me/my-sdxl", "did you mean diffusers:me/my-sdxl?"),
        ("./does-not-exist", "There is no file or folder ./does-not-exist: fix the path"),
        ("/no/such/model", "There is no file or folder /no/such/model"),
        ("~/nowhere/card.yaml", "There is no file or folder ~/nowhere/card.yaml"),
        ("C:\\models\\sdxl", "There is no file or folder C:\\models\\sdxl"),
        ("my.safetensors", "my.safetensors holds weights alone (and there is no such file): write a model card"),
        ("diffusers:my.ckpt", "from_single_file(FILE).save_pretrained(FOLDER)"),
        ("sdlx", "did you mean 'sdxl'?"),
    ],
)
def test_what_to_write_instead(target: str, words: str) -> None:
    """Each of these was answered by the nearest name of a card, or by nothing."""
    with pytest.raises(CardError) as err:
        catalog.load_model(target)
    assert words in str(err.value)
    assert "\n" not in str(err.value)


def test_files_that_are_no_cards(tmp_path: Path) -> None:
    checkpoint = tmp_path / "my.safetensors"
    checkpoint.write_bytes(b"x")
    with pytest.raises(CardError, match=r"holds weights alone: write a model card with `adapter: diffusers`"):
        catalog.load_model(str(checkpoint))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CardError, match=r"notes\.txt is no model card: a card is a YAML file"):
        catalog.load_model(str(tmp_path / "notes.txt"))
    with pytest.raises(CardError, match=r"There is no file or folder \./tasks/mine: fix the path, or name a task of"):
        catalog.load_task("./tasks/mine")


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_lora_of_diffusers(tmp_path: Path, named: str) -> None:
    """It was said to have no adapter_config.json; for a model that takes another form, the two are named."""
    file = tmp_path / "pytorch_lora_weights.safetensors"
    file.write_bytes(b"x")
    method = LoraMethod(str(tmp_path if named == "folder" else file))
    assert method.name.endswith("@2d711642")
    with pytest.raises(
        CardError, match=r"is a LoRA in the form of diffusers .*, but this model takes one in peft's form"
    ):
        lora.identity(method.folder, JanusAdapter, None)
    with pytest.raises(CardError, match="changes no weights of this kind of model"):
        lora.identity(method.folder, object(), None)


def test_a_lora_that_is_not_there() -> None:
    with pytest.raises(CardError, match=r"nowhere is no folder of a LoRA adapter, it does not exist: fix the path"):
        LoraMethod("./nowhere")


def test_a_folder_of_cards_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Cli) -> None:
    """A misspelt FAIRBENCH_PATH was passed over, and its cards were not found."""
    (tmp_path / "mine" / "models").mkdir(parents=True)
    monkeypatch.setenv("FAIRBENCH_PATH", f"{tmp_path / 'mine'}:{tmp_path / 'mien'}")
    with collecting() as found:
        assert tmp_path / "mine" in catalog.roots()
        catalog.find("models")
    assert [(n.code, n.strict) for n in found] == [("no-folder", True)]
    assert f"FAIRBENCH_PATH names {tmp_path / 'mien'}, which is no folder" in found[0].text
