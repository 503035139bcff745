"""The keys and run ids of every shipped card are those of keys.json: what was stored is found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from fairbench import keys, registry
from fairbench.networks import identity
from fairbench.protocols import TRANSPORT, Params
from fairbench.strict import LATER
from tests.golden import make_keys

GOLDEN = json.loads(make_keys.PATH.read_text())


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("FAIRBENCH_WEIGHTS_DIR", str(tmp_path))
    make_keys.stand_ins(tmp_path)
    return make_keys.make()


def test_no_key_and_no_run_id_of_a_shipped_card_has_changed(made: dict[str, dict[str, object]]) -> None:
    for part in ("demo", "labellers", "scorers"):
        assert made[part] == GOLDEN[part], part
    for name, known in GOLDEN["models"].items():
        assert made["models"][name] == known, name


def test_every_shipped_card_has_golden_keys(made: dict[str, dict[str, object]]) -> None:
    assert {part: sorted(made[part]) for part in made} == {part: sorted(GOLDEN[part]) for part in made}


def test_a_field_added_to_a_plug_in_is_marked_so_that_it_orphans_nothing() -> None:
    """A new field that enters every key would leave all images that were made before it unfound."""
    for name, fields in make_keys.fields().items():
        model = make_keys.model(name)
        for field in set(fields) - set(GOLDEN["fields"].get(name, fields)):
            extra = model.model_fields[field].json_schema_extra
            assert isinstance(extra, dict), f"{name}.{field}: mark it with json_schema_extra=LATER (or TRANSPORT)"
            assert extra.get("later") or extra.get("transport"), f"{name}.{field}: mark it LATER or TRANSPORT"
            assert extra.get("transport") or not model.model_fields[field].is_required(), f"{name}.{field}: no default"


class _Inner(BaseModel):
    size: int = 3
    added: list[int] = Field(default_factory=list, json_schema_extra=LATER)


class _Params(Params):
    old: int = 1
    later: str | None = Field(None, json_schema_extra=LATER)
    batch: int = Field(8, json_schema_extra=TRANSPORT)
    inner: _Inner = _Inner()


def test_a_later_field_enters_a_key_only_off_its_default() -> None:
    plain = {"old": 1, "inner": {"size": 3}}
    assert identity.of_params(_Params(), None) == plain
    assert identity.of_params(_Params(later=None, batch=1), None) == plain
    assert identity.of_params(_Params(later="x"), None) == {**plain, "later": "x"}
    assert identity.of_params(_Params(inner=_Inner(added=[2])), None) == {"old": 1, "inner": {"size": 3, "added": [2]}}


def test_a_new_metric_renames_no_run(monkeypatch: pytest.MonkeyPatch, made: dict[str, dict[str, object]]) -> None:
    """One more built-in metric, or a new version of one, once gave every run another id and leaderboards two rows."""
    more = {**registry.BUILTIN["metrics"], "another": registry.BUILTIN["metrics"]["rd"]}
    monkeypatch.setattr(registry, "BUILTIN", {**registry.BUILTIN, "metrics": more})
    assert make_keys.demo() == made["demo"]
    assert len(keys.METRICS_OF_RUN_ID) == 15
