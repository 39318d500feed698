"""Readers of NIfTI trees, UK Biobank's zips, M&Ms, M&Ms-2 and Kaggle's DICOM tree, on files with known truth.

No real sample of M&Ms' masks, of M&Ms-2 or of UK Biobank is at hand: their layouts are written here as documented.
"""

import numpy as np
import pytest
from trees import disc

from cmrlib.datasets import ingest, nifti, ukbb
from cmrlib.files import read_json
from cmrlib.phantom import make_orders, make_study
from cmrlib.phantom.formats import DEFECTS, build, judge, truth_path, write_source
from cmrlib.study import Study

LABEL = "P0001"
TINY = {"frames": 5, "size": 32, "spacing_mm": 6.0, "slices": 5, "subslices": 1}


@pytest.fixture(scope="module")
def study():
    (order,) = make_orders(1, **TINY, views=("sax", "4ch")).values()
    return make_study(LABEL, order)


def of_kind(kind):
    return sorted(name for name, one in DEFECTS.items() if kind in one.kinds)


def written(study, folder, form, *defects):
    write_source(folder, [build(study, 1, form, defects)], form)
    return read_json(truth_path(folder))["subjects"][LABEL]


def read(reader, folder):
    """A reader's study; a refusal of the whole subject is a rejected row."""
    try:
        ((label, source),) = reader.find(folder).items()
        return reader.read(label, source)
    except ValueError as error:
        return Study({}, [], rejected=[{"digest": "n/a", "reason": str(error)}])


def check(truth, found):
    rows = judge(truth, found)
    assert all(row["met"] for row in rows), rows
    return rows


# --- NIfTI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["nifti", "nifti-3d", "bids"])
def test_clean_nifti_is_read_as_the_truth_says(study, tmp_path, form):
    rows = check(written(study, tmp_path / "src", form), found := read(nifti, tmp_path / "src"))
    assert [row["outcome"] for row in rows] == ["read"] * 2 and not found.rejected
    assert [cine.view for cine in found.cines] == ["4ch", "sax"]


@pytest.mark.parametrize("name", of_kind("nifti"))
def test_defects_of_nifti_are_met(study, tmp_path, name):
    check(written(study, tmp_path / "src", "nifti", name), read(nifti, tmp_path / "src"))


@pytest.mark.parametrize("name", of_kind("nifti-3d"))
def test_defects_of_3d_files_are_met(study, tmp_path, name):
    check(written(study, tmp_path / "src", "nifti-3d", name), read(nifti, tmp_path / "src"))


# --- UK Biobank ------------------------------------------------------------------------------------------------------


def test_clean_zips_are_read_as_the_truth_says(study, tmp_path):
    rows = check(written(study, tmp_path / "src", "ukbb"), found := read(ukbb, tmp_path / "src"))
    assert [row["outcome"] for row in rows] == ["read"] * 2 and not found.rejected
    assert {cine.session for cine in found.cines} == {"2"}


@pytest.mark.parametrize("name", of_kind("ukbb"))
def test_defects_of_zips_are_met(study, tmp_path, name):
    check(written(study, tmp_path / "src", "ukbb", name), read(ukbb, tmp_path / "src"))
    assert not list(tmp_path.rglob("climbed.dcm"))
