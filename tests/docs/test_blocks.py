"""Every code block of the README, the tutorial and the how-tos runs as typed: pages in order, each in one folder.

A block with a title is a file: it is written, and the blocks after it use it. A shell block with the comment
`<!-- not run: REASON -->` before it is left out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.builders.cli import Cli
from tests.builders.folders import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md")))
MOST_LEFT_OUT = 6
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=fence)\s*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block. language: python, sh, yaml, toml, csv, bibtex or text. title: the file that it is, or ""."""

    language: str
    title: str
    body: str
    reason: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', match["info"])
        language = match["info"].split(" ")[0]
        line = text.count("\n", 0, match.start("fence")) + 1
        found.append(Block(language, title[1] if title else "", match["body"], match["reason"] or "", line))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    # That page plans at full size, which takes a minute; tests/planning has the same commands with smaller ones.
    [pytest.param(p, marks=pytest.mark.long) if p.stem == "plan-a-comparison" else p for p in PAGES],
    ids=lambda page: page.stem,
)
def test_every_block_runs_as_typed(page: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.title:
            (tmp_path / block.title).parent.mkdir(exist_ok=True)
            (tmp_path / block.title).write_text(block.body, encoding="utf-8")
        if block.language == "python" and not block.title:
            exec(compile(block.body, place, "exec"), names)
        elif block.language == "sh" and not block.reason:
            for line in block.body.splitlines():
                run_line(line, cli, tmp_path, place)
        elif block.language in ("yaml", "toml"):
            assert block.title, f"{place}: give the block a title, so that a reader knows which file it is"
            assert (yaml.safe_load if block.language == "yaml" else tomllib.loads)(block.body)
        elif block.language not in ("python", "sh", "csv", "text", "bibtex"):
            pytest.fail(f"{place}: a block without a known language")
    for name in [block.title.removesuffix(".py") for block in blocks(page) if block.title.endswith(".py")]:
        sys.modules.pop(name, None)


def run_line(line: str, cli: Cli, folder: Path, place: str) -> None:
    """Run a line of shell: fairbench in this process, anything else by the shell."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["fairbench"]:
        done = cli(*words[1:])
        assert done.code == 0, f"{place}: {line}\n{done.out}{done.err}"
    elif words:
        subprocess.run(line, shell=True, check=True, cwd=folder, timeout=60)


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    left_out = {f"{page.name}:{b.line}": b.reason for page in PAGES for b in blocks(page) if b.reason}
    assert len(left_out) <= MOST_LEFT_OUT, left_out
    assert all(b.language == "sh" for page in PAGES for b in blocks(page) if b.reason)


def test_a_block_that_fails_is_noticed(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page.md:1: fairbench show model no-such"):
        run_line("fairbench show model no-such", cli, tmp_path, "page.md:1")
    with pytest.raises(subprocess.CalledProcessError):
        run_line("false", cli, tmp_path, "page.md:1")


def test_the_readers_of_blocks_see_all_fences() -> None:
    for page in PAGES:
        fences = len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert fences == 2 * len(blocks(page)), page
