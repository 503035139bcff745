"""What belongs into a key of a plug-in and its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fairbench import registry
from fairbench.cards.cards import FileWeights, HubModel
from fairbench.networks import weights
from fairbench.networks.openclip import OpenClipParams
from fairbench.notices import notice

T = TypeVar("T")


def of_params(params: BaseModel, base_dir: Path | None) -> dict[str, Any]:
    """Return the result-affecting parameters: weights stand by their content, transport settings are left out.

    So are fields that were added later (`LATER`) while they hold their default. Raises WeightsError where weights have
    no declared hash and are not on this machine.
    """
    fields = {}
    for name, info in type(params).model_fields.items():
        extra = info.json_schema_extra
        extra = extra if isinstance(extra, dict) else {}
        value = getattr(params, name)
        if extra.get("transport") or (extra.get("later") and value == info.get_default(call_default_factory=True)):
            continue
        fields[name] = _plain(value, base_dir)
    if isinstance(params, OpenClipParams) and params.folder is not None:
        fields["folder"] = weights.model_identity(params.folder, base_dir)
        fields = {name: value for name, value in fields.items() if name not in {"path", "repo", "revision"}}
    return fields


def inside(value: Any, kind: type[T]) -> Iterator[T]:
    """Yield what parameters hold of one kind, as the model folders that they name, at whatever depth."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, BaseModel):
        yield from inside(dict(value), kind)
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from inside(part, kind)


def _plain(value: Any, base_dir: Path | None) -> Any:
    if isinstance(value, FileWeights):
        return {"sha256": weights.identity(value, base_dir)}
    if isinstance(value, HubModel):
        return weights.model_identity(value, base_dir)
    if isinstance(value, BaseModel):
        return of_params(value, base_dir)
    if isinstance(value, dict):
        return {str(k): _plain(v, base_dir) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, base_dir) for v in value]
    return value


def of_plugin(name: str, plugin: Any, params: BaseModel, base_dir: Path | None) -> dict[str, Any]:
    """Return name, version and parameters of a plug-in, as they enter a key.

    One that this process registered has a `source` besides: another process may register other code under its name. So
    has an adapter with an attribute `key_source`, plain data that stands for the code that it calls.
    """
    return {
        "type": name,
        "version": int(plugin.version),
        "params": of_params(params, base_dir),
        **source_of(name, plugin),
    }


def source_of(name: str, plugin: Any) -> dict[str, Any]:
    """Return the `source` that stands for a plug-in's code in a key; nothing where its version does so alone."""
    registered = registry.registration(name, plugin)
    if registered is None:
        source = getattr(plugin, "key_source", None)
        return {} if source is None else {"source": source}
    if registered.file is None:
        notice("own-key", f"{name} is defined in no file: what it makes is stored under a key of this process alone")
    return {"source": registered.source}
