"""`doctor --model` for a served model: key and address, and the server where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.cli import Cli
from tests.builders.endpoints import card_file
from tests.builders.image_server import serving


def findings(cli: Cli, *args: object) -> dict[str, tuple[bool, str]]:
    import json

    found = json.loads(cli("doctor", "--model", *args, "--json").out)["findings"]
    return {f["name"]: (f["fine"], f["text"]) for f in found}


def test_the_server_is_asked_only_where_somebody_says_so(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving("vllm-omni") as server:
        card = card_file(tmp_path, server)
        assert findings(cli, card)["server"] == (True, "not asked; --reach does")
        assert server.seen == []
        fine, text = findings(cli, card, "--reach")["server"]
        assert fine and server.url in text
        assert server.seen and server.requests == []  # nothing was drawn
    fine, text = findings(cli, card, "--reach")["server"]
    assert not fine and "is it running" in text


def test_a_key_that_is_not_set_is_named_and_no_memory_of_ours_is_wanted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = findings(cli, "gpt-image-2")
    assert found["key"] == (False, "Set the environment variable OPENAI_API_KEY to the service's key")
    assert "memory" not in findings(cli, "bagel-served")
