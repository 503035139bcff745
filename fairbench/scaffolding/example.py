"""A working plug-in with its test, under a name of one's own: a copy of the one in `examples/`, renamed."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from pathlib import Path
from typing import Final

from fairbench import registry
from fairbench.cards import catalog
from fairbench.errors import FairbenchError, storage_errors
from fairbench.storage import atomic

EXAMPLES: Final = {
    "adapter": "biased-coin",
    "metric": "share-ratio",
    "method": "say-please",
    "labeller": "by-colour",
    "scorer": "mean-grey",
    "task": "two-jobs",
}
"""Kind -> the folder in `examples/`, which is the example's name, too. It has two words, so that its three spellings
(`share-ratio`, `share_ratio`, `ShareRatio`) can be told apart."""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TRY: Final = {
    "adapter": "fairbench run --plugins {file} --model {name}:0.8 --labeller phantom -n 8",
    "metric": "fairbench run --plugins {file} --model phantom-exact",
    "method": "fairbench run --plugins {file} --model phantom-exact --method {name}:kindly",
    "labeller": "fairbench run --plugins {file} --model phantom-exact --labeller {card}",
    "scorer": "fairbench run --plugins {file} --model phantom-exact --scorers {name}",
    "task": "fairbench run --task {folder} --model phantom-exact",
}


def write(kind: str, name: str, parent: Path) -> list[Path]:
    """Write an example of a kind into the new folder PARENT/NAME and return its files.

    Raises FairbenchError for a kind that is none, a name that cannot be used, and files that are there already; then
    nothing is written.
    """
    if kind not in EXAMPLES:
        raise FairbenchError(f"There is no example of a {kind!r}{registry.suggest(kind, EXAMPLES)}.")
    _check(kind, name)
    example, folder = EXAMPLES[kind], parent / name
    sources = sorted(path for path in _folder(example).iterdir() if path.suffix in {".py", ".yaml", ".csv"})
    files = {folder / _renamed(path.name, example, name): path for path in sources}
    taken = next((path for path in files if path.exists()), None)
    if taken is not None:
        raise FairbenchError(f"{taken} is there already: choose another name, or another --out.")
    with storage_errors(folder):
        for path, source in files.items():
            atomic.make_folder(path.parent)
            atomic.write_text(path, _renamed(source.read_text(encoding="utf-8"), example, name))
    return list(files)


def commands(kind: str, name: str, folder: Path) -> list[str]:
    """Return the commands that try an example and test it."""
    file, card = folder / f"{name.replace('-', '_')}.py", folder / f"{name}.yaml"
    values = {"file": file, "card": card, "folder": folder, "name": name}
    quoted = {key: shlex.quote(str(value)) for key, value in values.items()}
    return [_TRY[kind].format(**quoted), f"pytest {quoted['folder']}"]


def _check(kind: str, name: str) -> None:
    """Refuse a name that is taken, is no name, or is that of a module, which a file of that name would hide."""
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > 60:
        raise FairbenchError(f"{name!r} is no name for a {kind}: use a-z, 0-9 and '-', as in my-{kind}.")
    spec = importlib.util.find_spec(module)
    if keyword.iskeyword(module) or (spec is not None and spec.origin is not None):  # a mere folder has none
        raise FairbenchError(f"{module!r} is a word or a module of Python: choose another name, as in my-{name}.")
    if kind in {"labeller", "task"}:
        taken = name in catalog.find("tasks" if kind == "task" else "labellers")
    else:
        taken = name in registry.names(f"{kind}s")
    if taken:
        raise FairbenchError(f"There is a {kind} {name!r} already: choose another name, as in my-{name}.")


def _folder(example: str) -> Path:
    for root in catalog.roots():
        if (root / "examples" / example).is_dir():
            return root / "examples" / example
    raise FairbenchError(f"This installation lacks examples/{example}: install fairbench again.")


def _renamed(text: str, example: str, name: str) -> str:
    for spelt in (str, lambda word: word.replace("-", "_"), lambda word: word.title().replace("-", "")):
        text = text.replace(spelt(example), spelt(name))
    return text
