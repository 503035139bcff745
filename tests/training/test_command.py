"""`fairbench train` as a user types it for Janus-Pro-1B, on a tiny checkpoint: SFT, BPO, and the adapter in a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.balanced import save_balanced
from tests.builders.cli import Cli


@pytest.mark.slow
def test_sft_then_bpo_then_run(cli: Cli, tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> None:
    same = ("--model", tiny_card, "--data", balanced_manifest, "--steps", 1, "--device", "cpu")
    look = ("--eval-every", 1, "--eval-task", "occupations", "--eval-prompts", 1, "--eval-images", 2)
    sft = cli("train", "sft", *same, *look, "--out", "sft", "--preset", "liu2025-mix", "--batch", 4)
    assert sft.code == 0, sft.err
    assert "fairbench run --model" in sft.out
    rows = [json.loads(line) for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] > 0
    assert rows[1]["eval/images"] == 2
    assert {"eval/rd-gender", "eval/rd-race4"} <= rows[1].keys()

    bpo = cli(
        "train",
        "bpo",
        *same,
        "--out",
        "bpo",
        "--from",
        "sft",
        "--preset",
        "liu2025-gender",
        "--lr",
        "1e-2",
        "--batch",
        2,
    )
    assert bpo.code == 0, bpo.err
    record = json.loads((tmp_path / "bpo" / "provenance.json").read_text())
    assert record["identity"]["kind"] == "bpo"
    assert record["data"]["groups"] == [["female"], ["male"]]

    run = (
        "run",
        "--model",
        tiny_card,
        "--task",
        "occupations",
        "-n",
        2,
        "--limit-prompts",
        1,
        "--scorers",
        "none",
        "--no-sheets",
        "--device",
        "cpu",
        "--store",
        "store",
        "--json",
    )
    found = [cli(*run, "--method", method, "--out", name) for method, name in (("none", "a"), ("lora:bpo", "b"))]
    assert [r.code for r in found] == [0, 0], found[1].err
    plain, tuned = (json.loads((tmp_path / name / "run.json").read_text()) for name in "ab")
    assert tuned["method"].startswith("lora:bpo@")
    assert plain["keys"]["images"] != tuned["keys"]["images"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("sft", "--beta", "2"), "--beta belongs to train bpo: leave it out of train sft."),
        (("bpo", "--images", "4"), "--images belongs to train grpo and dft: leave it out of train bpo."),
        (("sft", "--kl", "0"), "--kl belongs to train grpo: leave it out of train sft."),
        (("sft", "--retain", ".5:"), "there is no kind ''"),
        (("sft", "--retain", "1.5"), "--retain 1.5: give a share from 0 to 1"),
        (("sft", "--retain", ".5:caption"), "there is no kind 'caption' (did you mean 'captions'?)"),
        (("sft", "--target", "femal=.6"), "--target femal=.6: name a label of the balanced set (gender: female, male;"),
        (("distill", "--hard", "--exact"), "--hard learns drawn tokens, --exact distributions: leave one of them out."),
        (("grpo", "--dropout", ".1"), "say --dropout 0"),
        (("grpo", "--reward", "ratio"), "--reward ratio: name balance, log-ratio, permuted."),
        (("grpo", "--reward", "log-ratio", "--target", "female=.6"), "use --reward balance"),
        (("bpo", "--from", "x", "--rank", "4"), "--rank: the adapter that --from names has its own"),
        (("bpo", "--loss", "bop"), "There is no loss 'bop' (did you mean 'bpo'?)"),
        (("sft", "--track", "tensorboard,tensorbord"), "--track: there is no tracker 'tensorbord' (did you mean"),
        (("sft", "--preset", "liu"), "There is no preset 'liu'"),
        (("sft", "--groups", "age"), "The balanced set has the attributes gender, race4, not 'age'"),
        (("sft", "--mixed-precision", "fp8"), "--mixed-precision fp8: name no, bf16 or fp16."),
        (("sft", "--eval-every", "1"), "names no default task: say --eval-task."),
        (("bpo", "--from", "nowhere"), "nowhere is no folder of a LoRA adapter"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    cli: Cli, tiny_card: Path, balanced_manifest: Path, args: tuple[str, ...], sentence: str
) -> None:
    found = cli("train", *args, "--model", tiny_card, "--data", balanced_manifest, "--out", "out", "--device", "cpu")
    assert found.code == 2
    assert sentence in found.err
    assert "Traceback" not in found.err
    assert not Path("out").exists()


def test_a_lying_manifest_is_refused_before_anything_is_written(cli: Cli, tiny_card: Path, tmp_path: Path) -> None:
    manifest = save_balanced(tmp_path / "set")
    (tmp_path / "set" / "images" / "nurse-male-Black-1.png").unlink()
    found = cli("train", "sft", "--model", tiny_card, "--data", manifest, "--out", "out")
    assert found.code == 2
    assert "rows.csv, line 9: the image" in found.err
    assert not Path("out").exists()


def test_stated_prompts_must_be_there(cli: Cli, tiny_card: Path, tmp_path: Path) -> None:
    manifest = save_balanced(tmp_path / "set")
    table = manifest.with_name("rows.csv")
    table.write_text(table.read_text().replace("source_prompt", "remark"))
    command = ("train", "sft", "--model", tiny_card, "--data", manifest, "--out", "out", "--device", "cpu")
    found = cli(*command, "--retain", 0.5)
    assert (found.code, Path("out").exists()) == (2, False)
    assert "and the source_prompt is empty: fill that column in" in found.err.replace("\n", " ")
