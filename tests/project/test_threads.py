"""The number of threads is that of the processors a process may use; how many there are changes no pixel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairbench import threads
from fairbench.networks import onnx


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use 16 processors, and a user who has stated nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENCV_FOR_THREADS_NUM", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """Write a false /proc/self/cgroup and files below a false /sys/fs/cgroup."""
    for path, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{p}": t for p, t in files.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize(
    ("cgroup", "files", "processors"),
    [
        pytest.param("0::/\n", {}, 16, id="no quota anywhere"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, 16, id="v2, no quota"),
        pytest.param("0::/\n", {"cpu.max": "400000 100000\n"}, 4, id="v2, a container sees its own group at the top"),
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 2, id="v2, part of a processor counts as one"),
        pytest.param("0::/\n", {"cpu.max": "5000 100000\n"}, 1, id="v2, never less than one"),
        pytest.param("0::/\n", {"cpu.max": "6400000 100000\n"}, 16, id="v2, a quota above the affinity"),
        pytest.param("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3, id="v2, outer"),
        pytest.param("0::/a/b\n", {"a/cpu.max": "max 100000\n", "a/b/cpu.max": "50000 25000\n"}, 2, id="v2, inner"),
        pytest.param("0::/docker/0a1b\n", {"cpu.max": "200000 100000\n"}, 2, id="v2, the host's path in a container"),
        pytest.param("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2, id="v2, a path above the namespace"),
        pytest.param("0::/x:y\n", {"x:y/cpu.max": "200000 100000\n"}, 2, id="v2, a colon in the name"),
        pytest.param("4:memory:/m\n0::/\n", {"unified/cpu.max": "200000 100000\n"}, 2, id="both, v2 has it"),
        pytest.param(
            "3:cpu,cpuacct:/slurm/job\n1:name=systemd:/\n0::/\n",
            {"cpu,cpuacct/slurm/job/cpu.cfs_quota_us": "75000\n", "cpu,cpuacct/slurm/job/cpu.cfs_period_us": "25000"},
            3,
            id="v1",
        ),
        pytest.param(
            "2:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            16,
            id="v1, no quota",
        ),
        pytest.param(
            "2:cpuacct,cpu:/docker/77\n",
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
            id="v1, the host's path in a container",
        ),
        pytest.param("2:cpuset:/c\n", {"cpuset/c/cpu.max": "100000 100000\n"}, 16, id="v1, another controller"),
        pytest.param("", {"cpu.max": "100000 100000\n"}, 16, id="in no group"),
        pytest.param("nonsense\n0::/\n", {"cpu.max": "one two three\n"}, 16, id="files that say nothing"),
        pytest.param("0::/\n", {"cpu.max": "100000 0\n"}, 16, id="a period of 0"),
    ],
)
def test_the_affinity_is_cut_by_the_quota_of_the_control_groups(
    tmp_path: Path, cgroup: str, files: dict[str, str], processors: int
) -> None:
    assert threads.available(machine(tmp_path, cgroup, files)) == processors


@pytest.mark.usefixtures("sixteen")
def test_a_system_without_control_groups_or_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads.available(tmp_path) == 16
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.available(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.available(tmp_path) == 1


@pytest.mark.parametrize(
    ("stated", "number"), [("3", 3), ("4,2", 4), (" 5 ", 5), ("0", 16), ("", 16), ("many", 16), ("-1", 16)]
)
@pytest.mark.usefixtures("sixteen")
def test_what_the_user_states_is_respected(monkeypatch: pytest.MonkeyPatch, stated: str, number: int) -> None:
    monkeypatch.setattr(threads, "_quotas", lambda root: iter(()))
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert threads.count() == number
    assert threads.count(limit=2) == 2
    assert threads.count(limit=0) == 1


@pytest.mark.usefixtures("sixteen")
def test_prepare_sets_the_environment_and_nothing_that_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_quotas", lambda root: iter([4.0]))
    environment = {"OPENCV_FOR_THREADS_NUM": "1"}
    monkeypatch.setattr(os, "environ", environment)
    threads.prepare()
    assert environment["OMP_NUM_THREADS"] == "4"
    assert environment["OPENCV_FOR_THREADS_NUM"] == "1"
    assert environment["GOMP_SPINCOUNT"] == str(threads.SPINS)
    environment.clear()
    environment.update(OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="3")
    threads.prepare()
    assert environment == {
        "OMP_WAIT_POLICY": "ACTIVE",
        "OMP_NUM_THREADS": "3",
        "OPENCV_FOR_THREADS_NUM": "3",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def test_a_command_has_its_number_of_threads_everywhere() -> None:
    """In a process of its own: torch, MKL, OpenBLAS and OpenCV read the environment once."""
    code = (
        "from fairbench.cli.app import main\nimport sys\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)\n"
        "import torch, cv2\nprint(torch.get_num_threads(), cv2.getNumThreads())"
    )
    env = {k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"}}
    command = [sys.executable, "-c", code, "--version"]
    stated = subprocess.run(command, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    assert stated.stdout.split()[-2:] == ["1", "1"]
    pinned = subprocess.run(command, env=env, capture_output=True, text=True, check=True, preexec_fn=_on_one_processor)
    assert pinned.stdout.split()[-2:] == ["1", "1"]


def _on_one_processor() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_sessions_wait_for_a_bounded_time() -> None:
    options = onnx.session_options(3)
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.spin_duration_us") == str(threads.SPIN_MICROSECONDS)


@pytest.fixture
def three_torch_threads():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_torch_threads")
def test_one_each_computes_side_by_side_in_order_and_leaves_torch_as_it_was() -> None:
    import torch

    together = threading.Barrier(3, timeout=30)

    def work(item: int) -> tuple[int, int]:
        together.wait()  # passes only where three work at a time
        return item, torch.get_num_threads()

    assert threads.one_each(work, range(6)) == [(i, 1) for i in range(6)]
    assert threads.one_each(work, []) == []
    assert torch.get_num_threads() == 3
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]
    with pytest.raises(ZeroDivisionError):
        threads.one_each(lambda x: 1 // x, [1, 0, 1])
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_torch_threads")
def test_the_phantoms_images_do_not_depend_on_the_number_of_threads() -> None:
    import torch

    from fairbench.runs import spec

    settings = spec.RunSettings(model="phantom", task="phantom-occupations", images_per_prompt=1, device="cpu")
    made = spec.make(settings)
    first = made.adapter.generate(made.requests[:24])
    torch.set_num_threads(1)
    second = made.adapter.generate(made.requests[:24])
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, second, strict=True))
