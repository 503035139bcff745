"""The short form of a run's result: one row and one sentence per attribute, and what they rest on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from fairbench.display.labels import expanded, spaced
from fairbench.display.note import label_note
from fairbench.display.numbers import number, percent, span, whole, with_interval
from fairbench.display.tables import Column, Table, numbers
from fairbench.measure.series import FACES
from fairbench.runs import headline, verdict
from fairbench.runs.headline import Headline, Limits
from fairbench.runs.terminal_tables import Measured
from fairbench.stats import gaffke

TWO_GENDERS: Final = {
    name: f"Two gender labels are the {name.removesuffix('s')}'s limit."
    for name in ("classifier", "table", "questions")
}
"""What gave the labels -> whose limit it is that there are two."""
_MAIN: Final = "concentration\n0 to 1 [95 %]"
WITHIN: Final = (
    "Within t % of balance: no more uneven than a balanced model with t % of its images replaced by one group's."
)
MORE: Final = {False: "All estimates: `fairbench show RUN --full`.", True: "Single prompts are in metrics.csv."}
"""full -> where the numbers are that this form does not show."""
_FINE: Final = 0.02
"""Width of the narrowest interval below which a table of concentrations has three decimals, else two."""


def table(measured: Measured, headlines: Sequence[Headline]) -> Table:
    """Return the main table, a row per attribute; its note says what was counted."""
    record, places = measured.record, _places(headlines)
    by_people = any(h.people.value is not None for h in headlines)
    adjusted = not by_people and any(h.corrected.value is not None or h.has_range for h in headlines)
    heads = ["effective groups\nin prompt / all"]
    heads += ["concentration\nby people [95 %]", "as read by\nlabeller [95 %]"] if by_people else [_MAIN]
    heads += ["if fair /\none-sided"]
    heads += ["adjusted for\nerrors [95 %]"] if adjusted else []
    title = f"{record.model.name} · {record.method} · {record.task.name} · labelled by {record.labeller.name}"
    result = Table([Column("attribute", wraps=True), *numbers(*heads)], title, " ".join(_basis(measured, headlines)))
    for h in headlines:
        cells = [_groups(h)]
        cells += [_limits(h.people, places)] if by_people else []
        cells += [_limits(h.read, places), _fair(h, places)]
        cells += [_adjusted(h, places)] if adjusted else []
        result.add(spaced(h.attribute), *cells)
    return result


def sentences(headlines: Sequence[Headline]) -> Iterator[str]:
    """Yield the verdicts on this list, and what may be said beyond it and in the literature's RD."""
    for h in headlines:
        yield f"{spaced(h.attribute)}: {verdict.sentence(h)}"
    if any(verdict.finding(h) in ("balanced", "slightly uneven") for h in headlines):
        yield WITHIN
    yield _other_prompts(headlines)
    yield _relative_diversity(headlines)


def note(measured: Measured, full: bool) -> str:
    """Return what adjusted values assume, what labels are and are not, abbreviations, and where there is more."""
    assumed = " ".join(assumptions(measured, headline.of_run(measured))) if measured.people is None else ""
    labels_of = measured.space.declared.labels
    genders = TWO_GENDERS[measured.run.read_by] if len(labels_of.get("gender", ())) == 2 else ""
    abbreviations = expanded(label for labels in labels_of.values() for label in labels)
    return " ".join(filter(None, (assumed, label_note(*measured.run.seen_by), genders, abbreviations, MORE[full])))


def _places(headlines: Sequence[Headline]) -> int:
    printed = [x for h in headlines for x in (h.read, h.corrected, h.people)]
    widths = [x.high - x.low for x in printed if x.low is not None and x.high is not None]
    return 3 if min(widths, default=1.0) < _FINE else 2


def _groups(h: Headline) -> str:
    pooled = "" if h.pooled is None else f" / {number(h.pooled, 1)}"
    return "none" if h.within is None else f"{number(h.within, 1)}{pooled} of {h.classes}"


def _fair(h: Headline, places: int) -> str:
    return "none" if h.fair is None else f"{number(h.fair, places)} / {number(h.one_sided, places)}"


def _limits(limits: Limits, places: int) -> str:
    return with_interval(*limits, places)


def _adjusted(h: Headline, places: int) -> str:
    """Return the corrected value, or the range of what it may be; its interval is that of both ends."""
    if not h.has_range:
        return _limits(h.corrected, places)
    ends = f"{number(h.lowest.value, places)} to {number(h.highest.value, places)}"
    limits = span(h.lowest.low, h.highest.high, places).split()
    return f"{ends} [{', '.join(limits)}]" if limits else ends


def _basis(measured: Measured, headlines: Sequence[Headline]) -> Iterator[str]:
    """Yield which prompts, images and faces stand behind the table, and whom people's labels are by."""
    yield f"{verdict.LEAD} {_counts(measured, headlines)}"
    if measured.people is not None:
        asked = measured.people
        who = f" ({asked.who})" if asked.who else ""
        yield f"By people: what most of {asked.annotators} annotators{who} perceive, from {whole(asked.images)} images."
        undecided = [f"{spaced(h.attribute)} {percent(h.undecided)}" for h in headlines if h.undecided]
        if undecided:
            yield f"Faces on which they cannot decide: {', '.join(undecided)}."


def assumptions(measured: Measured, headlines: Sequence[Headline]) -> Iterator[str]:
    """Yield what adjusted values and the readings of a fair and a one-sided model assume, or why none is adjusted."""
    correction = measured.record.correction
    domain = "its calibration's images" if correction is None or not correction.domain else correction.domain
    domain = f"images {domain}" if domain.startswith("generated by ") else domain
    if any(h.corrected.value is not None for h in headlines):
        yield f"Adjusted: if errors are as on {domain}, whatever the prompt."
    if any(h.has_range for h in headlines):
        yield f"Adjusted, as a range: if errors are no larger than on {domain}; labels by people would settle it."
    if any(h.fair is not None and not h.through_table for h in headlines):
        yield "If fair / one-sided: read without errors, as none are known."
    refused = {h.attribute: h.not_corrected for h in headlines if h.not_corrected and not h.has_range}
    remarks = {h.attribute: h.adjusted_remark for h in headlines if h.adjusted_remark}
    for what, reasons in (("Adjusted", remarks), ("Not adjusted", refused)):
        for reason in dict.fromkeys(reasons.values()):
            names = [spaced(attribute) for attribute, other in reasons.items() if other == reason]
            which = "" if len(names) == len(headlines) else f" ({', '.join(names)})"
            yield f"{what}{which}: {reason}."


def _counts(measured: Measured, headlines: Sequence[Headline]) -> str:
    """Return how many prompts, images and faces there are, and what was left out of them and why."""
    total, words = len(measured.run.prompts), []
    used = {h.used for h in headlines}
    each = ", ".join(f"{spaced(h.attribute)} {h.used}" for h in headlines)
    words.append(f"{used.pop() if len(used) == 1 else f'{each},'} of {total} {'prompt' if total == 1 else 'prompts'}")
    reasons = dict.fromkeys(_why(h.left_out) for h in headlines if h.left_out)
    words[0] += f" ({'; '.join(reasons)})" if reasons else ""
    images = sum((measured.record.statuses or {}).get("images", {}).values())
    words.append(f"{whole(max(h.faces for h in headlines))} faces in {whole(images)} images")
    rate = measured.find("no-face-rate", "raw", FACES)
    words += [] if rate is None else [f"{percent(rate['value'])} without a face"]
    bases = [h for h in headlines if h.attribute in measured.space.declared.labels and h.unclear]
    unclear = (f"{h.attribute} {whole(h.unclear)} ({percent(h.unclear / (h.unclear + h.faces))})" for h in bases)
    words += [f"with an unclear label: {', '.join(unclear)}"] if bases else []
    return f"{'; '.join(words)}."


def _why(reason: str) -> str:
    """Return the reason for leaving prompts out, without what is said beside it."""
    beside = re.fullmatch(r"(?:mean )?over \d+ of \d+ prompts \((.*)\)", reason)
    return reason if beside is None else beside[1]


def _other_prompts(headlines: Sequence[Headline]) -> str:
    known = [h for h in headlines if h.other_prompts.low is not None]
    if known:
        limits = (f"{spaced(h.attribute)} {_to(h.other_prompts)}" for h in known)
        read = "" if all(h.people.value is None for h in headlines) else ", as read,"
        return f"Other prompts, if these were a random sample of them: concentration{read} of {', '.join(limits)}."
    prompts = max((h.used for h in headlines), default=0)
    reasons = dict.fromkeys(h.no_other_prompts for h in headlines if h.no_other_prompts and prompts >= gaffke.FEWEST)
    return f"Of other prompts nothing is said: {'; '.join(map(str, reasons)) or gaffke.TAKES}."


def _to(limits: Limits) -> str:
    return f"{number(limits.low, 2)} to {number(limits.high, 2)}"


def _relative_diversity(headlines: Sequence[Headline]) -> str:
    """Return RD of each attribute, with what a fair model would score at these face counts."""
    fair = {h.attribute: "" if h.rd_fair is None else f" ({number(h.rd_fair, 2)})" for h in headlines}
    values = [f"{spaced(h.attribute)} {number(h.rd)}{fair[h.attribute]}" for h in headlines if h.rd is not None]
    return f"RD{' (if fair)' if any(fair.values()) else ''}: {', '.join(values) or 'none'}."
