"""The sentence that stands wherever labels are shown: what they are, who saw it so, and what they never are."""

from __future__ import annotations

from typing import Final, Literal

SeenBy = Literal["classifier", "questions", "table", "people", "labeller"]
NEVER: Final = "never anyone's identity"
"""What every such sentence ends with."""
_WORDS: Final[dict[SeenBy, str]] = {
    "people": "by most of the annotators who were asked",
    "table": "by whoever made the table of labels",
    "classifier": "by a classifier",
    "questions": "by a model that was asked about each picture",
    "labeller": "by each row's labeller",
}


def label_note(*seen_by: SeenBy) -> str:
    """Return the sentence for labels from one source or several. seen_by: in any order, repeated or not.

    >>> label_note("classifier", "people")
    "Labels are perceived presentation in pictures, as seen by most of the annotators who were asked or by a \
classifier; never anyone's identity."
    """
    whose = " or ".join(words for source, words in _WORDS.items() if source in seen_by)
    return f"Labels are perceived presentation in pictures, as seen {whose}; {NEVER}."


LABEL_NOTE: Final = label_note("classifier")
"""Of what a classifier labelled."""
