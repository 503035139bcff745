"""The benchmark scripts run at their smallest and print their tables. How fast anything is is not tested."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *args: str) -> str:
    command = [sys.executable, "-W", "ignore", str(BENCHMARKS / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_startup_compares_two_commands() -> None:
    out = run("startup.py", "--rounds", "1")
    assert re.search(r"^fairbench --help +\d+ +\d+$", out, re.M)
    assert re.search(r"^import typer, rich +\d+ +\d+$", out, re.M)
    assert re.search(r"median of ratios: \d+\.\d\dx \(target: at most 1.5x; (met|MISSED)\)", out)


@pytest.mark.long
def test_metrics_counts_every_row_and_prints_growth() -> None:
    out = run("metrics.py", "--rows", "900", "300")
    assert re.search(r"^300 +106 +2( +[\d.-]+){5}$", out, re.M)  # 100 faces, 6 images without one
    assert re.search(r"^900 +316 +4( +[\d.-]+){5}$", out, re.M)  # two parcels of images
    assert "growth exponents from 300 to 900 rows: count" in out


@pytest.mark.long
def test_metrics_are_the_same_of_merged_shards() -> None:
    out = run("metrics.py", "--rows", "900", "--compact", "--images-per-shard", "40")
    assert re.search(r"^900 +316 +16( +[\d.-]+){5}$", out, re.M)
    assert re.search(r"^900 +316 +2( +[\d.-]+){5}$", out, re.M)
    assert "900 rows, small shards against compacted, the same results: shards 8.00x, bytes" in out


@pytest.mark.long
def test_scale_lists_and_resumes_a_store_of_names() -> None:
    out = run("scale.py", "--shards", "640", "--models", "2")
    for layout, shards, job, count in (
        ("one key", "640", "list one key", "640"),
        ("one key", "640", "resume: ids of a key", "10,240"),
        ("a key per model", "640", "list the store", "640"),
        ("a key per model", "640", "resume: ids of a key", "5,120"),
        ("a key per model", "640", "add a leaderboard row", "60"),
        ("a key per model", "10", "resume, compacted", "5,120"),
    ):
        assert re.search(rf"^{layout} +{shards} +{job} +{count} +[\d.]+ +[\d.]+ +\d+$", out, re.M)


def test_uncertainty_measures_both_kinds_of_error_bar() -> None:
    out = run("uncertainty.py", "--resamples", "40", "20")
    for job in ("raw", "corrected"):
        assert re.search(rf"^{job} +20( +[\d.]+){{3}}$", out, re.M)
        assert re.search(rf"^{job}: growth exponents from 20 to 40: processor -?\d", out, re.M)


def test_worker_compares_a_process_of_its_own_with_a_direct_call() -> None:
    out = run("worker.py", "--images", "2", "--rounds", "1")
    assert re.search(r"^direct +[\d.]+ +[\d.]+$", out, re.M) and re.search(r"^worker +[\d.]+ +[\d.]+$", out, re.M)
    assert re.search(r"^added per image, median over rounds: -?\d+\.\d\d ms \(target: at most 10 ms; ", out, re.M)


def test_endpoint_compares_the_adapter_with_a_direct_call() -> None:
    out = run("endpoint.py", "--images", "2", "--rounds", "1")
    assert re.search(r"^direct +[\d.]+ +[\d.]+$", out, re.M) and re.search(r"^endpoint +[\d.]+ +[\d.]+$", out, re.M)
    assert re.search(r"^added per image, median over rounds: -?\d+\.\d\d ms \(target: at most 10 ms; ", out, re.M)


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_executors_compares_workers_and_their_metrics() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    out = run("executors.py", "--seconds", "2", "--settle", "0", "--rounds", "1", "--model", "phantom-exact")
    assert re.search(r"^two workers against one, times as fast: \d+\.\d\dx \(target: at least 1\.7x; ", out, re.M)
    assert re.search(r"^none against one worker, times as fast: \d+\.\d\dx \(target: at most 1\.15x; ", out, re.M)
    assert re.search(r"^metrics of all 3 runs: equal$", out, re.M)


@pytest.mark.long
@pytest.mark.slow
def test_labelling_gives_the_same_labels_as_the_loops() -> None:
    out = run("labelling.py", "--tiny", "--images", "2", "--rounds", "1")
    assert re.search(r"^networks +[\d.]+ +[\d.]+ +[\d.]+ +-$", out, re.M)
    for contender in ("fairbench", "whole loop", "det loop"):
        assert re.search(rf"^{contender} +[\d.]+ +[\d.]+ +[\d.]+ +6 of 6$", out, re.M)
    assert "random weights" in out


@pytest.mark.long
@pytest.mark.slow
def test_memory_compares_runs_of_two_sizes() -> None:
    out = run("memory.py", "--images", "8", "16", "--rounds", "1")
    assert re.search(r"^slope from 8 to 16 images: -?\d+\.\d\d KiB per image \(target: at most 1 KiB", out, re.M)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads Linux's account of processor time")
def test_threads_measures_idle_and_beside_busy_processes() -> None:
    out = run("threads.py", "--rounds", "1", "--seconds", "0", "--block", "1", "--only", "now")
    for contender in ("shipped", "now"):
        for load in ("idle", "busy"):
            assert re.search(rf"^{contender} +{load}( +[\d.]+){{3}} +\d+%$", out, re.M)
    assert re.search(r"^now, busy, against shipped, idle: \d+\.\d\dx \(target: at least 0.25x", out, re.M)


def test_gpu_measures_what_it_says_on_a_processor_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has loaded torch already; nothing is compiled."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = importlib.import_module("gpu")
    small = ["--images", "3", "--batch", "2", "--rounds", "1", "--steps", "1", "--no-compile"]
    gpu.main(["--device", "cpu", "--tiny", *small, "--out", str(tmp_path / "gpu.json")])
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "gpu.json").read_text())
    assert result["tokens"] == {
        "images": 3,
        "plain_float32_images_equal_to_cpu": 1.0,
        "plain_bfloat16_independent_of_block": True,
    }
    for part, anchor in (("token_model", "transformers"), ("pipeline", "diffusers")):
        for rates in result[part].values():
            assert rates[anchor][f"speed_against_{anchor}"] == 1.0
            assert all(rate["images_per_second"] > 0 and rate["peak_mib"] is None for rate in rates.values())
    assert all(steps["own_ms"] > 0 and steps["static_ms"] > 0 for steps in result["cache"].values())


def test_gpu_says_why_it_is_skipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    gpu.main([])
    assert capsys.readouterr().out.startswith("skipped: torch finds no CUDA device on this machine")
