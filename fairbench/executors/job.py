"""What travels to a worker: the plan of the run with all its cards, the store, plug-in files and settings.

A worker plans nothing: it opens the very plan of the process that started the run, so that all have the same keys.
Weights do not travel; a worker finds them on the hub, in its cache, or under the same path.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fairbench
from fairbench.errors import FairbenchError
from fairbench.plugins import files

if TYPE_CHECKING:
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

_CARRIED: Final = ("FAIRBENCH_", "HF_")
"""What the names of environment variables begin with that a worker needs: where cards, models and caches are."""


@dataclass(frozen=True)
class Job:
    """A run, packed. fairbench: the version that packed it. sources: path and content of each imported Python file.

    folder: the working directory, in which relative paths are meant. content: the plan and the store, pickled.
    """

    fairbench: str
    folder: str
    environment: dict[str, str]
    sources: list[tuple[str, bytes]]
    content: bytes


def pack(spec: RunSpec, store: Store) -> Job:
    """Return a run as a job. Raises FairbenchError where it holds something that cannot be sent to another process."""
    from ray import cloudpickle

    names = {name for name in os.environ if name.startswith(_CARRIED)} - {files.VARIABLE}
    names |= {*_variables(spec.card.sampling), *(v for judge in spec.labeller.judges for v in _variables(dict(judge)))}
    try:
        content = cloudpickle.dumps((dataclasses.replace(spec, requests=[]), store))  # those of a task travel with it
    except Exception as err:  # a user's function may hold anything, and pickling then raises anything
        raise FairbenchError(
            f"{spec.card.name} cannot be sent to a worker ({type(err).__name__}: {err}): put the function into a file "
            "and name --model FILE.py:FUNCTION, or run without --executor."
        ) from err
    return Job(
        fairbench=fairbench.__version__,
        folder=str(Path.cwd()),
        environment={name: os.environ[name] for name in sorted(names) if name in os.environ},
        sources=[(str(file.path), file.source) for file in files.imported()],
        content=content,
    )


def unpack(job: Job) -> tuple[RunSpec, Store]:
    """Return the plan and the store of a job. Raises FairbenchError where another version of fairbench packed it."""
    from ray import cloudpickle

    if job.fairbench != fairbench.__version__:
        raise FairbenchError(
            f"{os.uname().nodename} has fairbench {fairbench.__version__}, and the run was started by "
            f"{job.fairbench}: install the same version on every node."
        )
    os.environ.pop(files.VARIABLE, None)  # its files came with the job
    os.environ.update(job.environment)
    with suppress(FileNotFoundError):  # then only absolute paths can be meant
        os.chdir(job.folder)
    for path, source in job.sources:
        files.import_source(Path(path), source, f"The plug-in file {path}")
    spec, store = cloudpickle.loads(job.content)
    return spec, store


def _variables(settings: Any) -> Iterator[str]:
    """Yield the environment variables that settings name, in which a server's address or key is."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name.endswith("_variable") and isinstance(value, str):
                yield value
            yield from _variables(value)
    elif hasattr(settings, "model_dump"):
        yield from _variables(settings.model_dump())
