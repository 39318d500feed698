"""TempReg-Net: curves by hand, its loss against loops, exact frames for a network that knows, and what it learns."""

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cine import Cine
from cmrlib.cohort import Cohort
from cmrlib.cohort.splits import split_subjects
from cmrlib.measures.motion import moving_centre
from cmrlib.papers.tempreg import (
    TempReg,
    decode,
    frame_difference,
    load_imagenet_encoder,
    structured_loss,
    target_curve,
)
from cmrlib.papers.tempreg.clips import section_clip
from cmrlib.papers.tempreg.comparators import drawn_areas, found_by_areas, graph_cut_areas, level_set_areas
from cmrlib.papers.tempreg.network import PaperLSTM, TempRegLoss, TempRegNet
from cmrlib.papers.tempreg.table1 import afd_table, best_on_validation, found_by_constant, frame_errors, paired_gain
from cmrlib.phantom import make_cohort

TINY = TempReg(("4ch", "2ch"), 6.0, size=32, frames=8, width=3, features=8, hidden=6)


def network(**fields):
    return replace(TINY, **fields).network()


# --- targets and decoding


@pytest.mark.parametrize(("ed", "es", "kind", "by_hand"), [
    # ED 6, ES 0 of 8: systole 6, 7, 0 (s = 2), diastole 0 … 6 (6 frames)
    (6, 0, "cyclic", [0, *(np.arange(1, 6) / 6) ** (1 / 3), 1, 1 / 8]),
    # equation 4: |(k − 3) / 2| to the power 3 for k = 2, 3 and ⅓ elsewhere; largest in the last frame
    (1, 3, "paper", [1.5 ** (1 / 3), 1, 1 / 8, 0, *(np.array([0.5, 1, 1.5, 2]) ** (1 / 3))]),
    (7, 2, "paper", np.abs((np.arange(8) - 2) / 5) ** (1 / 3)),  # with a late ED its systole is empty
])  # fmt: skip
def test_targets_by_hand(ed, es, kind, by_hand):
    np.testing.assert_allclose(target_curve(ed, es, 8, kind), by_hand, atol=1e-12)


def test_shifting_the_cycle_shifts_the_target_and_impossible_phases_are_refused():
    for offset in range(10):
        shifted = target_curve((1 + offset) % 10, (4.3 + offset) % 10, 10)
        np.testing.assert_allclose(shifted, np.roll(target_curve(1, 4.3, 10), offset), atol=1e-9)
    for ed, es in ((3, 3), (-1, 3), (3, 8), (np.nan, 2)):
        with pytest.raises(ValueError, match="two different frames from 0 to 7"):
            target_curve(ed, es, 8)


@pytest.mark.parametrize("how", ["fit", "extremes"])
@pytest.mark.parametrize(("ed", "es", "frames"), [(0, 3, 8), (19, 6, 20), (4, 30, 50)])
def test_a_target_decodes_to_its_own_phases(how, ed, es, frames):
    found = decode(5 + 0.1 * target_curve(ed, es, frames), how)
    assert round(found.ed) % frames == ed and round(found.es) % frames == es
    assert found.confidence == pytest.approx(0.1)  # the right form, a tenth of its height


def test_between_frames_a_parabola_decides():
    curve = -((np.arange(12) - 4.3) ** 2)
    curve[9] = -80.0
    found, (before, here, after) = decode(curve, "extremes"), curve[8:11]
    assert found.ed == pytest.approx(4.3)
    assert found.es == pytest.approx(9 + 0.5 * (before - after) / (before - 2 * here + after))


def test_the_fit_finds_es_where_noise_hides_the_smallest_value():
    curves = target_curve(2, 9, 20) + 0.05 * np.random.default_rng(1).standard_normal((60, 20))
    off = {how: np.mean([frame_difference(decode(c, how).es, 9, 20) for c in curves]) for how in ("fit", "extremes")}
    assert off["fit"] < 0.5 * off["extremes"]
    for nothing in ([1.0, 1, 1, 1], [1.0, np.nan, 2, 3], [1.0, 2]):
        with pytest.raises(ValueError, match="3 or more different numbers"):
            decode(nothing)


# --- loss and network


def naive_structured(eta, y, cyclic):
    """Equation 2 by a loop over frames; cyclic: frame 0 follows the last one."""
    wrong = 0.0
    for k in range(0 if cyclic else 1, len(y)):
        if y[k] > y[k - 1]:
            wrong += max(0.0, eta[k - 1] - eta[k])
        if y[k] < y[k - 1]:
            wrong += max(0.0, eta[k] - eta[k - 1])
    return 0.5 * wrong / len(y)


@pytest.mark.parametrize("cyclic", [True, False])
def test_the_loss_is_the_loop(cyclic):
    rng = np.random.default_rng(20)
    eta = rng.standard_normal((3, 20))
    y = np.stack([target_curve(*rng.choice(20, 2, replace=False), 20) for _ in range(3)])
    each, tensors = [naive_structured(a, b, cyclic) for a, b in zip(eta, y)], (torch.tensor(eta), torch.tensor(y))
    np.testing.assert_allclose(structured_loss(*tensors, cyclic).numpy(), each)
    whole = np.mean([((a - b) ** 2).sum() + 7 * e for a, b, e in zip(eta, y, each)])
    assert float(TempRegLoss(7, cyclic)(*tensors)) == pytest.approx(whole)


def test_full_width_is_the_papers_network():
    with torch.device("meta"):
        model = TempReg(size=224).network()
    shapes = [tuple(m.weight.shape) for m in model.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(96, 3, 7, 7), (256, 96, 5, 5), (384, 256, 3, 3), (384, 384, 3, 3), (256, 384, 3, 3)]
    assert model.encoder.full.out_features == 1024 and model.lstm.num_layers == 1
    body, readout = TINY.parameter_groups(model)
    assert sum(p.numel() for p in readout) == 256 + 1
    assert sum(p.numel() for p in [*body, *readout]) == sum(p.numel() for p in model.parameters())
    for bad in ({"size": 40}, {"width": 8}, {"norm": "x"}, {"lstm": "x"}, {"n_passes": 0}):
        with pytest.raises(ValueError, match="multiples of 32"):
            network(**bad)


def test_the_papers_lstm_is_equation_1():
    cell = PaperLSTM(3, 2).double()
    x = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wx, b, wh = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight))
    h, c, expected = np.zeros(2), np.zeros(2), []
    for step in x[0].numpy():
        i, f, o = np.split(wx @ step + wh @ h + b, 3)
        c = c / (1 + np.exp(-f)) + np.tanh(i) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        expected.append(h)
    np.testing.assert_allclose(cell(x)[0][0].detach().numpy(), expected)
    _, state = cell(x[:, :3])
    np.testing.assert_allclose(cell(x[:, 3:], state)[0].detach().numpy()[0, 0], expected[3])


@pytest.mark.parametrize("lstm", ["standard", "paper"])
def test_where_a_recording_begins_does_not_matter(lstm):
    """An LSTM that goes round until its answer stands still says the same of a frame wherever the recording begins."""
    torch.manual_seed(0)
    once, twice = (network(n_passes=n, lstm=lstm).eval() for n in (1, 2))
    for weight in twice.lstm.parameters():
        nn.init.uniform_(weight, -0.5, 0.5)
    once.load_state_dict(twice.state_dict())
    clip = 255 * torch.rand(1, 13, 32, 32)  # any number of frames
    with torch.inference_mode():
        change = [float((model(clip.roll(5, 1)).roll(-5, 1) - model(clip)).abs().max()) for model in (once, twice)]
    assert change[1] < min(1e-2 * change[0], 1e-3)
    assert network(lstm="none", channels="copies")(clip).shape == (1, 13)


def test_imagenet_weights_fit_or_are_refused(tmp_path):
    model, other = network(), network()
    mine, theirs = ([m for m in net.encoder.modules() if isinstance(m, nn.Conv2d)] for net in (model, other))
    state = {f"conv{n}.{name}": p.detach() for n, m in enumerate(theirs, 1) for name, p in m.named_parameters()}
    save_file(state, tmp_path / "zf.safetensors")
    load_imagenet_encoder(model, tmp_path / "zf.safetensors")
    assert all(
        torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias) for one, two in zip(mine, theirs)
    )
    with pytest.raises(ValueError, match="give the weights of a Zeiler–Fergus network, or choose its width"):
        load_imagenet_encoder(network(width=6), tmp_path / "zf.safetensors")


# --- a beating disc


def beating(frames=20, ed=0, es=8, spacing_mm=(1.5, 1.5), shape=(48, 56), centre_mm=(40, 32), slices=2):
    """A bright disc in a still body whose radius follows the target curve of ED and ES."""
    rows, columns = np.indices(shape)
    distance = np.hypot(columns * spacing_mm[1] - centre_mm[0], rows * spacing_mm[0] - centre_mm[1])
    inside = np.clip(9 + 8 * target_curve(ed, es, frames)[:, None, None] - distance + 0.5, 0, 1)
    still = 40 * (np.hypot(columns - 5, rows - 5) < 4)
    pixels = np.repeat((100 + still + 300 * inside).astype(np.uint16)[:, None], slices, 1)
    times = np.tile(np.arange(frames) * 40.0, (slices, 1))
    affine = np.diag([spacing_mm[1], spacing_mm[0], 8, 1])
    return Cine(pixels, affine, "sax", "a", frame_times_ms=times, rr_ms=np.full(slices, frames * 40.0), ed=ed, es=es)


class Oracle(TempRegNet):
    """Says how much of a frame is bright."""

    def __init__(self):
        super().__init__(TINY)

    def forward(self, clips):
        return (clips.float() > 140).float().mean((2, 3))


def oracle(cine, order=None, **given):
    """Rows of a task whose network knows."""
    task = TempReg(spacing_mm=1.5, size=32, frames=20, **given)
    return pd.DataFrame(task.predict_cine(Oracle(), cine, order=order, precision="fp32")[1])


def test_a_clip_is_centred_on_what_moves_whatever_the_pixels():
    column, row = moving_centre(beating())
    assert column * 1.5 == pytest.approx(40, abs=1.5) and row * 1.5 == pytest.approx(32, abs=1.5)
    seen = (((1.5, 1.5), (48, 56)), ((1.0, 2.0), (72, 42)))
    task = TempReg(spacing_mm=1.5, size=32, frames=20)
    one, other = (section_clip(beating(spacing_mm=mm, shape=shape), 0, task) for mm, shape in seen)
    assert one.shape == (20, 32, 32) and one.min() >= 0 and one.max() <= 255
    brightest = [np.argwhere(clip[0] > 200).mean(0) for clip in (one, other)]
    np.testing.assert_allclose(brightest[0], 15.5, atol=1)
    np.testing.assert_allclose(*brightest, atol=1)


@pytest.mark.parametrize("decoding", ["fit", "extremes"])
@pytest.mark.parametrize(("frames", "ed", "es"), [(20, 19, 6), (8, 1, 4), (30, 29, 11), (50, 2, 20)])
def test_an_oracle_finds_the_frames_in_cines_of_any_length(decoding, frames, ed, es):
    found = oracle(beating(frames, ed, es), decoding=decoding)
    assert found["slice"].tolist() == [0, 1, -1]
    step = max(1, np.ceil(frames / 20))  # longer cines are seen in 20 steps
    assert (frame_difference(found["ed"], ed, frames) <= step).all()
    assert (frame_difference(found["es"], es, frames) <= step + (decoding == "extremes")).all()
    np.testing.assert_allclose(found["ed_ms"], found["ed_frac"] * 40)


def test_shown_from_another_frame_on_or_cut_the_same_frame_is_found():
    cine = beating(20, 18, 6)
    pd.testing.assert_frame_equal(oracle(cine), oracle(cine, np.roll(np.arange(20), -7)))
    cut = oracle(cine, np.roll(np.setdiff1d(np.arange(20), [9, 10, 11]), -4))
    assert (cut["ed"] == 18).all() and (frame_difference(cut["es"], 6, 20) <= 1).all()
    with pytest.raises(ValueError, match="view-sax: 7 frames; .* whole cycle of 8 or more"):
        oracle(cine.select(range(7)))


@pytest.mark.parametrize("areas", [level_set_areas, graph_cut_areas])
def test_areas_follow_a_bright_disc(areas):
    found = areas(beating(20, 3, 11), 0) * 1.5**2
    np.testing.assert_allclose(found, np.pi * (9 + 8 * target_curve(3, 11, 20)) ** 2, rtol=0.15)


# --- tables


def test_errors_by_hand_and_what_was_not_found_counts_as_half_a_cycle():
    rows = [("a", "x", 0, 20, 19, 6), ("a", "x", 1, 20, 19, 6), ("b", "y", 0, 10, 0, 4)]
    sections = pd.DataFrame(rows, columns=["participant_id", "cine", "k", "frames", "ed", "es"])
    sections = sections.assign(view="sax", split="test", kind="sax with LV")
    found = sections[["participant_id", "cine", "view"]].assign(slice=sections["k"], frame_step_ms=[40.0, 40, 50])
    found = found.assign(ed=[0, 18, np.nan], es=[6, 9, np.nan], seconds=0.1)
    errors = frame_errors(found, sections, method="tempreg")
    np.testing.assert_array_equal(errors["afd_ed"], [19, 1, 5])  # cyclic: the shorter way round
    np.testing.assert_array_equal(errors["afd_ed_cyclic"], [1, 1, 5])
    np.testing.assert_array_equal(errors["afd_es_ms"], [0, 120, 250])
    hidden = errors.assign(kind=["sax with LV", "sax without LV", "4ch"])
    assert afd_table(hidden).iloc[0]["afd_ed_cyclic"] == 3 and len(afd_table(hidden, ["kind"])) == 3
    row = afd_table(errors).iloc[0]
    assert row["afd_ed"] == pytest.approx(25 / 3) and row["sd_ed"] == pytest.approx(np.std([19, 1, 5], ddof=1))
    assert row["afd_ed_subject_cyclic"] == 3 and (row["n"], row["n_sections"]) == (2, 3)
    assert row["afd_ed_cyclic_median"] == 1 and row["gross_ed"] == pytest.approx(1 / 3)


def test_the_gain_is_paired_over_subjects():
    rows = [
        (s, m, k, base + k - 0.5 * (m == "tempreg"))
        for s, base in zip("abcde", (1, 5, 9, 3, 2))
        for k in (0, 1)
        for m in ("without_tsc", "tempreg")
    ]
    errors = pd.DataFrame(rows, columns=["participant_id", "method", "slice", "afd_es_cyclic"]).assign(kind="4ch")
    gain = paired_gain(errors, "tempreg", "without_tsc", "afd_es_cyclic")
    assert gain == pytest.approx({"gain": 0.5, "gain_low": 0.5, "gain_high": 0.5, "n": 5})
    assert np.isnan(paired_gain(errors, "tempreg", "constant", "afd_es_cyclic")["gain"])


# --- phantoms


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Eight phantoms of 8 frames, long axis: 16 sections."""
    settings = {"frames": 8, "size": 32, "spacing_mm": 6.0, "views": ("4ch", "2ch")}
    return make_cohort(tmp_path_factory.mktemp("tempreg") / "c", 8, workers=1, progress=False, **settings)


@pytest.fixture(scope="module")
def split(hearts):
    return split_subjects(hearts.subjects, 0, 4, validation_per_group=1)


@pytest.fixture(scope="module")
def sections(hearts, split):
    return TINY.items(hearts, "truth", split)


def test_clips_turn_with_their_targets_and_curves_are_learned(hearts, split, sections):
    assert len(sections) == 16 and (sections.groupby("participant_id")["split"].nunique() == 1).all()
    learn = TINY.train(hearts, "truth", split, 2, 0.03, bs=4)
    starts = {int(curve.argmax()) for _ in range(4) for curve in learn.dls.train.one_batch()[1]}
    assert len(starts) >= 4  # a training recording begins anywhere
    x, y = learn.dls.valid.one_batch()
    assert x.shape[1:] == (8, 32, 32) and y.shape[1:] == (8,) and float(x.max()) > 100
    rows = sections[sections["split"] == "validation"].iloc[: len(y)]
    np.testing.assert_allclose(y, np.stack([target_curve(r.ed, r.es, 8) for r in rows.itertuples()]), atol=1e-6)
    assert learn.recorder.values[-1][0] < learn.recorder.values[0][0]
    learn.show_results(max_n=2)
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
    assert len(titles) == 2 and all(re.fullmatch(r"ED \d, ES \d → ED \d, ES \d", title) for title in titles)
    chosen, best = best_on_validation({TINY: learn}, hearts, sections, 1)
    assert chosen.decoding in ("fit", "extremes") and best is learn


def test_the_best_constant_knows_where_recordings_begin_or_does_not(hearts, sections):
    given = {"others": (sections[:0],), "known": (sections,), "blind": (sections, 1)}
    errors = {name: frame_errors(found_by_constant(hearts, sections, *one), sections) for name, one in given.items()}
    mean = {name: one["afd_ed_cyclic"].mean() for name, one in errors.items()}
    assert mean["known"] <= mean["others"] < mean["blind"]
    assert mean["known"] == min(frame_difference(c, sections["ed"], 8).mean() for c in range(8))


def test_true_areas_are_largest_at_ed_and_smallest_at_es(hearts, sections):
    errors = frame_errors(found_by_areas(hearts, sections, drawn_areas(hearts.observer("truth"))), sections)
    assert len(errors) == len(sections) and errors[["afd_ed_cyclic", "afd_es_cyclic"]].mean().max() <= 1
    still = found_by_areas(hearts, sections[:1], lambda cine, k: np.full(8, 7.0))
    assert still[["ed", "es"]].isna().all(axis=None)  # an area that never changes


def test_cmr_frames_writes_an_observer_and_a_table(hearts, tmp_path):
    TINY.save(TINY.network(), tmp_path / "run" / "weights" / "tempreg")
    words = ["frames", str(hearts.path), "--weights", str(tmp_path / "run"), "--out"]
    result = CliRunner().invoke(app, [*words, str(tmp_path / "seen"), "--subjects", "P0002", "--threads", "1"])
    assert result.exit_code == 0 and "ED and ES of 2 cines" in result.output
    table = pd.read_csv(tmp_path / "seen" / "frames.csv")
    assert set(table["participant_id"]) == {"P0002"} and {"ed", "es", "ed_ms", "confidence"} <= set(table)
    assert len(table) == 4 and set(table["slice"]) == {0, -1}
    whole = table[table["slice"] == -1].iloc[0]
    written = Cohort.open(hearts.path, [tmp_path / "seen"]).observer("seen").frames(whole["cine"])
    assert (written["ed"], written["es"]) == (whole["ed"], whole["es"])
    inside = CliRunner().invoke(app, [*words, str(hearts.path / "x")])
    assert inside.exit_code == 2 and "inside the cohort" in inside.output
