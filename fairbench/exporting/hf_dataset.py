"""A run as a folder that Hugging Face's `datasets` loads, with a card and a Croissant description.

Parquet is written with pyarrow alone: `datasets` is not needed.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Final

from fairbench.exporting import croissant, dataset_card
from fairbench.exporting import dataset_tables as tables
from fairbench.exporting.job import Job, sha256
from fairbench.storage import atomic

CARD: Final = "README.md"
CROISSANT: Final = "croissant.json"
FILES: Final = r"README\.md|croissant\.json|data/(labels|images)\.parquet"


def write(job: Job, repo: str = "") -> Path:
    """Write the folder and return it: a table of labels, and with `with_images` one of the pictures.

    repo: the repository of the hub that it is made for, if it is. Raises FairbenchError where pictures are asked
    for that are not here, and for a folder that holds something else.
    """
    labels = tables.labels(job.content.run)
    with job.writing(FILES) as folder:
        tables.write_labels(labels, folder / tables.LABELS)
        files = {"labels": tables.LABELS}
        if job.with_images:
            tables.write_images(job, labels, folder / tables.IMAGES)
            files["images"] = tables.IMAGES
        atomic.write_text(folder / CARD, dataset_card.text(job, labels, files, repo or "PATH"))
        hashes = {config: sha256(folder / name) for config, name in files.items()}
        today = datetime.datetime.now(datetime.UTC).date()
        described = croissant.describe(job, labels, files, hashes, date=today, repo=repo)
        atomic.write_text(folder / CROISSANT, json.dumps(described, indent=2) + "\n")
    return job.folder
