import pytest

from poisonsieve.progress import Step, StepsLeft, progress_bar, shown, tell
from pseudo_terminal import drawn_in_terminal

SHOWN = "from poisonsieve.progress import shown\nassert list(shown(range(3), 'reading', 'text')) == [0, 1, 2]"
MOVED = """
from poisonsieve.progress import progress_bar
with progress_bar('reading', 'text', total=3) as moved:
    moved.update(3)
"""


@pytest.mark.parametrize("code", [SHOWN, MOVED])
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (24, 80), (24, 0), (0, 80)])
def test_bars_are_drawn_in_a_terminal_of_any_size(code, rows, columns):
    drawn = drawn_in_terminal(code, rows, columns)
    assert "reading: 100%" in drawn
    assert "3/3" in drawn


@pytest.mark.parametrize("rows", [24, 0])
def test_a_bar_is_no_wider_than_its_terminal(rows):
    lines = drawn_in_terminal(SHOWN, rows, 50).split("\r")
    assert max(map(len, lines)) <= 50


def test_nothing_is_drawn_without_a_label(capsys):
    assert list(shown([1, 2], None, "text")) == [1, 2]
    with progress_bar(None, "text", total=2) as moved:
        moved.update(2)
    assert capsys.readouterr().err == ""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def three_steps(clock, *, drawn=False):
    todo = {
        "train": Step("training", "training", rows=100, cost=5),
        "read": Step("reading", "reading", rows=200),
        "again": Step("reading again", "reading", rows=400),
    }
    return StepsLeft("audit", todo, shown=drawn, clock=clock)


def read(clock, rows, seconds):
    clock.now += seconds
    tell(rows)


def test_the_time_left_is_unknown_until_a_row_was_read_and_then_moves_within_a_step(clock):
    steps = three_steps(clock)
    with steps, steps.step("train"):
        assert steps.left() is None
        read(clock, 50, 50)  # 1 s a row, and 0.2 s for one of reading
        assert steps.left() == pytest.approx(50 + 0.2 * 600)
        read(clock, 25, 75)  # slower: 125 s for 75 rows
        assert steps.left() == pytest.approx(125 / 75 * (25 + 600 / 5))


def test_rows_of_a_kind_that_was_measured_are_expected_to_take_as_long_again(clock):
    steps = three_steps(clock)
    with steps:
        with steps.step("train"):
            read(clock, 100, 100)
        with steps.step("read"):
            read(clock, 200, 20)
        assert steps.left() == pytest.approx(40)
        assert steps.seconds == {"train": 100, "read": 20}


def test_a_step_that_reads_nothing_says_nothing_of_the_rate(clock):
    steps = three_steps(clock)
    with steps:
        with steps.step("train"):
            clock.now += 3
        assert steps.left() is None
        with steps.step("read"):
            read(clock, 100, 10)
            assert steps.left() == pytest.approx(50)


def test_a_step_whose_outcome_was_kept_is_not_waited_for(clock):
    steps = three_steps(clock)
    with steps, steps.step("train"):
        read(clock, 100, 100)
        steps.expect_none("again")
        assert steps.left() == pytest.approx(0.2 * 200)


def test_more_rows_than_expected_leave_no_less_than_nothing(clock):
    steps = three_steps(clock)
    with steps:
        for name in ("train", "read"):
            with steps.step(name):
                read(clock, 100, 10)
        with steps.step("again"):
            read(clock, 500, 10)
            assert steps.left() == 0
        assert steps.left() == 0


def test_rows_are_heard_by_the_step_that_runs_and_by_none_after_it(clock):
    steps = three_steps(clock)
    with steps, steps.step("train"):
        read(clock, 100, 10)
    before = steps.left()
    tell(100)
    assert steps.left() == before


def test_the_bar_names_the_step_that_runs(clock, capsys):
    steps = three_steps(clock, drawn=True)
    with steps:
        with steps.step("train"):
            assert "audit: 1 of 3, training" in capsys.readouterr().err
            read(clock, 40, 60)
            assert "training 40%" in (drawn := capsys.readouterr().err)
            assert "about 0:04:30 left" in drawn
        with steps.step("read"):
            assert "audit: 2 of 3, reading" in capsys.readouterr().err


def test_a_hidden_bar_writes_nothing(clock, capsys):
    steps = three_steps(clock)
    with steps, steps.step("train"):
        read(clock, 40, 60)
    assert capsys.readouterr().err == ""
