"""The base of everything that is read from a card, and how its fields enter keys.

Unknown fields are refused, and a truth value is no number: pydantic takes `yes` for 1 and 1 for yes. Its strict mode
would also refuse a list where a tuple is expected, and the text "90" that a command line gives for a number. So numbers
refuse truth values here, and truth values refuse everything else.
"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.config import JsonDict
from pydantic_core import CoreSchema, core_schema

TRANSPORT: JsonDict = {"transport": True}
"""`Field(json_schema_extra=TRANSPORT)` marks a parameter that cannot change a result, such as a batch size."""

LATER: JsonDict = {"later": True}
"""`Field(default, json_schema_extra=LATER)` marks a parameter that was added after the plug-in was first released: it
stays out of keys while it holds its default, so that what was stored before it existed is found again."""

_NUMBERS: Final = frozenset({"int", "float"})
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
    if schema["type"] in _NUMBERS:
        return core_schema.no_info_before_validator_function(_number, cast("CoreSchema", changed))
    return {**changed, "strict": True} if schema["type"] == "bool" else changed


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


class StrictModel(BaseModel):
    """A frozen model that refuses unknown fields, infinities, and a truth value where a number is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Make the numbers and truth values of the fields refuse each other."""
        return cast("CoreSchema", _strict(handler(source)))
