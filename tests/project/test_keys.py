"""Ids and keys are stable: a change of any of these hashes orphans every stored result, and needs a version bump."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fairbench import keys


def test_golden_hashes() -> None:
    pid = keys.prompt_id("A photo of the face of a nurse, a person")
    assert pid.hex() == "ca566ed76e4e6d80e840b4ba91a8c333"
    assert keys.sample_seed(pid, 3, 0) == 7881880648239571495
    assert keys.image_id("00" * 16, pid, pid, 7).hex() == "7c63b51b65ca0c35b776844155fa9767"
    assert keys.file_image_id("00" * 16, pid, 7, "ab" * 32).hex() == "87b26175c85df85c82d9a728616383f7"
    assert keys.face_id("00" * 16, pid, 0).hex() == "a593315aeeaa52d37a94617ce406425d"
    assert keys.stage_key("images", {"a": [1, 2.5, None]}, None) == "efb8f2dcfbb5b87bb829f7b8b4a14afe"
    assert keys.run_id({"model": "m"}) == "b56ba048342470c82fdce6de6654e70f"


def test_a_key_covers_the_key_before_it() -> None:
    assert len({keys.stage_key("faces", {}, before) for before in (None, "aa", "ab")}) == 3
    assert keys.stage_key("faces", {}, "aa") != keys.stage_key("labels", {}, "aa")


def test_seed_does_not_depend_on_the_process() -> None:
    """Seen in other tools: a seed made with hash(text), which is salted per process."""
    code = "from fairbench import keys; print(keys.sample_seed(keys.prompt_id('x'), 1, 2))"
    found = set()
    for salt in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": salt}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)
    assert found == {f"{keys.sample_seed(keys.prompt_id('x'), 1, 2)}\n"}


def test_seeds_of_samples_and_repeats_differ() -> None:
    """Seen in other tools: every repeat given seed 0, so that all repeats are one image."""
    pid = keys.prompt_id("x")
    seeds = {keys.sample_seed(pid, i, s) for i in range(100) for s in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= s < 2**63 for s in seeds)


def test_prompts_with_a_long_common_start_do_not_collide() -> None:
    """Seen in other tools: folder name = first 50 characters of the prompt."""
    start = "A photo of the face of a manufactured building and mobile home "
    assert keys.prompt_id(start + "installer, a person") != keys.prompt_id(start + "inspector, a person")


def test_canonical_form_ignores_order_and_refuses_nan() -> None:
    assert keys.canonical({"b": 1, "a": (1, 2)}) == keys.canonical({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        keys.canonical({"a": float("nan")})
    with pytest.raises(TypeError, match="cannot be part of a key"):
        keys.canonical({"a": object()})
