"""The YAML at the head of a card of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

HUB_LICENCES: Final = frozenset(
    {
        *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
        *("creativeml-openrail-m", "openrail++"),
    }
)
"""Identifiers of licences that the hub takes as they are; any other words are none."""


def with_front_matter(fields: Mapping[str, Any], body: str) -> str:
    """Return a card: fields between two lines of `---`, then Markdown.

    What is no ASCII is written as an escape, so that no character in a name acts on the page of whoever reads the file.
    """
    block = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=False, width=1000)
    return f"---\n{block}---\n\n{body}"
