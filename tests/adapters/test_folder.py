"""Images that exist already: every layout, every broken file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairbench.adapters.folder import FolderAdapter, FolderParams
from fairbench.cards.catalog import load_model, load_task
from fairbench.errors import CardError, ImageError
from fairbench.notices import Notice, collecting
from fairbench.runs.prompts import expand
from fairbench.types import BuildContext, ImageRequest
from tests.builders.cli import Cli


def image(path: Path, value: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(path, **options)
    return path


def scan(path: Path, task: str | None = None, count: int | None = None) -> list[tuple[str, int, str]]:
    adapter = FolderAdapter(load_model(f"folder:{path}").card, FolderParams(path=str(path)), BuildContext())
    prompts = adapter.prompts(expand(load_task(task).card) if task else None)
    names = {p.prompt_id: p.text for p in prompts}
    return [(names[r.prompt_id], r.sample_index, Path(str(r.path)).name) for r in adapter.requests("k", count)]


def test_a_flat_folder_is_one_group_in_natural_order(tmp_path: Path) -> None:
    for name in ("img_10.png", "img_9.png", "IMG_1.JPG", ".hidden.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert scan(tmp_path) == [
        ("all images", 0, "IMG_1.JPG"),
        ("all images", 1, "img_9.png"),
        ("all images", 2, "img_10.png"),
    ]


def test_the_prompt_i_layout_maps_to_the_task(tmp_path: Path) -> None:
    for i in (0, 10, 2):
        image(tmp_path / f"prompt_{i}" / "img_0.jpg")
    found = scan(tmp_path, "occupations")
    assert [f[0].split(" of a ")[1] for f in found] == [
        "senator, a person",
        "ticket taker, a person",
        "sewer, a person",
    ]


def test_folders_named_by_subject_or_text(tmp_path: Path) -> None:
    image(tmp_path / "ticket taker" / "a.png")
    image(tmp_path / "legal_secretary" / "a.png")
    image(tmp_path / "A photo of the face of a citizen, a person" / "a.png")
    assert {f[0] for f in scan(tmp_path, "occupations")} == {
        f"A photo of the face of a {s}, a person" for s in ("ticket taker", "legal secretary", "citizen")
    }


def test_a_folder_that_is_no_prompt_of_the_task_is_named(tmp_path: Path) -> None:
    image(tmp_path / "astronomer" / "a.png")
    with pytest.raises(CardError, match="'astronomer' is no prompt of the task"):
        scan(tmp_path, "occupations")


def test_manifests(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    image(tmp_path / "b.png", 2)
    (tmp_path / "m.csv").write_text("path,prompt,sample_index\na.png,a nurse,1\nb.png,a nurse,0\n")
    assert scan(tmp_path / "m.csv") == [("a nurse", 0, "b.png"), ("a nurse", 1, "a.png")]
    lines = [{"path": "a.png", "prompt": "a nurse"}, {"path": str(tmp_path / "b.png"), "prompt": "a judge"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert scan(tmp_path / "m.jsonl") == [("a nurse", 0, "a.png"), ("a judge", 0, "b.png")]
    (tmp_path / "m2.csv").write_text("path\na.png\nb.png\n")
    assert [f[0] for f in scan(tmp_path / "m2.csv")] == ["all images"] * 2
    assert len(scan(tmp_path / "m.csv", count=1)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,prompt\nnone.png,x\n", "line 2, field path: there is no file"),
        ("path,prompt\n,x\n", "line 2, field path: name the image's file"),
        ("file\na.png\n", "line 1: the column 'path' is missing"),
        ("path,prompt\na.png," + "x" * 20_000 + "\n", "line 2, field prompt: it is longer than 10,000 characters"),
        ("path,sample_index\na.png,one\n", "field sample_index: 'one' is no whole number"),
        ("path,sample_index\na.png,0\na.png,0\n", "sample_index: 0 stands in .* line 2 already"),
        ("path,sample_index\na.png,0\na.png,\n", "line 3, field sample_index: it is given for other images"),
    ],
)
def test_manifests_that_lie(tmp_path: Path, text: str, words: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(CardError, match=words):
        scan(tmp_path / "m.csv")


def test_an_image_is_known_by_its_content(tmp_path: Path) -> None:
    image(tmp_path / "one" / "a.png", 1)
    image(tmp_path / "two" / "b.png", 1)
    image(tmp_path / "three" / "a.png", 2)

    def ids(folder: str) -> set[bytes]:
        adapter = FolderAdapter(
            load_model(f"folder:{tmp_path / folder}").card, FolderParams(path=str(tmp_path / folder)), BuildContext()
        )
        adapter.prompts(None)
        return {r.image_id for r in adapter.requests("k", None)}

    assert ids("one") == ids("two") != ids("three")


def test_a_place_in_the_folder_is_no_part_of_an_images_id(cli: Cli, tmp_path: Path) -> None:
    for i in (1, 2):
        image(tmp_path / "i" / f"{i}.png", i)
    image(tmp_path / "i" / "copy.png", 1)  # the same content twice is two images
    args = ("run", "--model", f"folder:{tmp_path / 'i'}", "--labeller", "phantom", "--no-sheets", "--out")
    assert cli(*args, "a").code == 0
    image(tmp_path / "i" / "0.png", 7)
    assert cli(*args, "b").code == 0
    assert json.loads(Path("a/run.json").read_text())["made_in_this_process"]["images"] == 3
    assert json.loads(Path("b/run.json").read_text())["made_in_this_process"]["images"] == 1


def test_a_read_error_is_not_remembered(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be read just now is told, and read again next time."""
    from fairbench.storage import pixels, reading

    image(tmp_path / "i" / "a.png", 1)
    image(tmp_path / "i" / "b.png", 2)
    args = ("run", "--model", f"folder:{tmp_path / 'i'}", "--labeller", "phantom", "--no-sheets", "--out")
    with monkeypatch.context() as patch:

        def fail(path: Path) -> tuple[bytes, str]:
            if path.name == "a.png":
                raise ImageError(f"{path} cannot be read (Input/output error): fix or remove it.")
            return pixels.read(path)

        patch.setattr(
            reading, "pixels", type("P", (), {"read": staticmethod(fail), "decode": staticmethod(pixels.decode)})
        )
        found = cli(*args, "one")
    assert found.code == 2
    assert "a.png cannot be read" in found.err
    assert cli(*args, "two").code == 0
    assert json.loads(Path("two/run.json").read_text())["statuses"]["faces"]["no_face"] == 2


@pytest.mark.parametrize("name", ["1²2.png", "ü b.png", "x" * 200 + ".png"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    image(tmp_path / name)
    assert [f[2] for f in scan(tmp_path)] == [name]


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png").rename(tmp_path / "\udcff.png")
    with pytest.raises(CardError, match="not plain UTF-8"):
        scan(tmp_path)


def test_a_subject_under_two_templates_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "s.csv").write_text("subject\nnurse\n")
    (tmp_path / "t" / "task.yaml").write_text(
        "name: t\nversion: 1\ntitle: T\nsubjects: s.csv\nsource: s\nlicence: l\n"
        "templates: [{id: a, text: 'a {subject}'}, {id: b, text: 'one {subject}'}]\n"
    )
    image(tmp_path / "i" / "nurse" / "a.png")
    with pytest.raises(CardError, match="'nurse' may be 2 prompts"):
        scan(tmp_path / "i", str(tmp_path / "t"))
    (tmp_path / "i" / "nurse").rename(tmp_path / "i" / "one nurse")
    assert scan(tmp_path / "i", str(tmp_path / "t")) == [("one nurse", 0, "a.png")]


def test_broken_files_are_failed_rows_and_exit_code_2(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    whole = image(folder / "good.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-900])
    (folder / "empty.png").write_bytes(b"")
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(folder / "deep.png")
    Image.new("RGB", (8, 8)).save(folder / "moves.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    found = cli("run", "--model", f"folder:{folder}", "--labeller", "phantom", "--out", "out")
    assert found.code == 2
    assert "2 of 6 images could not be read" in found.err
    assert "cut.jpg is damaged or truncated" in found.err
    assert "empty.png is empty (0 bytes)" in found.err
    assert "Traceback" not in found.err
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["statuses"]["images"] == {"ok": 4, "failed": 2, "blank": 0, "refused": 0}
    assert {Path(f["error"].split(" is ")[0]).name for f in record["failures"]} == {"cut.jpg", "empty.png"}
    (folder / "cut.jpg").unlink()
    (folder / "empty.png").unlink()
    assert whole.exists()
    assert cli("run", "--model", f"folder:{folder}", "--labeller", "phantom").code == 0


def test_an_empty_or_missing_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, words in (("empty", "holds no images"), ("gone", "neither a folder nor a manifest")):
        found = cli("run", "--model", f"folder:{tmp_path / path}", "--labeller", "phantom")
        assert found.code == 2
        assert words in found.err


def test_a_method_cannot_rewrite_images(cli: Cli, tmp_path: Path) -> None:
    image(tmp_path / "i" / "a.png")
    found = cli("run", "--model", f"folder:{tmp_path / 'i'}", "--labeller", "phantom", "--method", "none:x")
    assert found.code == 2
    assert "takes no argument" in found.err


def test_a_file_that_cannot_be_decoded_states_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    adapter = FolderAdapter(load_model(f"folder:{tmp_path}").card, FolderParams(path=str(tmp_path)), BuildContext())
    adapter.prompts(None)
    (request,) = adapter.requests("k", None)
    assert isinstance(request, ImageRequest)
    (result,) = adapter.generate([request])
    assert result.status == "failed"
    assert "a.png is not an image" in str(result.error)


def notices_of(path: Path, task: str | None = None) -> dict[str, Notice]:
    with collecting() as notices:
        scan(path, task)
    return {n.code: n for n in notices}


def test_files_that_are_not_looked_at_are_counted_by_suffix(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    for name in ("b.avif", "c.HEIC", "d.avif", "README", "Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX"):
        (tmp_path / name).write_bytes(b"x")
    notice = notices_of(tmp_path)["unknown-suffix"]
    assert notice.count == 4
    assert "4 file(s) are no images by their suffix (.avif 2, .heic 1, no suffix 1)" in notice.text


def test_a_jfif_file_is_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jfif", format="JPEG")
    assert scan(tmp_path) == [("all images", 0, "a.jfif")]
    assert not notices_of(tmp_path)


def test_folders_that_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("flat/a.png", "flat/nurse/b.png", "nested/nurse/a.png", "nested/nurse/more/b.png"):
        image(tmp_path / name)
    (tmp_path / "nested" / "judge").mkdir()
    assert notices_of(tmp_path / "flat")["ignored-folder"].examples == ("nurse",)
    nested = notices_of(tmp_path / "nested")
    assert nested["ignored-folder"].examples == ("nurse/more",)
    assert nested["prompts-without-images"].examples == ("judge",)


def test_prompts_of_the_task_without_images_are_named(tmp_path: Path) -> None:
    image(tmp_path / "prompt_0" / "a.png")
    notice = notices_of(tmp_path, "occupations")["prompts-without-images"]
    assert notice.count == 49
    assert "49 of the task's 50 prompts have no images" in notice.text


def test_names_in_two_unicode_forms_are_one_prompt(tmp_path: Path) -> None:
    image(tmp_path / "infirmi\u00e8re" / "a.png", 1)
    image(tmp_path / "infirmie\u0300re" / "b.png", 2)
    with collecting() as notices:
        assert {(name, file) for name, _, file in scan(tmp_path)} == {
            ("infirmi\u00e8re", "a.png"),
            ("infirmi\u00e8re", "b.png"),
        }
    assert [(n.code, n.count) for n in notices] == [("near-equal-prompts", 1)]


def test_prompts_that_only_look_equal_are_reported(tmp_path: Path) -> None:
    image(tmp_path / "a nurse" / "a.png")
    image(tmp_path / "A  nurse" / "b.png")
    assert notices_of(tmp_path)["near-equal-prompts"].count == 1


def test_a_manifest_written_on_windows(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    (tmp_path / "m.csv").write_text("path,prompt\nimages\\a.png,x\n")
    assert scan(tmp_path / "m.csv") == [("x", 0, "a.png")]
    (tmp_path / "m.csv").write_text("path,prompt\nC:\\images\\a.png,x\n")
    with pytest.raises(CardError, match=r"line 2, field path: there is no file .* \(nor with / for"):
        scan(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "~nobody-of-this-name/a.png", "/dev/zero"])
def test_names_that_the_system_cannot_take(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.csv").write_text(f"path\n{name}\n")
    with pytest.raises(CardError, match="there is no"):
        scan(tmp_path / "m.csv")


def test_a_hidden_character_in_a_prompt_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,prompt\na.png,nur\u200bse\n")
    with pytest.raises(CardError, match=r"line 2, field prompt: it holds the character U\+200B ZERO WIDTH SPACE"):
        scan(tmp_path / "m.csv")


def test_a_broken_link_is_a_failed_image(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
    adapter = FolderAdapter(load_model(f"folder:{tmp_path}").card, FolderParams(path=str(tmp_path)), BuildContext())
    adapter.prompts(None)
    results = adapter.generate(adapter.requests("k", None))
    assert [r.status for r in results] == ["ok", "failed", "failed"]
    assert "b.png cannot be read" in str(results[1].error) or "gone.png cannot be read" in str(results[1].error)


def test_a_resumed_run_says_the_same_of_its_images(cli: Cli, tmp_path: Path) -> None:
    """Copies and images of one colour are reported when all images are in the store already, too."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (tmp_path / "i").mkdir()
    for name in ("a.png", "b.png", "c.bmp"):
        Image.fromarray(noise).save(tmp_path / "i" / name)
    image(tmp_path / "i" / "black.png")
    args = ("run", "--model", f"folder:{tmp_path / 'i'}", "--labeller", "phantom", "--no-sheets")
    for out in ("one", "two"):
        found = cli(*args, "--out", out)
        assert found.code == 0
        said = " ".join(found.err.split())
        assert "2 of 4 images are copies of an earlier one (2 of their own prompt, 0 of another)" in said
        assert "1 of 4 images are of one colour" in said
    assert json.loads(Path("two/run.json").read_text())["made_in_this_process"]["images"] == 0
