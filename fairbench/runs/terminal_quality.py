"""How the pictures of each perceived group score beside the others of their prompts, as tables and in a sentence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, percent, span
from fairbench.display.tables import Column, Table, numbers
from fairbench.runs import evidence, quality
from fairbench.runs.quality import GroupQuality
from fairbench.runs.terminal_tables import Measured
from fairbench.stats.within_prompts import Contrast

NOTE: Final = (
    "A class (n images that are compared) minus the others of the same prompts; p: of no difference, adjusted (Holm) "
    "per scorer and measure. A scorer may itself prefer some faces{}. Vendi scores are at equal numbers of images."
)
_UNKNOWN: Final = ": --scorer-reference shows how much"
_KNOWN: Final = ", as its difference on the reference's pictures shows; net is beyond that. Reference: {}"
KID_NOTE: Final = (
    "Unbiased MMD^2 with the kernel (x.y / d + 1)^3, from the reference's pictures at this run's shares of the "
    "attribute, so that it is of the pictures and not of who they show; negative values are chance. Scales differ by "
    "encoder. kept: images whose class the reference has. Intervals: jackknife over prompts."
)
_LEVEL: Final = 0.05


def contrasts(measured: Measured) -> list[GroupQuality]:
    """Return every contrast that has a value; none where the evidence holds no scores."""
    held = measured.run.folder / evidence.FOLDER
    if not (held / "scores").is_dir() and not (held / quality.FILE).is_file():
        return []
    run = measured.if_whole("Quality by perceived group")
    return [] if run is None else [each for each in quality.of_run(run) if math.isfinite(each.contrast.estimate)]


def tables(measured: Measured) -> list[Table]:
    """Return a table per scorer and measure, and that of the distances from the reference, where there are any."""
    source = quality.read(measured.run.folder)["reference"]
    families = itertools.groupby(contrasts(measured), measure)
    found = [_family(name, list(family), beyond=source is not None) for name, family in families]
    if found:
        found[-1].note = NOTE.format(_UNKNOWN if source is None else _KNOWN.format(_words(source)))
    return [*found, *_kernel_distances(measured)]


def measure(each: GroupQuality) -> str:
    """Return the scorer and what was measured with it, as "clip-variety: vendi at 8"."""
    at = f" at {each.size}" if each.size else ""
    return each.scorer if each.measure == "score" else f"{each.scorer}: {each.measure}{at}"


def _family(name: str, found: Sequence[GroupQuality], *, beyond: bool) -> Table:
    """Return the contrasts of one scorer and measure. beyond: beside the reference's, with the interval of the rest."""
    heads = numbers("n", "class less\nothers", *(("reference", "net") if beyond else ()), "95 %", "p")
    what = "quality" if found[0].measure == "score" else "variety"
    shown = Table([Column("class"), *heads], f"{what} by perceived group: {name}")
    for each in found:
        judged = each.net if beyond else each.contrast
        cells = [str(each.contrast.of_class), _signed(each.contrast)]
        cells += [_signed(each.reference), _signed(each.net)] if beyond else []
        if judged is not None and judged.error > 0:
            cells += [span(*judged.interval()), p_value(each.net_p if beyond else each.p)]
        shown.add(f"{spaced(each.attribute)}: {each.label}", *cells)
    return shown


def _signed(contrast: Contrast | None) -> str:
    known = contrast is not None and math.isfinite(contrast.estimate)
    return number(contrast.estimate, sign=True) if contrast is not None and known else ""


def _words(source: dict[str, object]) -> str:
    return (
        f"{source.get('images')} images of {source.get('model')} for {source.get('task')}, labelled by "
        f"{source.get('labeller')}, run {str(source.get('run_id'))[:8]}"
    )


def _kernel_distances(measured: Measured) -> Iterator[Table]:
    rows = quality.kernel_distances(measured.run.folder)
    if rows:
        heads = numbers("1000 KID", "95 %", "kept", "images", "reference")
        shown = Table([Column("encoder"), Column("at the shares of"), *heads], "distance from the reference", KID_NOTE)
        for row in rows:
            value, *limits = (1000 * row[name] for name in ("kid", "ci_low", "ci_high"))
            counts = percent(row["kept"]), str(row["n_images"]), str(row["n_reference"])
            shown.add(row["scorer"], spaced(row["attribute"]), number(value, sign=True), span(*limits), *counts)
        yield shown


def sentences(measured: Measured) -> Iterator[str]:
    """Yield which groups' pictures score otherwise beyond the reference's; nothing without a reference."""
    if quality.read(measured.run.folder)["reference"] is None:
        return
    tested = [each for each in contrasts(measured) if math.isfinite(each.net_p)]
    differing = [
        f"{each.label} {number(each.net.estimate, sign=True)} by {measure(each)}"
        for each in tested
        if each.net is not None and each.net_p <= _LEVEL
    ]
    listed = f": {'; '.join(differing)}" if differing else ""
    yield (
        f"Quality by perceived group, within prompts, beyond the reference's gaps: {len(differing)} of {len(tested)} "
        f"contrasts differ{listed}."
    )
