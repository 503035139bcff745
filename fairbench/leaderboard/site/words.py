"""What the pages of leaderboards say of columns, of checks, and of published numbers beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fairbench.leaderboard.columns import ATTRIBUTES, Row


class Badge(NamedTuple):
    """What a check of a row found: a shape and a word, which mean the same, and a sentence."""

    shape: str
    word: str
    sentence: str


BADGES: Final = {
    "agrees": Badge("\u2713", "confirmed", "Every number was computed again from the row's evidence, and agrees."),
    "differs": Badge("\u2260", "differs", "Cells of this row differ from what its evidence gives."),
    "damaged": Badge("\u2717", "damaged", "The row's evidence is damaged, incomplete, or contradicts itself."),
    "unverifiable": Badge("?", "unverifiable", "Nothing here could confirm this row."),
    "published": Badge("\u275d", "published", "Copied from a paper: there is no evidence that could be checked."),
}
MEASURES: Final = {
    "rd": "mean over prompts of the mean absolute difference of class shares; it has a chance floor",
    "rd.floor": "what a perfectly fair model would score here, on average, at these face counts through this labeller",
    "rd.ceiling": "the most that a model of one class alone could score through this labeller",
    "rd@n0": "rd, expected at n0 faces per prompt",
    "concentration": "0: all classes equal, 1: one stands alone; no chance floor, so that it can fall below 0",
    "concentration.error": "its standard error, images drawn again",
    "concentration.low": "lower limit of its 95 % interval for this list of prompts",
    "concentration.high": "upper limit of it",
    "concentration.floor": "what a fair model would read, on average, through this labeller",
    "concentration.ceiling": "what a model of one class alone would read through this labeller",
    "concentration.prompts": "prompts that it is a mean of",
    "concentration-corrected": "concentration, adjusted for the labeller's errors",
    "concentration-corrected.low": "lower limit of its 95 % interval",
    "concentration-corrected.high": "upper limit of it",
    "concentration-lowest": "least value that the labeller's errors leave, calibrated on other images than the run's",
    "concentration-lowest.low": "lower limit of its 95 % interval",
    "concentration-highest": "greatest value that the labeller's errors leave",
    "concentration-highest.high": "upper limit of its 95 % interval",
    "rd-normalised": "rd, over its maximum",
    "entropy": "normalised entropy of class shares: 1 where all are equal",
    "majority-share": "share of the most frequent class",
    "id": "HoloFair's ID: diversity of all faces of the neutral prompts together, 1 where classes are equal",
    "id.floor": "what a fair model would read at these face counts",
    "ca-0.1": "HoloFair's CA_.1: the .1 quantile over the other prompts of their diversity",
    "ca-0.1.low": "lower limit of its 95 % interval for this list of prompts",
    "ca-0.1.high": "upper limit of it",
    "ca-0.1.floor": "what a fair model would read at these face counts",
    "ca-mean": "HoloFair's CA_mean: the mean of these values",
    "ca-mean.floor": "what a fair model would read at these face counts",
    "mgbi": "HoloFair's MGBI: the root of id x ca-0.1",
    "mgbi.low": "lower limit of its 95 % interval for this list of prompts",
    "mgbi.high": "upper limit of it",
    "mgbi.floor": "what a fair model would read at these face counts",
    "n": "faces behind these values",
}
"""Measure of an attribute -> what it is."""
_OTHERS: Final = {
    "rank": "by concentration of gender x race among comparable rows, the lower the fairer",
    "rank.low": "the best rank that the row could hold",
    "rank.high": "the worst rank that the row could hold; where rows overlap, the data do not order them",
    "source": "measured by fairbench, or published in a paper",
    "model": "name of the model card, or as published",
    "revision": "commit of the weights; local: a folder; unpinned: the card names none",
    "licence": "licence of the model, as its card states it",
    "verified": "the strongest check that the model's card passed",
    "way_in": "how the model was run",
    "method": "mitigation method, or none",
    "quota": "yes: the method deals groups out by quota, so that intervals are mostly too wide",
    "task": "name of the task",
    "task_version": "its version",
    "suite": "hash of the prompts",
    "labeller": "what labelled the faces",
    "labeller_id": "hash of it",
    "calibration_sha": "sha256 of the labeller's calibration",
    "calibration_domain": "the images that its errors were counted on",
    "images_per_prompt": "images asked for per prompt",
    "prompts": "prompts of the task",
    "n_requested": "images asked for",
    "n_images": "images that were looked at",
    "n_faces": "faces that count",
    "n0": "faces per prompt of rd@n0",
    "no-face-rate": "share of images without a face",
    "no-face-rate.n": "images behind it",
    "clip_score": "how well pictures fit their prompts",
    "clip_score.n": "images behind it",
    "clip_iqa": "quality of the pictures, as CLIP reads it",
    "clip_iqa.n": "images behind it",
    "inception_score": "variety and sharpness of the pictures",
    "inception_score.n": "images behind it",
    "notices": "codes of what a reader has to know; see the page on notices in the documentation",
    "missing": "values that are absent or leave prompts out, and why",
    "run_id": "hash of all declared settings of the run",
    "labels_sha256": "sha256 of its label table",
    "fairbench": "version that computed the row",
    "date": "day on which the row was computed",
    "published_in": "the paper that the numbers are copied from",
    "note": "remarks on the row",
}


_LATER: Final = {
    "licence": "the licence of the model",
    "verified": "a check of the model's card",
    "way_in": "how the model was run",
    "notices": "the notices of the run",
}
"""Column that rows of earlier versions lack -> what it states."""


def meaning(column: str) -> str:
    """Return what a column of a leaderboard holds."""
    attribute, _, measure = column.partition(".")
    return MEASURES[measure] if attribute in ATTRIBUTES else _OTHERS[column]


RANKED: Final = (
    "Rows are ranked by concentration of gender x race, the lower the fairer, among runs of the same task, prompts, "
    "labeller and size. In brackets: the ranks that a row could hold; where these overlap, the data do not order the "
    "rows."
)
APART: Final = (
    "Copied from papers and never ranked: other labellers, other sampling, other face policies. "
    "They are no measurement of this project."
)
CHANCE: Final = (
    "how far apart two measurements would be at most, 19 times in 20, if only the images were drawn anew, and the "
    "paper's number were as uncertain as the measured one and rounded as printed"
)
HOW_ONE_WOULD_KNOW: Final = (
    "Do they agree? Papers seldom state how uncertain their numbers are; here they are taken to be as uncertain as the "
    "measured ones. Farther apart than by chance means that something other than the draw of images differs, not which "
    "of the two is right; no farther apart does not show that both measured the same. Below the table stands what the "
    "two do not share, and each of it moves the numbers: rd also falls as images are added. One would know by "
    "labelling the same images with both labellers, and by drawing the paper's prompts and number of images again."
)
NO_EVIDENCE: Final = "There is no evidence to compute a verdict from: the numbers below are as the file states them."


def unstated(rows: Sequence[Row]) -> str:
    """Return a sentence on what no row states of its model card and its notices; empty where nothing is absent."""
    absent = [what for column, what in _LATER.items() if not any(row[column] for row in rows)]
    if not rows or not absent:
        return ""
    whose = "The row does not state" if len(rows) == 1 else "No measured row states"
    why = ": what was measured before there were these columns has none" if len(absent) == len(_LATER) else ""
    return f"{whose} {', '.join(absent)}{why}."
