"""Python files of plug-ins: `--plugins FILE.py`, FAIRBENCH_PLUGINS, and what a hostile one costs: one sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import fairbench
from fairbench import registry
from fairbench.errors import FairbenchError
from fairbench.networks import identity
from fairbench.notices import collecting
from fairbench.plugins import files
from fairbench.plugins.output import quiet
from fairbench.protocols import Params
from tests.builders.cli import Cli
from tests.builders.scorers import SCORER

METRIC = """\
from fairbench.metrics.decorator import metric


@metric("share-ratio", direction="higher", bounds="[0, 1]", ideal=1.0)
def share_ratio(p):
    '''Smallest over largest share: the "80 % rule" of disparate impact.'''
    return p.min(axis=-1) / p.max(axis=-1)
"""
RUN = ("run", "--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", 2, "-n", 8, "--no-sheets")


def written(name: str, text: str) -> str:
    Path(name).write_text(textwrap.dedent(text))
    return name


def test_a_metric_is_a_file_of_at_most_twelve_lines(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(METRIC.splitlines()) <= 12
    file = written("ratio.py", METRIC)
    found = cli(*RUN, "--plugins", file, "--out", "out", "--json").json()
    values = {(m["metric"], m["attribute"]): m["value"] for m in reversed(found["metrics"])}
    assert 0 <= values["share-ratio", "gender"] <= 1
    record = json.loads(Path("out/run.json").read_text())
    assert [f["name"] for f in record["plugin_files"]] == ["ratio.py"]
    assert record["plugin_files"][0]["sha256"] == registry._registered["metrics"]["share-ratio"].source
    assert "Smallest over largest" in cli("show", "metric", "share-ratio", "--plugins", file).out
    monkeypatch.setenv("FAIRBENCH_PLUGINS", os.pathsep.join([file, file]))
    assert "share-ratio" in cli("list", "metrics").succeeded().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ImportError('no such thing\\nat all')", "it raised ImportError: no such thing at all, in line 1."),
        ("import sys\nsys.exit(0)", "it raised SystemExit: 0, in line 2."),
        ("def f(:", "it raised SyntaxError"),
        ("class E(Exception):\n    def __str__(self): raise KeyError\nraise E", "it raised E, in line 3."),
        ("x = 1", "registers nothing: call fairbench.register in it."),
        ("\0", "it raised SyntaxError"),
        ("def f(): f()\nf()", "it raised RecursionError"),
        (METRIC.replace("share-ratio", "rd"), "line 4: The name of the metric 'rd' is taken (fairbench has one)"),
        (METRIC.replace("share-ratio", "Share Ratio"), "is no name for a plug-in"),
        (METRIC.replace("(p)", "(p, q, r)", 1), "a function of 3 parameters"),
        (METRIC + "raise ValueError('late')\n", "it raised ValueError: late, in line 8."),
        ("from fairbench.registry import register\nregister('scorers', 'x', 17)", "a scorer is a class"),
        ("from fairbench.registry import register\nregister('scorer', 'x', 17)", "did you mean 'scorers'?"),
        ("from fairbench.registry import register\nregister('tasks', 'x', '/nowhere')", "there is no task.yaml"),
        ("print('spam ' * 10**6)\nraise ValueError('done')", "it raised ValueError: done"),
    ],
)
def test_a_broken_file_costs_one_sentence_and_leaves_nothing(cli: Cli, text: str, words: str) -> None:
    found = cli(*RUN, "--plugins", written("theirs.py", text), "--out", "out")
    assert found.code == 2
    (sentence,) = [line for line in found.err.splitlines() if line.startswith("Error")]
    assert sentence.startswith("Error: The plug-in file theirs.py ") and words in sentence
    assert len(found.err) < 1000 and "Traceback" not in found.err and not found.out
    assert sorted(p.name for p in Path().iterdir()) == ["theirs.py"]
    assert registry._registered == {}


@pytest.mark.parametrize(("name", "words"), [("no.py", "cannot be read"), ("x.txt", "must end in .py"), (".py", ".py")])
def test_a_file_that_is_none_is_named(cli: Cli, name: str, words: str) -> None:
    found = cli("list", "metrics", "--plugins", name)
    assert found.code == 2
    assert words in found.err


def test_what_is_printed_at_import_and_per_call_stays_off_the_result(cli: Cli) -> None:
    """Megabytes of it, through print and through the buffer below: one notice each."""
    text = "print('spam ' * 10**6)\n" + SCORER.format(body="import sys; sys.stdout.buffer.write(b'egg' * 10**6)")
    found = cli(*RUN, "--plugins", written("loud.py", text), "--scorers", "brightness", "--json", "--out", "out")
    assert found.json()["run_id"]
    assert len(found.err) < 3000
    said = " ".join(found.err.split())
    assert "The plug-in file loud.py printed 5000001 bytes, which are not shown: 'spam spam" in said
    assert "The scorer 'brightness' printed 3000000 bytes" in said
    assert "plugin-output" in Path("out/notices.csv").read_text()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise SystemExit(0)", "it raised SystemExit: 0"),
        ("return itertools.count()", "returned count from features"),
        ("return (x for x in iter(int, 1))", "returned generator from features"),
        ("return 'nonsense' * 10**6", "returned str of length 8000000"),
        ("return {i: i for i in range(10**5)}", "returned dict with 0, 1, 2"),
    ],
)
def test_a_scorer_that_returns_nonsense_is_left_out_in_one_sentence(cli: Cli, body: str, words: str) -> None:
    file = written("odd.py", "import itertools\n" + SCORER.format(body=body))
    found = cli(*RUN, "--plugins", file, "--scorers", "brightness", "--json", "--out", "out")
    assert found.code == 0
    assert f"scorer-left-out: brightness is not measured: The scorer 'brightness' {words}"[:60] in " ".join(
        found.err.split()
    )
    assert words in " ".join(found.err.split())
    assert len(found.err) < 3000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 7 * p.max(axis=-1)", "returned 3.5, but its bounds are 0 and 1"),
        ("return p", "returned an array of shape"),
        ("raise SystemExit", "it raised SystemExit"),
        ("p[...] = 0; raise ValueError", "it raised ValueError"),
    ],
)
def test_a_metric_that_returns_nonsense_is_left_out_in_one_sentence(cli: Cli, body: str, words: str) -> None:
    written("bad.py", METRIC.replace("return p.min(axis=-1) / p.max(axis=-1)", body))
    found = cli(*RUN, "--plugins", "bad.py", "--json", "--out", "bad").succeeded()
    plain = cli(*RUN, "--json", "--out", "plain").succeeded()
    said = " ".join(found.err.split())
    assert said.count("plugin-left-out: The metric 'share-ratio'") == 1 and words in said, said
    assert json.loads(found.out)["metrics"] == json.loads(plain.out)["metrics"]


def test_the_content_of_the_file_is_in_the_key(cli: Cli) -> None:
    """Other code under the same name and version must not have the stored scores of the first."""
    keys = []
    for body in ("pass", "images = [255 - image for image in images]", "pass"):
        file = written("score.py", SCORER.format(body=body))
        cli(*RUN, "--plugins", file, "--scorers", "brightness", "--out", "out").succeeded()
        keys.append(json.loads(Path("out/run.json").read_text())["scorers"]["brightness"]["key"])
    assert keys[0] == keys[2] != keys[1]


def test_what_no_file_defines_has_a_key_of_this_process() -> None:
    namespace: dict[str, object] = {"__name__": "__main__of_a_notebook__"}
    keys = []
    for _ in range(2):  # a cell that runs again
        exec(SCORER.format(body="pass"), namespace)
        with collecting() as reported:
            keys.append(identity.of_plugin("brightness", namespace["Brightness"], Params(), None))
            assert keys[-1] == identity.of_plugin("brightness", namespace["Brightness"], Params(), None)
        assert [n.code for n in reported] == ["own-key"]
    assert keys[0]["source"] != keys[1]["source"]


def test_a_file_that_changed_is_imported_again_and_what_it_no_longer_registers_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METRIC)
    registry.load_files([file])
    first = files.import_file(file)
    registry.load_files([file, str(file)])
    assert files.import_file(file) is first
    file.write_text(METRIC.replace("share-ratio", "least-most"))
    registry.load_files([file])
    assert list(registry._registered["metrics"]) == ["least-most"]
    assert registry.names("metrics")[-1] == "least-most"


def test_two_files_cannot_register_one_name(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(METRIC)
    registry.load_files([tmp_path / "a.py"])
    with pytest.raises(FairbenchError, match=r"b\.py cannot be used, in line 4: .*'share-ratio' is taken \(.*a\.py"):
        registry.load_files([tmp_path / "b.py"])
    assert registry._registered["metrics"]["share-ratio"].file == tmp_path / "a.py"


def test_a_file_imports_its_neighbours_but_cannot_replace_a_module_of_python(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_it.py").write_text("NAME = 'from-a-neighbour'\n")
    (tmp_path / "json.py").write_text("raise ImportError\n")
    text = METRIC.replace('"share-ratio"', "neighbour_of_it.NAME")
    (tmp_path / "file.py").write_text("import sys\nsys.modules.pop('json')\nimport json, neighbour_of_it\n" + text)
    registry.load_files([tmp_path / "file.py"])
    assert "from-a-neighbour" in registry.names("metrics")


def test_stdout_is_put_back_whatever_the_order_in_which_threads_end() -> None:
    before, inside, leave = sys.stdout, threading.Event(), threading.Event()

    def hold() -> None:
        with quiet("A"):
            inside.set()
            leave.wait()

    with quiet("B"):
        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait()
    assert sys.stdout is not before
    leave.set()
    thread.join()
    assert sys.stdout is before


def test_finished_runs_are_read_compared_and_verified_without_the_files(cli: Cli) -> None:
    """A model, a labeller, a method, a scorer and a metric that only files define, which are gone afterwards."""
    given: list[object] = []
    for kind in ("adapter", "labeller", "method", "scorer", "metric"):
        cli("new", kind, f"our-{kind}").succeeded()
        given += ["--plugins", f"our-{kind}/our_{kind}.py"]
    given += ["--model", "our-adapter:0.8", "--labeller", "our-labeller/our-labeller.yaml"]
    given += ["--scorers", "our-scorer", "--task", "phantom-occupations", "--limit-prompts", 3, "-n", 4, "--no-sheets"]
    cli("run", *given, "--out", "a", "--leaderboard", "board.csv").succeeded()
    cli("run", *given, "--out", "b", "--method", "our-method").succeeded()
    with_files = cli("compare", "a", "b", "--json", *given[:10]).json()
    for kind in ("adapter", "labeller", "method", "scorer", "metric"):
        shutil.rmtree(f"our-{kind}")
    registry._registered.clear()
    files._imported.clear()

    verified = cli("leaderboard", "verify", "board.csv", "--json").json()
    assert [row["verdict"] for row in verified["rows"]] == ["agrees"]
    run = fairbench.load("a")
    assert {"our-metric", "our-scorer", "rd"} <= set(run.metrics.metric)
    assert set(run.shares("clothes")["class"]) == {"warm", "cold"}
    without = cli("compare", "a", "b", "--json").json()
    compared = [{effect["estimand"] for effect in found["effects"]} for found in (with_files, without)]
    assert compared[0] - compared[1] == {"our-scorer"}
    assert "our-scorer: not compared, as There is no scorer 'our-scorer'" in " ".join(without["notes"])
