"""Acquisition: planes of 4CH, 2CH, 3CH and a SAX stack, slice thickness, and the ground truth on the same grid."""

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS, STRUCTURES, VIEW_STRUCTURES
from cmrlib.cohort import POINT_COLUMNS, Annotation
from cmrlib.phantom import jets
from cmrlib.phantom.artefacts import Imager, bands, off_resonance_hz, sample_artefacts, tissue_signal
from cmrlib.phantom.body import paint_body, sample_axes, sample_body
from cmrlib.phantom.contrast import coil, sample_contrast
from cmrlib.phantom.heart import Heart
from cmrlib.phantom.physiology import streams
from cmrlib.phantom.protocol import SCANNERS, Protocol, resolve_protocol
from cmrlib.phantom.tissue import JET_LA, LABEL_OF, paint
from cmrlib.phantom.ventricles import OUTLET_RAD

TURN_2CH_DEG = 10.0
"""The 2CH plane runs a little behind the RV's insertions, so that it shows the left side alone."""


@dataclass(frozen=True)
class Plan:
    """Planes of one view. affine: pixel (i, j, k) to RAS mm; to_heart: the same to heart coordinates; both (4, 4).

    breath_mm: (slices, 3), shift of the heart by each slice's breath-hold (RAS); the planes stay.
    """

    view: str
    affine: np.ndarray
    to_heart: np.ndarray
    slices: int
    thickness_mm: float
    breath_mm: np.ndarray


class Scan:
    """A subject in the scanner: position of the heart, thorax, contrast.

    rescan: 0 for the first visit; other numbers give the same heart and body new planes, coil and noise on the same
    scanner. Every view has random numbers of its own, so it does not depend on other views.
    """

    def __init__(self, heart: Heart, protocol: Protocol, rescan: int = 0):
        s = heart.subject
        self.heart, self.rescan = heart, rescan
        body_rng = streams(s.seed, s.number)["acquisition"]
        self.axes = sample_axes(body_rng)
        self.body = sample_body(body_rng, heart, self.axes)
        self.protocol, self.scanner = resolve_protocol(protocol, np.random.default_rng([s.seed, s.number, 0, 1]))
        rng = np.random.default_rng([s.seed, s.number, rescan])
        self.isocentre_mm = rng.normal(0, 15, 3)
        self.contrast = sample_contrast(rng, self.scanner, protocol.appearance)
        if s.streams and self.contrast.appearance == "real":
            grey_rng = streams(s.seed, s.number)["grey"]
            self.contrast.signal[JET_LA] = jets.grey(grey_rng, self.contrast.tr_ms)
        phases = np.arange(protocol.frames) / protocol.frames + s.trigger_delay
        self.times_ms = np.mod(phases, 1.0) * s.rr_ms
        self.geometry = heart.geometry(self.times_ms)
        lv = heart.volumes(self.times_ms)["lv"]
        self.ed, self.es = int(lv.argmax()), int(lv.argmin())

    def _stream(self, view: str, part: int):
        s = self.heart.subject
        return np.random.default_rng([s.seed, s.number, self.rescan, part, *view.encode()])

    def plan(self, view: str) -> Plan:
        """Planes of a view, with an error of placement and a turn in the plane; the same at every call."""
        rng, scanner = self._stream(view, 2), SCANNERS[self.scanner]
        turn = rng.uniform(*scanner.turn_deg) if view == "sax" else rng.normal(0, 9)
        error = Rotation.from_euler("XYZ", [*rng.normal(0, 2, 2), turn], degrees=True).as_matrix()
        column, row, normal = (np.stack(_directions(view, self.axes, self.heart.tricuspid_xy), 1) @ error).T
        s, step = self.heart.subject, self.protocol.spacing_mm
        thickness, gap, slices = rng.uniform(*scanner.thickness_mm), rng.uniform(*scanner.gap_mm), 1
        centre = self.axes @ np.array([-12.0, 0, 0.28 * s.lv_length_mm])
        if view == "sax":
            # the first slice lies anywhere within one distance behind the valve (ED), the last at the apex
            depth, slices = s.lv_length_mm + 0.75 * self.heart.wall_ed_mm, self.protocol.slices
            start, distance = rng.random(), float(np.clip(thickness + gap, 8, 10))
            distance = max(6.0, depth / (slices - 1)) if slices else distance
            slices = slices or int(np.ceil(depth / distance + start + 0.5)) + int(rng.integers(0, 2))
            centre = self.axes @ np.array([-12.0, 0, -start * distance])
        else:
            distance = thickness
            centre = centre - normal * (centre @ normal - rng.normal(0, 1.0))
        rows, columns = self.protocol.size
        shift = rng.normal(0, 5, 2)
        corner = centre - column * (step * (columns - 1) / 2 + shift[0]) - row * (step * (rows - 1) / 2 + shift[1])
        affine, to_heart = np.eye(4), np.eye(4)
        affine[:3] = np.stack([column * step, row * step, normal * distance, corner + self.isocentre_mm], axis=1)
        to_heart[:3] = self.axes.T @ np.c_[affine[:3, :3], corner]
        # end-expiratory breath-holds differ most along the body's axis (the spread is ours)
        breath = rng.normal(0, [0.5, 0.8, 2.0], (slices, 3)) * ("breath_hold" in self.protocol.effects)
        return Plan(view, affine, to_heart, slices, float(min(thickness, distance)), breath)

    def cine(self, view: str, label: str) -> tuple[Cine, Annotation]:
        """One view: pixels uint16, and the ground truth of every frame."""
        plan, p, subject = self.plan(view), self.protocol, self.heart.subject
        rng = self._stream(view, 3)
        artefacts = sample_artefacts(rng, p.effects, self.contrast, p, plan.slices, subject, view == "sax")
        imager = Imager(self.contrast, artefacts, p, rng)
        shape = (p.frames, plan.slices, *p.size)
        pixels, mask = np.empty(shape, np.uint16), np.empty(shape, np.uint8)
        for k in range(plan.slices):
            tissue = self.tissue(plan, k, artefacts.late_ms[k])
            pixels[:, k] = self._image(plan, imager, k, tissue)
            mask[:, k] = _majority(tissue, view)
        # a slice takes some eight beats, whose mean counts
        rr = subject.rr_ms * (1 + subject.rr_sd / np.sqrt(8) * rng.standard_normal(plan.slices))
        times = np.arange(p.frames) / p.frames * rr[:, None]
        cine = Cine(
            pixels,
            plan.affine,
            view,
            label,
            frame_times_ms=times,
            rr_ms=rr,
            ed=self.ed,
            es=self.es,
            slice_position_mm=np.arange(plan.slices) * float(np.linalg.norm(plan.affine[:3, 2])),
            flags=("mistriggered",) if artefacts.mixed.any() else (),
            meta=self._record(plan, artefacts),
        )
        annotated = dict.fromkeys(range(p.frames), VIEW_STRUCTURES[view])
        return cine, Annotation(mask, annotated, self.mitral_points(plan), self.key_frames())

    def _record(self, plan, artefacts) -> dict:
        """Settings and artefacts as plain numbers and names, for `Cine.meta`."""
        names = ("flip_deg", "tr_ms", "field_t", "noise", "blur_mm")
        return {
            **{name: round(float(getattr(self.contrast, name)), 3) for name in names},
            "slice_thickness_mm": round(plan.thickness_mm, 3),
            "synthetic": True,
            "scanner": self.scanner,
            "appearance": self.contrast.appearance,
            "effects": list(self.protocol.effects),
            "breath_hold_mm": np.round(plan.breath_mm, 2).tolist(),
            "mistriggered_slices": np.flatnonzero(artefacts.mixed).tolist(),
            **{name: np.round(value, 4).tolist() for name, value in vars(artefacts).items()},
        }

    def key_frames(self) -> dict:
        """ED and ES as whole (0-based) and as fractional frame numbers."""
        s, n = self.heart.subject, self.protocol.frames
        ed, es = (n * ((share - s.trigger_delay) % 1.0) for share in (0.0, s.es_ms / s.rr_ms))
        return {"ed": self.ed, "es": self.es, "ed_frac": ed, "es_frac": es, "confidence": 1.0}

    def tissue(self, plan: Plan, k: int, late_ms: float = 0.0) -> np.ndarray:
        """Tissue codes (subslices, frames, rows, columns); sub-slices are offset in the plane too, against aliasing.

        late_ms: delay of the heart behind the frame times.
        """
        geometry = self.heart.geometry(self.times_ms + late_ms) if late_ms else self.geometry
        low, high = self.heart.box_mm(geometry)
        rows, columns = self.protocol.size
        n = self.protocol.subslices
        codes = np.empty((n, self.protocol.frames, rows * columns), np.uint8)
        normal = plan.to_heart[:3, 2] / np.linalg.norm(plan.to_heart[:3, 2])
        grid = _grid(rows, columns)
        for i in range(n):
            part = (i + 0.5) / n - 0.5
            pixels = grid + np.array([part, -part if i % 2 else part])
            points = np.ascontiguousarray(self._points(plan, k, pixels) + normal * part * plan.thickness_mm)
            near = np.flatnonzero(((points > low) & (points < high)).all(1))
            at_ed = np.zeros(len(points), np.uint8)
            at_ed[near] = self.heart.tissue(points[near], 0.0)
            static = paint_body(points, self.axes, self.body, at_ed)
            codes[i] = static
            codes[i][:, near] = paint(points[near], geometry, static[near])
        return codes.reshape(n, self.protocol.frames, rows, columns)

    def _points(self, plan, k, pixels):
        """Heart coordinates (n, 3) of pixels (n, 2) in slice k, where its breath-hold left the heart."""
        breath = plan.breath_mm[k] @ self.axes
        return pixels @ plan.to_heart[:3, :2].T + (plan.to_heart[:3, 3] + plan.to_heart[:3, 2] * k - breath)

    def _image(self, plan, imager, k, tissue):
        """Pixels uint16 (frames, rows, columns) of slice k from its tissue codes."""
        p, artefacts, codes = self.protocol, imager.artefacts, tissue[len(tissue) // 2, 0]
        band = sensitivity = np.ones(p.size, np.float32)
        if "coil" in p.effects:
            sensitivity = self._coil(plan, k, 0, 0, *p.size)
        _, front, head = plan.affine[:3, :2] / p.spacing_mm  # directions in (columns, rows)
        if artefacts.banding:
            band = bands(codes, off_resonance_hz(codes, self.contrast, artefacts, p.spacing_mm, head), self.contrast)
        margin = self._margin(plan, artefacts, k) if artefacts.wrap_px else None
        lv = self.heart.volumes(self.times_ms)["lv"]
        speed = np.abs(lv - np.roll(lv, 1))
        breath_px = front * artefacts.breath_mm / p.spacing_mm
        return imager(k, tissue, sensitivity, band, margin, breath_px, speed / max(speed.max(), 1e-6))

    def _coil(self, plan, k, top, left, rows, columns):
        """Sensitivity (rows, columns) of a rectangle whose first pixel is (top, left), from every eighth pixel."""
        few = (max(2, rows // 8), max(2, columns // 8))
        pixels = (_grid(*few) + 0.5) * [columns / few[1], rows / few[0]] - 0.5 + [left, top]
        b = self.body
        wall = float(b["half_a"] + b["muscle"] + b["fat"])
        field = coil(self.contrast, self._points(plan, k, pixels) @ self.axes.T, b["mid_a"] + wall, b["mid_a"] - wall)
        return cv2.resize(field.reshape(few), (columns, rows), interpolation=cv2.INTER_LINEAR)

    def _margin(self, plan, artefacts, k):
        """Signed signal (rows, columns) of the body outside the field of view, folded in along the phase direction."""
        size, width, axis = self.protocol.size, artefacts.wrap_px, artefacts.phase_axis
        folded = np.zeros(size, np.float32)
        for start in (-width, size[axis]):
            part, first = list(size), [0, 0]
            part[axis], first[axis] = width, start
            points = np.ascontiguousarray(self._points(plan, k, _grid(*part) + np.array(first[::-1])))
            codes = paint_body(points, self.axes, self.body, np.zeros(len(points), np.uint8))
            signal = tissue_signal(self.contrast, codes.reshape(1, *part))
            if "coil" in self.protocol.effects:
                signal *= self._coil(plan, k, *first, *part)
            place = start % size[axis]
            np.moveaxis(folded, axis, 0)[place : place + width] += np.moveaxis(signal, axis, 0)
        return folded

    def mitral_points(self, plan: Plan) -> pd.DataFrame | None:
        """Intersections of the plane with the mitral ring: POINT_COLUMNS, None in views without the valve."""
        if plan.view not in MITRAL_POINTS:
            return None
        to_heart = plan.to_heart.copy()
        to_heart[:3, 3] -= plan.breath_mm[0] @ self.axes
        rows, inverse = [], np.linalg.inv(to_heart)
        normal = np.cross(plan.to_heart[:3, 0], plan.to_heart[:3, 1])
        flat2 = float(normal[:2] @ normal[:2])
        # the point with the larger x is lateral, that with the larger y anterior; the partner's name comes second
        key = 1 if plan.view == "2ch" else 0
        for t, g in enumerate(self.geometry):
            nearest = normal[:2] * (normal @ to_heart[:3, 3] - normal[2] * g["zb"]) / flat2
            half = np.sqrt(max(float(g["ring"] ** 2 - nearest @ nearest), 0.0)) / np.sqrt(flat2)
            pair = [np.r_[nearest + sign * half * np.array([-normal[1], normal[0]]), g["zb"], 1] for sign in (-1, 1)]
            for name, point in zip(MITRAL_POINTS[plan.view], sorted(pair, key=lambda p: -p[key])):
                pixel = inverse @ point
                rows.append((t, 0, name, *pixel[:2], *(plan.affine @ pixel)[:3], 1.0))
        return pd.DataFrame(rows, columns=POINT_COLUMNS)


def _grid(rows, columns):
    """Pixel (column, row) of an image in C order, (rows·columns, 2)."""
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)


def _directions(view, axes, tricuspid_xy):
    """Unit vectors of columns, rows and slices in RAS for an ideal plane of the view; axes: heart's x, y, z.

    tricuspid_xy: centre of the valve beside the LV's axis, which a 4CH plane cuts too: one beside it makes the right
    atrium look smaller than it is.
    """
    x, y, z = axes.T
    if view == "sax":  # RV on the left, anterior wall on top, slices from base to apex
        return x, -y, z
    down = np.array([0, 0, -1.0])
    if view == "4ch":  # patient's left on the right, front on top
        across, up = tricuspid_xy / np.linalg.norm(tricuspid_xy)
        normal, down = up * x - across * y, np.array([0, -1.0, 0])
        column = np.array([-1.0, 0, 0]) + normal * normal[0]
    elif view == "2ch":  # head on top, apex to the right
        up = np.cos(np.deg2rad(TURN_2CH_DEG)) * y + np.sin(np.deg2rad(TURN_2CH_DEG)) * x
        normal = np.cross(up, z)
        column = np.cross(-down + normal * (down @ normal), normal)
        column *= np.sign(column @ z)
    else:  # 3ch: through mitral and aortic valve, front on the left
        normal = np.cross(np.cos(OUTLET_RAD) * x + np.sin(OUTLET_RAD) * y, z)
        column = np.array([0, -1.0, 0]) + normal * normal[1]
    column = column / np.linalg.norm(column)
    row = np.cross(normal, column)
    row = row * np.sign(row @ down)
    return column, row, np.cross(column, row)


def _majority(tissue, view):
    """Label of most sub-slices, ties to the middle one: (subslices, …) tissue codes → (…) labels of the view."""
    table = np.where(np.isin(LABEL_OF, [STRUCTURES[s] for s in VIEW_STRUCTURES[view]]), LABEL_OF, 0).astype(np.uint8)
    labels = cv2.LUT(tissue.reshape(1, -1), table).reshape(tissue.shape)
    best = labels[len(labels) // 2]
    votes = np.add.reduce(labels == best, dtype=np.uint8)
    for code in np.unique(labels):
        count = np.add.reduce(labels == code, dtype=np.uint8)
        best, votes = np.where(count > votes, code, best), np.maximum(count, votes)
    return best
