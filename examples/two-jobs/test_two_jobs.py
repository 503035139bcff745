"""The task `two-jobs`: its prompts, and that a run measures each."""

from pathlib import Path

import fairbench

TASK = Path(__file__).parent


def test_a_run_has_every_prompt(tmp_path):
    run = fairbench.run(
        "phantom-exact",
        task=TASK,
        images_per_prompt=2,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    subjects = (TASK / "subjects.csv").read_text().splitlines()[1:]
    assert run.prompts.subject.tolist() == [line.split(",")[0] for line in subjects]
    assert run.record.task.name == "two-jobs"
