"""What a long stage shows while it runs, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from qaprune import progress as shown
from qaprune.progress import progress


class Screen(io.StringIO):
    """Standard error of a terminal, or of a file."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def clock(monkeypatch) -> dict[str, float]:
    time = {"now": 1000.0}
    monkeypatch.setattr(shown.time, "monotonic", lambda: time["now"])
    return time


def run(steps: int, clock: dict[str, float], seconds: float, **more: object) -> None:
    with progress(100, "gate", **more) as bar:
        for _ in range(steps):
            clock["now"] += seconds
            bar.report("loss 0.500, 4,000 tokens/s")
            bar.update()


def test_a_log_gets_a_line_a_minute_with_the_time_left(clock, monkeypatch):
    screen = Screen(terminal=False)
    monkeypatch.setattr("sys.stderr", screen)
    run(100, clock, 30)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 49  # none of the last step
    assert lines[0] == "  gate: step 2/100, loss 0.500, 4,000 tokens/s, 49 min left"
    assert lines[-1] == "  gate: step 98/100, loss 0.500, 4,000 tokens/s, 1 min left"


def test_steps_of_an_earlier_process_took_none_of_this_ones_time(clock, monkeypatch):
    screen = Screen(terminal=False)
    monkeypatch.setattr("sys.stderr", screen)
    run(2, clock, 60, done=50)
    assert (
        screen.getvalue().splitlines()[0].endswith("step 51/100, loss 0.500, 4,000 tokens/s, 49 min left")
    )


def test_a_terminal_gets_a_bar_that_goes_when_it_is_done(clock, monkeypatch):
    screen = Screen(terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    with progress(4, "gate", done=1) as bar:
        for _ in range(3):
            bar.report("loss 0.500, 4,000 tokens/s")
            bar.bar.refresh()
            bar.update()
        bar.bar.refresh()
    text = screen.getvalue()
    assert "gate:  25%" in text
    assert "1/4" in text
    assert "loss 0.500, 4,000 tokens/s" in text
    assert "<" in text, "the time left"
    assert text.endswith("\r"), "nothing of it stays"


@pytest.mark.parametrize("terminal", [True, False])
def test_processes_beside_the_first_show_nothing(terminal, clock, monkeypatch):
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    run(100, clock, 60, quiet=True)
    assert not screen.getvalue()
