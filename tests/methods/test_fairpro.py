"""The method `fairpro`: what it asks, what it makes of the answers, and whole runs against a server of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fairbench.errors import FairbenchError
from fairbench.methods import fairpro
from fairbench.methods.fairpro import FairPro
from fairbench.networks import textmodel
from fairbench.protocols import MethodContext
from tests.builders.cli import Cli
from tests.builders.endpoints import card_file
from tests.builders.image_server import ImageServer
from tests.methods.test_methods import CARD, NEUTRAL, Scripted, samples


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<system_prompt>Show anybody.</system_prompt>", "Show anybody."),
        ('Stereotypes! <SYSTEM_PROMPT>\n "Show\n anybody." \n</SYSTEM_PROMPT> Done.', "Show anybody."),
        ("<system_prompt>no</system_prompt> Better: <system_prompt>Show all.</system_prompt>", "Show all."),
        ("Between <system_prompt> tags: <system_prompt>Show all.</system_prompt>", "Show all."),
        ("<system_prompt>None.</system_prompt>", ""),
        ("<system_prompt>" + "fair " * 300 + "</system_prompt>", ("fair " * 300).strip()),
        ("<system_prompt>" + "fair " * 301 + "</system_prompt>", None),
        ("Show anybody.", None),
        ("<system_prompt>Show anybody", None),  # cut off
        ("<system_prompt> </system_prompt>", None),
        ("", None),
    ],
)
def test_what_stands_between_the_marks_is_the_system_prompt(answer: str, text: str | None) -> None:
    assert fairpro.parse(answer) == text


def test_every_image_is_asked_about_with_a_seed_of_its_own_and_failures_are_counted() -> None:
    answers = iter(["<system_prompt>A</system_prompt>", "sorry", "<system_prompt>none</system_prompt>"] * 2)
    model = Scripted(lambda question, seed: next(answers))
    ctx, asked = MethodContext(CARD, 0, model), samples(6)
    method = FairPro(None)
    assert method.system_prompts(asked, ctx) == ["A", None, None] * 2
    assert method.rewrite(asked, ctx) == [NEUTRAL] * 6 and method.adapt(CARD) is CARD
    assert {question for question, _ in model.asked} == {fairpro.INSTRUCTION.replace("{prompt}", NEUTRAL)}
    assert len({seed for _, seed in model.asked}) == 6 and not {s.seed for s in asked} & {s for _, s in model.asked}
    (warning,) = ctx.warnings
    assert warning.startswith("fairpro: 2 of 6 answers of the text model could not be used")


def test_an_instruction_of_ones_own_holds_the_prompt_once() -> None:
    model = Scripted(lambda question, seed: "")
    FairPro("Fair, for {prompt}").system_prompts(samples(1), MethodContext(CARD, 0, model))
    assert model.asked[0][0] == f"Fair, for {NEUTRAL}"
    with pytest.raises(FairbenchError, match=r"--method fairpro:Be fair: the instruction must hold \{prompt\}"):
        FairPro("Be fair")


# --- whole runs ---


class Writer(Scripted):
    """Writes another system prompt for every seed, and nothing that can be used for every fourth answer."""

    def __init__(self) -> None:
        super().__init__(lambda q, s: "sorry" if s % 4 == 0 else f"<system_prompt>Show {s % 997}.</system_prompt>")
        self.limit: int | None = None

    def of_card(self, *given: Any) -> Writer:
        self.limit = given[-1]
        return self


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    writer = Writer()
    monkeypatch.setattr(textmodel, "of_card", writer.of_card)
    return writer


def run(cli: Cli, card: Path, *more: object) -> dict[str, Any]:
    asked = (
        "run",
        "--model",
        card,
        "--task",
        "occupations-mini",
        "--limit-prompts",
        2,
        "-n",
        6,
        "--labeller",
        "phantom",
    )
    cli(*asked, "--method", "fairpro", "--out", "run", "--scorers", "none", "--quiet", *more).succeeded()
    return dict(json.loads(Path("run/run.json").read_text()))


def rows(folder: str) -> dict[bytes, dict[str, Any]]:
    paths = sorted(Path(folder).glob("images/*/part-*"))
    columns = ["image_id", "text", "notes", "seed"]
    return {r["image_id"]: r for p in paths for r in pq.read_table(p, columns=columns).to_pylist()}


def test_each_image_is_drawn_under_what_was_written_for_it(cli: Cli, tmp_path: Path, writer: Writer) -> None:
    with ImageServer("vllm-omni") as server:
        send = {"size": "64x64", "system_prompt": "Be brief.", "use_system_prompt": "custom"}
        card = card_file(tmp_path, server, send=send)
        record = run(cli, card)
        sent = {(r["prompt"], r["seed"]): r["system_prompt"] for r in server.requests}
        written = [fairpro.parse(writer.answer(*question)) for question in writer.asked]
        assert writer.limit == FairPro.answer_tokens == 300
        assert sorted(sent.values()) == sorted(text or "Be brief." for text in written)
        assert len(set(sent.values())) > 1 and "Be brief." in sent.values()
        # It is kept with the run, image by image, and in each image's id.
        kept = rows("run/evidence")
        assert len(kept) == 12 and kept.keys() == rows("runs/store").keys()
        notes = [dict(row["notes"]).get("system-prompt-written") for row in kept.values()]
        assert sorted(filter(None, notes)) == sorted(filter(None, written))
        by_code = {notice["code"]: notice for notice in record["notices"]}
        assert by_code["system-prompt-written"]["count"] == sum(text is not None for text in written)
        assert "could not be used" in by_code["method"]["text"]
        # Again nothing is drawn; other texts are other images.
        count = len(server.requests)
        assert run(cli, card)["run_id"] == record["run_id"] and len(server.requests) == count
        writer.answer = lambda question, seed: "<system_prompt>Show everybody.</system_prompt>"
        assert run(cli, card)["run_id"] != record["run_id"] and len(server.requests) == 2 * count


@pytest.mark.parametrize("model", ["phantom", "phantom-exact", "blip3o-next", "undeclared.yaml"])
def test_models_without_one_for_each_image_are_refused_before_anything_is_asked(
    cli: Cli, tmp_path: Path, writer: Writer, model: str
) -> None:
    with ImageServer("vllm-omni") as server:
        card_file(tmp_path, server).rename(tmp_path / "undeclared.yaml")
        result = cli("run", "--model", model, "--method", "fairpro", "--labeller", "phantom", "--out", "run")
        assert result.code == 2 and len(result.err.strip().splitlines()) == 1
        assert "--method fairpro writes a system prompt for each image, and" in result.err
        assert not writer.asked and not server.requests and not Path("run").exists()


def test_without_a_text_model_one_sentence_says_so(cli: Cli, tmp_path: Path) -> None:
    with ImageServer("vllm-omni") as server:
        card = card_file(tmp_path, server, send={"size": "64x64", "system_prompt": "Be brief."})
        result = cli("run", "--model", card, "--method", "fairpro", "--labeller", "phantom", "--out", "run")
        assert result.code == 2 and "--method fairpro needs a model that writes text" in result.err


def test_a_methods_texts_are_checked(monkeypatch: pytest.MonkeyPatch, cli: Cli, tmp_path: Path, writer: Writer) -> None:
    def short(self: FairPro, prompts: Sequence[Any], ctx: MethodContext) -> list[str | None]:
        return [None]

    monkeypatch.setattr(FairPro, "system_prompts", short)
    with ImageServer("vllm-omni") as server:
        card = card_file(tmp_path, server, send={"size": "64x64", "system_prompt": "Be brief."})
        result = cli("run", "--model", card, "--method", "fairpro", "--labeller", "phantom", "--out", "run")
        assert result.code == 2 and "from system_prompts: return one for each" in result.err
