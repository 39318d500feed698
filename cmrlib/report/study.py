"""Findings of one examination: masks, ED and ES, valve motion, measures, and what is missing."""

import math
import shutil
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pandas as pd

from cmrlib.cine.anatomy import MITRAL_POINTS, RIGHT_HEART, VIEWS
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import read_tsv
from cmrlib.datasets import ingest, inspect
from cmrlib.datasets.bounds import BOUNDS, possible
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import NOTEBOOKS, SETS, by_view, folders
from cmrlib.measures import curves, features
from cmrlib.measures.crossings import comparable, crossings
from cmrlib.measures.curves import COLUMNS as CURVES
from cmrlib.measures.curves import FEWEST_FRAMES, jump_flags
from cmrlib.measures.features import single_frames
from cmrlib.measures.valve import valve_tables
from cmrlib.papers.mvnet import MitralTracking
from cmrlib.report.cards import card_of
from cmrlib.report.errors import at_confidence, errors_of, outline_rows
from cmrlib.report.rows import measured_rows
from cmrlib.report.scores import SCORES, classify_examination

THICK_MM = 15.0
"""From which on a wall is called hypertrophic: Elliott et al. (ESC), Eur Heart J 2014."""
APART_ML = 45.0
"""Of LV from RV stroke volume; experts' outlines of 80 patients differ by 3 ± 26 mL, so less says nothing."""


@dataclass
class Findings:
    """One study with what was found in it; tables are DataFrames, `measures` a row a measure, `measured` the
    table of `features`, None where nothing was segmented. views: view → (cine, annotation); crossings: long-axis view →
    its lines across the short-axis stack, where both were segmented. curves: of `measures.curves`. outlines: of
    `outline_rows`."""

    cohort: Cohort
    series: pd.DataFrame
    measures: pd.DataFrame
    frames: pd.DataFrame
    motion: pd.DataFrame
    curves: pd.DataFrame
    measured: pd.DataFrame | None = None
    flags: list[str] = field(default_factory=list)
    models: list[dict] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)
    views: dict = field(default_factory=dict)
    crossings: dict = field(default_factory=dict)
    outlines: list[dict] = field(default_factory=list)
    heart_rate_bpm: float = math.nan


def examine(source, folder, weights, person: dict | None = None) -> Findings:
    """Read one examination and apply every network of `weights` that it has a view for.

    source: a folder of DICOM files of one person, or a cohort of one (its folder, or opened; masks of its observer
    `ternausnet` are used as they are). folder: for the cohort and the observers ternausnet, tempreg and mvnet. weights:
    a folder, or several, with 01_segmentation, 03_tempreg, 04_mvnet, 05_cussp, 06_sslhf or 08_heartmae_predict (a
    profile's runs), or shipped sets' names; each network, of each view, comes from the first that has it, and `missing`
    names the rest. person: sex (M or F), age (years), height_m, weight_kg, where the source lacks them. Raises
    ValueError for several people, for impossible bodies, and where there is no cine.
    """
    person = {name: value for name, value in (person or {}).items() if value not in ("", None)}
    _require_possible(person)
    folder, homes = Path(folder), homes_of(weights)
    cohort, series = _read(source, folder)
    left_out = _left_out(cohort, series) + _fill_in(cohort, person)
    steps = {"01_segmentation": _segment, "03_tempreg": _frames}
    steps |= {"03c_tempreg_patients": _stacks, "04_mvnet": _valve}
    found = [step(cohort, folder, [home / name / "weights" for home in homes[name]]) for name, step in steps.items()]
    (masks, frames, stacks, (motion, valve), scores), missing, models = zip(*found, classify_examination(cohort, homes))
    missing, models = [*left_out, *chain(*missing)], [*chain(*models)]
    if len(stacks):
        rest = frames[~frames["cine"].isin(stacks["cine"])] if len(frames) else frames
        frames = pd.concat([stacks, rest]).sort_values("cine", kind="stable")
    rows = [table.iloc[0].to_dict() for table in (masks, valve) if table is not None and len(table)]
    values = {name: value for row in rows for name, value in row.items()}
    if not values.get("heart_rate_bpm", 0) > 0:  # no short-axis stack: any view's
        values["heart_rate_bpm"] = 60000 / cohort.cines["rr_ms"].median()
    flags = _flags(rows, cohort)
    measures = measured_rows(values, cohort, at_confidence(errors_of(homes), values), flags)
    table = _curves(cohort) if masks is not None else pd.DataFrame(columns=CURVES)
    flags += jump_flags(table) + _findings(values)
    views = next(iter(cohort.examinations("ternausnet"))).views if masks is not None else {}
    crossed = {view: crossings(views["sax"], views[view]) for view in comparable(views)}
    return Findings(
        cohort,
        series,
        measures,
        frames,
        motion,
        table,
        masks,
        sorted(set(flags)),
        models,
        missing,
        scores,
        views,
        crossed,
        outline_rows(views, homes["01_segmentation"]),
        values["heart_rate_bpm"],
    )


def _findings(values) -> list[str]:
    """Flags of what stands out: a thick wall, and stroke volumes farther apart than outlines are wrong."""
    thickest = values.get("wall_ed_max_mm", math.nan)
    apart = values.get("lvsv_ml", math.nan) - values.get("rvsv_ml", math.nan)
    flags = [f"thick_wall:{thickest:.0f}_mm"] if thickest >= THICK_MM else []
    return flags + ([f"stroke_volumes_apart:{apart:+.0f}_mL"] if abs(apart) > APART_ML else [])


def _curves(cohort) -> pd.DataFrame:
    """Curves of the outlined cines that are whole cycles of known pixel size; an empty table where none is."""
    looked = cohort.observer("ternausnet")
    long = cohort.cines.loc[cohort.cines["frames"] >= FEWEST_FRAMES, "cine"]
    return curves(
        cohort.part([name for name in long if looked.has(name) and cohort.cine(name).spacing_known]), looked.name
    )


def _flags(rows, cohort) -> list[str]:
    """Flags of the measures, and those of cines that are not among them."""
    flags = [flag for row in rows for flag in str(row.get("flags", "")).split(";") if flag]
    of_cines = [(row.view, flag) for row in cohort.cines.itertuples() for flag in row.flags.split(";") if flag]
    return flags + [f"{view}: {flag}" for view, flag in of_cines if flag not in flags]


def _require_possible(person):
    """Raise ValueError for a sex that reference ranges do not know, and beyond the bounds of ingest."""
    if person.get("sex", "M") not in ("M", "F"):
        raise ValueError(f"sex is M or F, as reference ranges know it, got {person['sex']!r}")
    for name, value in person.items():
        if name != "sex" and not possible(name, value):
            low, high = BOUNDS[name]
            raise ValueError(f"{name} is {value:g}; expected {low:g} to {high:g}: check the unit")


def _fill_in(cohort, person) -> list[str]:
    """Give the cohort's one subject what the source lacks; what it has stays, and is told where it differs."""
    row, told = cohort.subjects.iloc[0], []
    for name, value in person.items():
        if pd.isna(row.get(name)) or row[name] == "":
            cohort.subjects = cohort.subjects.assign(**{name: value})
        elif row[name] != value:
            told.append(f"{name} {value} not used: the source says {row[name]}")
    return told


def homes_of(weights) -> dict[str, list[Path]]:
    """Notebook → those of these folders that hold weights of it, in their order; a shipped set's name stands for its
    folders. Raises FileNotFoundError for a folder that is none."""
    given = weights if isinstance(weights, list | tuple) else [weights]
    homes = [home for one in given for home in folders(one)]
    if lost := [str(one) for one in homes if not one.is_dir()]:
        raise FileNotFoundError(
            f"no folder of weights: {', '.join(lost)}; name a profile's runs, say runs/quick, or "
            f"a set: {', '.join(SETS)}"
        )
    names = [*NOTEBOOKS, *SCORES]
    return {name: [one for one in homes if any((one / name / "weights").glob("*.safetensors"))] for name in names}


def _read(source, folder):
    if isinstance(source, Cohort):
        cohort, series = source, pd.DataFrame()
    elif (source := Path(source)).joinpath("dataset_description.json").exists():
        cohort, series = Cohort.open(source), pd.DataFrame()
    else:
        series = inspect(source)
        cohort = ingest("dicom", source, folder / "cohort", workers=1, progress=False)
    people = cohort.subjects["participant_id"].nunique()
    if people != 1:
        raise ValueError(f"this folder holds {people} people, and a report is about one; name one's folder")
    if cohort.cines.empty:
        raise ValueError("there is no cine in this folder: `cmr inspect` tells what is")
    if still := sorted(cohort.cines.loc[cohort.cines["flags"].str.contains("no_motion"), "view"]):
        raise ValueError(
            f"nothing moves (view {', '.join(still)}): all frames are one picture; leave it out or export it again"
        )
    return cohort, series


def _left_out(cohort, series) -> list[str]:
    """The person's images that could not be decoded, with the reason; other files stand among the series, if any."""
    rejected = read_tsv(cohort.path / "rejected.tsv")
    rejected = rejected[rejected["participant_id"].isin(cohort.subjects["participant_id"])]
    reasons = rejected["reason"].str.replace(r"^sub-[A-Za-z0-9_-]+: ", "", regex=True).value_counts()
    undecoded = ("pixels", "decoded image")
    return [f"{n} files left out: {why}" for why, n in reasons.items() if series.empty or why.startswith(undecoded)]


def _segment(cohort, folder, places):
    """(measures or None, what is missing, cards)."""
    paths = by_view(places)
    views = sorted(set(cohort.cines["view"]) & set(paths))
    if not views:
        return None, ["segmentation: no weights for a view that is here"], []
    cards = [card_of("segmentation", path) for path in dict.fromkeys(paths[view] for view in views)]
    if "ternausnet" not in cohort.observers:
        for path in dict.fromkeys(paths[view] for view in views):
            task, models, card = Task.load(path)
            seen = [view for view in views if paths[view] == path]
            task.predict(models, cohort, out=folder / "ternausnet", views=seen, card=card)
        if not _took_part(cohort, folder / "ternausnet", "dseg.json"):
            return None, ["segmentation: no frame of any view could be segmented"], cards
    cycle = (cohort.cines["frames"] >= FEWEST_FRAMES).any()
    alone = [
        f"which phase the one frame shows; there, LV {row.lv_ml:.0f} mL, myocardium {row.myo_ml:.0f} mL, RV "
        f"{row.rv_ml:.0f} mL"
        for row in single_frames(cohort, "ternausnet").itertuples()
    ]
    table = features(cohort, "ternausnet", phases="curve" if cycle else "given", walls=True)
    return table, alone, cards


def _took_part(cohort, path, file) -> bool:
    """Lay an observer over the cohort if it drew on any cine; else remove its folder."""
    if any(cohort.lay_over(path).has(cine, file) for cine in cohort.cines["cine"]):
        return True
    del cohort.observers[path.name]
    shutil.rmtree(path)
    return False


def _frames(cohort, folder, places):
    path = next((place / "tempreg.safetensors" for place in places), Path("nowhere"))
    if not path.exists() or (cohort.cines["frames"] < FEWEST_FRAMES).all():
        return pd.DataFrame(), ["ED and ES by TempReg-Net: no weights, or no whole cycle"], []
    task, models, _ = Task.load(path)
    table = task.predict(models, cohort, out=folder / "tempreg", views=set(VIEWS) - set(RIGHT_HEART))
    whole = table[table["slice"] == -1].drop(columns="slice")
    known = whole["ed_frac"].notna()
    why = [f"ED and ES of view {view}: frames of this cine are missing" for view in whole.loc[~known, "view"]]
    return whole[known].astype({"ed": int, "es": int}), why, [card_of("ED and ES", path)]


def _stacks(cohort, folder, places):
    """ED and ES of the cines whose cycle was outlined; they count before those of sections."""
    path = next((place / "stack.safetensors" for place in places), Path("nowhere"))
    if not path.exists():
        return pd.DataFrame(), [], []
    task, models, _ = Task.load(path)
    part = cohort.part(task.outlined(cohort, "ternausnet"))
    if part.cines.empty:
        return pd.DataFrame(), [], []
    table = task.predict(models, part, annotations="ternausnet", out=folder / "tempreg", views=set(part.cines["view"]))
    return table.drop(columns="slice"), [], [card_of("ED and ES of outlined cycles", path)]


def _valve(cohort, folder, places):
    weights = next(iter(places), Path("nowhere"))
    nothing = pd.DataFrame(), None
    views = set(cohort.cines.loc[cohort.cines["frames"] >= FEWEST_FRAMES, "view"]) & set(MITRAL_POINTS)
    if not views:
        return nothing, ["valve motion: no 2CH or 4CH cine of a whole cycle"], []
    try:
        task, models, _ = MitralTracking.load(weights)
    except FileNotFoundError:
        return nothing, ["valve motion: no weights"], []
    if not views & set(task.views):
        return nothing, ["valve motion: no weights for a view that is here"], []
    rows = task.predict(models, cohort, out=folder / "mvnet", views=views & set(task.views))
    refused = rows.dropna(subset="reason") if "reason" in rows else rows.iloc[:0]
    failed = [f"mitral points of view {row.view}: {row.reason}" for row in refused.itertuples()]
    if not _took_part(cohort, folder / "mvnet", "points.tsv"):
        return nothing, failed, []
    cards = [
        card_of("valve", weights / f"{name}.safetensors")
        for name in {task.network_of(view, 2): 0 for view in task.views if view in views}
    ]
    masks = "ternausnet" if "ternausnet" in cohort.observers else None
    tables = valve_tables(cohort, "mvnet", task.smooth_ms, least_confidence=task.least_confidence, masks=masks)
    return tables, failed, cards
