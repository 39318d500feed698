"""Storage does not matter: files of another order of pixels give the same outlines and numbers in every command."""

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmrlib.cine.display import Reorientation
from cmrlib.cohort.files import read_json
from cmrlib.datasets import ingest, sample
from cmrlib.phantom import make_cohort

PATH = Path(__file__).parents[1] / "benchmarks" / "orientation.py"
SPEC = importlib.util.spec_from_file_location("orientation", PATH)
orientation = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(orientation)
ORDERS = [Reorientation(*four) for four in product((False, True), repeat=4)]
TURNED = Reorientation(transposed=True, reversed_slices=True, reversed_rows=False, reversed_columns=True)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """The sample examination and a phantom."""
    folder = tmp_path_factory.mktemp("storage")
    orientation.untrained_networks(folder / "networks")
    real = ingest("dicom", sample("patient1"), folder / "real", workers=1, progress=False)
    phantom = make_cohort(
        folder / "phantom",
        1,
        frames=9,
        size=80,
        spacing_mm=3.0,
        slices=5,
        workers=1,
        progress=False,
        views=("sax", "4ch", "2ch", "3ch"),
    )
    return {"real": real, "phantom": phantom, "networks": folder / "networks"}


@pytest.mark.parametrize(("name", "by"), [*product(["phantom"], ORDERS), *product(["real"], ORDERS[::5])])
def test_every_order_of_pixels_becomes_one_cohort(cohorts, name, by, tmp_path):
    stored = orientation.stored(cohorts[name], by, tmp_path, every=6)
    names = dict(cohorts[name].cines.set_index("view")["cine"])
    assert set(stored.cines["view"]) == set(names)
    for row in stored.cines.itertuples():
        one, other = cohorts[name].cine(names[row.view]), stored.cine(row.cine)
        np.testing.assert_array_equal(one.pixels[::6], other.pixels)
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-3)


@pytest.mark.parametrize("name", ["real", "phantom"])
def test_every_command_says_the_same(cohorts, name, tmp_path):
    one, other = (
        orientation.look(
            orientation.stored(cohorts[name], by, tmp_path / str(n), every=3 if name == "real" else 1),
            cohorts["networks"],
            n_tta=1,
        )
        for n, by in enumerate((Reorientation(), TURNED))
    )
    overlap, relative = orientation.difference(one, other)
    assert overlap >= 0.99 and relative <= 0.01
    assert len(one["masks"]) >= 3 and one["measure"]["lvedv_ml"].notna().all()


def test_a_difference_is_seen():
    mask = np.zeros((1, 1, 8, 8), np.uint8)
    mask[..., 2:6, 2:6] = 1
    one = {"masks": {"a": mask}, "measure": pd.DataFrame({"x": [200.0], "name": ["a"]})}
    other = {"masks": {"a": np.roll(mask, 1, -1)}, "measure": pd.DataFrame({"x": [202.0], "name": ["a"]})}
    overlap, relative = orientation.difference(one, other)
    assert overlap == pytest.approx(0.75) and relative == pytest.approx(0.01)
    for changed in ({"x": [np.nan], "name": ["a"]}, {"x": [200.0], "name": ["b"]}):
        with pytest.raises(AssertionError):
            orientation.difference(one, one | {"measure": pd.DataFrame(changed)})


def test_the_way_back_is_kept(cohorts):
    """The sample's 4CH is stored with the spine on top."""
    row = cohorts["real"].cines.set_index("view").loc["4ch"]
    side = read_json(next(cohorts["real"].path.rglob(f"{row['cine']}_cine.json")))
    assert side["meta"]["stored_as"]["reversed_rows"] and not side["meta"]["stored_as"]["transposed"]
