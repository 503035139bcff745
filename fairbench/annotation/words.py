"""The words of annotations: answers that are no label, and what every report of them says."""

from __future__ import annotations

from typing import Final

from fairbench.display.note import label_note

CANNOT_TELL: Final = "cannot tell"
"""An answer: the picture does not let the annotator say which label fits. A share of its own."""
NO_PERSON: Final = "no person"
"""An answer: what is asked about shows nobody."""
SKIPPED: Final = "skipped"
"""The annotator chose not to answer."""
UNCLEAR: Final = "unclear"
"""The label of an image on which no answer has more than half of the annotators who answered."""
ANSWERS: Final = (CANNOT_TELL, NO_PERSON)
"""Answers that every question has beside its labels."""
RESERVED: Final = (CANNOT_TELL, NO_PERSON, SKIPPED, UNCLEAR)

MIN_ALPHA: Final = 0.667
"""Below this alpha, not even tentative conclusions should be drawn (Krippendorff, *Content Analysis*, 2004, p. 241)."""

NOTE: Final = label_note("people")
TARGET: Final = "The target is what the majority of these annotators perceives, not truth."
ERRORS_SHORT: Final = "3 % of wrong single annotations move the estimates by .07"
ERRORS: Final = (
    f"Wrong labels matter: {ERRORS_SHORT}; the majority of three people who err independently, each in 3 %, errs in "
    ".3 %, which moves them by less than .01."
)
