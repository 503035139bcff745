"""What judging has in common with training and choosing: its labeller, its prompts, their subjects."""

from __future__ import annotations

from typing import Any

from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.sweeps import costs
from fairbench.sweeps.design import CHOSEN, JUDGED, Design


def checked(design: Design) -> dict[str, Any]:
    """Return the judge, the arms whose training its labels went into (`taught`), how many prompts and subjects are
    judged, and how many of them are the balanced set's and those that an arm is chosen on.

    Raises FairbenchError where a judged prompt is one that an arm is chosen on.
    """
    judged, chosen = (design.run(part, None, design.seed)[0] for part in (JUDGED, CHOSEN))
    texts = {prompt.text for prompt in judged.prompts}
    if both := sorted(texts & {prompt.text for prompt in chosen.prompts}):
        raise FairbenchError(
            f"--judge-task {design.tasks[JUDGED]} has {len(both)} of the prompts that an arm is chosen on, as "
            f"{both[0]!r}: judge on other prompts, or name another --task."
        )
    subjects = {prompt.subject.lower() for prompt in judged.prompts}
    return {
        "judge": judged.labeller.card.name,
        "taught": _taught(design, judged.labeller),
        "prompts": len(texts),
        "prompts_of_set": len(texts & {row.prompt for row in design.set.rows}),
        "subjects": len(subjects),
        "subjects_of_set": len(subjects & {row.subject.lower() for row in design.set.rows}),
        "subjects_of_choice": len(subjects & {prompt.subject.lower() for prompt in chosen.prompts}),
    }


def _taught(design: Design, judge: Labeller) -> list[str]:
    """Return the arms that the judge rewards (GRPO), or whose images it confirmed."""
    own = {judge.id, judge.card.name}
    rewards = Labeller(catalog.load_labeller(design.card.card.labeller), "cpu")
    confirmed = design.set.provenance.get("labeller") or {}
    by_reward = bool(own & {rewards.id, rewards.card.name})
    by_images = bool(own & {*confirmed.values()}) if isinstance(confirmed, dict) else False
    return [
        arm.name
        for arm in design.arms
        if (by_reward and arm.trainer == "grpo") or (by_images and costs.uses_images(arm))
    ]
