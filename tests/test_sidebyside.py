"""Trainings side by side: what they print, how they fail. That they are those one after the other: test_sslhf."""

import os
import time
from functools import partial
from multiprocessing import forkserver

import pytest
import torch

from cmrlib.learning.sidebyside import side_by_side


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def leaves(path):
    print(f"leaving {path.name}")
    path.write_text(str(torch.get_num_threads()))


def fails():
    raise ValueError("the rate is too high")


def is_ended():
    os._exit(9)


def waits(path):
    path.with_suffix(".begun").touch()
    time.sleep(60)
    path.touch()


def test_jobs_share_the_threads_and_print_where_their_parent_prints(tmp_path, capfd):
    forkserver._forkserver._stop()  # of an earlier test, which prints elsewhere
    side_by_side([partial(leaves, tmp_path / name) for name in "abc"], 5)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "1", "b": "1", "c": "1"}
    assert sorted(capfd.readouterr().out.splitlines()) == ["leaving a", "leaving b", "leaving c"]


@pytest.mark.parametrize(("jobs", "processes", "threads"), [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_what_cannot_run_at_once_is_left_to_who_asks(tmp_path, jobs, processes, threads):
    torch.set_num_threads(threads)
    side_by_side([partial(leaves, tmp_path / str(n)) for n in range(jobs)], processes)
    assert not list(tmp_path.iterdir())


def test_the_first_error_ends_the_others(tmp_path):
    start = time.monotonic()
    with pytest.raises(ValueError, match="the rate is too high"):
        side_by_side([partial(waits, tmp_path / "one"), partial(fails)], 2)
    assert time.monotonic() - start < 50
    assert not (tmp_path / "one").exists()


def test_a_training_that_the_system_ends_is_named():
    with pytest.raises(MemoryError, match="set `workers` to 1"):
        side_by_side([partial(is_ended), partial(is_ended)], 2)
