"""What a Janus reads, token by token: both conversation forms against prompts built by hand from tokenizer.json."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer

from fairbench import registry
from fairbench.adapters.janus import JanusAdapter
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.display.progress import SILENT
from fairbench.networks import janus
from fairbench.networks.janus import JanusModel, load
from fairbench.synthesis import balanced as synthesis_balanced
from fairbench.training import finetune
from fairbench.training.job import Job
from fairbench.training.presets import Settings
from fairbench.types import BuildContext
from tests.builders.balanced import save_balanced, save_model

TEXTS = ["A photo of the face of a nurse, a person", "  a chef\n", "Une infirmière, 护士", "{text}", "User: who?"]
FORMS = {"janus": ("User: ", "\n\nAssistant:"), "janus-pro-1b": ("<|User|>: ", "\n\n<|Assistant|>:")}
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language.\n\n"
)
SPECIAL = BOS, BOI, EOI, IMAGE = "<｜begin▁of▁sentence｜>", "<begin_of_image>", "<end_of_image>", "<image_placeholder>"


def model_of(name: str, folder: Path) -> JanusModel:
    """Return the tiny checkpoint as the adapter loads it with a shipped card's settings."""
    published = catalog.load_model(name).card
    card = ModelCard(name="tiny", title="Tiny", adapter="janus", weights=HubModel(path=str(folder)))
    params = registry.parse_params(JanusAdapter, published.sampling)
    return JanusAdapter(card, params, BuildContext()).model  # type: ignore[arg-type]


def ids_by_hand(folder: Path, prompt: str) -> list[int]:
    """Cut at the special tokens ourselves, and let the bare tokenizer read what stands between them."""
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids: list[int] = []
    for part in re.split(f"({'|'.join(map(re.escape, SPECIAL))})", prompt):
        if part in SPECIAL:
            ids.append(core.token_to_id(part))
        elif part:
            ids += core.encode(part, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_prompt_for_an_image(tiny_janus: Path, name: str, text: str) -> None:
    before, after = FORMS[name]
    expected = ids_by_hand(tiny_janus, f"{BOS}{before}{text.strip()}{after}{BOI}")
    assert model_of(name, tiny_janus).prompt_ids(text) == expected
    assert expected.count(expected[0]) == 1


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("with_image", [False, True])
def test_a_question(tiny_janus: Path, name: str, with_image: bool) -> None:
    before, after = FORMS[name]
    shown = f"{BOI}{IMAGE * 16}{EOI}\n" if with_image else ""
    expected = ids_by_hand(tiny_janus, f"{BOS}{SYSTEM}{before}{shown}Who is this?{after}")
    assert model_of(name, tiny_janus).question_ids(" Who is this? ", with_image) == expected


def test_the_two_forms_are_two_prompts(tiny_janus: Path) -> None:
    one, other = (model_of(name, tiny_janus).prompt_ids(TEXTS[0]) for name in FORMS)
    assert one != other


def test_training_reads_the_cards_form(tmp_path: Path) -> None:
    """A card with a form of its own is trained in it, and such a training is another one."""
    path = save_model(tmp_path)
    card = yaml.safe_load(path.read_text())
    card["sampling"]["prompt_format"] = "User: {text}\n\nAssistant:"
    path.write_text(yaml.safe_dump(card))
    balanced = synthesis_balanced.read(save_balanced(tmp_path / "set", per_group=1))
    job = Job(
        Settings("sft", batch=4, steps=1, rank=2),
        catalog.load_model(str(path)),
        balanced,
        tmp_path / "out",
        device="cpu",
    )
    seen: list[str | None] = []

    def watching(*args: object) -> JanusModel:
        seen.append(args[3])  # type: ignore[arg-type]
        return load(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(janus, "load", watching)
        out = finetune.train(job, SILENT)
    assert set(seen) == {"User: {text}\n\nAssistant:"}
    assert '"prompt format": "User: {text}\\n\\nAssistant:"' in (out / "provenance.json").read_text()
