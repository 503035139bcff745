"""`calibrate`: from labelled images to a calibration file."""

from __future__ import annotations

import shlex
from pathlib import Path

from fairbench.calibration import count, files, manifest, own
from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling.confusion import Calibration
from fairbench.labelling.labeller import LabelSpace
from fairbench.runs.device import pick_device
from fairbench.storage import paths
from fairbench.storage.store import Store


def calibrate(
    labeller: str,
    images: str,
    out: str,
    store: Store,
    progress: Progress,
    *,
    domain: str | None = None,
    run: Path | None = None,
    allow_implausible: bool = False,
    device: str = "auto",
) -> tuple[Calibration, Path, Path | None]:
    """Return what was counted, its file, and the labeller card's file. Arguments: as of `fairbench.calibrate`.

    Raises FairbenchError for whatever the caller can fix, before any image is looked at where that is possible.
    """
    loaded, manifest_file, file = catalog.load_labeller(labeller), paths.expand(images), paths.expand(out)
    if domain is not None and run is not None:
        raise FairbenchError("--domain and --run both say what these images are: give one of the two.")
    own_images = None if run is None else own.RunImages(run)
    words = (domain or "").strip() if own_images is None else own_images.domain.words
    files.check(file, words)
    arguments = ["--labeller", labeller, "--images", images]
    arguments += ["--domain", words] if run is None else ["--run", str(run)]
    arguments += ["--allow-implausible"] if allow_implausible else []
    labelled = manifest.read(manifest_file, LabelSpace(loaded.card), progress, derived=own_images is not None)
    if own_images is not None:
        own_images.refuse_others(labelled)
    counted = count.calibrate(
        labelled,
        loaded,
        store,
        progress,
        domain=words,
        run_images="" if own_images is None else own_images.domain.images,
        command=shlex.join(["fairbench", "calibrate", *arguments]),
        device=pick_device(device),
    )
    return files.write(counted, file, manifest_file, allow_implausible=allow_implausible), file, loaded.path
