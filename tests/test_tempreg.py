"""TempReg-Net: curves by hand, its loss against loops, exact frames for a network that knows, and what it learns."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cmrlib.cine import Cine
from cmrlib.cohort import Cohort
from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.inference import infer, optimise_for_inference
from cmrlib.learning.task import Task
from cmrlib.papers.tempreg import (
    TempReg,
    TempRegLoss,
    TempRegNet,
    decode,
    frame_difference,
    section_table,
    structured_loss,
    target_curve,
)
from cmrlib.papers.tempreg.clips import moving_centre, section_clip
from cmrlib.papers.tempreg.comparators import frames_of_areas, graph_cut_areas, level_set_areas
from cmrlib.papers.tempreg.network import PaperLSTM, load_imagenet_encoder, parameter_groups
from cmrlib.papers.tempreg.table1 import (
    afd_table,
    best_on_validation,
    found_by_areas,
    found_by_constant,
    frame_errors,
    leave_one_out,
    offset_spread,
    paired_gain,
    variant,
)
from cmrlib.papers.tempreg.targets import best_constant

SMALL = {"size": 32, "width": 3, "features": 8, "hidden": 6}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- targets and decoding --------------------------------------------------------------------------------------------


def test_the_cyclic_target_by_hand():
    # ED 6, ES 0 of 8: systole 6, 7, 0 (s = 2), diastole 0 … 6 (6 frames)
    curve = target_curve(6, 0, 8)
    by_hand = [
        0,
        (1 / 6) ** (1 / 3),
        (2 / 6) ** (1 / 3),
        (3 / 6) ** (1 / 3),
        (4 / 6) ** (1 / 3),
        (5 / 6) ** (1 / 3),
        1,
        1 / 8,
    ]
    np.testing.assert_allclose(curve, by_hand, atol=1e-12)


def test_the_papers_target_by_hand_is_largest_in_the_last_frame():
    # equation 4 with ED 1, ES 3 of 8: |(k − 3) / 2| to the power 3 for k = 2, 3 and ⅓ elsewhere
    curve = target_curve(1, 3, 8, "paper")
    np.testing.assert_allclose(curve, [1.5 ** (1 / 3), 1, 1 / 8, 0, *(np.array([0.5, 1, 1.5, 2]) ** (1 / 3))])
    assert curve.argmax() == 7 and target_curve(1, 3, 8).argmax() == 1


def test_with_a_late_ed_the_papers_systole_is_empty():
    curve = target_curve(7, 2, 8, "paper")
    np.testing.assert_allclose(curve, np.abs((np.arange(8) - 2) / 5) ** (1 / 3))


def test_shifting_the_cycle_shifts_the_target():
    for offset in range(10):
        shifted = target_curve((1 + offset) % 10, (4.3 + offset) % 10, 10)
        np.testing.assert_allclose(shifted, np.roll(target_curve(1, 4.3, 10), offset), atol=1e-9)


@pytest.mark.parametrize(("ed", "es"), [(3, 3), (-1, 3), (3, 8), (np.nan, 2)])
def test_impossible_phases_are_refused(ed, es):
    with pytest.raises(ValueError, match="two different frames from 0 to 7"):
        target_curve(ed, es, 8)
    with pytest.raises(ValueError, match="unknown target"):
        target_curve(0, 3, 8, "other")


@pytest.mark.parametrize("how", ["fit", "extremes"])
@pytest.mark.parametrize(("ed", "es", "frames"), [(0, 3, 8), (19, 6, 20), (7, 3, 8), (4, 30, 50), (12, 1, 25)])
def test_a_target_decodes_to_its_own_phases(how, ed, es, frames):
    found = decode(5 + 0.1 * target_curve(ed, es, frames), how)
    assert round(found.ed) % frames == ed and round(found.es) % frames == es
    assert found.confidence == pytest.approx(0.1)  # the right form, a tenth of its height


def test_between_frames_a_parabola_decides():
    curve = -((np.arange(12) - 4.3) ** 2)
    curve[9] = -80.0
    found = decode(curve, "extremes")
    assert found.ed == pytest.approx(4.3)
    before, here, after = curve[8], curve[9], curve[10]
    assert found.es == pytest.approx(9 + 0.5 * (before - after) / (before - 2 * here + after))


def test_the_fit_finds_es_where_noise_hides_the_smallest_value():
    rng, errors = np.random.default_rng(1), {"fit": [], "extremes": []}
    for _ in range(60):
        curve = target_curve(2, 9, 20) + 0.05 * rng.standard_normal(20)
        for how, found in errors.items():
            found.append(frame_difference(decode(curve, how).es, 9, 20))
    assert np.mean(errors["fit"]) < 0.5 * np.mean(errors["extremes"])


@pytest.mark.parametrize("curve", [[1.0, 1, 1, 1], [1.0, np.nan, 2, 3], [1.0, 2]])
def test_no_curve_no_phases(curve):
    with pytest.raises(ValueError, match="3 or more different numbers"):
        decode(curve)


def test_frame_differences_plain_and_round_the_cycle():
    np.testing.assert_array_equal(frame_difference([19, 0, 5], [0, 19, 7]), [19, 19, 2])
    np.testing.assert_array_equal(frame_difference([19, 0, 5], [0, 19, 7], 20), [1, 1, 2])
    share = best_constant([19, 0, 1, 0, 10], np.full(5, 20))
    assert round(20 * share) % 20 == 0


# --- loss ------------------------------------------------------------------------------------------------------------


def naive_structured(eta, y, cyclic):
    """Equation 2 by a loop over frames; cyclic: frame 0 follows the last one."""
    frames, increase, decrease = len(y), 0.0, 0.0
    for k in range(0 if cyclic else 1, frames):
        if y[k] > y[k - 1]:
            increase += max(0.0, eta[k - 1] - eta[k])
        if y[k] < y[k - 1]:
            decrease += max(0.0, eta[k] - eta[k - 1])
    return 0.5 * (increase / frames + decrease / frames)


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("frames", [8, 20, 31])
def test_the_loss_is_the_loop(cyclic, frames):
    rng = np.random.default_rng(frames)
    eta = rng.standard_normal((3, frames))
    y = np.stack([target_curve(*rng.choice(frames, 2, replace=False), frames) for _ in range(3)])
    each = [naive_structured(a, b, cyclic) for a, b in zip(eta, y, strict=True)]
    tensors = torch.tensor(eta), torch.tensor(y)
    np.testing.assert_allclose(structured_loss(*tensors, cyclic).numpy(), each)
    whole = np.mean([((a - b) ** 2).sum() + 7 * e for a, b, e in zip(eta, y, each, strict=True)])
    assert float(TempRegLoss(7, cyclic)(*tensors)) == pytest.approx(whole)


def test_the_first_frame_follows_the_last():
    y = torch.tensor([[1.0, 0.5, 0.0, 0.5]], dtype=torch.float64)
    wrong_at_the_seam = torch.tensor([[0.2, 0.1, 0.0, 0.9]], dtype=torch.float64)  # 0.9 → 0.2 where y rises
    assert float(structured_loss(wrong_at_the_seam, y)) == pytest.approx(0.7 / 8)
    assert float(structured_loss(wrong_at_the_seam, y, cyclic=False)) == 0


def test_gradients_of_the_loss_are_those_of_differences():
    rng = torch.Generator().manual_seed(2)
    y = torch.tensor(target_curve(3, 7, 9))[None]
    eta = torch.randn(1, 9, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: TempRegLoss(5.0)(e, y), eta)


# --- network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lstm", ["standard", "paper", "none"])
@pytest.mark.parametrize("channels", ["motion", "copies"])
@pytest.mark.parametrize("frames", [8, 13])
def test_a_curve_for_any_number_of_frames(lstm, channels, frames):
    model = TempRegNet(**SMALL | {"lstm": lstm, "channels": channels}).eval()
    curve = model(255 * torch.rand(2, frames, 32, 32))
    assert curve.shape == (2, frames) and curve.dtype == torch.float32


def test_full_width_is_the_papers_network():
    with torch.device("meta"):
        model = TempRegNet()
    shapes = [tuple(m.weight.shape) for m in model.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(96, 3, 7, 7), (256, 96, 5, 5), (384, 256, 3, 3), (384, 384, 3, 3), (256, 384, 3, 3)]
    assert model.encoder.full.out_features == 1024 and model.lstm.num_layers == 1
    body, readout = parameter_groups(model)
    assert sum(p.numel() for p in readout) == 256 + 1
    assert sum(p.numel() for p in [*body, *readout]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("lstm", ["standard", "paper"])
def test_lstm_weights_start_within_a_hundredth(lstm):
    weights = torch.cat([p.detach().flatten() for p in TempRegNet(**SMALL | {"lstm": lstm}).lstm.parameters()])
    assert float(weights.abs().max()) <= 0.01 and float(weights.std()) == pytest.approx(0.01 / 3**0.5, rel=0.1)


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
    once, twice = (TempRegNet(**SMALL, n_passes=n, lstm=lstm).eval() for n in (1, 2))
    for weight in twice.lstm.parameters():
        nn.init.uniform_(weight, -0.5, 0.5)
    once.load_state_dict(twice.state_dict())
    clip = 255 * torch.rand(1, 16, 32, 32)
    with torch.inference_mode():
        change = [float((model(clip.roll(5, 1)).roll(-5, 1) - model(clip)).abs().max()) for model in (once, twice)]
    assert change[1] < min(1e-2 * change[0], 1e-3)


def test_imagenet_weights_fit_or_are_refused(tmp_path):
    model, other = TempRegNet(**SMALL), TempRegNet(**SMALL)
    mine, convolutions = ([m for m in net.encoder.modules() if isinstance(m, nn.Conv2d)] for net in (model, other))
    state = {f"conv{n}.{name}": p.detach() for n, m in enumerate(convolutions, 1) for name, p in m.named_parameters()}
    save_file(state, tmp_path / "zf.safetensors")
    load_imagenet_encoder(model, tmp_path / "zf.safetensors")
    for ours, theirs in zip(mine, convolutions, strict=True):
        assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    with pytest.raises(ValueError, match="give the weights of a Zeiler–Fergus network, or choose its width"):
        load_imagenet_encoder(TempRegNet(**SMALL | {"width": 6}), tmp_path / "zf.safetensors")


@pytest.mark.parametrize("bad", [{"size": 40}, {"width": 8}, {"norm": "x"}, {"lstm": "x"}, {"n_passes": 0}])
def test_impossible_designs_are_refused(bad):
    with pytest.raises(ValueError, match="multiples of 32"):
        TempRegNet(**bad)


# --- clips -----------------------------------------------------------------------------------------------------------


def beating(frames=20, ed=0, es=8, spacing_mm=(1.5, 1.5), shape=(48, 56), centre_mm=(40, 32), slices=2, times_ms=None):
    """A bright disc in a still body whose radius follows the target curve of ED and ES."""
    rows, columns = np.indices(shape)
    distance = np.hypot(columns * spacing_mm[1] - centre_mm[0], rows * spacing_mm[0] - centre_mm[1])
    radius = 9 + 8 * target_curve(ed, es, frames)
    inside = np.clip(radius[:, None, None] - distance + 0.5, 0, 1)
    still = 40 * (np.hypot(columns - 5, rows - 5) < 4)
    pixels = np.repeat((100 + still + 300 * inside).astype(np.uint16)[:, None], slices, 1)
    times = np.tile(np.arange(frames) * 40.0 if times_ms is None else times_ms, (slices, 1))
    affine = np.diag([spacing_mm[1], spacing_mm[0], 8, 1])
    return Cine(pixels, affine, "sax", "a", frame_times_ms=times, rr_ms=np.full(slices, frames * 40.0), ed=ed, es=es)


def test_the_moving_region_is_what_moves():
    cine = beating()
    column, row = moving_centre(cine)
    assert column * 1.5 == pytest.approx(40, abs=1.5) and row * 1.5 == pytest.approx(32, abs=1.5)


def test_a_clip_is_centred_there_whatever_the_pixels():
    one, other = (
        section_clip(beating(spacing_mm=mm, shape=shape), 0, 1.5, 32, 20)
        for mm, shape in (((1.5, 1.5), (48, 56)), ((1.0, 2.0), (72, 42)))
    )
    assert one.shape == (20, 32, 32) and one.min() >= 0 and one.max() <= 255
    brightest = [np.argwhere(clip[0] > 200).mean(0) for clip in (one, other)]
    np.testing.assert_allclose(brightest[0], 15.5, atol=1)
    np.testing.assert_allclose(*brightest, atol=1)


# --- prediction ------------------------------------------------------------------------------------------------------


class Oracle(TempRegNet):
    """Says how much of a frame is bright."""

    def __init__(self):
        super().__init__(**SMALL)

    def forward(self, clips):
        return (clips.float() > 140).float().mean((2, 3))


def oracle(cine, offsets=None, **given):
    """Rows of a task whose network knows."""
    task = TempReg(spacing_mm=1.5, size=32, frames=20, **given)
    return pd.DataFrame(task.predict_cine(Oracle(), cine, offsets=offsets, precision="fp32")[1])


@pytest.mark.parametrize("decoding", ["fit", "extremes"])
@pytest.mark.parametrize(
    ("frames", "ed", "es"), [(20, 0, 8), (20, 19, 6), (20, 5, 17), (8, 1, 4), (30, 29, 11), (50, 2, 20)]
)
def test_an_oracle_finds_the_frames_in_cines_of_any_length(decoding, frames, ed, es):
    found = oracle(beating(frames, ed, es), decoding=decoding)
    assert found["slice"].tolist() == [0, 1, -1]
    step = max(1, np.ceil(frames / 20))  # longer cines are seen in 20 steps
    assert (frame_difference(found["ed"], ed, frames) <= step).all()
    assert (frame_difference(found["es"], es, frames) <= step + (decoding == "extremes")).all()
    if frames == 20:
        np.testing.assert_allclose(found["ed_ms"], found["ed_frac"] * 40)
        assert (found["confidence"] > 0.1).all()


def test_shown_from_another_frame_on_the_same_frame_is_found():
    cine = beating(20, 18, 6)
    pd.testing.assert_frame_equal(oracle(cine), oracle(cine, [7, 13]))


def test_too_few_frames_are_no_cycle():
    with pytest.raises(ValueError, match="view-sax: 7 frames; .* whole cycle of 8 or more"):
        oracle(beating(20, 0, 8).select(range(7)))


def test_folding_and_saving_change_nothing(tmp_path):
    torch.manual_seed(1)
    task = TempReg(("4ch",), 2.0, frames=8, decoding="extremes", **SMALL)
    model, clip = task.network(), 255 * torch.rand(1, 8, 32, 32)
    model.train()(clip)
    exact = infer(model, clip, "fp32")
    np.testing.assert_allclose(infer(optimise_for_inference(model), clip, "fp32"), exact, atol=1e-5)
    assert 0 < (infer(model, clip) - exact).abs().max() < 0.1 * np.ptp(exact.numpy())  # bf16
    task.save(model, tmp_path / "w", seed=1)
    again, models, card = Task.load(tmp_path / "w.safetensors")
    assert again == task and card["seed"] == 1 and torch.equal(infer(models, clip, "fp32"), exact)


# --- comparators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("areas", [level_set_areas, graph_cut_areas])
def test_areas_follow_a_bright_disc(areas):
    cine = beating(20, 3, 11)
    found = areas(cine, 0) * 1.5**2
    true = np.pi * (9 + 8 * target_curve(3, 11, 20)) ** 2
    np.testing.assert_allclose(found, true, rtol=0.15)
    ed, es = frames_of_areas(found)
    assert frame_difference(ed, 3, 20) <= 1 and frame_difference(es, 11, 20) <= 2


def test_an_area_that_never_changes_gives_no_frames():
    assert np.isnan(frames_of_areas(np.full(20, 7.0))).all() and np.isnan(frames_of_areas(np.full(20, np.nan))).all()


# --- tables ----------------------------------------------------------------------------------------------------------


def sections_of(rows):
    table = pd.DataFrame(rows, columns=["participant_id", "cine", "k", "frames", "ed", "es"])
    return table.assign(view="sax", split="test", kind="sax with LV")


def test_errors_by_hand_and_what_was_not_found_counts_as_half_a_cycle():
    sections = sections_of([("a", "x", 0, 20, 19, 6), ("a", "x", 1, 20, 19, 6), ("b", "y", 0, 10, 0, 4)])
    found = pd.DataFrame(
        {
            "participant_id": ["a", "a", "b"],
            "cine": ["x", "x", "y"],
            "view": "sax",
            "slice": [0, 1, 0],
            "frame_step_ms": [40.0, 40, 50],
            "ed": [0, 18, np.nan],
            "es": [6, 9, np.nan],
            "seconds": 0.1,
        }
    )
    errors = frame_errors(found, sections, method="tempreg")
    np.testing.assert_array_equal(errors["afd_ed"], [19, 1, 5])
    np.testing.assert_array_equal(errors["afd_ed_cyclic"], [1, 1, 5])
    np.testing.assert_array_equal(errors["afd_es_ms"], [0, 120, 250])
    hidden = errors.assign(kind=["sax with LV", "sax without LV", "4ch"])
    assert afd_table(hidden).iloc[0]["afd_ed_cyclic"] == 3 and len(afd_table(hidden, ["kind"])) == 3
    row = afd_table(errors).iloc[0]
    assert row["afd_ed"] == pytest.approx(25 / 3) and row["sd_ed"] == pytest.approx(np.std([19, 1, 5], ddof=1))
    assert row["afd_ed_subject_cyclic"] == 3 and (row["n"], row["n_sections"]) == (2, 3)


def test_the_gain_is_paired_over_subjects():
    rows = [
        (s, m, k, e)
        for s, base in zip("abcd", (1, 5, 9, 3), strict=True)
        for k in (0, 1)
        for m, e in (("without_tsc", base + k), ("tempreg", base + k - 0.5))
    ]
    errors = pd.DataFrame(rows, columns=["participant_id", "method", "slice", "afd_es_cyclic"]).assign(kind="4ch")
    gain = paired_gain(errors, "tempreg", "without_tsc", "afd_es_cyclic")
    assert gain == pytest.approx({"gain": 0.5, "gain_low": 0.5, "gain_high": 0.5, "n": 4})
    assert np.isnan(paired_gain(errors, "tempreg", "constant", "afd_es_cyclic")["gain"])


# --- learning, from end to end ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Eight phantoms of 8 frames, long axis: 16 sections."""
    from cmrlib.phantom import make_cohort

    return make_cohort(
        tmp_path_factory.mktemp("tempreg") / "c",
        8,
        frames=8,
        size=32,
        spacing_mm=6.0,
        views=("4ch", "2ch"),
        workers=1,
        progress=False,
    )


@pytest.fixture(scope="module")
def split(hearts):
    return split_subjects(hearts.subjects, 0, 4, validation_per_group=1)


@pytest.fixture(scope="module")
def sections(hearts, split):
    return section_table(hearts, "truth", split)


TINY = TempReg(("4ch", "2ch"), 6.0, frames=8, **SMALL)
RECIPE = {"epochs": 2, "lr": 0.01, "bs": 4, "precision": "fp32"}


def test_sections_have_their_truth(hearts, sections):
    assert len(sections) == 16 and set(sections["split"]) == {"train", "validation", "test"}
    assert (sections.groupby("participant_id")["split"].nunique() == 1).all()
    with pytest.raises(ValueError, match="knows ED and ES of no cine"):
        section_table(hearts, "truth", pd.Series(dtype=str))


def test_training_repeats_and_is_found_again(hearts, split, sections, tmp_path):
    task, cine = TINY, hearts.cine(sections["cine"].iloc[0])
    first, plain = (TINY.train(hearts, "truth", split, **RECIPE, state=folder) for folder in (tmp_path, None))
    np.testing.assert_array_equal(task.curves(first.model, cine), task.curves(plain.model, cine))
    again = TINY.train(hearts, "truth", split, **RECIPE, state=tmp_path)
    assert again.checkpoint.done == 2 and len(list(tmp_path.glob("tempreg_*.pt"))) == 1
    np.testing.assert_array_equal(task.curves(again.model, cine), task.curves(first.model, cine))
    without = variant(TINY, "without_tsc")
    other = without.train(hearts, "truth", split, **RECIPE, state=tmp_path)
    assert not np.array_equal(without.curves(other.model, cine), task.curves(first.model, cine))
    chosen, learn = best_on_validation({task: first, without: other}, hearts, sections, 1)
    assert chosen.beta in (0.0, 10.0) and learn in (first, other)


def test_clips_turn_with_their_targets(hearts, split, sections):
    """In a training batch the brightest change and the target belong together: both are shifted alike."""
    dls = TINY.dataloaders(hearts, "truth", split, 4)
    torch.manual_seed(0)
    np.random.seed(0)
    starts = {int(curve.argmax()) for _ in range(4) for curve in dls.train.one_batch()[1]}
    assert len(starts) >= 4
    x, y = dls.valid.one_batch()
    assert x.shape[1:] == (8, 32, 32) and y.shape[1:] == (8,) and float(x.max()) > 100
    rows = sections[sections["split"] == "validation"].iloc[: len(y)]
    expected = np.stack([target_curve(row.ed, row.es, 8) for row in rows.itertuples()])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_it_shows_its_results(hearts, split):
    learn = TINY.learner(TINY.dataloaders(hearts, "truth", split, 4))
    learn.show_results(max_n=2)
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
    assert len(titles) == 2 and all(re.fullmatch(r"ED \d, ES \d → ED \d, ES \d", title) for title in titles)
    plt.close("all")


def test_it_becomes_an_observer(hearts, tmp_path):
    table = TINY.predict(TINY.network(), hearts, ["P0001"], out=tmp_path / "tempreg", offset_seed=3)
    assert len(table) == 4 and set(table["slice"]) == {0, -1}
    opened = Cohort.open(hearts.path, [tmp_path / "tempreg"])
    name = table["cine"].iloc[0]
    whole = table[(table["cine"] == name) & (table["slice"] == -1)].iloc[0]
    written = opened.observer("tempreg").frames(name)
    assert (written["ed"], written["es"]) == (whole["ed"], whole["es"])
    assert written["ed_frac"] == pytest.approx(whole["ed_frac"])
    with pytest.raises(ValueError, match="no cine of 8 or more frames"):
        TINY.predict(TINY.network(), hearts, ["nobody"])
    spread = offset_spread(hearts, TINY, Oracle(), [name], 2, 1)
    assert spread["spread"].max() < 0.5 and set(spread["slice"]) == {0, -1}


def test_fine_tuning_leaves_each_subject_out_once(hearts, sections, tmp_path):
    TINY.save(TINY.network(), tmp_path / "w")
    few = sections[sections["participant_id"].isin(["P0001", "P0002", "P0003"])]
    found = leave_one_out(hearts, "truth", few, tmp_path / "w", 1, 0.01, bs=2)
    assert found.groupby("participant_id")["cine"].nunique().to_dict() == {"P0001": 2, "P0002": 2, "P0003": 2}
    with pytest.raises(ValueError, match="leaves nobody to learn from"):
        leave_one_out(hearts, "truth", few[few["participant_id"] == "P0001"], tmp_path / "w", 1, 0.01)


def test_the_best_constant_knows_where_recordings_begin_or_does_not(hearts, sections):
    told = frame_errors(found_by_constant(hearts, sections), sections)
    blind = frame_errors(found_by_constant(hearts, sections, sections, offset_seed=1), sections)
    known = frame_errors(found_by_constant(hearts, sections, sections), sections)
    assert known["afd_ed_cyclic"].mean() <= told["afd_ed_cyclic"].mean() < blind["afd_ed_cyclic"].mean()
    truth = sections["ed"].to_numpy()
    errors = [frame_difference(c, truth, 8).mean() for c in range(8)]
    assert known["afd_ed_cyclic"].mean() == min(errors)


def test_true_areas_are_largest_at_ed_and_smallest_at_es(hearts, sections):
    found = found_by_areas(hearts, sections, "area", "truth")
    errors = frame_errors(found, sections)
    assert len(errors) == len(sections) and errors[["afd_ed_cyclic", "afd_es_cyclic"]].mean().max() <= 1
    partly = found_by_areas(hearts, sections, "level_set")
    assert len(partly) == len(sections) and (partly["seconds"] > 0).all()


def test_cmr_frames_writes_an_observer_and_a_table(hearts, tmp_path):
    from typer.testing import CliRunner

    from cmrlib.app.cli import app

    TINY.save(TINY.network(), tmp_path / "run" / "weights" / "tempreg")
    words = [
        "frames",
        str(hearts.path),
        "--weights",
        str(tmp_path / "run"),
        "--out",
        str(tmp_path / "seen"),
        "--subjects",
        "P0002",
        "--threads",
        "1",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "ED and ES of 2 cines" in result.output
    table = pd.read_csv(tmp_path / "seen" / "frames.csv")
    assert set(table["participant_id"]) == {"P0002"} and {"ed", "es", "ed_ms", "confidence"} <= set(table)
    inside = CliRunner().invoke(app, [*words[:4], "--out", str(hearts.path / "x")])
    assert inside.exit_code == 2 and "inside the cohort" in inside.output
    missing = CliRunner().invoke(app, [*words[:3], str(tmp_path), "--out", str(tmp_path / "y")])
    assert missing.exit_code == 2 and "no weights" in missing.output
