"""Cine player: views of one heart side by side, masks and points of observers over them, curves below."""

from contextlib import suppress
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets

from cmrlib.cine.anatomy import COLOURS, MITRAL_POINTS, NAMES, STRUCTURES
from cmrlib.cohort import Cohort
from cmrlib.datasets import qc
from cmrlib.measures import RefusedError, curves
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.phases import named_phases
from cmrlib.measures.valve import point_array, valve_tables
from cmrlib.plots.cines import heart_box

HERE = Path(__file__).parent
VIEWS = ("sax", "4ch", "2ch", "3ch")
GREY = (0.1, 99.9)
"""Percentiles of a cine that become 0 and 255; what the eye needs of them is chosen by window and level."""


class CineViewer(anywidget.AnyWidget):
    """All views of one subject, in step by cardiac phase.

    cohort: a Cohort, laid over by whom to see. subject: participant_id, default the first. observers: names, default
    all that the cohort has; the first one shown is tinted, the others are outlines. zoom: to what they outlined, or to
    what moves. Drag over a picture for contrast and brightness; space plays, arrows step, a click on the curves goes
    there.
    """

    _esm = HERE / "viewer.js"
    _css = HERE / "viewer.css"
    title = traitlets.Unicode().tag(sync=True)
    views = traitlets.List().tag(sync=True)
    slices = traitlets.List().tag(sync=True)
    curves = traitlets.List().tag(sync=True)
    observers = traitlets.List().tag(sync=True)
    shown = traitlets.List().tag(sync=True)
    palette = traitlets.Dict({str(code): COLOURS[name] for name, code in STRUCTURES.items()}).tag(sync=True)
    phase = traitlets.Float(0.0).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    cycle_ms = traitlets.Float(1000.0).tag(sync=True)
    timed = traitlets.Bool(False).tag(sync=True)
    zoom = traitlets.Bool(True).tag(sync=True)
    opacity = traitlets.Float(0.5).tag(sync=True)
    window = traitlets.Float(200.0).tag(sync=True)
    level = traitlets.Float(100.0).tag(sync=True)

    def __init__(self, cohort: Cohort, subject: str = "", observers=None, session: str | None = None):
        super().__init__()
        self.cohort = cohort
        self.observers = [name for name in (observers or cohort.observers) if name in cohort.observers]
        self.shown = self.observers[:2]
        self._cines = []
        self.show(subject or cohort.subjects["participant_id"].iloc[0], session)
        self.observe(self._other_slice, "slices")

    def show(self, subject: str, session: str | None = None):
        """Another subject. session: default the first one. Raises ValueError for somebody who is not there."""
        rows = self.cohort.cines[self.cohort.cines["participant_id"] == subject]
        if rows.empty:
            raise ValueError(f"no cine of {subject!r} in this cohort; cohort.subjects lists who is there")
        rows = rows[rows["session"] == (rows["session"].iloc[0] if session is None else session)]
        rows = rows.assign(order=[VIEWS.index(v) if v in VIEWS else len(VIEWS) for v in rows["view"]])
        self._cines = [self.cohort.cine(name) for name in rows.sort_values(["order", "run"])["cine"]]
        session = rows["session"].iloc[0]
        lengths = [cine.cycle_ms for cine in self._cines]
        known = [ms for ms in lengths if np.isfinite(ms)]
        with self.hold_sync():
            named = (subject, session and f"session {session}", self._about(rows))
            self.title = " · ".join(part for part in named if part)
            self.cycle_ms, self.timed = float(np.median(known)) if known else 1000.0, bool(known)
            self.slices = [cine.slices // 2 for cine in self._cines]
            self.views = [self._view(cine, k) for cine, k in zip(self._cines, self.slices)]
            self.curves = self._curves(subject, session)

    def _about(self, rows):
        flags = sorted({flag for flags in rows["flags"] for flag in flags.split(";") if flag})
        return "synthetic" if self.cohort.synthetic else ", ".join(flags[:3])

    def _other_slice(self, change):
        """Pixels of slices that were chosen just now; those of the other views stay."""
        if len(change["old"]) != len(change["new"]) or len(change["new"]) != len(self._cines):
            return
        self.views = [
            view if old == new else self._view(cine, int(new))
            for view, cine, old, new in zip(self.views, self._cines, change["old"], change["new"])
        ]

    def _view(self, cine, k) -> dict:
        """What the browser needs of one slice of a cine."""
        low, high = cine.intensity_window(*GREY)
        grey = np.clip((cine.pixels[:, k].astype(np.float32) - low) * (255 / (high - low)), 0, 255)
        _, row_mm, column_mm = cine.spacing_mm
        return {
            "name": cine.view.upper(),
            "frames": cine.frames,
            "slices": cine.slices,
            "rows": cine.pixels.shape[2],
            "columns": cine.pixels.shape[3],
            "aspect": row_mm / column_mm if cine.spacing_known else 1.0,
            "phases": [float(p) for p in np.mod(cine.phase(), 1)],
            "times_ms": np.round(cine.times_ms).tolist() if np.isfinite(cine.times_ms).all() else [],
            "box": [int(edge) for edge in self._box(cine)],
            "marks": self._marks(cine),
            "pixels": grey.astype(np.uint8).tobytes(),
            "layers": [layer for name in self.observers for layer in self._layers(name, cine, k)],
        }

    def _box(self, cine):
        """(row0, row1, column0, column1) around what was outlined, or around what moves."""
        drew = [looked for looked in map(self.cohort.observer, self.observers) if looked.has(cine.name)]
        boxes = [box for one in drew if (box := heart_box(one.mask(cine.name).mask, 12)) is not None]
        if boxes:
            row0, row1, column0, column1 = zip(*boxes)
            return min(row0), max(row1), min(column0), max(column1)
        sides = zip(qc.heart_box(cine), cine.pixels.shape[2:])
        return [edge for side, n in sides for edge in (side.start, min(side.stop, n) - 1)]

    def _marks(self, cine) -> dict[str, int]:
        """ED and ES → frame, of the first observer that names them, or of the cohort."""
        looked = [self.cohort.observer(name).annotation(cine.name) for name in self.observers]
        named = [named_phases(cine, one) for one in looked if one is not None] or [{"ed": cine.ed, "es": cine.es}]
        return {p.upper(): int(t) for p, t in max(named, key=len).items() if t is not None}

    def _layers(self, name, cine, k) -> list[dict]:
        """Masks and points of one observer on one slice."""
        looked, layers = self.cohort.observer(name), []
        if looked.has(cine.name):
            labels = np.ascontiguousarray(looked.mask(cine.name).mask[:, k], np.uint8)
            layers.append({"observer": name, "labels": labels.tobytes()})
        if cine.view in MITRAL_POINTS and looked.has(cine.name, "points.tsv"):
            points = point_array(looked.points(cine.name), cine.view, cine.frames)
            plain = np.where(np.isfinite(points), points, np.nan).astype(object)
            plain[np.isnan(points)] = None
            layers.append({"observer": name, "points": plain.tolist()})
        return layers

    def _curves(self, subject, session) -> list[dict]:
        """Volumes over the cycle, or displacement of the valve where there is no volume; a colour a structure, the
        second observer's dashed."""
        made = []
        if all(cine.frames < FEWEST_FRAMES for cine in self._cines):
            return made
        for n, name in enumerate(self.shown):
            table = self._volumes(name, subject, session)
            for structure, curve in table.groupby("structure"):
                label, colour = f"{NAMES[structure]}, {name}", COLOURS[structure]
                made.append(_curve(label, curve["phase"], curve["volume_ml"], "mL", colour, n > 0))
        return made or self._displacements(subject, session)

    def _volumes(self, name, subject, session):
        table = pd.DataFrame(columns=["session", "view", "structure", "frame", "volume_ml"])
        if any(self.cohort.observer(name).has(cine.name) for cine in self._cines):
            with suppress(RefusedError):  # a few frames only, or no spacing
                table = curves(self.cohort, name, subjects=[subject]).dropna(subset=["volume_ml"])
        table = table[(table["session"].fillna("") == session) & (table["structure"] != "myo")]
        table = table[table["view"] == ("sax" if "sax" in set(table["view"]) else "2ch+4ch")]
        by_view = {cine.view: cine.phase() for cine in self._cines}
        view = "sax" if "sax" in by_view and (table["view"] == "sax").any() else "4ch"
        return table.assign(phase=[by_view[view][frame] for frame in table["frame"]])

    def _displacements(self, subject, session):
        made = []
        for n, name in enumerate(self.shown):
            if not any(self.cohort.observer(name).has(cine.name, "points.tsv") for cine in self._cines):
                continue
            motion, _ = valve_tables(self.cohort, name, 20.0, [subject])
            mean = motion[(motion["view"] == "mean") & (motion["session"].fillna("") == session)]
            made.append(_curve(f"valve, {name}", mean["phase"], mean["displacement_mm"], "mm", "#0072B2", n > 0))
        return made


def _curve(name, phase, values, unit, colour, dashed) -> dict:
    points = [(float(x), float(y) if np.isfinite(y) else None) for x, y in zip(phase, values)]
    points.sort(key=lambda point: point[0])
    curve = {"name": name, "unit": unit, "colour": colour, "dashed": bool(dashed)}
    return curve | {"x": [x for x, _ in points], "y": [y for _, y in points]}
