"""How it is imaged: planes of 4CH, 2CH and a SAX stack, slices with thickness, and the truth on the same grid."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrlib.anatomy import MITRAL_POINTS, STRUCTURES, VIEW_STRUCTURES
from cmrlib.cine import Cine
from cmrlib.cohort import POINT_COLUMNS, Annotation
from cmrlib.phantom.anatomy import Heart
from cmrlib.phantom.appearance import coil, draw_look, image
from cmrlib.phantom.body import draw_axes, draw_body, paint_body
from cmrlib.phantom.physiology import streams
from cmrlib.phantom.tissue import LABEL_OF, paint, reached
from cmrlib.phantom.ventricles import OUTLET_RAD

VIEWS = ("sax", "4ch", "2ch", "3ch")
TURN_2CH_DEG = 10.0
"""The 2CH plane runs a little behind the RV's insertions, so that it shows the left side alone."""


@dataclass(frozen=True)
class Protocol:
    """What the scanner is told. size: (rows, columns). slices None: as many as the heart needs, 8-10 mm apart."""

    frames: int = 20
    views: tuple[str, ...] = VIEWS[:3]
    size: tuple[int, int] = (128, 128)
    spacing_mm: float = 2.0
    slices: int | None = None
    subslices: int = 3


@dataclass(frozen=True)
class Plan:
    """One view's planes. affine: pixel (i, j, k) to RAS mm; to_heart: the same to heart coordinates; both (4, 4)."""

    view: str
    affine: np.ndarray
    to_heart: np.ndarray
    slices: int
    thickness_mm: float


class Scan:
    """A subject on the table: where the heart lies, what surrounds it, how the scanner is tuned.

    rescan: 0 for the first visit; other numbers find the same heart and body under new planes, coil and noise.
    """

    def __init__(self, heart: Heart, protocol: Protocol, rescan: int = 0):
        s = heart.subject
        self.heart, self.protocol = heart, protocol
        body_rng = streams(s.seed, s.number)["acquisition"]
        self.axes = draw_axes(body_rng)
        self.body = draw_body(body_rng, heart, self.axes)
        self.rng = np.random.default_rng([s.seed, s.number, rescan])
        self.isocentre_mm = self.rng.normal(0, 15, 3)
        self.look = draw_look(self.rng, protocol.spacing_mm)
        phases = np.arange(protocol.frames) / protocol.frames + s.trigger_delay
        self.times_ms = np.mod(phases, 1.0) * s.rr_ms
        self.geometry = heart.geometry(self.times_ms)
        lv = heart.volumes(self.times_ms)["lv"]
        self.ed, self.es = int(lv.argmax()), int(lv.argmin())

    def plan(self, view: str) -> Plan:
        """Planes of a view, with an error of placement and a turn in the plane that differ every time."""
        tilt = np.deg2rad(self.rng.normal(0, [2.0, 2.0, 9.0]))
        column, row, normal = _turned(_directions(view, self.axes), tilt)
        s, step = self.heart.subject, self.protocol.spacing_mm
        thickness, distance, slices = self.rng.uniform(6, 8), self.rng.uniform(8, 10), 1
        centre = self.axes @ np.array([-12.0, 0, 0.28 * s.lv_length_mm])
        if view == "sax":
            # the first slice lies anywhere within one distance behind the valve (ED), the last at the apex
            depth, slices = s.lv_length_mm + 0.75 * self.heart.wall_ed_mm, self.protocol.slices
            start = self.rng.random()
            distance = max(6.0, depth / (slices - 1)) if slices else distance
            slices = slices or int(np.ceil(depth / distance + start + 0.5)) + int(self.rng.integers(0, 2))
            centre = self.axes @ np.array([-12.0, 0, -start * distance])
        else:
            distance = thickness
            centre = centre - normal * (centre @ normal - self.rng.normal(0, 1.0))
        rows, columns = self.protocol.size
        shift = self.rng.normal(0, 5, 2)
        corner = centre - column * (step * (columns - 1) / 2 + shift[0]) - row * (step * (rows - 1) / 2 + shift[1])
        affine, to_heart = np.eye(4), np.eye(4)
        affine[:3] = np.stack([column * step, row * step, normal * distance, corner + self.isocentre_mm], axis=1)
        to_heart[:3] = self.axes.T @ np.c_[affine[:3, :3], corner]
        return Plan(view, affine, to_heart, slices, float(min(thickness, distance)))

    def cine(self, view: str, label: str) -> tuple[Cine, Annotation]:
        """One view through the cycle: pixels uint16, and the truth for every frame."""
        plan = self.plan(view)
        shape = (self.protocol.frames, plan.slices, *self.protocol.size)
        pixels, mask = np.empty(shape, np.uint16), np.empty(shape, np.uint8)
        for k in range(plan.slices):
            tissue = self.tissue(plan, k)
            pixels[:, k] = image(self.look, tissue, self._coil(plan, k), self.rng)
            mask[:, k] = _majority(tissue, view)
        rr = self.heart.subject.rr_ms * (1 + 0.015 * self.rng.standard_normal(plan.slices))
        times = np.arange(self.protocol.frames) / self.protocol.frames * rr[:, None]
        cine = Cine(pixels, plan.affine, view, label, frame_times_ms=times, rr_ms=rr, ed=self.ed, es=self.es,
                    slice_position_mm=np.arange(plan.slices) * float(np.linalg.norm(plan.affine[:3, 2])),
                    meta={"slice_thickness_mm": round(plan.thickness_mm, 3), "synthetic": True})
        annotated = dict.fromkeys(range(self.protocol.frames), VIEW_STRUCTURES[view])
        return cine, Annotation(mask, annotated, self.mitral_points(plan), self.key_frames())

    def key_frames(self) -> dict:
        """ED and ES as whole (0-based) and as fractional frame numbers."""
        s, n = self.heart.subject, self.protocol.frames
        return {"ed": self.ed, "es": self.es, "ed_frac": n * ((-s.trigger_delay) % 1.0),
                "es_frac": n * ((s.es_ms / s.rr_ms - s.trigger_delay) % 1.0), "confidence": 1.0}

    def tissue(self, plan: Plan, k: int) -> np.ndarray:
        """Tissue codes (subslices, frames, rows, columns); sub-slices are offset in the plane too, against jaggies."""
        rows, columns = self.protocol.size
        n = self.protocol.subslices
        codes = np.empty((n, self.protocol.frames, rows * columns), np.uint8)
        normal = plan.to_heart[:3, 2] / np.linalg.norm(plan.to_heart[:3, 2])
        grid = _grid(rows, columns)
        for i in range(n):
            part = (i + 0.5) / n - 0.5
            pixels = grid + np.array([part, -part if i % 2 else part])
            points = pixels @ plan.to_heart[:3, :2].T + plan.to_heart[:3, 3]
            points = np.ascontiguousarray(points + plan.to_heart[:3, 2] * k + normal * part * plan.thickness_mm)
            near = np.flatnonzero(reached(points, self.geometry))
            static, at_ed = np.empty(len(points), np.uint8), np.zeros(len(points), np.uint8)
            at_ed[near] = self.heart.tissue(points[near], 0.0)
            paint_body(points, self.axes, self.body, at_ed, static)
            moving = np.empty((self.protocol.frames, len(near)), np.uint8)
            paint(points[near], self.geometry, static[near], moving)
            codes[i] = static
            codes[i][:, near] = moving
        return codes.reshape(n, self.protocol.frames, rows, columns)

    def _coil(self, plan, k):
        rows, columns = self.protocol.size
        points = _grid(rows, columns) @ plan.to_heart[:3, :2].T + plan.to_heart[:3, 3] + plan.to_heart[:3, 2] * k
        front = float(self.body["mid_a"] + self.body["half_a"] + self.body["muscle"] + 30)
        return coil(self.look, points @ self.axes.T, front).reshape(rows, columns)

    def mitral_points(self, plan: Plan) -> pd.DataFrame | None:
        """Where the plane cuts the mitral ring in every frame: POINT_COLUMNS, or None in views without the valve."""
        if plan.view not in MITRAL_POINTS:
            return None
        rows, inverse = [], np.linalg.inv(plan.to_heart)
        normal = np.cross(plan.to_heart[:3, 0], plan.to_heart[:3, 1])
        flat2 = float(normal[:2] @ normal[:2])
        # the point with the larger x is lateral, that with the larger y anterior; the partner's name comes second
        key = 1 if plan.view == "2ch" else 0
        for t, g in enumerate(self.geometry):
            nearest = normal[:2] * (normal @ plan.to_heart[:3, 3] - normal[2] * g["zb"]) / flat2
            half = np.sqrt(max(float(g["ring"] ** 2 - nearest @ nearest), 0.0)) / np.sqrt(flat2)
            pair = [np.r_[nearest + sign * half * np.array([-normal[1], normal[0]]), g["zb"], 1] for sign in (-1, 1)]
            for name, point in zip(MITRAL_POINTS[plan.view], sorted(pair, key=lambda p: -p[key])):
                pixel = inverse @ point
                rows.append((t, 0, name, *pixel[:2], *(plan.affine @ pixel)[:3], 1.0))
        return pd.DataFrame(rows, columns=POINT_COLUMNS)


def _grid(rows, columns):
    """Pixel (column, row) of an image in C order, (rows·columns, 2)."""
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)


def _directions(view, axes):
    """Unit vectors of columns, rows and slices in RAS for an ideal plane of the view; axes: heart's x, y, z."""
    x, y, z = axes.T
    if view == "sax":  # RV on the left, anterior wall on top, slices from base to apex
        return x, -y, z
    if view == "4ch":  # patient's left on the right, front on top
        column = np.array([-1.0, 0, 0]) + y * y[0]
        normal = y
    elif view == "2ch":  # head on top, apex to the right
        up = np.cos(np.deg2rad(TURN_2CH_DEG)) * y + np.sin(np.deg2rad(TURN_2CH_DEG)) * x
        normal = np.cross(up, z)
        head = np.array([0, 0, 1.0]) - normal * normal[2]
        column = np.cross(head, normal)
        column *= np.sign(column @ z)
    elif view == "3ch":  # through mitral and aortic valve, front on the left
        normal = np.cross(np.cos(OUTLET_RAD) * x + np.sin(OUTLET_RAD) * y, z)
        column = np.array([0, -1.0, 0]) + normal * normal[1]
    else:
        raise ValueError(f"the phantom has no view {view!r}; it has {', '.join(VIEWS)}")
    column = column / np.linalg.norm(column)
    row = np.cross(normal, column)
    down = np.array([0, -1.0, 0]) if view == "4ch" else np.array([0, 0, -1.0])
    row = row * np.sign(row @ down)
    return column, row, np.cross(column, row)


def _turned(directions, angles):
    """The three directions turned by small angles (rad) about columns, rows and normal, in this order."""
    column, row, normal = directions
    for (a, b), angle in zip(((1, 2), (2, 0), (0, 1)), angles):
        triple = [column, row, normal]
        triple[a], triple[b] = (np.cos(angle) * triple[a] + np.sin(angle) * triple[b],
                                np.cos(angle) * triple[b] - np.sin(angle) * triple[a])
        column, row, normal = triple
    return column, row, normal


def _majority(tissue, view):
    """Label of most sub-slices, ties to the middle one: (subslices, …) tissue codes → (…) labels of the view."""
    table = np.where(np.isin(LABEL_OF, [STRUCTURES[s] for s in VIEW_STRUCTURES[view]]), LABEL_OF, 0).astype(np.uint8)
    labels = table[tissue]
    middle = labels[len(labels) // 2]
    if len(labels) == 3:  # if the outer two agree they win, else the middle is the majority or breaks the tie
        return np.where(labels[0] == labels[2], labels[0], middle)
    best, votes = middle.copy(), (labels == middle).sum(0)
    for code in np.unique(labels):
        count = (labels == code).sum(0)
        best, votes = np.where(count > votes, code, best), np.maximum(count, votes)
    return best.astype(np.uint8)
