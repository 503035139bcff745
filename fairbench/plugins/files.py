"""Python files that a user names: `--plugins FILE.py`, FAIRBENCH_PLUGINS, and `--model FILE.py:FUNCTION`.

A file is imported once; where its content changed since, it is imported again. Files beside it can be imported by it.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from fairbench.errors import FairbenchError, PluginError, one_line
from fairbench.plugins.output import quiet

VARIABLE: Final = "FAIRBENCH_PLUGINS"


@dataclass(frozen=True, slots=True)
class PythonFile:
    """A file that was imported. sha256: of the bytes that ran, `source`."""

    path: Path
    sha256: str
    module: ModuleType
    source: bytes


_imported: dict[Path, PythonFile] = {}
_importing: list[tuple[Path, str]] = []
"""Files that are being imported now, with their sha256, the innermost last."""


def being_imported() -> tuple[Path, str] | None:
    """Return the file whose import goes on now, and its sha256; None outside."""
    return _importing[-1] if _importing else None


def imported() -> list[PythonFile]:
    """Return the files that this process imported, by their names."""
    return sorted(_imported.values(), key=lambda file: (file.path.name, file.sha256))


def in_environment() -> list[Path]:
    """Return the files that FAIRBENCH_PLUGINS names."""
    return [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]


def import_file(named: str | os.PathLike[str]) -> PythonFile:
    """Import a Python file and return it with its module.

    Raises FairbenchError where there is no such file, and PluginError, in one sentence, for whatever the file itself
    raises. What it prints is not shown.
    """
    path = Path(named).expanduser()
    title = f"The plug-in file {named}"
    if path.suffix != ".py":
        raise FairbenchError(f"{title} is no Python file: its name must end in .py.")
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as err:
        raise FairbenchError(f"{title} cannot be read ({err.strerror}): fix the path.") from err
    return import_source(path, source, title)


def import_source(path: Path, source: bytes, title: str) -> PythonFile:
    """Import the content of a file, which another machine may hold, as `import_file` does. path: absolute."""
    sha256 = hashlib.sha256(source).hexdigest()
    imported = _imported.get(path)
    if imported is None or imported.sha256 != sha256:
        imported = _imported[path] = PythonFile(path, sha256, _run(title, path, source, sha256), source)
    return imported


def _run(title: str, path: Path, source: bytes, sha256: str) -> ModuleType:
    """Run the bytes that were hashed, not the file: it may change meanwhile."""
    module = ModuleType(f"fairbench_file_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # pydantic and dataclasses look up annotations there
    linecache.checkcache(str(path))
    try:
        with _on_the_way(path, sha256), quiet(title, stderr=True):
            exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the user named it to be run
    except (Exception, SystemExit) as err:  # the file's own code
        del sys.modules[module.__name__]
        if isinstance(err, FairbenchError):
            raise PluginError(f"{title} cannot be used{_line_of(err, path)}: {err}") from err
        raise PluginError(f"{title} cannot be imported: it raised {one_line(err)}{_line_of(err, path)}.") from err
    return module


@contextmanager
def _on_the_way(path: Path, sha256: str) -> Iterator[None]:
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: a file called json.py beside it must not replace a module of Python
    _importing.append((path, sha256))
    try:
        yield
    finally:
        _importing.pop()


def _line_of(err: BaseException, path: Path) -> str:
    """Return ", in line N" for the last line of the file that an error passed through."""
    lines = [] if not isinstance(err, SyntaxError) or err.filename != str(path) else [err.lineno]
    trace = err.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f", in line {lines[-1]}" if lines else ""
