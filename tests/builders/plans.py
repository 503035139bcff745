"""`fairbench plan`, called as tests of planning do."""

from __future__ import annotations

import json
from typing import Any

from tests.builders.cli import Cli

BASE = ("plan", "--task", "occupations-mini", "--labeller")


def call(cli: Cli, labeller: object, *options: object) -> tuple[int, str, str]:
    done = cli(*BASE, labeller, *options)
    return done.code, done.out, done.err


def planned(cli: Cli, labeller: object, *options: object) -> dict[str, Any]:
    code, out, err = call(cli, labeller, *options, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found
