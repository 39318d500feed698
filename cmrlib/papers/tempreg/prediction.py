"""A trained network at work: cine in, ED and ES of every slice out, for one cine or a whole cohort."""

import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import RIGHT_HEART
from cmrlib.cohort import Annotation, Observer
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.tempreg.clips import Preprocessing, section_clip
from cmrlib.papers.tempreg.fast import faster
from cmrlib.papers.tempreg.network import TempRegNet, architecture, build
from cmrlib.papers.tempreg.targets import decode

COLUMNS = ["slice", "ed", "es", "ed_frac", "es_frac", "ed_ms", "es_ms", "confidence"]


class FrameFinder:
    """A trained network with its preprocessing: cine in, ED and ES out. precision: see `fast.faster`."""

    def __init__(
        self,
        model: TempRegNet,
        preprocessing: Preprocessing,
        precision: str = "int8",
        target: str = "cyclic",
        decoding: str = "fit",
    ):
        self.model, self.network = model.eval(), faster(model, precision)  # as trained, and as it works fastest
        self.preprocessing, self.precision = preprocessing, precision
        self.target, self.decoding = target, decoding  # see targets.decode

    @classmethod
    def load(cls, path, precision: str = "int8") -> "FrameFinder":
        model, card = load_weights(path, build)
        return cls(model, Preprocessing(**card["preprocessing"]), precision, card["target"], card["decoding"])

    def save(self, path, **card):
        own = {
            "architecture": architecture(self.model.design),
            "preprocessing": asdict(self.preprocessing),
            "target": self.target,
            "decoding": self.decoding,
        }
        save_weights(self.model, path, own | card)

    def curves(self, cine: Cine, offsets=None) -> np.ndarray:
        """(slices, frames of the preprocessing): the network's answer, high at ED and low at ES.

        offsets: (slices,) whole frames by which each section is shifted round the cycle before the network sees it; its
        answer is shifted back. NaN for sections that lack a frame. Raises ValueError for fewer than 8 frames: they are
        no cycle.
        """
        if cine.frames < FEWEST_FRAMES:
            raise ValueError(
                f"{cine.name}: {cine.frames} frames; ED and ES are looked for in a whole cycle of "
                f"{FEWEST_FRAMES} or more"
            )
        offsets = np.zeros(cine.slices, int) if offsets is None else offsets
        curves = np.full((cine.slices, self.preprocessing.frames), np.nan, np.float32)
        for k in np.flatnonzero(~cine.missing.any(1)):
            clip = np.roll(section_clip(cine, k, self.preprocessing), offsets[k], 0)
            curves[k] = np.roll(self.infer(clip), -offsets[k])
        return curves

    def infer(self, clip) -> np.ndarray:
        """Clip (frames, size, size) 0 to 255 → curve (frames,); a batch is one section, never more."""
        clip = torch.from_numpy(np.ascontiguousarray(clip))[None].to(self.network.readout.weight.device)
        with torch.inference_mode():
            return self.network(clip)[0].cpu().numpy()

    def predict(self, cine: Cine, offsets=None) -> pd.DataFrame:
        """ED and ES of every slice, and of the whole cine: a row each, COLUMNS.

        slice: its number, −1 for the whole cine, whose curve is the mean of the slices' weighted by their confidence.
        ed, es: frame numbers from 0; ed_frac, es_frac: between frames; ed_ms, es_ms: the same as times, NaN where
        times are unknown. confidence: 0 to 1, how much the curve looks like a heart's cycle. All NaN for a slice that
        lacks a frame, and for the cine where every slice does.
        offsets: as in `curves`.
        """
        return self.decoded(cine, self.curves(cine, offsets))

    def decoded(self, cine: Cine, curves) -> pd.DataFrame:
        """The table of `predict` from the curves."""
        return frames_of_curves(cine, curves, self.decoding, self.target)


def frames_of_curves(cine: Cine, curves, decoding: str = "fit", target: str = "cyclic") -> pd.DataFrame:
    """COLUMNS of curves (slices, frames of an even grid); see `FrameFinder.predict`."""
    curves = np.asarray(curves)
    found = {k: decode(curve, decoding, target) for k, curve in enumerate(curves) if np.isfinite(curve).all()}
    unknown = (np.nan,) * (len(COLUMNS) - 1)
    rows = [_row(cine, k, k, found[k], curves.shape[1]) if k in found else (k, *unknown) for k in range(len(curves))]
    if not found:
        return pd.DataFrame([*rows, (-1, *unknown)], columns=COLUMNS)
    weights = {k: one.confidence**2 + 1e-6 for k, one in found.items()}
    mean = np.average(curves[list(found)], axis=0, weights=list(weights.values()))
    whole = _row(cine, -1, max(weights, key=weights.get), decode(mean, decoding, target), curves.shape[1])
    return pd.DataFrame([*rows, whole], columns=COLUMNS)


def _row(cine, label, k, found, grid):
    """One row of COLUMNS; times are those of slice k."""
    frac = [cine.section(k).from_even(frame, grid) for frame in (found.ed, found.es)]
    times = [_time_ms(cine, k, frame) for frame in frac]
    whole = [int(np.floor(frame + 0.5)) % cine.frames for frame in frac]
    return (label, *whole, *frac, *times, found.confidence)


def _time_ms(cine, k, frame):
    if cine.frame_times_ms is None or not np.isfinite(cine.frame_times_ms[k]).all():
        return float("nan")
    times = cine.frame_times_ms[k]
    after = times[-1] + np.median(np.diff(times))
    return float(np.interp(frame, np.arange(cine.frames + 1), np.r_[times, after]))


def random_offsets(cine: Cine, seed: int, frames: int) -> np.ndarray:
    """(slices,) where in the cycle each section begins, from the seed and the cine's name alone."""
    return np.random.default_rng([seed, *cine.name.encode()]).integers(frames, size=cine.slices)


def find_frames(cohort, finder: FrameFinder, folder=None, subjects=None, views=None, offset_seed=None) -> pd.DataFrame:
    """Find ED and ES in every cine of 8 or more frames, and lay them over the cohort as an observer in `folder`.

    subjects: participant_ids, views: names; default all. offset_seed: every section is shown from a random frame on, so
    that nothing can be known from where a recording begins; None shows them as they are, and so does a network of the
    literal target, which knows a first frame. Returns a row a slice and one
    a cine (slice −1): participant_id, session, cine, view, frames, frame_step_ms, COLUMNS, seconds (of the section or
    the cine).
    Raises ValueError where there is no such cine.
    """
    wanted = cohort.cines[(cohort.cines["frames"] >= FEWEST_FRAMES) & ~cohort.cines["view"].isin(RIGHT_HEART)]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(list(subjects))]
    wanted = wanted if views is None else wanted[wanted["view"].isin(list(views))]
    if wanted.empty:
        raise ValueError(
            f"no cine of {FEWEST_FRAMES} or more frames among these subjects and views of {cohort.path.name}"
        )
    tables = []
    for row in with_progress(list(wanted.itertuples()), "frames", "cine"):
        cine, start = cohort.cine(row.cine), time.monotonic()
        plain = offset_seed is None or finder.target == "paper"
        offsets = None if plain else random_offsets(cine, offset_seed, finder.preprocessing.frames)
        found = finder.predict(cine, offsets)
        seconds = np.where(found["slice"] < 0, 1, 1 / cine.slices) * (time.monotonic() - start)
        if folder is not None and np.isfinite(found["ed_frac"].iloc[-1]):
            whole = found.iloc[-1][["ed", "es", "ed_frac", "es_frac", "confidence"]].to_dict()
            whole |= {phase: int(whole[phase]) for phase in ("ed", "es")}
            Observer(folder).write(cine, Annotation(frames={"view": cine.view} | whole))
        keys = {
            "participant_id": row.participant_id,
            "session": row.session,
            "cine": row.cine,
            "view": row.view,
            "frames": cine.frames,
            "frame_step_ms": cine.frame_step_ms,
        }
        tables.append(found.assign(**keys, seconds=seconds)[[*keys, *COLUMNS, "seconds"]])
    return pd.concat(tables, ignore_index=True)
