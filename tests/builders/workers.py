"""Cards of models in environments of their own: recipes without a model, run by whatever Python is named."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

STUBS = Path(__file__).resolve().parents[1] / "workers" / "stubs"


def write_card(folder: Path, stub: str = "stub", name: str = "stub", **sampling: Any) -> Path:
    """Write a card of a stub recipe that this interpreter runs, and return its path. sampling: fields that differ."""
    fields: dict[str, Any] = {"recipe": str(STUBS / f"{stub}.py"), "width": 16, "height": 8, "python": sys.executable}
    card = {"name": name, "title": "A stub", "adapter": "worker", "labeller": "phantom", "images_per_prompt": 2}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(card | {"sampling": fields | sampling}), encoding="utf-8")
    return path


def ended(pid: int) -> bool:
    """Whether a process has ended, or ends within five seconds; nobody may have waited for an orphan yet."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
