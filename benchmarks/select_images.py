"""The control of a mitigation that trains nothing: draw several times as many images, and keep balanced ones.

    fairbench export RUN --to images --out DRAWN
    python benchmarks/select_images.py DRAWN --keep N --out KEPT.csv
    fairbench run --model folder:KEPT.csv --task TASK --labeller JUDGE

Of each prompt N images are kept so that the groups, as the labeller of RUN reads them, are as even as the drawn images
allow. Prints what that cost.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fairbench.errors import FairbenchError
from fairbench.storage import atomic, folders, kinds

Row = Mapping[str, str]
HEADER = ("path", "prompt", "sample_index", "origin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", type=Path, help="folder of `fairbench export RUN --to images`")
    parser.add_argument("--keep", type=int, required=True, help="images of each prompt")
    parser.add_argument("--attributes", default="gender,race4", help="whose groups are to be even, jointly")
    parser.add_argument("--out", type=Path, required=True, help="CSV manifest of the images that are kept")
    options = parser.parse_args()
    try:
        print(select(options.drawn, options.keep, options.attributes.split(","), options.out))
    except FairbenchError as err:
        parser.exit(2, f"error: {err}\n")


def select(drawn: Path, keep: int, attributes: Sequence[str], out: Path) -> str:
    """Write the manifest of the images that are kept; return what it cost, in a sentence.

    Raises FairbenchError where the drawn images have no such labels, or a prompt has too few that are labelled.
    """
    folders.check_file(out, "a manifest of images", kinds.starting_with(",".join(HEADER).encode()), option="--out")
    source = drawn / "manifest.csv"
    if not source.is_file():
        raise FairbenchError(f"{source} is not there: name the folder of `fairbench export RUN --to images`.")
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if absent := [name for name in attributes if not rows or name not in rows[0]]:
        raise FairbenchError(f"{source} has no column {absent[0]}: name attributes of the run's labeller.")
    by_prompt: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt"]].append(row)
    kept: list[Row] = []
    for prompt, of_prompt in by_prompt.items():
        labelled = [row for row in of_prompt if row["file"] and all(row[name] for name in attributes)]
        if len(labelled) < keep:
            raise FairbenchError(
                f"{source}: {prompt!r} has {len(labelled)} labelled images, --keep wants {keep}: draw more."
            )
        kept += most_even(labelled, keep, attributes)
    lines = [[(drawn / row["file"]).resolve(), row["prompt"], row["sample"], "generated"] for row in kept]
    atomic.write_text(out, atomic.csv_text([HEADER, *lines]))
    drawn_for_one = len(rows) / len(kept)
    return (
        f"{len(rows)} images drawn and read by the labeller, {len(kept)} kept ({drawn_for_one:.1f} drawn for one), of "
        f"{len(by_prompt)} prompts, {uneven(kept, attributes)} with uneven groups: some were drawn too rarely."
    )


def most_even(rows: Iterable[Row], keep: int, attributes: Sequence[str]) -> list[Row]:
    """Return `keep` of a prompt's rows whose groups are as even as can be; of a group, those that were drawn first."""
    seen: Counter[tuple[str, ...]] = Counter()
    ranked: list[tuple[int, str, Row]] = []
    for row in sorted(rows, key=lambda row: int(row["sample"])):
        group = tuple(row[name] for name in attributes)
        # One image of every group, then a second one of every group that has it, and so on; ties by the hash.
        ranked.append((seen[group], row["sha256"], row))
        seen[group] += 1
    return [row for *_, row in sorted(ranked, key=lambda entry: entry[:2])[:keep]]


def uneven(kept: Iterable[Row], attributes: Sequence[str]) -> int:
    """Return the number of prompts whose groups differ by more than one image, counting groups that others show."""
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for row in kept:
        counts[row["prompt"]][tuple(row[name] for name in attributes)] += 1
    groups = set().union(*counts.values())
    return sum(max(of[g] for g in groups) - min(of[g] for g in groups) > 1 for of in counts.values())


if __name__ == "__main__":
    main()
