"""The training loop: a stopped and resumed training is the same training, and what cannot be resumed is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fairbench.errors import FairbenchError, StoreError
from fairbench.phantom.making.loop import HISTORY, STATE, fit
from fairbench.storage import atomic
from fairbench.training.schedule import Schedule
from tests.builders.progress import Recorder

PLAN = Schedule(steps=12, rate=0.05, warm_up=0.2, floor=0.1, save_every=5, log_every=2)


class Toy(nn.Module):
    """A batch from `rng`, dropout from torch's generator, a frozen part, and an average kept by `after_step`."""

    average: torch.Tensor

    def __init__(self, before: Callable[[int], None] = lambda step: None) -> None:
        super().__init__()
        self.before = before
        self.frozen = nn.Linear(4, 4)
        self.layer = nn.Linear(4, 3)
        self.register_buffer("average", torch.zeros(3, 4))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(generator=generator)
        self.frozen.requires_grad_(False)

    def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        self.before(step)
        batch = torch.from_numpy(rng.standard_normal((8, 4), dtype=np.float32))
        out = self.layer(functional.dropout(self.frozen(batch)))
        return (out**2).mean(), {"largest": out.detach().max()}

    def after_step(self, step: int, rng: np.random.Generator) -> None:
        self.average.lerp_(self.layer.weight, float(rng.random()))


class Killed(BaseException):
    """Not an Exception, as the signal of a user is not."""


def kill_at(step: int) -> Callable[..., None]:
    """Return an objective's hook that stops the training in a step."""

    def hook(now: int, *_: int) -> None:
        if now == step:
            raise Killed

    return hook


def killed_after(step: int) -> Recorder:
    """Return progress that stops the training when so many steps are done."""
    return Recorder(lambda name, done, total: kill_at(step)(done))


def outcome(
    folder: Path, plan: Schedule = PLAN, seed: int = 3
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    toy = Toy()
    history = fit(toy, plan, folder, seed)
    return toy.state_dict(), history


def assert_same(one: Any, other: Any) -> None:
    """Compare weights and history bit by bit."""
    (weights, history), (others, other_history) = one, other
    assert history == other_history
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A training that nothing stopped, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, outcome(folder)


class TestResuming:
    @pytest.mark.parametrize("step", range(12))
    def test_a_kill_at_any_step_changes_nothing(self, whole: tuple[Path, Any], tmp_path: Path, step: int) -> None:
        with pytest.raises(Killed):
            fit(Toy(kill_at(step)), PLAN, tmp_path / "within", 3)
        with pytest.raises(Killed):
            fit(Toy(), PLAN, tmp_path / "after", 3, killed_after(step + 1))
        torch.manual_seed(step)  # what another process drew before is none of the training's business
        assert_same(outcome(tmp_path / "within"), whole[1])
        assert_same(outcome(tmp_path / "after"), whole[1])

    def test_being_killed_over_and_over_changes_nothing(self, whole: tuple[Path, Any], tmp_path: Path) -> None:
        for step in (3, 6, 8, 11):
            with pytest.raises(Killed):
                fit(Toy(kill_at(step)), PLAN, tmp_path, 3)
        assert_same(outcome(tmp_path), whole[1])

    @pytest.mark.parametrize("write", [1, 2, 3])
    def test_a_kill_between_history_and_state(
        self, whole: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
    ) -> None:
        states = []

        def killed(path: Path, data: bytes) -> None:
            states.extend([path] * (path.name == STATE))
            if path.name == STATE and len(states) == write:
                raise Killed
            written(path, data)

        written = atomic.write_bytes
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "write_bytes", killed)
            with pytest.raises(Killed):
                fit(Toy(), PLAN, tmp_path, 3)
        rows = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
        saved = PLAN.save_every * (write - 1)
        assert rows[-1]["step"] >= saved, "history is ahead of the state, and is cut to it"
        assert_same(outcome(tmp_path), whole[1])

    def test_a_full_disk_loses_nothing_that_was_saved(
        self, whole: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def fills(name: str, done: int, total: int) -> None:
            if done == 6:
                patch.setattr(os, "fsync", full)

        with monkeypatch.context() as patch, pytest.raises(StoreError, match="no space is left"):
            fit(Toy(), PLAN, tmp_path, 3, Recorder(fills))
        assert sorted(p.name for p in tmp_path.iterdir()) == [HISTORY, STATE]
        assert torch.load(tmp_path / STATE)["step"] == 5
        assert_same(outcome(tmp_path), whole[1])

    def test_a_finished_training_takes_no_further_step(self, whole: tuple[Path, Any]) -> None:
        folder, result = whole
        toy = Toy(kill_at(11))
        history = fit(toy, PLAN, folder, 3)
        assert_same((toy.state_dict(), history), result)

    def test_the_history_is_every_logged_step_and_the_last(self, whole: tuple[Path, Any]) -> None:
        folder, (_, history) = whole
        assert [row["step"] for row in history] == [0, 2, 4, 6, 8, 10, 11]
        assert all(row.keys() == {"step", "loss", "largest"} for row in history)
        assert history == [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]

    def test_a_step_draws_from_the_seed_and_its_number_alone(self, tmp_path: Path) -> None:
        class Plain(Toy):
            def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
                drawn.append([step, rng.random()])
                return self.layer.bias.sum(), {}

            def after_step(self, step: int, rng: np.random.Generator) -> None:
                drawn[-1] += [step, rng.random()]

        drawn: list[list[float]] = []
        fit(Plain(), PLAN, tmp_path, 3)
        pairs = [np.random.default_rng([3, step]).random(2) for step in range(12)]
        assert drawn == [[step, first, step, second] for step, (first, second) in enumerate(pairs)]

    def test_frozen_parameters_stay_and_others_move(self, whole: tuple[Path, Any]) -> None:
        weights, fresh = whole[1][0], Toy().state_dict()
        assert torch.equal(weights["frozen.weight"], fresh["frozen.weight"])
        assert not torch.equal(weights["layer.weight"], fresh["layer.weight"])

    def test_how_often_it_is_saved_and_logged_is_no_part_of_the_training(
        self, whole: tuple[Path, Any], tmp_path: Path
    ) -> None:
        plan = dataclasses.replace(PLAN, save_every=4, log_every=1)
        with pytest.raises(Killed):
            fit(Toy(kill_at(9)), plan, tmp_path, 3)
        weights, history = outcome(tmp_path)
        assert_same((weights, []), (whole[1][0], []))
        assert [row["step"] for row in history] == [*range(8), 8, 10, 11]


OTHER = {"steps": 13, "rate": 0.06, "warm_up": 0.3, "floor": 0.2, "weight_decay": 0.1, "betas": (0.8, 0.99), "clip": 2}


class TestRefusals:
    @pytest.fixture
    def folder(self, whole: tuple[Path, Any], tmp_path: Path) -> Path:
        return Path(shutil.copytree(whole[0], tmp_path / "copy"))

    @pytest.mark.parametrize("field", OTHER)
    def test_another_plan(self, folder: Path, field: str) -> None:
        plan = dataclasses.replace(PLAN, **{field: OTHER[field]})
        with pytest.raises(FairbenchError, match=r"state\.pt belongs to another training") as caught:
            fit(Toy(), plan, folder, 3)
        assert f"({field} {getattr(PLAN, field)} there, {OTHER[field]} here): name another folder" in str(caught.value)

    def test_every_field_of_a_plan_is_compared_but_those_that_change_no_result(self) -> None:
        assert set(OTHER) == {f.name for f in dataclasses.fields(Schedule)} - {"save_every", "log_every"}

    def test_a_state_from_before_a_field_was_added_goes_on(self, whole: tuple[Path, Any], folder: Path) -> None:
        state = torch.load(folder / STATE)
        del state["plan"]["clip"]
        torch.save(state, folder / STATE)
        assert_same(outcome(folder), whole[1])

    def test_another_seed(self, folder: Path) -> None:
        with pytest.raises(FairbenchError, match=r"state\.pt belongs to another training \(seed 3 there, 4 here\)"):
            fit(Toy(), PLAN, folder, 4)

    def test_another_module(self, folder: Path) -> None:
        class Wider(Toy):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 7)

        with pytest.raises(FairbenchError, match=r"state\.pt cannot be resumed \(RuntimeError\): remove it"):
            fit(Wider(), PLAN, folder, 3)

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
    def test_a_damaged_state(self, folder: Path, damage: str) -> None:
        path = folder / STATE
        data = path.read_bytes()
        middle = data.index(Toy().state_dict()["frozen.weight"].numpy().tobytes())  # a tensor's own bytes
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"empty": b"", "text": b"not a state", "cut": data[:-100], "flipped": flipped}[damage])
        with pytest.raises(FairbenchError, match=r"copy/state\.pt cannot be resumed \(\w+\): remove it") as caught:
            fit(Toy(), PLAN, folder, 3)
        assert "\n" not in str(caught.value)

    def test_a_file_of_something_else(self, folder: Path) -> None:
        torch.save([1, 2], folder / STATE)
        with pytest.raises(FairbenchError, match=r"state\.pt cannot be resumed"):
            fit(Toy(), PLAN, folder, 3)

    @pytest.mark.parametrize("content", [None, '{"step": 0, "lo', '{"loss": 1.0}', "3"])
    def test_a_history_that_is_lost_or_damaged(self, folder: Path, content: str | None) -> None:
        (folder / HISTORY).unlink()
        if content is not None:
            (folder / HISTORY).write_text(content)
        with pytest.raises(FairbenchError, match=r"history\.jsonl cannot be read .* or remove .*copy to start again"):
            fit(Toy(), PLAN, folder, 3)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_a_loss_that_is_no_number(self, whole: tuple[Path, Any], tmp_path: Path, bad: float) -> None:
        class Bad(Toy):
            def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
                loss, figures = super().forward(step, rng)
                return loss + bad if step == 7 else loss, figures

        with pytest.raises(FairbenchError, match=r"The loss at step 7 in .* is not a finite number: lower the rate"):
            fit(Bad(), PLAN, tmp_path, 3)
        assert_same(outcome(tmp_path), whole[1])

    def test_a_gradient_that_is_no_number_is_never_saved(self, whole: tuple[Path, Any], tmp_path: Path) -> None:
        """The loss of that very step is finite still, and the step is one after which the state is saved."""

        class Bad(Toy):
            def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
                loss, figures = super().forward(step, rng)
                if step == 9:
                    loss = loss + (self.layer.weight[0, 0] * 0).sqrt()  # 0, with an infinite slope
                return loss, figures

        with pytest.raises(FairbenchError, match=r"The gradient at step 9 in .* is not a finite number"):
            fit(Bad(), PLAN, tmp_path, 3)
        assert torch.load(tmp_path / STATE)["step"] == 5
        assert_same(outcome(tmp_path), whole[1])


class TestRate:
    PLAN = Schedule(steps=110, rate=2.0, warm_up=1 / 11, floor=0.1)
    """Ten steps of warm-up, a hundred of cosine."""

    @pytest.mark.parametrize(
        ("step", "rate"),
        # The last two: half and a quarter of the way down, where the cosine is 0 and the root of a half.
        [(0, 0.2), (4, 1.0), (9, 2.0), (10, 2.0), (60, 0.2 + 1.8 / 2), (35, 0.2 + 0.9 * (1 + math.sqrt(0.5)))],
    )
    def test_closed_form(self, step: int, rate: float) -> None:
        assert self.PLAN.rate_at(step) == pytest.approx(rate)

    def test_it_rises_then_falls_to_the_floor(self) -> None:
        rates = np.array([self.PLAN.rate_at(step) for step in range(110)])
        assert (np.diff(rates[:10]) > 0).all()
        assert (np.diff(rates[10:]) < 0).all()
        assert rates.max() == 2.0
        assert rates[-1] == pytest.approx(0.2, abs=1e-3)
        assert rates[-1] > 0.2

    @pytest.mark.parametrize(("warm_up", "steps"), [(0.0, 5), (1.0, 5), (0.03, 1)])
    def test_no_warm_up_nothing_but_warm_up_and_a_single_step(self, warm_up: float, steps: int) -> None:
        rates = [Schedule(steps=steps, rate=1.0, warm_up=warm_up).rate_at(step) for step in range(steps)]
        assert max(rates) == 1.0
        assert min(rates) > 0

    def test_it_is_the_rate_of_each_step(self, tmp_path: Path) -> None:
        """Under a constant gradient Adam moves a weight by the learning rate, whatever the gradient's size."""
        places: list[float] = []

        class Slope(Toy):
            def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
                places.append(float(self.layer.bias[0].detach()))
                return self.layer.bias[0], {}

        slope = Slope()
        slope.double()
        plan = Schedule(steps=20, rate=0.1, warm_up=0.2, floor=0.3, weight_decay=0.0)
        fit(slope, plan, tmp_path, 0)
        places.append(float(slope.layer.bias[0].detach()))
        np.testing.assert_allclose(-np.diff(places), [plan.rate_at(step) for step in range(20)], rtol=1e-6)

    def test_the_gradient_is_clipped_and_averaged_as_planned(self, tmp_path: Path) -> None:
        class Steep(Toy):
            def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
                return 1000 * self.layer.weight.sum(), {}

        fit(Steep(), Schedule(steps=1, rate=0.1, betas=(0.8, 0.9), clip=0.5), tmp_path, 0)
        moments = torch.load(tmp_path / STATE)["optimiser"]["state"]
        first, second = moments[0]["exp_avg"], moments[0]["exp_avg_sq"]
        assert float(first.norm()) == pytest.approx(0.2 * 0.5, rel=1e-4)
        assert float(second.sum()) == pytest.approx(0.1 * 0.5**2, rel=1e-4)
