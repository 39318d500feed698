"""Long work says how far it has come, in a terminal and out of it."""

import sys

from cmrlib.cohort import progress
from cmrlib.cohort.progress import with_progress


def test_what_is_soon_done_says_nothing(capsys):
    assert list(with_progress([3, 1, 2], "segment", "cine")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_outside_a_terminal_a_line_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 15))  # every look at the clock is 15 s later
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(with_progress(iter("abcdef"), "segment", "cine", total=8, initial=2)) == [*"abcdef"]
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [  # every 20 s at most: after every second cine
        "segment: 4 of 8 cines · 1.0 min left",
        "segment: 6 of 8 cines · 0.5 min left",
    ]


def test_in_a_terminal_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(with_progress(["a", "b"], "segment", "cine", total=4, initial=2)) == ["a", "b"]
    assert "segment: 100%" in capsys.readouterr().err
