"""A balanced set of a few random pictures, and a card of a tiny Janus to train on it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from fairbench.cards import catalog
from fairbench.synthesis import balanced

ATTRIBUTES = {"gender": ("female", "male"), "race4": ("WMELH", "Black")}
GROUPS = tuple(itertools.product(*ATTRIBUTES.values()))
SUBJECTS = ("nurse", "computer programmer")


def save_balanced(folder: Path, subjects: Sequence[str] = SUBJECTS, per_group: int = 2, side: int = 16) -> Path:
    """Save pictures of random colours for every subject and group, and return the manifest's path."""
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for subject, group, index in itertools.product(subjects, GROUPS, range(per_group)):
        path = folder / "images" / f"{subject}-{'-'.join(group)}-{index}.png"
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        neutral, stated = (f"A photo of the face of a {who}, a person" for who in (subject, f"{group[0]} {subject}"))
        rows.append(balanced.Row(path, sha256, neutral, subject, group, stated))
    return balanced.write(folder, ATTRIBUTES, GROUPS, rows, {"source": "random pictures"})


def save_model(folder: Path, seed: int = 0) -> Path:
    """Save a tiny Janus and a card that says of it what the card of Janus-Pro-1B says; return the card's path."""
    from tests.builders.janus import save_tiny_janus  # transformers: not for tests that only read a set

    save_tiny_janus(folder / "janus", seed)
    published = yaml.safe_load(catalog.find("models")["janus-pro-1b"].read_text(encoding="utf-8"))
    card = published | {"name": "tiny", "weights": {"path": "janus"}, "labeller": "phantom"}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    return path
