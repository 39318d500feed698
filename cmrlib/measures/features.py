"""Masks of a cohort → one table: one row per subject and session, the 18 features and what else the views allow."""

import numpy as np
import pandas as pd

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Cohort
from cmrlib.measures.arealength import biplane_curve, has_structure, single_plane_curve
from cmrlib.measures.crossings import LEAST_AGREEMENT, agreements
from cmrlib.measures.curves import FEWEST_FRAMES, ed_es_from_curve, peak_rates
from cmrlib.measures.flags import stack_flags
from cmrlib.measures.function import function_measures
from cmrlib.measures.names import MEASURES, indexed_features
from cmrlib.measures.phases import named_phases
from cmrlib.measures.plausible import off_sax, withhold
from cmrlib.measures.volumes import Conventions, bsa_m2, ejection_fraction_pct, mass_g, volumes
from cmrlib.measures.walls import wall_measures

KEYS = ["participant_id", "session", "convention", "flags", "ed_frame", "es_frame"]
CONFIDENCES = [f"confidence_{name}" for name in STRUCTURES]
"""Of a network's outlines: of LV, myocardium and RV in the short axis, of the atria the least of the long axes."""


def features(
    cohort: Cohort,
    observer: str,
    conventions: Conventions | None = None,
    *,
    bsa: str = "mosteller",
    phases: str = "given",
    walls: bool = False,
    subjects=None,
    frames_from: str | None = None,
) -> pd.DataFrame:
    """Measures of one observer's masks, one row per subject and session: KEYS, then `MEASURES` that masks can give.

    Undefined is NaN, its reason is in `flags` (joined by `;`), beside what the observer itself warns of. Values that no
    heart has, those of which too few slices were drawn, and those of long axes that contradict the stack, are NaN too
    (`plausible`). phases: "given" (the observer's frames, else the cohort's ED and ES, else the curves) or "curve":
    each ventricle's own. frames_from: another observer whose ED and ES count, such as TempReg-Net, with phases "given".
    walls: AHA segments too. LA and RA extremes come from their own curves. CONFIDENCES follow
    KEYS where a network told them. Raises ValueError where the observer drew nothing.
    """
    if phases not in ("given", "curve"):
        raise ValueError(f"phases={phases!r}; expected 'given' or 'curve'")
    if frames_from and phases != "given":
        raise ValueError(f"frames_from={frames_from!r} with phases={phases!r}: frames of an observer are 'given'")
    conventions = conventions or Conventions()
    people = cohort.subjects.drop_duplicates("participant_id").set_index("participant_id")
    rows = []
    for participant, session, views in cohort.examinations(observer, subjects, frames_from):
        row, flags = _body(people.loc[participant], bsa)
        _short_axis(row, flags, views, conventions, phases, walls)
        _long_axis(row, flags, views)
        flags += withhold(row, flags)
        row |= function_measures(views, row | {"flags": flags})
        flags += [f"{flag}:{view}" for view, (_, annotation) in views.items() for flag in annotation.flags]
        keys = {"participant_id": participant, "session": session} | _confidence(views)
        rows.append(keys | {"convention": str(conventions), "flags": ";".join(flags)} | row)
    if not rows:
        whose = " of these subjects" if subjects is not None else ""
        raise ValueError(f"{cohort.path}: observer {observer!r} drew no masks{whose}")
    return _table(rows, walls)


def single_frames(cohort: Cohort, observer: str, conventions: Conventions | None = None, subjects=None) -> pd.DataFrame:
    """Volumes of short-axis stacks of one frame of unknown phase, one row each: participant_id, session, lv_ml, myo_ml,
    rv_ml. They are no EDV, so `features` leaves them out."""
    rows = []
    for participant, session, views in cohort.examinations(observer, subjects):
        cine, annotation = views.get("sax", (None, None))
        if cine is not None and cine.frames == 1 and cine.spacing_known and not named_phases(cine, annotation):
            rows.append([participant, session, *volumes(cine, annotation, conventions=conventions)[0]])
    return pd.DataFrame(rows, columns=["participant_id", "session", "lv_ml", "myo_ml", "rv_ml"])


def _table(rows, walls):
    table = pd.DataFrame(rows)
    table = pd.concat([table, indexed_features(table.reindex(columns=list(MEASURES)))], axis=1)
    left_out = ("mapse", "sprime", "eprime", "aprime") + (() if walls else ("wall_", "thickening_"))
    # EF / BSA is a feature of the CUSSP paper's random forest, not of a table
    names = [n for n in MEASURES if not n.startswith(left_out) and not n.endswith("i_pct_m2")]
    sure = [name for name in CONFIDENCES if name in table and table[name].notna().any()]
    table = table.reindex(columns=[*KEYS, *sure, *names])
    return table.astype({"ed_frame": "Int64", "es_frame": "Int64"} | dict.fromkeys(names, float))


def _confidence(views) -> dict[str, float]:
    told = {}
    for view, (_, annotation) in views.items():
        for name, value in annotation.confidence.items():
            if np.isfinite(value) and (view == "sax" or name in ("la", "ra")):
                told[name] = min(value, told.get(name, 1.0))
    return {f"confidence_{name}": value for name, value in told.items()}


def _body(person, formula):
    numbers = pd.to_numeric(person.reindex(["height_m", "weight_kg", "heart_rate_bpm"]), errors="coerce")
    height, weight, rate = numbers.astype(float)
    area = float(bsa_m2(height, weight, formula))
    return {"bsa_m2": area, "heart_rate_bpm": rate}, [] if np.isfinite(area) else ["bsa_unknown"]


def _short_axis(row, flags, views, conventions, phases, walls):
    """Short-axis measures into `row`, reasons into `flags`."""
    if "sax" not in views:
        flags.append("no_sax")
        return
    cine, annotation = views["sax"]
    if np.isfinite(cine.heart_rate_bpm):
        row["heart_rate_bpm"] = cine.heart_rate_bpm
    # an empty chamber is a failed segmentation, flagged below, and not a volume of 0
    volume = volumes(cine, annotation, ("lv", "myo", "rv"), conventions, relative=not cine.spacing_known)  # (frames, 3)
    volume = np.where(volume > 0, volume, np.nan)
    flags += [*cine.flags, *([] if cine.spacing_known else ["spacing_unknown"])]
    chosen = _phases(cine, annotation, volume[:, 0], phases)
    if not chosen or (missing := set(chosen.values()) & set(cine.incomplete_frames)):
        flags.append("ed_es_on_missing_frame" if chosen and missing else "ed_es_unknown")
        return
    row |= {f"{phase}_frame": frame for phase, frame in chosen.items()}
    right = _phases(cine, annotation, volume[:, 2], phases) or chosen  # the RV's own, where its curve is known
    right = chosen if len(chosen) < 2 or set(right.values()) & set(cine.incomplete_frames) else right
    row |= _volumes(cine, volume, {"lv": chosen, "rv": right}, row["heart_rate_bpm"])
    flags += stack_flags(cine, annotation, chosen, volume, conventions)
    if walls and cine.spacing_known and len(chosen) == 2:
        thickness, found = wall_measures(cine, annotation, chosen)
        row |= thickness
        flags += found


def _phases(cine, annotation, lv, phases):
    """Phase → frame: both named, else from the curve, else the one that is named; empty where none."""
    named = named_phases(cine, annotation)
    if phases == "given" and len(named) == 2:
        return named
    try:
        return dict(zip(("ed", "es"), ed_es_from_curve(lv, cine.phase()), strict=True))
    except ValueError:
        return named if len(named) == 1 else {}


def _volumes(cine, volume, phases, heart_rate_bpm):
    """Measures of LV and RV from volume (frames, 3) of LV, myocardium, RV and chamber → phase → frame: of one phase its
    volumes, of both also what follows from them. Fractions alone where spacing is unknown."""
    row, both, of_lv = {}, len(phases["lv"]) == 2, phases["lv"]
    for column, chamber in ((0, "lv"), (2, "rv")):
        curve, own = volume[:, column], phases[chamber]
        if cine.spacing_known:
            row |= {f"{chamber}{phase}v_ml": curve[frame] for phase, frame in own.items()}
        if both:
            row[f"{chamber}ef_pct"] = ejection_fraction_pct(curve[own["ed"]], curve[own["es"]])
        if both and cine.spacing_known:
            row[f"{chamber}sv_ml"] = row[f"{chamber}edv_ml"] - row[f"{chamber}esv_ml"]
            rates = peak_rates(curve, cine.times_ms, cine.cycle_ms)
            row |= {f"{chamber}_{name}": value for name, value in rates.items()}
    if "ed" in of_lv and cine.spacing_known:
        row["lvm_g"] = mass_g(volume[of_lv["ed"], 1])
    return row | ({"lvco_l_min": row["lvsv_ml"] * heart_rate_bpm / 1000} if "lvsv_ml" in row else {})


def _long_axis(row, flags, views):
    """Area–length measures into `row`: LA and LV from 2CH and 4CH, RA from 4CH; flags of views that show another heart
    than the stack."""
    flags += off_sax(agreements(views), LEAST_AGREEMENT)
    usable = {view: pair for view, pair in views.items() if view in ("2ch", "4ch") and pair[0].spacing_known}
    flags += [f"spacing_unknown:{view}" for view in sorted({"2ch", "4ch"} & set(views) - set(usable))]
    if "4ch" in usable and has_structure(usable["4ch"][1], "ra"):
        _chamber(row, flags, "ra", single_plane_curve(*usable["4ch"]), usable["4ch"][0])
    for chamber in ("la", "lv"):
        seen = [view for view in ("2ch", "4ch") if view in usable and has_structure(usable[view][1], chamber)]
        if len(seen) == 2:
            _chamber(row, flags, chamber, biplane_curve(usable["2ch"], usable["4ch"], chamber), usable["4ch"][0])
        elif seen and chamber == "la":
            flags.append(f"la_only_in:{seen[0]}")  # single-plane LA is another measure with other reference ranges


def _chamber(row, flags, chamber, curve, cine):
    try:
        largest, smallest = (float(curve[frame]) for frame in ed_es_from_curve(curve, cine.phase()))
    except ValueError:
        largest = smallest = float("nan")
    names = "{}_max_ml {}_min_ml {}ef_pct" if chamber != "lv" else "{}edv_biplane_ml {}esv_biplane_ml {}ef_biplane_pct"
    values = largest, smallest, ejection_fraction_pct(largest, smallest)
    row |= dict(zip(names.format(*[chamber] * 3).split(), values, strict=True))
    if chamber != "lv":
        row[f"{chamber}sv_ml"] = largest - smallest
    if (known := int(np.isfinite(curve).sum())) < FEWEST_FRAMES:
        flags.append(f"{chamber}_long_axis_frames:{known}")
