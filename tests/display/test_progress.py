"""Progress: what stages show on a terminal and off it, nested and within a block."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from fairbench.display import progress
from fairbench.display.meter import Meter
from fairbench.display.progress import SILENT, Bars, Lines, reporter, watching
from tests.builders.progress import Recorder


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", clock)
    return clock


def console(*, terminal: bool = False, width: int = 80) -> tuple[Console, Callable[[], str]]:
    file = io.StringIO()
    return Console(file=file, width=width, force_terminal=terminal, color_system=None), file.getvalue


def test_off_a_terminal_there_are_plain_lines(clock: Clock) -> None:
    screen, text = console()
    with reporter(screen, quiet=False).stage("images", 8) as stage:
        for seconds, units in ((5, 0.5), (11, 1.5), (15, 2.0)):
            clock.now = seconds
            stage.within(units)
        clock.now = 22
        stage.advance(4)
        clock.now = 44
        stage.advance(4)
    assert text() == (
        "images: 1.5/8 images, 0.1/s, 48 s left\nimages: 4/8 images, 0.2/s, 22 s left\nimages: 8 images, 0.2/s\n"
    )


def test_long_stages_print_a_line_a_minute(clock: Clock) -> None:
    screen, text = console()
    with Lines(screen).stage("images", 4000) as stage:
        for second in range(0, 3600, 2):
            clock.now = second
            stage.advance()
    lines = text().splitlines()
    assert 60 <= len(lines) <= 90
    assert lines[-1] == "images: 1800 images, 0.5/s"


def test_nested_stages_name_each_other(clock: Clock) -> None:
    screen, text = console()
    lines = Lines(screen)
    with lines.stage("training", 2, "steps") as outer:
        with lines.stage("evaluation", 4) as inner:
            clock.now = 20
            inner.advance(2)
            inner.advance(2)
        clock.now = 40
        outer.advance(2)
    assert text().splitlines() == [
        "training > evaluation: 2/4 images, 0.1/s, 20 s left",
        "training > evaluation: 4 images, 0.2/s",
        "training: 2 steps, 20 s each",
    ]


def test_a_stage_that_fails_is_closed(clock: Clock) -> None:
    for terminal in (False, True):
        screen, text = console(terminal=terminal)
        shown = reporter(screen, quiet=False)
        with pytest.raises(ValueError, match="broken"), shown.stage("images", 4) as stage:
            clock.now += 1
            stage.advance(3)
            raise ValueError("broken")
        with shown.stage("faces", 0):
            pass
        assert "3 images, 3.0/s\n" in text() and "all in the store\n" in text()


def rows(text: str) -> list[str]:
    """Return what a terminal was sent, row by row, without the codes that move and clear."""
    return [row.rstrip() for row in re.split(r"[\r\n]+", re.sub(r"\x1b\[\??\d*[a-zA-Z]", "", text)) if row.strip()]


def test_bars_show_both_stages_and_what_is_in_flight(clock: Clock) -> None:
    screen, text = console(terminal=True)
    bars = Bars(screen)
    with bars.stage("training", 200, "steps") as outer, bars.stage("images", 16) as inner:
        clock.now = 10
        inner.within(8)
        outer.advance(20)
        bars._live.refresh()
        training, images = rows(text())[-2:]
    assert training == "training          |███▏                           | 20/200 steps  2.0/s  0:01:30"
    assert images == "  images          |███████████████▌               | 0/16 images  0.8/s  0:00:10".replace(
        "   0.8", "  0.8"
    )
    assert max(map(len, rows(text()))) <= 80
    assert [row for row in rows(text()) if re.search(r"\d (images|steps),", row)] == [
        "  images          0 images, 0.8/s",
        "training          20 steps, 2.0/s",
    ], "one line per stage stays"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("price", [None, 0.04])
@pytest.mark.parametrize("name", ["faces and labels", "unguided tokens, gender x race4 by age group"])
def test_a_bar_fits_into_the_terminal_and_keeps_its_numbers(
    clock: Clock, name: str, price: float | None, width: int
) -> None:
    screen, text = console(terminal=True, width=width)
    bars = Bars(screen)
    with bars.stage(name, 9_000, price=price) as stage:
        clock.now = 100
        stage.advance(1_234)
        bars._live.refresh()
        (row,) = rows(text())[-1:]
    numbers = "1234/9000 images  12.3/s  0:10:29" + ("  $49.36 of $360.00" if price else "")
    assert row.startswith(name[:5]) and row.endswith(numbers)
    assert len(row) <= width
    if width >= 80:
        assert re.search(r"\|[▏▎▍▌▋▊▉█]", row)


def test_without_blocks_in_the_encoding_the_bar_is_of_hashes(clock: Clock) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    bars = Bars(Console(file=file, width=80, force_terminal=True, color_system=None))
    with bars.stage("images", 4) as stage:
        clock.now = 1
        stage.advance(2)
        bars._live.refresh()
    file.seek(0)
    assert re.search(r"images +\|(#+) +\| 2/4 images  2\.0/s  0:00:01", file.read())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_hostile_name_commands_nothing(clock: Clock, terminal: bool) -> None:
    screen, text = console(terminal=terminal, width=120)
    shown = reporter(screen, quiet=False)
    with shown.stage("[/red]\x1b[31m\u202e", 4, "[b]\x1b[2J") as stage:
        clock.now = 20
        stage.advance(2)
        if isinstance(shown, Bars):
            shown._live.refresh()
    assert r"[/red]\x1b[31m\u202e" in text() and r"2 [b]\x1b[2J" in text()
    assert "\x1b[31m" not in text() and "\x1b[2J" not in text() and "\u202e" not in text()


def test_cost_so_far_and_expected_stands_in_lines(clock: Clock) -> None:
    screen, text = console()
    with Lines(screen).stage("images", 100, price=0.04) as stage:
        clock.now = 10
        stage.advance(25)
    assert text() == (
        "images: 25/100 images, 2.5/s, 30 s left, $1.00 of $4.00\nimages: 25 images, 2.5/s, about $1.00\n"
    )


class TestRate:
    def test_it_follows_a_model_that_slows_down(self, clock: Clock) -> None:
        meter = Meter("images", 100, "images")
        for second in range(1, 61):
            clock.now = second
            meter.advance()
        assert (meter.rate, meter.seconds_left) == ("1.0/s", 40)
        for second in range(70, 181, 10):
            clock.now = second
            meter.advance()
        assert meter.per_second == pytest.approx(0.1), "the mean since the start is 0.4"
        assert meter.seconds_left == pytest.approx(280)

    def test_of_blocks_longer_than_its_window_it_is_the_rate_of_the_last(self, clock: Clock) -> None:
        meter = Meter("images", 90, "images")
        for moment in (90, 180, 340):
            clock.now = moment
            meter.advance(9)
        assert meter.per_second == pytest.approx(9 / 160)
        clock.now = 400
        assert meter.per_second == pytest.approx(9 / 160), "a pause that a block explains says nothing yet"
        assert meter.seconds_left == pytest.approx(63 / (9 / 160) - 60)
        clock.now = 640
        assert meter.per_second == pytest.approx(9 / 460), "a longer one says that the model became slower"

    def test_units_of_a_run_before_are_in_none(self, clock: Clock) -> None:
        clock.now = 5000
        meter = Meter("images", 6, "images", 0.5)  # 94 of 100 are in the store
        clock.now = 5002
        meter.advance(2)
        assert (meter.rate, meter.seconds_left, meter.cost) == ("1.0/s", 4, "$1.00 of $3.00")


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen, text = console(terminal=True)
    with reporter(screen, quiet=True).stage("images", 4) as stage:
        stage.within(1)
        stage.advance(4)
    assert text() == "" == "".join(capsys.readouterr())


def test_nothing_goes_to_stdout_and_no_escape_codes_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(Console(stderr=True), quiet=False).stage("images", 4) as stage:
        stage.advance(4)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("images: 4 images, ") and "\x1b" not in err


class TestNotebooks:
    @pytest.fixture
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """What a notebook with ipywidgets is given to display."""
        shown: list[object] = []

        class Output:
            def clear_output(self, wait: bool) -> None: ...

            def close(self) -> None: ...

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None: ...

        for name, members in (
            ("IPython", {}),
            ("IPython.display", {"display": shown.append}),
            ("ipywidgets", {"Output": Output}),
        ):
            module = ModuleType(name)
            module.__dict__.update(members)
            module.__spec__ = ModuleSpec(name, None)
            monkeypatch.setitem(sys.modules, name, module)
        return shown

    def test_bars_move_in_a_widget(self, shown: list[object]) -> None:
        bars = reporter(Console(force_jupyter=True), quiet=False)
        assert isinstance(bars, Bars)
        with bars.stage("images", 4) as stage:
            stage.advance(4)
        assert "Output" in {type(each).__name__ for each in shown}
        assert not isinstance(reporter(Console(force_jupyter=True), quiet=True), Bars)

    def test_lines_are_printed_where_there_are_no_widgets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "find_spec", lambda name: None)
        assert isinstance(reporter(Console(force_jupyter=True), quiet=False), Lines)


def test_a_meter_never_passes_its_total(clock: Clock) -> None:
    meter = Meter("images", 4, "images")
    assert (meter.rate, meter.seconds_left) == ("-/s", None)
    clock.now = 100
    meter.advance(3)
    meter.within(7)
    assert (meter.reached, meter.done, meter.seconds_left) == (4, 3, 0)
    meter.within(-1)
    assert (meter.reached, meter.rate) == (3, "33 s each")


class TestWatching:
    def test_a_model_moves_the_stage_by_its_share(self) -> None:
        class Model:
            def on_progress(self, share: float) -> None: ...

        model, recorder = Model(), Recorder()
        before = model.on_progress
        with recorder.stage("images", 8) as stage:
            stage.advance(4)
            with watching(model, stage, 4):
                model.on_progress(0.5)
        assert recorder.events == [("images", 0, 8), ("images", 4, 8), ("images", 6, 8)]
        assert model.on_progress == before

    def test_a_model_that_reports_nothing_is_left_alone(self) -> None:
        model: Any = object()
        with SILENT.stage("images", 8) as stage, watching(model, stage, 4):
            assert not hasattr(model, "on_progress")
