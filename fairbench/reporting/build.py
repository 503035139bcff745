"""`fairbench report`: a folder of static pages, which work from disk and from any web server without a network."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairbench import __version__
from fairbench.display.note import label_note
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.pages import frame
from fairbench.pages.chart import Chart
from fairbench.pages.frame import Site
from fairbench.reporting import audits, gallery, others, paper, side_by_side, values
from fairbench.reporting.audits import Audit
from fairbench.reporting.charts import of_run, of_runs
from fairbench.reporting.content import MEANS, Content
from fairbench.runs import record
from fairbench.runs.result import Run
from fairbench.storage import atomic, folders, kinds

ASSETS: Final = "report"
"""Folder beside a page of what it shows, so that a run's page stands in the run's own folder."""
_OF_A_CALL: Final = ("seconds", "made_in_this_process", "damaged_shards", "workers")
"""Fields of run.json that say how it was done this time, and nothing that a page shows."""
_SITE: Final = Site(Path(__file__).parent / "site", ASSETS, ("report.css",), ("viewer.js", "report.js"))


def write(
    runs: Sequence[Run], out: Path, progress: Progress, *, with_images: bool = False, audit_folders: Sequence[Path] = ()
) -> Path:
    """Write the report of runs into `out`, which may be the folder of the run; return its first page.

    with_images: also pictures that are files of the user's (`folder:`), which may show real people.
    audit_folders: of audits, each shown on the pages of the runs of its model. Raises FairbenchError for a folder that
    holds something else, for runs of one id, and for an audit that cannot be shown.
    """
    models = [run.record.model.name for run in runs]
    audit_of = audits.by_model([audits.read(folder) for folder in audit_folders], models)
    contents = [Content(run, audit_of.get(model)) for run, model in zip(runs, models, strict=True)]
    ids = [content.record.run_id for content in contents]
    if len(set(ids)) < len(ids):
        raise FairbenchError(f"Run {max(ids, key=ids.count)} is named twice: name each run once.")
    within = len(runs) == 1 and out.resolve() == runs[0].folder.resolve()
    kind = kinds.PAGE_OF_RUN if within else kinds.REPORT
    if within and audit_of:
        raise FairbenchError(
            f"{out} is the run's own folder, whose page shows no audit: name another folder with --out."
        )
    if not within:
        folders.check(out, kind)
    with folders.replacing(out, kind) as folder:
        _SITE.write_assets(folder)
        about = {"report": __version__, "runs": ids, "with_images": with_images}
        if within:
            about["of"] = _state(runs[0])
        atomic.write_text(folder / ASSETS / "report.json", json.dumps(about) + "\n")
        if len(contents) == 1:
            _write_run(contents[0], [], folder, "", progress, with_images)
        else:
            for content in contents:
                _write_run(content, contents, folder / content.record.run_id[:8], "../", progress, with_images)
            _write_overview(contents, folder)
    return out / "index.html"


def refresh(run: Run, progress: Progress, *, wanted: bool) -> Path | None:
    """Write the page in a run's own folder where it is wanted, or there already, and not of the run as it stands.

    Returns the page; None where there is none.
    """
    page, about = run.folder / "index.html", _about(run.folder)
    if about is None and not wanted:
        return None
    if about is not None and page.exists() and about.get("of") == _state(run):
        return page
    return write([run], run.folder, progress, with_images=about is not None and about.get("with_images") is True)


def _about(folder: Path) -> dict[str, Any] | None:
    """Return what a page's report.json says; None where there is no page."""
    try:
        about = json.loads((folder / ASSETS / "report.json").read_bytes())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else {}


def _state(run: Run) -> str:
    """Return a hash of all that a run's page shows, and of what makes it."""
    said = json.loads((run.folder / record.FILE).read_bytes())
    for name in _OF_A_CALL:
        said.pop(name, None)
    state = hashlib.sha256(json.dumps([__version__, said], sort_keys=True).encode())
    shown = [run.folder / name for name in ("metrics.parquet", "prompts.parquet", "people.json")]
    for path in (*shown, *_SITE.sources):
        state.update(path.read_bytes() if path.is_file() else b"none")
    return state.hexdigest()


def _write_run(
    content: Content, beside: Sequence[Content], folder: Path, root: str, progress: Progress, with_images: bool
) -> None:
    """Write the page of one run. beside: the runs of the report. root: the way to the folder that holds the scripts."""
    images = gallery.records(content.run)
    labellers = others.add(content, images, beside)
    shown = [*content.charts(), *_sureness(content, images)]
    words = _pictures(content.run, images, folder, progress, with_images)
    tables = content.tables()
    chunks = {
        f"{ASSETS}/data/images-{i // gallery.CHUNK:03d}.js": images[i : i + gallery.CHUNK]
        for i in range(0, len(images), gallery.CHUNK)
    }
    for name, chunk in chunks.items():
        atomic.write_text(folder / name, frame.script("images", chunk))
    _SITE.write_data(
        folder,
        [*shown, *(content.audit.charts if content.audit else ())],
        prompts=content.prompts(),
        attributes=content.attributes,
        others=labellers,
        chunks=list(chunks),
        tables=[
            *map(values.copied, tables),
            values.forms(content.values, content.label_note),
            *([values.copied(content.audit.table)] if content.audit else ()),
        ],
    )
    shutil.copyfile(content.run.folder / "metrics.csv", folder / ASSETS / "metrics.csv")
    page = {
        "back": bool(root),
        "name": content.name,
        "task": content.record.task.name,
        "labeller": content.record.labeller.title,
        "images": len(images),
        "verdicts": content.verdicts(),
        "further": content.further(),
        "notices": content.notices(),
        "means": (content.label_note, *MEANS),
        "pictures": words,
        "tables": [frame.safe(t["html"]) for t in tables],
        "values": content.values,
        "heads": (*values.WORDS, *values.HEADS, "why absent"),
        "values_note": values.NOTE,
        "definitions": content.definitions(),
        "audit": content.audit and _audit(content.audit, content),
        "methods": paper.methods(content),
        "bibtex": paper.bibtex(content),
        "evidence": paper.evidence(content),
        "command": paper.command(content),
    }
    _SITE.write_page("page.html", page, folder, shown, root)


def _audit(audit: Audit, content: Content) -> dict[str, Any]:
    """Return what the page shows of an audit of the run's model."""
    same = audit.image_key == content.record.keys.images
    return {
        "summary": audit.summary,
        "of": "" if same else "It was done with other settings than this run, so that its pictures are others.",
        "cannot_be_concluded": audit.cannot_be_concluded,
        "table": frame.safe(audit.table["html"]),
        "note": audit.note,
        "charts": audit.charts,
    }


def _sureness(content: Content, images: Sequence[Mapping[str, Any]]) -> list[Chart]:
    faces = [face for image in images for face in image["faces"] if face["counted"]]
    known = {a: [p for face in faces if (p := face["labels"][a][1]) is not None] for a in content.attributes}
    chart = of_run.probabilities(known)
    return [] if chart is None else [chart]


def _pictures(run: Run, images: list[dict[str, Any]], folder: Path, progress: Progress, with_images: bool) -> str:
    """Write the thumbnails, and return what is said above the pictures."""
    files = gallery.of_files(run)
    for image in images:
        if files and image["error"] is not None:
            image["error"] = gallery.NOT_USED  # the reason names the user's file
    if files and not with_images:
        return (
            f"The pictures are {gallery.REAL_PEOPLE}, and are left out: "
            "`fairbench report RUN --with-images` includes them."
        )
    if not with_images and any(n.code == "content-note" for n in run.record.notices):
        return (
            "The task comes with a content note (above), and the pictures are left out: "
            "`fairbench report RUN --with-images` includes them."
        )
    problem = gallery.write(run, images, folder / ASSETS / "pictures", progress)
    for image in images:
        if "file" in image:
            image["file"] = f"{ASSETS}/pictures/{image['file']}"
    if problem is not None:
        return f"There are no pictures: {problem}"
    return "Boxes: faces that count; dashed: faces that the labeller's policy leaves out. Numbers: probabilities."


def _write_overview(contents: Sequence[Content], folder: Path) -> None:
    """Write the first page of several runs side by side."""
    rows = [row for content in contents for row in content.concentrations()]
    together = side_by_side.of(contents)
    shown = [*together.charts, *([of_runs.compared(rows)] if rows else [])]
    tables = [content.main_table() for content in contents]
    _SITE.write_data(folder, shown, prompts=[], attributes={}, chunks=[], tables=[values.copied(t) for t in tables])
    runs = [
        {
            "name": content.name,
            "label": content.label,
            "link": f"{content.record.run_id[:8]}/index.html",
            "task": content.record.task.name,
            "labeller": content.record.labeller.title,
            "verdicts": content.verdicts(),
            "further": content.further(),
            "table": frame.safe(table["html"]),
            "audit": content.audit and content.audit.summary,
            "notices": len(content.notices()),
        }
        for content, table in zip(contents, tables, strict=True)
    ]
    means = (label_note(*(source for content in contents for source in content.run.seen_by)), *MEANS)
    words = {"comparison": frame.safe(together.html), "problem": together.problem}
    _SITE.write_page("overview.html", {"runs": runs, "means": means, **words}, folder, shown)
