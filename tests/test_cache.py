"""One cache of prepared arrays: found again while cohort, masks, settings and code are the same."""

import shutil

import numpy as np
import pytest

from cmrlib.cohort import Cohort
from cmrlib.learning import cache as cache_module
from cmrlib.learning.cache import ArrayCache


def test_arrays_are_made_once_with_facts_and_reasons(cohort, tmp_path):
    made = []
    answers = {"a": np.arange(6).reshape(2, 3), "b": (np.ones(2, np.uint8), {"ed": 3}), "c": (None, {"no": "LV"})}

    def make(key):
        made.append(key)
        return answers[key]

    kept = ArrayCache(tmp_path, "things", cohort, "truth", {"size": 8})
    with pytest.raises(KeyError, match="fill the cache"):
        kept["a"]
    again = ArrayCache(tmp_path, "things", cohort, "truth", {"size": 8})
    for one in (kept.fill("ab", make), again.fill("abc", make)):
        np.testing.assert_array_equal(one["a"], answers["a"])
        assert isinstance(one["a"], np.memmap) and one["b"].dtype == np.uint8
    assert made == ["a", "b", "c"]
    assert kept.facts("a") == {} and kept.facts("b") == {"ed": 3}
    assert len(kept["c"]) == 0 and kept.facts("c") == {"no": "LV"}


def test_interrupted_key_is_made_again(cohort, tmp_path, monkeypatch):
    kept = ArrayCache(tmp_path, "things", cohort)
    with monkeypatch.context() as broken:
        broken.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            kept.fill(["a"], lambda _: (np.ones(1), {"ed": 1}))
    assert "a" not in kept
    assert kept.fill(["a"], lambda _: np.full(1, 2.0))["a"] == 2


def test_key_is_what_was_drawn_and_how_not_the_observers_name(cohort, tmp_path):
    cohort = Cohort.open(shutil.copytree(cohort.path, tmp_path / "c"))

    def digest(**changes):
        given = {"annotations": "truth", "settings": {"size": 8}, "code": ()} | changes
        return ArrayCache(tmp_path, "things", cohort, **given).digest

    first = digest()
    assert first == digest()
    assert len({first, digest(annotations=""), digest(settings={"size": 9}), digest(code=(cache_module,))}) == 4
    sidecar = next(cohort.observer("truth").path.rglob("*_dseg.nii*"))
    content = bytearray(sidecar.read_bytes())
    content[-1] ^= 1
    sidecar.write_bytes(bytes(content))
    assert digest() != first
