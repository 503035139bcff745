"""Variety within groups and the distance from a reference, of whole runs: against values computed from pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fairbench
from fairbench.display.numbers import number, p_value, span
from fairbench.errors import FairbenchError
from fairbench.reporting.charts import quality as charts
from fairbench.runs import evidence, quality
from fairbench.runs.result import Run
from fairbench.stats import variety
from fairbench.stats.multiplicity import holm
from tests.builders.cli import Cli
from tests.builders.sharpness import drawer

ENCODER = """\
import numpy as np
from fairbench.protocols import ScorerSpec
from fairbench.registry import register
from fairbench.strict import StrictModel


@register("scorers", "pixels")
class Pixels:
    '''Means of blocks of pixels.'''

    version = 1
    spec = ScorerSpec("pixels", "none", "means of blocks", ("pixels",), embeds=True)
    backbone = "none"

    class Params(StrictModel):
        shift: float = 0.0

    def __init__(self, params, ctx):
        self.shift = params.shift

    def features(self, images, prompts):
        blocks = [image.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).ravel() / 255 - 0.5 for image in images]
        return np.array(blocks, dtype=np.float32).reshape(len(images), 192) + self.shift

    def summarise(self, features):
        return {"pixels": float(features.mean()) if len(features) else None}
"""
BASE = ("--model", "phantom-exact", "--limit-prompts", "1", "-n", "2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run, and the reference that it is compared with, in one store."""
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "pixels.py").write_text(ENCODER)

    def made(name: str, seed: int, reference: Path | None = None) -> Run:
        return fairbench.run(
            drawer([]),
            name="drawer",
            version=1,
            task="occupations",
            labeller="phantom",
            limit_prompts=8,
            images_per_prompt=12,
            seed=seed,
            scorers="pixels",
            scorer_reference=reference,
            plugins=[folder / "pixels.py"],
            store=folder / "store",
            out=folder / name,
            sheets=False,
            progress=False,
        )

    reference = made("reference", 1)
    return made("run", 0, reference.folder), reference


def pictures(run: Run) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return embedding, prompt and classes of each image with a counted face, from its pixels."""
    faces = run.images()
    faces = faces[faces["counted"].eq(True)].sort_values("image_id")
    shown = {image.hex(): np.asarray(picture) for image, picture in run.pictures(map(bytes.fromhex, faces["image_id"]))}
    blocks = [shown[i].reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).ravel() / 255 - 0.5 for i in faces["image_id"]]
    classes = {name: faces[name].to_numpy() for name in ("gender", "race4")}
    return np.array(blocks), faces["prompt_id"].to_numpy(), classes


def test_variety_is_of_the_pictures_of_each_class_within_prompts(runs: tuple[Run, Run]) -> None:
    run, reference = runs
    vectors, prompt, classes = pictures(run)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    table = run.quality()
    assert list(table["measure"].unique()) == ["distance", "vendi"] and set(table["scorer"]) == {"pixels"}
    index = np.unique(prompt, return_inverse=True)[1]
    for attribute, labels in (("gender", ["female", "male"]), ("race4", ["WMELH", "Black", "Indian", "Asian"])):
        code = np.array([labels.index(x) for x in classes[attribute]])
        for measure, of in (("distance", variety.distances), ("vendi", variety.vendis)):
            rows = table[(table["attribute"] == attribute) & (table["measure"] == measure)].set_index("class")
            assert list(rows.index) == (labels if len(labels) > 2 else labels[:1])
            for label, found in zip(labels, of(units, index, code, len(labels)), strict=True):
                if label in rows.index:
                    expected = (found.value, found.others, found.contrast.estimate)
                    shown = rows.loc[label, ["value", "others", "difference"]].astype(float).to_numpy()
                    assert shown == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)
                    assert rows.loc[label, "n_class"] == found.contrast.of_class
    for measure in ("distance", "vendi"):  # adjusted over the classes of all attributes
        of_measure = [each for each in quality.of_run(evidence.read(run.folder)) if each.measure == measure]
        assert [each.attribute for each in of_measure] == ["gender", *["race4"] * 4]
        assert [each.p for each in of_measure] == pytest.approx(
            holm([each.contrast.p for each in of_measure]), nan_ok=True
        )
    own = reference.quality()
    assert table["reference_difference"].to_numpy() == pytest.approx(own["difference"].to_numpy(), nan_ok=True)
    known = table["net_p"].notna()
    assert known.any() and (table.loc[known, "net_ci_low"] < table.loc[known, "net"]).all()


def test_the_kernel_distance_is_at_the_runs_shares(runs: tuple[Run, Run]) -> None:
    run, reference = runs
    (x, _, own), (y, _, other) = pictures(run), pictures(reference)
    table = run.kernel_distances().set_index("attribute")
    assert list(table.index) == ["gender", "race4", "gender x race4"]
    assert table.loc["gender", "kept"] == 1 and table.loc["gender", "n_images"] == len(x)
    share = {g: float((own["gender"] == g).mean()) for g in ("female", "male")}
    total = 0.0
    for g, p in share.items():
        for h, q in share.items():
            a, b, c, d = (v[k["gender"] == n] for v, k, n in ((x, own, g), (x, own, h), (y, other, g), (y, other, h)))
            within = []
            for one, two in ((a, b), (c, d)):
                values = (one @ two.T / 192 + 1) ** 3
                pairs = ~np.eye(len(one), dtype=bool) if g == h else np.ones(values.shape, dtype=bool)
                within.append(values[pairs].mean())
            total += p * q * (within[0] + within[1] - 2 * ((a @ d.T / 192 + 1) ** 3).mean())
    assert table.loc["gender", "kid"] == pytest.approx(total, rel=1e-3, abs=1e-9)
    assert table.loc["gender", "ci_low"] < total < table.loc["gender", "ci_high"]
    assert reference.kernel_distances().empty


def test_a_reference_that_does_not_fit_is_refused_before_any_work(
    cli: Cli, runs: tuple[Run, Run], tmp_path: Path
) -> None:
    run, reference = runs
    plugin = ("--plugins", run.folder.parent / "pixels.py")
    (tmp_path / "shifted.yaml").write_text("type: pixels\nshift: 0.5\n")
    for scorers, store, words in (
        ("shifted.yaml", "store", "by other weights or settings by pixels"),
        ("clip-score,pixels", "store", "not at all by clip-score"),
        ("pixels", "elsewhere", None),
    ):
        args = (*BASE, *plugin, "--scorers", scorers, "--scorer-reference", reference.folder, "--store", store)
        found = cli("run", *args, "--no-sheets", "--out", "out")
        if words is None:  # the store that lies beside the reference's folder
            assert found.code == 0, found.err
        else:
            assert found.code == 2 and words in found.err and not Path("out").exists()
    again = cli("run", *args[:-4], "--scorer-reference", "out", "--store", "other", "--no-sheets", "--out", "out3")
    assert again.code == 2 and "holds pictures of this run itself" in again.err and not Path("out3").exists()
    bare = cli("run", *BASE, "--scorers", "none", "--scorer-reference", reference.folder, "--out", "out4")
    assert bare.code == 2 and "this run has no scorers" in bare.err and not Path("out4").exists()
    missing = cli("run", *BASE, "--scorer-reference", "nowhere", "--out", "out2")
    assert missing.code == 2 and "nowhere" in missing.err and not Path("out2").exists()


def test_the_terminal_shows_them_beside_the_reference(
    cli: Cli, runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reference = runs
    monkeypatch.setenv("COLUMNS", "80")
    short, full, alone = (
        cli("show", r.folder, *more).succeeded().out
        for r, more in ((run, ()), (run, ("--full",)), (reference, ("--full",)))
    )
    assert "Quality by perceived group, within prompts, beyond the reference's gaps: " in short
    assert "Quality by" not in cli("show", reference.folder).succeeded().out
    table = run.quality()
    row = table[(table["class"] == "female") & (table["measure"] == "distance")].iloc[0]
    (line,) = [x for x in full.split("variety by perceived group: pixels: distance")[1].splitlines() if "female" in x][
        :1
    ]
    shown = [number(row[name], sign=True) for name in ("difference", "reference_difference", "net")]
    limits = span(row["net_ci_low"], row["net_ci_high"])
    assert line.split() == ["gender:", "female", str(row["n_class"]), *shown, *limits.split(), p_value(row["net_p"])]
    (own,) = [x for x in alone.split("variety by perceived group: pixels: distance")[1].splitlines() if "female" in x][
        :1
    ]
    row = reference.quality().iloc[0]
    limits = span(row["ci_low"], row["ci_high"])
    assert own.split()[3:] == [number(row["difference"], sign=True), *limits.split(), p_value(row["p"])]
    kid = run.kernel_distances().iloc[0]
    (line,) = [
        x
        for x in full.split("distance from the reference")[1].splitlines()
        if x.split()[:2] == ["pixels", "gender"] and " x " not in x
    ]
    assert number(1000 * kid["kid"], sign=True) in line.split() and "distance from the reference" not in alone
    assert f"run {reference.id[:8]}" in " ".join(full.split()) and max(map(len, full.splitlines()[:-1])) <= 80


def test_the_page_shows_the_reference_beside_each_class(runs: tuple[Run, Run]) -> None:
    run, reference = runs
    found = quality.of_run(evidence.read(run.folder))
    distances = [each for each in found if each.measure == "distance"]
    chart = charts.by_group(distances)
    assert chart is not None and chart.name == "quality-pixels-distance" and "Orange diamonds" in chart.caption
    values = {value["group"]: value for value in chart.spec["data"]["values"]}
    own = reference.quality()
    for value in values.values():
        label = value["group"].split(": ")[1]
        row = own[(own["class"] == label) & (own["measure"] == "distance")].iloc[0]
        assert value["reference"] == pytest.approx(row["difference"])
        assert value["beyond the reference"] == pytest.approx(value["difference"] - value["reference"])
    alone = charts.by_group(
        [each for each in quality.of_run(evidence.read(reference.folder)) if each.measure == "vendi"]
    )
    assert alone is not None and "Orange" not in alone.caption and "reference" not in alone.spec["data"]["values"][0]


def test_a_reference_may_be_a_folder_of_pictures_that_people_labelled(
    cli: Cli, runs: tuple[Run, Run], tmp_path: Path
) -> None:
    """Its classes stand in another order, and one of them is not the run's."""
    _, reference = runs
    faces = reference.images()
    faces = faces[faces["counted"].eq(True)].iloc[:40]
    (tmp_path / "faces/a face").mkdir(parents=True)
    lines = ["image,gender,race4"]
    for i, (image, gender, race) in enumerate(zip(faces["image_id"], faces["gender"], faces["race4"], strict=True)):
        reference.picture(image).save(tmp_path / f"faces/a face/{i}.png")
        lines.append(f"a face/{i}.png,{gender},{'Elf' if race == 'Asian' else race}")
    (tmp_path / "faces.csv").write_text("\n".join(lines) + "\n")
    plugin = ("--plugins", reference.folder.parent / "pixels.py", "--scorers", "pixels", "--no-sheets")
    cli("run", "--model", "folder:faces", "--labels", "faces.csv", *plugin, "--out", "people").succeeded()
    args = ("--model", "phantom-exact", "--task", "occupations", "--limit-prompts", "4", "-n", "12", *plugin)
    cli("run", *args, "--scorer-reference", "people", "--out", "run").succeeded()
    run = fairbench.load("run")
    kid = run.kernel_distances().set_index("attribute")
    race = run.images()["race4"].dropna()
    assert kid.loc["gender", "kept"] == 1 and kid.loc["gender", "n_images"] == len(race)
    kept = kid.loc["race4", "n_images"]
    assert kid.loc["race4", "kept"] == pytest.approx(kept / len(race)) and 0 < kept <= (race != "Asian").sum()
    assert 0 < kid.loc["race4", "n_reference"] <= sum("Elf" not in line for line in lines[1:])
    own = fairbench.load("people").quality().set_index(["measure", "class"])["difference"]
    quality = run.quality().set_index(["measure", "class"])
    both = [key for key in quality.index if key in own.index]
    assert quality["reference_difference"].loc[both].to_numpy() == pytest.approx(own.loc[both].to_numpy(), nan_ok=True)
    assert np.isnan(quality.loc[("distance", "Asian"), "reference_difference"]) and len(both) >= 6


def test_a_damaged_file_is_named(runs: tuple[Run, Run]) -> None:
    run, _ = runs
    path = run.folder / "evidence/quality.json"
    text = path.read_text()
    try:
        content = json.loads(text)
        del content["variety"][0]["contrast"]["df"]
        path.write_text(json.dumps(content))
        with pytest.raises(FairbenchError, match="is not as a run writes it"):
            fairbench.load(run.folder).quality()
        path.write_text(text[:40])
        with pytest.raises(FairbenchError, match="is not JSON"):
            fairbench.load(run.folder).quality()
    finally:
        path.write_text(text)
