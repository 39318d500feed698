"""Steps 2 to 4 of CUSSP: where the mitral valve lies, the patch around it, its grey values equalised; each drawable.

`how` is a task of this paper (`Cussp`): of it, kind, size, field_mm and frames are read.
"""

from dataclasses import dataclass

import numpy as np

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cine.display import is_mirrored
from cmrlib.cohort import Annotation
from cmrlib.measures.arealength import valve_middle
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.phases import RefusedError, named_phases

MOST_OUTSIDE = 0.5
"""A patch of which more lies outside the image shows no valve with its atrium."""

RANGE_PCT = (1.0, 99.0)
"""Percentiles of the left atrium's pixels that bound its intensity range: a few pixels of wall must not widen it."""

UNKNOWN_LV_MM = 90.0
"""Where pixel size is lost, the LV's length counts as that of a healthy adult's (Aquaro et al. 2017)."""

UNKNOWN_MM = 1.4
"""Pixels of unknown size where no mask tells: as in most cines."""


@dataclass(frozen=True)
class Valve:
    """Where the mitral valve lies and how the LV stands.

    centres_px: (frames, 2) as (column, row), NaN in frames without LV or LA. apical: (2,) unit vector along the LV's
    long axis in the plane, in mm, away from the atrium. spacing_mm: (column, row), of lost pixel sizes as assumed.
    """

    centres_px: np.ndarray
    apical: np.ndarray
    spacing_mm: np.ndarray

    @property
    def centre_px(self) -> np.ndarray:
        """(2,) its place over the cycle: the median."""
        return np.nanmedian(self.centres_px, axis=0)


@dataclass(frozen=True)
class Patch:
    """A prepared cine and every step towards it.

    pixels: (frames, size, size) uint8; rows run from atrium to apex. cropped: the same before equalisation, float32.
    valve: None in what the CNN-LSTM sees. window: the range of grey
    values, the LA's. ed, es: on the patch's frames, floating point. outside: share that lies beyond the image.
    """

    pixels: np.ndarray
    cropped: np.ndarray
    plane: Plane
    valve: Valve | None
    window: tuple[float, float]
    ed: float
    es: float
    outside: float


def prepare(cine: Cine, annotation: Annotation, how) -> Patch:
    """Localise, crop, equalise; or what the CNN-LSTM sees. annotation: masks of LV and LA, and perhaps ED and ES.

    Raises RefusedError with the reason where that is impossible.
    """
    if annotation is None or annotation.mask is None:
        raise RefusedError(cine.name, "not segmented", "masks of LV and LA are needed")
    if cine.frames < FEWEST_FRAMES:
        raise RefusedError(cine.name, "too few frames", f"{cine.frames}; a cycle has {FEWEST_FRAMES} or more")
    if cine.missing[0].any():
        raise RefusedError(cine.name, "frames missing", "a patch shows every frame of the cycle")
    valve = locate(cine, annotation) if how.kind == "valve" else None
    plane = valve_plane(cine, valve, how) if valve else central_plane(cine, how)
    outside = float(np.mean(plane.mask(np.ones(plane.source_shape)) == 0))
    if valve and outside > MOST_OUTSIDE:
        hint = f"{100 * outside:.0f} % of it; choose a smaller field_mm"
        raise RefusedError(cine.name, "patch outside the image", hint)
    window = atrial_range(cine, annotation) if valve else cine.intensity_window()
    images = cine.pixels[:, 0] if valve else np.asarray(cine.pixels[:, 0], np.float32)
    if how.kind == "heart":
        inside = np.isin(annotation.mask[:, 0], list(STRUCTURES.values()))
        images = np.where(inside, images, np.float32(window[0]))
    cropped = np.stack([plane.pixels(image, outside=window[0]) for image in images])
    cropped = cine.section(0).resampled(cropped, how.frames)  # the cycle in even steps
    pixels = equalise(cropped, window) if valve else np.round(255 * within(cropped, window)).astype(np.uint8)
    ed, es = (cine.section(0).to_even(frame, how.frames) for frame in phases(cine, annotation))
    return Patch(pixels, cropped, plane, valve, window, ed, es, outside)


def locate(cine: Cine, annotation: Annotation) -> Valve:
    """Valve and long axis from the masks of all frames in which LV and LA were drawn.

    The centre is the middle of the line where LA and LV meet. The axis is the first principal axis of the LV's pixels,
    all frames together, which is steadier than that of a round end-systolic cavity alone.
    Raises RefusedError where LV or LA is missing, or where they never touch.
    """
    drawn = [t for t, structures in annotation.annotated.items() if {"lv", "la"} <= set(structures)]
    if not drawn:
        raise RefusedError(cine.name, "LV or LA not drawn", "masks of both chambers are needed")
    masks = np.asarray(annotation.mask)[drawn, 0]
    often = {name: (masks == STRUCTURES[name]).sum(0) for name in ("lv", "la")}
    for name, counts in often.items():
        if not counts.any():
            raise RefusedError(cine.name, f"no {name.upper()} in the masks", "look at the segmentation")
    rows, columns = np.nonzero(often["lv"])
    points, weights = np.c_[columns, rows].astype(float), often["lv"][rows, columns]
    if cine.spacing_known:
        spacing = np.array(cine.spacing_mm[:0:-1])
    else:  # square pixels that give the LV the length of an adult's
        spacing = np.full(2, UNKNOWN_LV_MM / (np.ptp(points @ principal_axis(points)) + 1))
    centres = np.full((cine.frames, 2), np.nan)
    for t, mask in zip(drawn, masks):
        middle = valve_middle(mask, tuple(spacing[::-1]), "la")
        if middle is not None:
            centres[t] = middle / spacing
    if not np.isfinite(centres).any():
        raise RefusedError(cine.name, "LA and LV never meet", "look at the segmentation")
    along = principal_axis(points * spacing, weights)
    away = np.average(points * spacing, axis=0, weights=weights) - np.nanmedian(centres, axis=0) * spacing
    return Valve(centres, along if along @ away > 0 else -along, spacing)


def principal_axis(points, weights=None) -> np.ndarray:
    """(n, 2) → unit vector along which the points spread most. weights: how often each counts."""
    return np.linalg.eigh(np.cov(points.T, fweights=weights))[1][:, -1]


def valve_plane(cine: Cine, valve: Valve, how) -> Plane:
    """The square patch: valve in the middle and across, LA above, apex below, the lateral wall on the left. It stands
    still through the cycle."""
    angle = np.degrees(np.arctan2(-valve.apical[0], valve.apical[1]))
    step_px = how.field_mm / how.size / valve.spacing_mm[::-1]  # image pixels a patch pixel
    size, mirrored = (how.size,) * 2, is_mirrored(cine)
    return Plane.around(cine.pixels.shape[2:], step_px, size, valve.centre_px, angle, mirrored)


def central_plane(cine: Cine, how) -> Plane:
    """An upright square around the centre of mass of all frames' grey values (section 2.2.2)."""
    mean = within(np.asarray(cine.pixels[:, 0], np.float32).mean(0), cine.intensity_window())
    rows, columns = np.indices(mean.shape)
    centre = np.array([(columns * mean).sum(), (rows * mean).sum()]) / max(float(mean.sum()), 1e-6)
    spacing = np.array(cine.spacing_mm[1:]) if cine.spacing_known else np.full(2, UNKNOWN_MM)
    return Plane.around(cine.pixels.shape[2:], how.field_mm / how.size / spacing, (how.size,) * 2, centre)


def atrial_range(cine: Cine, annotation: Annotation) -> tuple[float, float]:
    """Percentiles RANGE_PCT of the LA's pixels over all frames that were drawn."""
    drawn = list(annotation.annotated)
    inside = cine.pixels[drawn, 0][np.asarray(annotation.mask)[drawn, 0] == STRUCTURES["la"]]
    low, high = np.percentile(inside.astype(np.float32), RANGE_PCT)
    return float(low), float(max(high, low + 1e-6))


def within(grey, window) -> np.ndarray:
    """Grey values → float32, 0 and less to 1 and more over the window, clipped."""
    low, high = window
    return np.clip((np.asarray(grey, np.float32) - low) / (high - low), 0, 1)


def equalise(cropped, window, levels: int = 256) -> np.ndarray:
    """Histogram equalisation over the LA's intensity range: → uint8 of the same shape.

    What is darker or brighter than the range becomes 0 or 255; between, equally many pixels get every grey value. One
    mapping for all frames, so that a change over time stays a change.
    """
    scaled = within(cropped, window)
    inside = scaled[(scaled > 0) & (scaled < 1)]
    counts = np.histogram(inside, levels, (0, 1))[0]
    share = np.r_[0, np.cumsum(counts)] / max(len(inside), 1)
    grey = np.interp(scaled, np.linspace(0, 1, levels + 1), share) if len(inside) else scaled
    return np.round(255 * grey).astype(np.uint8)


def phases(cine: Cine, annotation: Annotation) -> tuple[float, float]:
    """(ED, ES): as the observer names them, else the largest and smallest LV area of its masks; only where these show
    too few frames, as the cohort does."""
    drawn = sorted(annotation.annotated)
    own = annotation.frames or len(drawn) < FEWEST_FRAMES
    named = named_phases(cine, annotation) if own else {}
    if len(named) == 2:
        return named["ed"], named["es"]
    areas = (np.asarray(annotation.mask)[drawn, 0] == STRUCTURES["lv"]).sum((1, 2)).astype(float)
    if len(drawn) >= FEWEST_FRAMES:  # a single frame's slip must not become a phase
        areas = (np.roll(areas, 1) + 2 * areas + np.roll(areas, -1)) / 4
    return drawn[int(areas.argmax())], drawn[int(areas.argmin())]


def window_frames(frames: int, ed: float, count: int) -> np.ndarray:
    """(count,) frame numbers from ED on, going on with the first frame after the last one.

    With half of the cycle these hold systole and the start of filling: CUSSP-SIAM-25's 25 of 50, in which mitral
    regurgitation happens. Raises ValueError for more frames than a cycle has.
    """
    if not 0 < count <= frames:
        raise ValueError(f"a window of {count} frames does not fit a cycle of {frames}")
    return (int(np.floor(ed + 0.5)) + np.arange(count)) % frames
