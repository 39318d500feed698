"""Pictures: what is drawn is what the table says, axes say what they show, and phantoms are marked as such."""

from itertools import product

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cmrlib import plots
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import COLOURS, NAMES
from cmrlib.papers.tempreg.table1 import paired_gain

MARK = "phantom (synthetic hearts)"


@pytest.fixture(autouse=True)
def close_figures():
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def heart(slices=5, frames=4, shape=(60, 50), spacing_mm=(1.5, 1.0), base_last=False):
    """(cine, labels): a cone of LV in its wall, larger at the base."""
    rows, columns = np.indices(shape)
    radius = np.hypot(rows - 30, columns - 24)
    labels = np.zeros((frames, slices, *shape), np.uint8)
    for t, k in np.ndindex(frames, slices):
        size = (k + 4 if base_last else slices - k + 3) - 0.5 * t
        labels[t, k][radius < 1.6 * size], labels[t, k][radius < size] = 2, 1
    affine = np.diag([*spacing_mm[::-1], 8, 1.0])
    times = np.tile(np.arange(frames) * 60.0, (slices, 1))
    view = "sax" if slices > 1 else "2ch"
    return Cine(labels * np.uint16(90) + 20, affine, view, "a", ed=0, es=2, frame_times_ms=times), labels


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def lines(ax):
    return [line.get_xydata() for line in ax.lines]


# --- cines -----------------------------------------------------------------------------------------------------------


def test_a_slice_has_its_true_aspect_and_its_outlines(ax):
    cine, labels = heart()
    assert plots.show_slice(ax, cine, 1, 2, labels[1, 2], labels[0, 2], box=(10, 50, 5, 45), title="ES, mid") is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), cine.pixels[1, 2])
    assert ax.get_aspect() == 1.5 and ax.get_title() == "ES, mid" and not len(ax.get_xticks())
    assert ax.get_xlim() == (4.5, 45.5) and ax.get_ylim() == (50.5, 9.5)  # rows run downwards
    drawn = {tuple(np.round(c[:3], 3)) for s in ax.collections for c in (*s.get_edgecolor(), *s.get_facecolor())}
    assert {tuple(np.round(to_rgb(COLOURS[s]), 3)) for s in ("lv", "myo")} | {(1.0, 1.0, 1.0)} <= drawn
    before = len(ax.collections)
    plots.show_slice(ax, cine, 1, 2, np.full((60, 50), 255, np.uint8))
    assert len(ax.collections) == before  # nobody annotated: nothing drawn
    unknown = Cine(cine.pixels, cine.affine, "sax", "a", spacing_known=False)
    assert plots.show_slice(ax, unknown, 0, 0).get_aspect() == 1


def test_the_box_holds_the_heart_and_stays_in_the_image():
    _, labels = heart()
    rows, columns = np.nonzero(labels.any((0, 1)))
    assert plots.heart_box(labels, 5) == (rows.min() - 5, rows.max() + 5, columns.min() - 5, columns.max() + 5)
    assert plots.heart_box(labels, 99) == (0, 59, 0, 49)
    assert plots.heart_box(np.where(labels == 0, 255, labels), 5) == plots.heart_box(labels, 5)
    assert plots.heart_box(labels * 0) is None and plots.heart_box(labels * 0 + 255) is None


@pytest.mark.parametrize(("base_last", "picks"), [(False, [1, 4, 8]), (True, [8, 4, 1])])
def test_the_base_comes_first_however_the_stack_is_stored(base_last, picks):
    _, labels = heart(slices=10, base_last=base_last)
    assert plots.base_mid_apex(labels[0]) == picks
    assert plots.base_mid_apex(labels[0] * 0) == [1, 4, 8]  # no LV: the stack itself
    assert plots.base_mid_apex(labels[0][:1]) == [0, 0, 0]


def test_a_stack_is_two_phases_by_three_levels():
    cine, labels = heart()
    figure = plots.stack_picture(cine, labels, labels, title="best: Dice 0.93")
    assert titles(figure) == [f"{phase}, {level}" for phase in ("ED", "ES") for level in ("base", "mid", "apex")]
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), cine.pixels[2, 2])  # ES, mid
    bare = plots.stack_picture(Cine(cine.pixels, cine.affine, "sax", "a"), frames={"frame 3": 3})
    assert titles(bare) == ["frame 3, base", "frame 3, mid", "frame 3, apex"]
    assert titles(plots.stack_picture(*heart(slices=1))) == ["ED, 2ch", "ES, 2ch"]


def test_an_examination_is_one_row_of_squares_of_one_size():
    """Stack first; 60 × 50 pixels of 1.5 × 1 mm; a view without a mask is shown whole."""
    stack, labels = heart()
    alone, outline = heart(slices=1)
    figure = plots.examination_row({"sax": (stack, labels), "4ch": (alone, outline), "3ch": (alone, None)})
    assert titles(figure) == ["SAX base", "SAX mid", "SAX apex", "4CH", "3CH"]
    *outlined, whole = figure.axes
    heights = [1.5 * abs(np.diff(ax.get_ylim())[0] + 1) for ax in outlined]  # limits lie half a pixel outside
    widths = [np.diff(ax.get_xlim())[0] - 1 for ax in outlined]
    assert np.ptp([*heights, *widths]) < 1e-6 and all(len(ax.collections) for ax in outlined)
    assert whole.get_xlim() == (-0.5, 49.5) and not len(whole.collections)
    drawn = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "LV cavity" in drawn and "LV myocardium" in drawn


def test_an_animation_runs_in_real_time_and_keeps_the_hearts_shape(tmp_path):
    cine, labels = heart()  # 60 rows of 1.5 mm, 50 columns of 1 mm
    with Image.open(plots.animate(cine, tmp_path / "deep" / "a.gif", mask=labels, height=180)) as gif:
        assert gif.n_frames == 4 and gif.info["duration"] == 60 and gif.size == (100, 180) and gif.info["loop"] == 0
    timeless = Cine(cine.pixels, cine.affine, "sax", "a")
    with Image.open(plots.animate(timeless, tmp_path / "b.gif", k=0)) as gif:
        assert gif.info["duration"] == 40


# --- tables ----------------------------------------------------------------------------------------------------------


def test_overlap_holds_every_case_and_says_how_many_subjects():
    rows = [(p, s, phase) for p in "abcde" for s in ("rv", "lv") for phase in ("ED", "ES")]
    table = pd.DataFrame(rows, columns=["participant_id", "structure", "phase"])
    table = table.assign(dice=np.linspace(0.8, 0.95, len(table)), hd95_mm=np.linspace(3, 8, len(table)))
    figure = plots.overlap_figure(table, "sax")
    assert figure.get_suptitle() == "SAX, 5 test subjects" and len(figure.axes) == 2
    ax = figure.axes[1]
    assert ax.get_ylabel() == "95 % Hausdorff distance (mm)"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["LV", "RV"]  # in this order, always
    points = np.concatenate([c.get_offsets()[:, 1] for c in ax.collections if len(c.get_offsets())])
    np.testing.assert_allclose(np.sort(points), np.sort(table["hd95_mm"]))
    lost = plots.overlap_figure(table.assign(hd95_mm=np.nan), "4ch")  # no pixel size: no distance
    assert len(lost.axes) == 1 and lost.axes[0].get_ylabel() == "Dice" and lost.axes[0].get_legend()


PAIRS = pd.DataFrame({"reference": [50.0, 60, 55, 65], "test": [52.0, 61, 54, 69]})
ROW = pd.Series({"bias": 1.5, "bias_low": 0.5, "bias_high": 2.5, "loa_low": -2.0, "loa_low_low": -4.0})
ROW["loa_low_high"], ROW["loa_high"], ROW["slope"], ROW["intercept"], ROW["r"] = 0.0, 5.0, 0.9, 4.0, 0.95
ROW["icc_a1"], ROW["icc_a1_low"], ROW["icc_a1_high"] = 0.931, 0.5, 0.99


def test_agreement_draws_what_the_row_says():
    figure = plots.agreement_figure(PAIRS, ROW, "%", "LVEF", band=(-3, 3))
    assert figure.get_suptitle() == "LVEF · n = 4, ICC(A,1) 0.931 (0.500 to 0.990)"
    ax, line = figure.axes
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[51, 2], [60.5, 1], [54.5, -1], [67, 4]])
    assert sorted(line[0, 1] for line in lines(ax) if len(line)) == [-2, 1.5, 5]
    assert ax.get_xlabel() == "mean of both (%)" and ax.get_ylabel() == "test − reference (%)"
    spans = sorted((p.get_y(), p.get_y() + p.get_height()) for p in ax.patches)
    np.testing.assert_allclose(spans, [(-4, 0), (-3, 3), (0.5, 2.5)])  # an unknown interval is not drawn
    identity, fit = lines(line)
    np.testing.assert_allclose(identity, [[50, 50], [69, 69]])
    np.testing.assert_allclose(fit, [[50, 49], [69, 66.1]])
    assert line.get_title() == "r = 0.950, slope 0.90"


def test_volume_curves_run_in_time_with_their_phases():
    times, volumes = np.arange(6) * 50.0, 100 + 10.0 * np.arange(6)
    one = {"time_ms": times[::-1], "volume_ml": volumes, "phase": ["ED", "", "", "ES", "", ""]}
    keys = ["participant_id", "view", "structure"]
    parts = [pd.DataFrame(one | dict(zip(keys, key))) for key in product("ab", ("sax", "4ch"), ("lv", "myo", "rv"))]
    table = pd.concat(parts, ignore_index=True)
    figure = plots.curve_panels(table, ["b", "a"], table[table["phase"] == "ES"])
    assert titles(figure) == ["b", "a"]
    ax = figure.axes[0]
    assert [line.get_label() for line in ax.lines] == [NAMES["lv"], NAMES["rv"]]
    np.testing.assert_allclose(lines(ax)[0], np.c_[times, volumes[::-1]])
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[100, 130], [250, 100]])  # ES and ED
    assert len(ax.collections) == 4 and not len(ax.collections[2].get_facecolor())  # the reference's are hollow
    assert len(plots.curve_panels(table, []).axes) == 1


@pytest.mark.parametrize("synthetic", [True, False])
def test_losses_have_a_panel_a_view_and_a_line_a_fold(synthetic):
    table = pd.DataFrame({"view": ["sax"] * 3 + ["4ch"] * 2, "epoch": [1, 2, 3, 1, 2], "train": [3.0, 2, 1, 3, 2]})
    table = table.assign(validation=[np.nan, 2.5, 2.0, 2.8, np.nan], fold=0)
    table = pd.concat([table, table[table["view"] == "sax"].assign(fold=1, train=4.0)])
    figure = plots.loss_curves(table, synthetic)
    assert titles(figure) == ["sax", "4ch"] and figure.axes[0].get_ylabel() == "loss"
    drawn = [line.tolist() for line in lines(figure.axes[0])]
    for expected in ([[1, 3], [2, 2], [3, 1]], [[1, 4], [2, 4], [3, 4]], [[2, 2.5], [3, 2]]):
        assert expected in drawn
    assert (MARK in [text.get_text() for text in figure.texts]) == synthetic
    figure = plots.loss_curves(pd.DataFrame({"view": list("abcde"), "epoch": 1, "train": 2.0, "validation": 1.0}), True)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [1]  # one epoch, one tick
    assert figure.axes[4].get_position().y1 < figure.axes[0].get_position().y0  # the fifth stands below


def test_confidence_against_dice():
    table = pd.DataFrame({"confidence": [0.8, 0.9, 0.95], "dice": [0.7, 0.85, 0.9], "view": ["sax", "sax", "4ch"]})
    rho = pd.DataFrame({"view": ["sax", "4ch"], "rho": 1.0, "rho_low": [0.4, np.nan], "rho_high": 1.0, "n": [2, 1]})
    figure = plots.confidence(table, rho, True)
    assert titles(figure) == ["SAX: Spearman 1.00 (0.40 to 1.00), n = 2\n4CH: Spearman 1.00 (n/a), n = 1"]
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), table[["confidence", "dice"]])


def test_bulls_eyes_have_the_ahas_segments_where_readers_look_for_them():
    table = pd.DataFrame({"DCM": np.arange(16) + 1.25, "NOR": 9.0}, index=pd.Index(range(1, 17), name="segment"))
    table.loc[16, "NOR"] = np.nan
    figure = plots.bullseye(table)
    dcm, normal, bar = figure.axes
    assert (dcm.get_title(), normal.get_title(), bar.get_ylabel()) == ("DCM", "NOR", "wall thickness (mm)")
    place = {text.get_text(): text.get_position() for text in dcm.texts}
    left, right = np.pi, 0.0
    for segment, angle, ring in ((1, np.pi / 2, 2), (4, 3 * np.pi / 2, 2), (7, np.pi / 2, 1), (14, left, 0)):
        assert place[f"{segment + 0.25:.1f}"] == pytest.approx((angle, (ring + 0.5) / 3))
    assert np.cos(place["2.2"][0]) < -0.5 and np.cos(place["6.2"][0]) > 0.5  # anteroseptal left, anterolateral right
    assert np.cos(place["16.2"][0]) == pytest.approx(np.cos(right)) and np.cos(place["septum"][0]) == -1
    assert [text.get_text() for text in normal.texts] == ["9.0"] * 15 + ["–"]
    assert "no closed ring" in plots.bullseye(table * np.nan).axes[0].texts[0].get_text()


def test_lines_of_the_structured_loss_differ_by_the_gain_above_them():
    rng, rows = np.random.default_rng(3), []
    for method, person, k in product(("without_tsc", "tempreg"), ("A", "B", "C"), range(4)):
        kind = "sax without LV" if k == 3 else "sax"
        rows.append((method, 1, 0, person, k, kind, rng.random() * (5 if k == 3 else 1), rng.random()))
    columns = ["method", "seed", "fold", "participant_id", "slice", "kind", "afd_ed_cyclic", "afd_es_cyclic"]
    errors = pd.DataFrame(rows, columns=columns).iloc[1:]  # a person with fewer sections weighs as much
    gains = {phase: paired_gain(errors, "tempreg", "without_tsc", f"afd_{phase}_cyclic") for phase in ("ed", "es")}
    figure = plots.seed_pairs(errors, gains, True)
    for ax, gain in zip(figure.axes, gains.values()):
        without, with_loss = ax.lines[0].get_ydata()
        assert without - with_loss == pytest.approx(gain["gain"])
