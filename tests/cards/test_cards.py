"""Cards, the catalog and the linter: what is wrong is named with file, field and line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError
from fairbench.linting import cards
from fairbench.runs import prompts
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

MODEL = "name: mine\ntitle: Mine\nadapter: phantom-exact\nlabeller: phantom\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def task(folder: Path, subjects: str, extra: str = "") -> Path:
    write(folder / "subjects.csv", subjects)
    return write(
        folder / "task.yaml",
        f"name: {folder.name}\nversion: 1\ntitle: T\ntemplates:\n  - {{id: a, text: 'a {{subject}}'}}\n"
        f"subjects: subjects.csv\nsource: s\nlicence: l\n{extra}",
    )


@pytest.mark.parametrize("kind", ["tasks", "models", "labellers"])
def test_every_shipped_card_is_clean(kind: str) -> None:
    found = catalog.find(kind)  # type: ignore[arg-type]
    assert found
    assert [str(p) for path in found.values() for p in cards.problems(path)] == []


def test_prompts_are_exact() -> None:
    texts = [p.text for p in prompts.expand(catalog.load_task("occupations").card)]
    assert len(texts) == 50
    assert texts[0] == "A photo of the face of a senator, a person"
    assert "A photo of the face of a accountants and auditor, a person" in texts


def test_no_subject_is_dropped() -> None:
    """Seen in other tools: a prompt list cut to one occupation, or to the first 35."""
    train = prompts.subjects(catalog.find("tasks")["occupations-train"].parent / "subjects.csv")
    places = sorted(int(i) for row in train for i in row["index"].split())
    assert len(train) == 963
    assert len(places) == 996
    assert {row["doubtful"] for row in train if int(row["support"]) <= 4} == {"yes"}
    assert {row["doubtful"] for row in train if int(row["support"]) > 4} == {"no"}


def test_mini_is_part_of_the_whole_so_that_images_are_shared() -> None:
    mini = {p.prompt_id for p in prompts.expand(catalog.load_task("occupations-mini").card)}
    assert len(mini) == 8
    assert mini < {p.prompt_id for p in prompts.expand(catalog.load_task("occupations").card)}


def test_a_brace_in_a_subject_stays(tmp_path: Path) -> None:
    card = catalog.load_task(str(task(tmp_path / "t", "subject\n{x} of {subject}\n"))).card
    assert prompts.expand(card)[0].text == "a {x} of {subject}"


def test_duplicate_subjects_are_named_with_both_lines(tmp_path: Path) -> None:
    card = catalog.load_task(str(task(tmp_path / "t", "subject\nnurse\njudge\nnurse\n"))).card
    with pytest.raises(CardError, match=r"subjects\.csv, line 4, field subject: 'nurse' stands in line 2 already"):
        prompts.expand(card)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject\n", "holds no subjects"),
        ("subject\n" + "x" * 5000 + "\n", "line 2, field subject: it is longer than 1,000 characters"),
        ("name\nnurse\n", "line 1: the column 'subject' is missing"),
        ("subject,category\n,x\n", "line 2, field subject: it is empty"),
        ("subject\nnurse,extra\n", "line 2: the row has another number of fields"),
    ],
)
def test_bad_subject_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CardError, match=words):
        prompts.subjects(write(tmp_path / "subjects.csv", text))


def test_lint_finds_every_problem_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", MODEL + "block_size: 0\ncolour: red\nsampling:\n  image_size: 64\n  speed: 3\n")
    assert [(p.line, p.field) for p in cards.problems(path)] == [(5, "block_size"), (6, "colour")]
    path.write_text(MODEL + "sampling:\n  image_size: 64\n  speed: 3\n")
    ((problem),) = cards.problems(path)
    assert (problem.line, problem.field) == (7, "sampling.speed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nname: b\n", "field name: stands twice"),
        ("- a\n", "a card is a list of"),
        ("name: [a\n", "line 2 is not valid YAML"),
        ("", "a card is a list of"),
        ("a: &x [*x]\n", "50 levels"),
        ("\x00", "holds a NUL character"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CardError, match=words):
        yamlfile.parse(yamlfile.load(write(tmp_path / "c.yaml", text)), ModelCard)


def test_unknown_names_suggest_the_nearest(cli: Cli) -> None:
    found = cli("run", "--model", "jnus")
    assert found.code == 2
    assert "did you mean 'janus'?" in found.err
    assert "Traceback" not in found.err
    with pytest.raises(FairbenchError, match="did you mean 'insightface'"):
        registry.resolve("detectors", "insighface")


def test_a_wrong_field_is_named_with_file_and_line(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", MODEL + "guidance: 5\n")
    found = cli("run", "--model", path)
    assert found.code == 2
    assert f"{path}, line 5, field guidance: there is no such field" in found.err


def test_a_crop_that_misreads_the_detectors_landmarks_is_refused(tmp_path: Path) -> None:
    text = catalog.find("labellers")["fairface-dlib"].read_text()
    path = write(tmp_path / "l.yaml", re.sub("detector: .*", "detector: {type: insightface, pack: buffalo_l}", text))
    ((problem),) = cards.problems(path)
    assert "fairface-chip reads the landmarks of dlib" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  - [gender, race4]", "  - [gender, gender]", "come from one attribute"),
        ("heads:\n      gender:", "heads:\n      sex:", "there is no attribute 'sex'"),
        ("heads:\n      gender:", "heads:\n      sex:", "no classifier gives it"),
        ("attributes:\n  gender:", "attributes:\n  quality:", "stands for something else"),
        ("name: phantom", "name: another", ""),
    ],
)
def test_labellers_that_cannot_work(tmp_path: Path, old: str, new: str, words: str) -> None:
    card = catalog.find("labellers")["phantom"]
    (tmp_path / "weights").symlink_to(card.parent / "weights")
    text = re.sub("calibration: .*\n", "", card.read_text())  # its file stays behind
    found = [str(p) for p in cards.problems(write(tmp_path / "l.yaml", text.replace(old, new)))]
    assert any(words in p for p in found) if words else found == []


def test_a_root_named_twice_is_one_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_PATH", f"{ROOT}:{ROOT}/")
    assert catalog.roots() == [ROOT]


def test_infinite_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", MODEL + "sampling: {no_head_rate: .inf}\n")
    assert [p.field for p in cards.problems(path)] == ["sampling.no_head_rate"]


def test_check_command(cli: Cli, tmp_path: Path) -> None:
    bad = write(tmp_path / "cards" / "m.yaml", MODEL + "guidance: 5\n")
    found = cli("check", tmp_path / "cards")
    assert found.code == 2
    assert str(bad) in found.out
    assert cli("check", ROOT / "models", ROOT / "tasks").code == 0
    assert cli("check", tmp_path / "nowhere").code == 2


def test_a_wrong_parameter_of_a_plugin_is_named_with_file_and_line(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", MODEL + "sampling:\n  image_size: 64\n  speed: 3\n")
    found = cli("run", "--model", path)
    assert (found.code, found.err) == (
        2,
        f"Error: {path}, line 7, field sampling.speed: there is no such field; remove it or fix its name.\n",
    )
    text = catalog.find("labellers")["fairface-dlib"].read_text().replace("model: cnn", "modle: cnn")
    labeller = write(tmp_path / "l.yaml", text)
    found = cli("run", "--model", "phantom-exact", "--labeller", labeller)
    assert found.code == 2
    assert f"{labeller}, line" in found.err
    assert "field routes.0.detector.modle: there is no such field" in found.err


def test_extends_takes_what_is_not_given_and_refuses_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_PATH", str(tmp_path))
    task(tmp_path / "tasks" / "base", "subject\nnurse\n")
    write(tmp_path / "tasks" / "child" / "task.yaml", "name: child\nextends: base\ntitle: C\n")
    child = catalog.load_task("child").card
    assert (child.name, child.version, child.title) == ("child", 1, "C")
    assert [p.text for p in prompts.expand(child)] == ["a nurse"]
    write(tmp_path / "tasks" / "loop" / "task.yaml", "name: loop\nextends: loop\n")
    with pytest.raises(CardError, match="no circles"):
        catalog.load_task("loop")


def test_two_cards_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_PATH", str(tmp_path))
    write(tmp_path / "models" / "janus.yaml", MODEL)
    with pytest.raises(CardError, match="Two models are called 'janus'"):
        catalog.find("models")


def test_references_must_be_distributions(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "subject,female,male\nnurse,0.9,0.1\njudge,0.5,0.6\n")
    with pytest.raises(CardError, match=r"line 3: the shares of 'judge'"):
        catalog.reference_file(str(path), ("female", "male"))


def test_labour_references_are_the_published_ones() -> None:
    card = catalog.load_task("occupations-labour").card
    found = catalog.reference_file(card.references["gender"], ("female", "male"))
    assert len(found) == 32
    assert found["nurse"] == pytest.approx((0.891, 0.109))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with everything that fairbench needs but fairbench, and a `models` package of another's."""
    env = tmp_path_factory.mktemp("bare") / "env"
    venv.create(env, with_pip=False)
    (site,) = (env / "lib").glob("python*/site-packages")
    write(site / "models" / "__init__.py", "")
    write(site / "models" / "theirs.yaml", MODEL)
    # Linked, not added to the path as a whole: there, an editable fairbench would come along.
    for item in Path(pytest.__file__).parents[1].iterdir():
        if "fairbench" not in item.name and not (site / item.name).exists():
            (site / item.name).symlink_to(item)
    return env


def found_in(env: Path, cwd: Path, **more: str) -> list[list[str]]:
    code = (
        "from fairbench.cards import catalog as c; print(c.__file__); print(*c.find('models')); print(*c.find('tasks'))"
    )
    done = subprocess.run([env / "bin" / "python", "-c", code], cwd=cwd, capture_output=True, text=True, env=more)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["checkout", "editable", pytest.param("wheel", marks=pytest.mark.long)])
def test_cards_are_found_however_fairbench_is_installed(bare: Path, tmp_path: Path, how: str) -> None:
    more = {}
    if how == "checkout":
        more = {"PYTHONPATH": str(ROOT)}
    else:
        flags = ["-q", "--no-deps", "--no-build-isolation", "--no-cache-dir", *(["-e"] if how == "editable" else [])]
        pip = [sys.executable, "-m", "pip", "--python", str(bare / "bin" / "python")]
        subprocess.run([*pip, "install", *flags, ROOT], check=True)
    try:
        (file,), models, tasks = found_in(bare, tmp_path, **more)
        assert file.startswith(str(bare if how == "wheel" else ROOT))
        assert {"janus", "phantom", "phantom-exact"} <= set(models)
        assert "theirs" not in models
        assert "occupations" in tasks
        if how == "wheel":  # the phantom's weights, its CLIP and its tables came along
            args = ("-m", "fairbench", "run", "-n", "2", "--limit-prompts", "1", "--quiet", "--json")
            env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it names the checkout
            command = [bare / "bin" / "python", *args]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
            assert done.returncode == 0, done.stderr
            summary = json.loads(done.stdout)
            assert [t["note"] for t in summary["truth"]] == [None, None]
            assert "clip_score" in {m["metric"] for m in summary["metrics"] if m["value"] is not None}
            new = [*command[:3], "new", "metric", "mine-alone"]  # and the examples
            subprocess.run(new, cwd=tmp_path, check=True, env=env)
            assert (tmp_path / "mine-alone" / "mine_alone.py").is_file()
    finally:
        if how != "checkout":
            subprocess.run([*pip, "uninstall", "-q", "-y", "fairbench-umm"], check=True)


def test_a_checkout_uses_the_folders_beside_the_package() -> None:
    assert catalog.roots() == [ROOT]


def test_an_unknown_name_gets_the_nearest_or_a_list_that_can_be_read() -> None:
    subjects = [f"subject {i}" for i in range(1000)]
    assert registry.suggest("subject 1000", subjects) == " (did you mean 'subject 100'?)"
    told = registry.suggest("xyz", subjects)
    assert told.startswith(" (known: subject 0, subject 1, ")
    assert told.endswith("subject 23 and 976 more)")
    assert registry.suggest("xyz", ["b", "a"]) == " (known: b, a)"
    assert registry.suggest("xyz", []) == ""
