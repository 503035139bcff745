"""The base of everything that is read from a card: unknown fields are refused, and a number is a number.

Pydantic would take `yes` for 1 and "8" for 8; strict containers would refuse a list where a tuple is meant. So only
numbers and truth values are strict.
"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_SCALARS: Final = frozenset({"int", "float", "bool"})
_NAMED: Final = frozenset({"model-fields", "tagged-union"})
_INNER: Final = frozenset(
    {"schema", "fields", "choices", "items_schema", "keys_schema", "values_schema", "extras_schema"}
)
"""Keys of pydantic's core schemas below which other schemas stand; below all others, defaults and functions do."""


def _strict(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    changed = dict(schema)
    for name in _INNER & schema.keys():
        part = schema[name]
        named = schema["type"] in _NAMED and isinstance(part, dict)  # name -> schema, and a name may be "type"
        changed[name] = {key: _strict(inner) for key, inner in part.items()} if named else _strict(part)
    return {**changed, "strict": True} if schema["type"] in _SCALARS else changed


class StrictModel(BaseModel):
    """A frozen model that refuses unknown fields, infinities, and a truth value or text where a number is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Mark the numbers and truth values of the fields as strict."""
        return cast("CoreSchema", _strict(handler(source)))
