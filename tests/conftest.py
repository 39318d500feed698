"""What several test files look at: one small phantom cohort, made once, since nothing changes a cohort; and a pickle
that nobody may open."""

import os
import pickle
import sys
from functools import partial
from types import SimpleNamespace

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch, where a test or a process that it starts imports it


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    from cmrlib.phantom import make_cohort

    path = tmp_path_factory.mktemp("phantom") / "c"
    return make_cohort(
        path, subjects=6, frames=4, size=64, spacing_mm=3.2, slices=5, views=("sax",), workers=1, progress=False
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Files are tested side by side, and in small networks a second thread costs more than it brings; the test of a
    command may have left another number behind."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


class Poison:
    """Unpickling it writes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return partial(open, mode="w"), (self.marker,)


@pytest.fixture
def poison(tmp_path):
    """pickle: bytes that leave the file `marker` when they are unpickled."""
    marker = tmp_path / "marker"
    return SimpleNamespace(pickle=pickle.dumps({"model": Poison(marker)}, 2), marker=marker)
