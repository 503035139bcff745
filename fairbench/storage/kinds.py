"""What a command leaves in a folder, and the file by which its result is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench.errors import StoreError

Test = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a command leaves in a folder.

    what: in words, as "an audit". markers: the files by which it is known, each with a test of what the file holds; one
    of them is enough. files: the relative paths that `replacing` puts there, as a regular expression: of these files, a
    new result removes those that it no longer has.
    """

    what: str
    markers: Mapping[str, Test]
    files: str = ""

    def holds(self, folder: Path) -> bool:
        """Whether a folder holds such a result. Raises StoreError where a marker cannot be read."""
        for name, is_ours in self.markers.items():
            marker = folder / name
            try:
                if marker.is_file() and is_ours(marker):
                    return True
            except OSError as err:
                raise StoreError(f"{marker} cannot be read ({err.strerror}): name another folder.") from err
        return False


def json_with(*fields: str) -> Test:
    """Return a test for a file that holds a JSON object with these fields."""

    def test(path: Path) -> bool:
        try:
            record = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        return isinstance(record, dict) and all(name in record for name in fields)

    return test


def starting_with(start: bytes) -> Test:
    """Return a test for a file that begins with these bytes."""

    def test(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(len(start)) == start

    return test


_PAGE: Final = (
    r"index\.html|report/(((report|frame|viewer)\.(css|js)|cells\.js)|report\.json|vega\.js|metrics\.csv|data/(page|images-\d{3,})\.js"
    r"|charts/[a-z0-9._-]+\.(svg|json)|pictures/[0-9a-f]{20}\.webp)"
)
"""Files of a report's page and of what it shows."""
REPORT: Final = Kind(
    "a report", {"report/report.json": json_with("report", "runs")}, rf"{_PAGE}|[0-9a-f]{{8}}/({_PAGE})"
)
_RUN_JSON: Final = {"run.json": json_with("run_id", "fairbench", "declared")}
RUN: Final = Kind(
    "a run",
    _RUN_JSON,
    r"run\.json|people\.(csv|json)|notices\.csv|(metrics|prompts)\.(csv|parquet)|evidence/(fairbench-store|calibration|quality)\.json"
    r"|evidence/[a-z]+/[0-9a-f]{32}/part-[0-9a-f]{32}\.parquet|sheets/\d{4,}-[a-z0-9-]*\.png"
    rf"|{_PAGE}",
)
PAGE_OF_RUN: Final = Kind("a run", _RUN_JSON, _PAGE)
_BOARDS: Final = (
    r"index\.html|assets/((site|frame)\.(css|js)|cells\.js|vega\.js|leaderboards\.json|data/page\.js"
    r"|charts/[a-z0-9-]+\.(svg|json))"
)
"""Files of a page of leaderboards and of what it shows."""
LEADERBOARD_SITE: Final = Kind(
    "pages of leaderboards",
    {"assets/leaderboards.json": json_with("fairbench", "leaderboards")},
    rf"(pages/[a-z0-9-]+/([a-z0-9-]+/)?)?({_BOARDS})",
)
_SWEEP_PAGE: Final = r"page/((frame|sweep)\.(css|js)|cells\.js|vega\.js|data/page\.js|charts/[a-z0-9-]+\.(svg|json))"
PEOPLE: Final = Kind("a run", _RUN_JSON, r"people\.(csv|json)")
PLAN: Final = Kind("a plan", {"plan.json": json_with("detect", "curves", "assumptions")}, r"plan\.(json|csv|png)")
AUDIT: Final = Kind(
    "an audit",
    {"audit.json": json_with("verdicts", "cannot_be_concluded")},
    r"audit\.json|(tokenizer|language_model|understanding)\.png",
)
AXES: Final = Kind(
    "a reading of axes",
    {"axes.json": json_with("axes_sha256", "axes", "answers")},
    r"axes\.(csv|json)|(answers|prompts)\.csv|labellers/axis-[a-z0-9._-]+\.yaml",
)
CAPTIONS: Final = Kind(
    "a measurement of captions",
    {"captions.json": json_with("captioned_by", "measures", "things")},
    r"captions\.(csv|json)|(measures|things)\.csv",
)
ANNOTATION: Final = Kind("an annotation", {"annotation.json": json_with("seed", "design", "attributes", "annotators")})
_COMPARE_JSON: Final = {"compare.json": json_with("kind", "runs", "alpha")}
COMPARISON: Final = Kind("a comparison", _COMPARE_JSON, r"compare\.(json|csv|png)")
VALIDATION: Final = Kind("a validation", {"validation.cells.jsonl": starting_with(b'{"key": "')})
LABELLED_IMAGES: Final = Kind(
    "labelled mannequins",
    {"manifest.csv": starting_with(b"image,gender,race4\nimages/000000.png,")},
    r"manifest\.csv|images/\d{6}\.png",
)
PHANTOM: Final = Kind("a build of the phantom", {"work/seed.json": lambda path: path.read_bytes().strip().isdigit()})
SWEEP: Final = Kind(
    "a sweep",
    {"sweep-settings.json": json_with("sweep", "trainings", "budget")},
    rf"sweep\.(json|csv)|page\.html|{_SWEEP_PAGE}",
)
ADAPTER: Final = Kind(
    "an adapter or a training of fairbench",
    {
        "provenance.json": json_with("fairbench.adapter"),
        "state/training.json": json_with("steps", "data", "base"),
        "state/state.pt": starting_with(b"PK"),
    },
)
