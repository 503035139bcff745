"""Draw the picture of the README from a finished run of the phantom: `python docs/make_picture.py RUN`.

RUN: the folder that `make demo` writes; its store must be there.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

import fairbench
from fairbench.display.figure import drawing, png

FILE = Path(__file__).parent / "images" / "first-look.png"
SUBJECTS, EACH = ("senator", "cosmetologist", "violinist", "citizen", "researcher"), 8
COLOURS = {"female": "#7b3294", "male": "#e08214"}
NOTE = "Labels are perceived presentation in pictures, never anyone's identity. The mannequins depict nobody."


def draw(run: fairbench.Run) -> bytes:
    """Return the picture as a PNG: a contact sheet of a few prompts, and the gender shares of all prompts."""
    with drawing("the picture", "report") as pyplot:
        figure = pyplot.figure(figsize=(10, 4.6))
        sheet, chart = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        _sheet(run, sheet)
        _chart(run, chart.subplots())
        chart.subplots_adjust(left=0.06, right=0.97, top=0.8, bottom=0.16)
        figure.text(0.5, 0.015, NOTE, ha="center", fontsize=8, color="#555555")
        return _smaller(png(pyplot, figure, dpi=110))


def _smaller(picture: bytes) -> bytes:
    """Return a PNG in 256 colours: a third of the bytes, and it looks the same."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _sheet(run: fairbench.Run, figure: Any) -> None:
    axes = figure.subplots(len(SUBJECTS), EACH)
    for row, subject in zip(axes, SUBJECTS, strict=True):
        faces = run.images(subject).sort_values("sample_index").head(EACH)
        for axis, image in zip(row, faces.itertuples(), strict=True):
            axis.imshow(run.picture(image.image_id))
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color=COLOURS.get(image.gender, "#999999"), linewidth=2)
        row[0].set_ylabel(subject, fontsize=9, rotation=0, ha="right", va="center", labelpad=5)
    figure.suptitle("What it draws", x=0.02, ha="left", fontsize=12, weight="bold")
    figure.subplots_adjust(left=0.19, right=0.97, top=0.87, bottom=0.09, wspace=0.06, hspace=0.06)


def _chart(run: fairbench.Run, axis: Any) -> None:
    prompts = run.prompts.sort_values("gender.share female", kind="stable")
    left, places = 0, range(len(prompts))
    for label, colour in COLOURS.items():
        shares = prompts[f"gender.share {label}"]
        axis.barh(places, shares, left=left, color=colour, label=label, height=0.85)
        left = shares + left
    axis.axvline(0.5, color="white", linewidth=1)
    axis.set(xlim=(0, 1), ylim=(-0.6, len(prompts) - 0.4), xlabel="share of faces", yticks=[])
    axis.set_ylabel(f"{len(prompts)} occupations")
    axis.spines[["top", "right", "left"]].set_visible(False)
    measured = run.metrics
    rows = measured[(measured.metric == "concentration") & (measured.attribute == "gender")]
    value = rows[(rows.scope == "task") & (rows.estimate == "corrected")].iloc[0]
    axis.legend(ncols=2, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    axis.figure.suptitle("What is measured", x=0.06, ha="left", fontsize=12, weight="bold")
    text = f"gender: concentration {value.value:.2f} [{value.ci_low:.2f}, {value.ci_high:.2f}]"
    axis.text(0, 1.02, f"{text}\n0 is balanced, 1 one class alone", transform=axis.transAxes, fontsize=8)


if __name__ == "__main__":
    FILE.write_bytes(draw(fairbench.load(sys.argv[1])))
