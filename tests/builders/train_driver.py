"""Runs `fairbench train ...` with something happening inside; started by tests, forked or by torchrun.

    python -m tests.builders.train_driver WHAT FOLDER train sft ...

WHAT: `gradients` writes what the optimiser gets at each step, whole, to FOLDER/RANK.pt; `fsdp` does so with the model
sharded, which accelerate offers for accelerators only and torch on a CPU too; with `:STEP` behind, both end at the step
with that number, by SIGKILL. `kill:NAME:PART` does so when that share of the file NAME is written, `kill:tokens` while
images are being encoded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.builders.processes import command


def drive(what: str, folder: Path, args: Sequence[str]) -> None:
    """Run `fairbench ARGS`; what happens inside, see above."""
    kind, *more = what.split(":")
    seen: list[dict[str, Any]] = []
    if kind == "kill":
        _kill_in(*more)
    else:
        _record(seen, int(more[0]) if more else None)
    if kind == "fsdp":
        _shard()
    try:
        command(args)
    except SystemExit as end:
        if end.code:
            raise
    import torch

    torch.save(seen, folder / f"{os.environ.get('RANK', '0')}.pt")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _record(seen: list[dict[str, Any]], last: int | None) -> None:
    import torch

    plain = torch.optim.AdamW.step

    def step(self: Any, *args: Any, **named: Any) -> Any:
        if len(seen) == last:
            _die()
        parameters = [p for group in self.param_groups for p in group["params"]]
        sharded = [hasattr(p.grad, "full_tensor") for p in parameters]
        whole = [p.grad.full_tensor() if s else p.grad for p, s in zip(parameters, sharded, strict=True)]
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        seen.append({"world": world, "sharded": all(sharded), "gradients": [g.detach().clone() for g in whole]})
        return plain(self, *args, **named)

    torch.optim.AdamW.step = step  # type: ignore[method-assign]


def _shard() -> None:
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    plain = AcceleratorState.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        plain(self, *args, **named)
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2)

    AcceleratorState.__init__ = init  # type: ignore[method-assign]


def _kill_in(name: str, part: str = "0") -> None:
    if name == "tokens":
        from fairbench.networks import janus_tokens

        janus_tokens.encode = lambda *_: _die()  # type: ignore[assignment]
        return
    plain = Path.open

    def opened(self: Path, *args: Any, **named: Any) -> Any:
        file = plain(self, *args, **named)
        if args[:1] == ("wb",) and self.name.startswith(f".{name}."):  # the temporary name of an atomic write
            write = file.write

            def half(data: bytes) -> int:
                write(data[: int(len(data) * float(part))])
                file.flush()
                _die()
                return 0

            file = _Writer(file, half)
        return file

    Path.open = opened  # type: ignore[method-assign]


class _Writer:
    """A file whose `write` is another."""

    def __init__(self, file: Any, write: Any) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


if __name__ == "__main__":
    drive(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
