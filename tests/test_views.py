"""Views named by geometry: planes that hold the LV's axis, planes of the right heart, and what cannot be told."""

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmrlib.cine.display import DISPLAYS
from cmrlib.datasets import dicom, inspect, sample
from cmrlib.datasets.geometry import Stack
from cmrlib.datasets.order import Frame
from cmrlib.datasets.views import lv_axis_lps, lv_centre, name_views, view_in
from cmrlib.phantom import make_cohort

DATA = Path(os.environ.get("CMR_DATA_DIR", "nowhere"))
real = pytest.mark.skipif(not (DATA / "study").is_dir(), reason="CMR_DATA_DIR names no folder with study/")
SERIES = {"Se6": "4ch", "Se7": "3ch", "Se8": "2ch", "Se9": "rv", "Se10": "rvot"}
APEX = np.array([0.66, -0.53, -0.53]) / np.linalg.norm([0.66, -0.53, -0.53])


def named(folder, described=True):
    """Series folder → (view, flags) of one examination; with or without its descriptions."""
    frames, _, _ = dicom.headers(folder)
    if not described:
        frames = [replace(frame, description="", folder="x") for frame in frames]
    stacks, images = dicom.decoded_stacks(frames, 2, [])
    parts = dicom.named_stacks(stacks, {}, images.__getitem__)
    return parts


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(DATA / "study" / "patient1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "patient1"


@real
def test_every_plane_of_the_examination_has_its_own_name(study):
    found = {stack.first.folder.split("/")[-1]: view for stack, view, _ in named(study)}
    assert SERIES.items() <= found.items() and len(found) == 6
    assert list(found.values()).count("sax") == 1


@real
def test_reader_and_overview_say_the_same(study):
    cines, series = dicom.read("a", study).cines, inspect(study)
    assert sorted(cine.view for cine in cines) == sorted(series.loc[series["content"] == "cine", "view"])
    assert sorted(cine.view for cine in cines) == sorted([*SERIES.values(), "sax"])


def test_the_sample_keeps_its_names():
    found = {stack.first.folder.split("/")[-1]: (view, flags) for stack, view, flags in named(sample("patient1"))}
    assert {name: view for name, (view, _) in found.items() if name in SERIES} == {
        name: view for name, view in SERIES.items() if name != "Se9"
    }
    assert found["Se7"][1] == ("view_disagrees_with_description",)  # it is called 4CH


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("cine_trufi_retro RVOT", "rvot"),
        ("RV outflow tract", "rvot"),
        ("RV 2CH", "rv"),
        ("right heart long axis", "rv"),
        ("RV_4ch", "rv"),
        ("cine 2CH", "2ch"),
        ("LV 2CH", "2ch"),
        ("4-chamber 4ch", "4ch"),
        ("curve 3ch", "3ch"),
        ("", ""),
    ],
)
def test_descriptions_of_the_right_heart_are_understood(text, view):
    assert view_in(text) == view


def plane(columns, rows, description="", away_mm=0.0, slices=1):
    """A stack whose middle lies `away_mm` along its normal from the origin, LPS."""
    columns, rows = (np.array(d, float) / np.linalg.norm(d) for d in (columns, rows))
    across = np.cross(columns, rows)
    step = 10.0
    grid, origin = [], across * away_mm - 100 * columns - 100 * rows - across * step * (slices - 1) / 2
    for k in range(slices):
        at = origin + k * step * across
        grid.append((Frame(None, (201, 201), at, np.array([columns, rows]), description=description),))
    affine = np.eye(4)
    affine[:3] = np.c_[columns, rows, step * across, origin]
    return Stack(tuple(grid), np.diag([-1.0, -1, 1, 1]) @ affine, None, None, np.arange(slices) * step)


def beating(stack):
    """A bright disc around the origin that grows and shrinks, in every slice."""
    rows, columns = np.indices((201, 201))
    radius = 22 + 6 * np.cos(np.arange(6) * np.pi / 3)
    frames = 100 + 300.0 * (np.hypot(rows - 100, columns - 100) < radius[:, None, None])
    return [frames for _ in stack.grid]


def short_axis(slices=8):
    across = np.cross(APEX, [0, 0, 1.0])
    return plane(across, np.cross(APEX, across), slices=slices)


def long_axis(around_deg, away_mm=0.0, description=""):
    """A plane that holds the axis, so many degrees around it from the anterior wall; away_mm beside it."""
    anterior = np.array([0, 0, 1.0]) - APEX[2] * APEX
    anterior /= np.linalg.norm(anterior)
    angle = np.deg2rad(around_deg)
    cut = np.cos(angle) * anterior + np.sin(angle) * np.cross(APEX, anterior)
    return plane(APEX, cut, description, away_mm)


@pytest.mark.parametrize(("around", "view"), [(0, "2ch"), (170, "2ch"), (60, "3ch"), (120, "4ch")])
def test_a_plane_that_holds_the_axis_is_named_by_its_angle(around, view):
    stacks = [short_axis(), long_axis(around), long_axis(around, 8)]
    assert [name for name, _ in name_views(stacks, {}, beating)] == ["sax", view, view]


def test_planes_beside_the_axis_show_the_right_heart_or_neither():
    normal = np.cross(long_axis(0).first.orientation[0], long_axis(0).first.orientation[1])
    right = -np.sign(normal[0]) * 35  # LPS: the patient's right is at smaller x
    stacks = [
        short_axis(),
        long_axis(0, right),
        long_axis(0, -right),
        long_axis(0, -right, "2ch"),
        long_axis(0, right, "rvot"),
        long_axis(0, right, "2ch"),
    ]
    found = name_views(stacks, {}, beating)
    assert found[1:] == [
        ("rv", ()),
        ("unknown", ("view_unknown",)),
        ("unknown", ("plane_misses_lv",)),
        ("rvot", ()),
        ("rv", ("view_disagrees_with_description",)),
    ]
    assert name_views(stacks, {})[5][0] == "2ch"  # nobody asks the pictures: the angle alone


def test_without_a_stack_an_impossible_plane_is_unknown():
    def of(view, shown):
        columns, rows = (np.array(d) * [-1, -1, 1] for d in DISPLAYS[shown])
        return name_views([plane(columns, rows, view)], {})[0]

    assert of("4ch", "4ch") == ("4ch", ("view_from_description",))
    assert of("2ch", "sax") == ("unknown", ("view_disagrees_with_geometry",))
    assert of("4ch", "2ch") == ("unknown", ("view_disagrees_with_geometry",))
    assert of("", "4ch") == ("unknown", ("view_unknown",))
    assert name_views([plane([1, 0, 0], [0, 1, 0], "2ch")], {})[0][0] == "2ch"  # nominal directions say nothing


def test_the_axis_is_found_in_a_phantom_and_in_no_still_picture(tmp_path):
    cohort = make_cohort(
        tmp_path / "c", 2, frames=8, size=96, spacing_mm=2.5, views=("sax",), workers=1, progress=False
    )
    for name in cohort.cines["cine"]:
        cine, mask = cohort.cine(name), cohort.observer("truth").mask(name).mask
        points = lv_axis_lps(cine.affine, list(np.swapaxes(cine.pixels, 0, 1)))
        middle = cine.slices // 2
        row, column = np.argwhere(mask[0, middle] == 1).mean(0)
        away = points[middle] * [-1, -1, 1] - cine.to_world([[column, row]], middle)[0]
        assert np.linalg.norm(away) < 10
    assert lv_centre([np.ones((5, 60, 60)) + np.random.default_rng(0).random((60, 60))] * 4, (2.0, 2.0)) is None
