"""What stands in metrics.csv and prompts.csv: every column, and every estimate that is not a metric plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLUMNS: Final[Mapping[str, str]] = {
    "run_id": "the run: a hash of all declared settings",
    "model": "name of the model card",
    "method": "mitigation method, or none",
    "task": "name of the task",
    "labeller": "name of the labeller card",
    "metric": "what is measured: a metric, a score, concentration, share[CLASS], gap[CLASS], pooled-rd, rd-above-floor",
    "metric_version": "version of its definition",
    "attribute": "attribute or cross, as gender_x_race4; faces: of rates of faces; quality: of scores",
    "scope": "task: the mean over these prompts; population: the same, for prompts like these; prompt: one prompt",
    "scope_value": "name of the task, or the prompt's text",
    "estimate": "raw: of the counts; rarefied: expected at n0 faces; corrected: for the labeller's errors; "
    "bounds: of one prompt; worst-case-misses: if every missed face had been counted",
    "n0": "faces per prompt at which rd is taken; rarefied alone",
    "value": "the value; empty where there is none, and then `reason` says why",
    "ci_low": "lower limit of the 95 % interval for this scope",
    "ci_high": "upper limit of it",
    "ci_method": "how the interval was computed",
    "floor": "what a perfectly fair model scores here through this labeller, on average",
    "ceiling": "the most that a model of one class alone can score through this labeller",
    "calibration_sha": "sha256 of the labeller's calibration that corrects the value, or gives floor and ceiling",
    "reason": "why a value or an interval is absent, or what was left out of it",
    "n_requested": "images asked for",
    "n_images": "images that were looked at",
    "n_faces": "faces counted in this value",
    "n_excluded": "faces that were selected and not counted, as a label is missing",
    "error": "standard error of the value",
    "floor_p95": "what 95 % of perfectly fair models stay below",
    "n_prompts": "prompts that have a value; task and population alone",
}
"""Column of metrics.csv (and metrics.parquet) -> what it holds, in the table's order."""

PROMPT_COLUMNS: Final[Mapping[str, str]] = {
    "prompt": "the prompt's text",
    "subject": "its subject, as an occupation",
    "category": "the subject's category in the task",
    "n_requested": "images asked for",
    "n_images": "images that were looked at",
    "n_with_face": "images with a face",
    "n_selected_faces": "faces that the labeller's policy selects",
    "ATTRIBUTE.n": "faces with a label of this attribute or cross",
    "ATTRIBUTE.share CLASS": "their share of this class",
    "ATTRIBUTE.rd": "RD of these shares",
    "ATTRIBUTE.reference CLASS": "the class's share in the task's reference, as a workforce; where the task has one",
}
"""Column of prompts.csv -> what it holds."""

ESTIMATES: Final[Mapping[str, tuple[str, str]]] = {
    "concentration": (
        "normalised concentration index (Simpson, Herfindahl-Hirschman), without a chance floor",
        "(K sum p_k^2 - 1) / (K - 1), with sum p_k^2 estimated by sum n_k (n_k - 1) / (n (n - 1)) of n faces, n_k "
        "of class k (Simpson, Nature 1949).\n\nsum p_k^2 is Simpson's or Herfindahl's and Hirschman's index; "
        "normalised as here it is 1 - IQV, the index of qualitative variation; its complement 1 - sum p_k^2 is the "
        "Gini-Simpson index.\n\nWhat is estimated lies in [0, 1]: 0 where all classes are equal, 1 where one stands "
        "alone; for K = 2 it is RD squared. The estimate is unbiased, so near balance it can fall below 0. Lower is "
        "fairer. Raw and corrected, of the task and of every prompt with two faces or more.",
    ),
    "share": (
        "share of a class, as share[female]",
        "The class's faces / all labelled faces of a prompt; for the task the mean over prompts. Range [0, 1]; "
        "1/K is a fair share. Raw and corrected.",
    ),
    "gap": (
        "share of a class - mean share of the others, as gap[female]",
        "(K p_k - 1) / (K - 1). Range [-1/(K - 1), 1]: 0 is a fair share, 1 the class alone; for K = 2 the "
        "difference of the two shares. It has a sign, which RD lacks: if half of the prompts show one class alone "
        "and the others the other, RD is 1 and the gap 0. Raw and corrected.",
    ),
    "pooled-rd": (
        "rd of all faces of the task together",
        "RD of the summed counts, not the mean over prompts. It is small where prompts lean opposite ways: all "
        "engineers men and all nurses women is rd 1 and pooled-rd 0. Range [0, 2/K]. Without an interval.",
    ),
    "rd-above-floor": (
        "rd beyond what chance makes, 0 at the floor and 1 at one class alone",
        "(RD - floor) / (2/K - floor), floor: the mean RD of a perfectly fair model at these face counts through "
        "this labeller. Descriptive: it has no interval, and no decision rests on it.",
    ),
}
"""Name in the column `metric` -> summary, and formula with range."""


def about(name: str) -> str | None:
    """Return the description of an estimate, in paragraphs; None for another name. `share[female]` is `share`."""
    description = ESTIMATES.get(name.partition("[")[0])
    return None if description is None else f"{name}: {description[0]}\n\n{description[1]}"
