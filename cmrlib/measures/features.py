"""Masks of a cohort → one table: a row a subject and session, the 18 features and what else views allow."""

import numpy as np
import pandas as pd

from cmrlib.cohort import Cohort
from cmrlib.measures.arealength import biplane_curve, has_structure, phase_of, single_plane_curve
from cmrlib.measures.curves import FEWEST_FRAMES, ed_es_from_curve, extremes, peak_rates
from cmrlib.measures.names import MEASURES, indexed_features
from cmrlib.measures.plausible import withhold
from cmrlib.measures.quality import quality_flags
from cmrlib.measures.studies import cycle_ms, frame_times_ms, given_phases, missing_frames, only_phase, studies
from cmrlib.measures.volumes import Conventions, bsa_m2, ejection_fraction_pct, mass_g, volumes
from cmrlib.measures.walls import study_walls, wide_walls

KEYS = ["participant_id", "session", "convention", "flags", "ed_frame", "es_frame"]


def features(
    cohort: Cohort,
    observer: str,
    conventions: Conventions | None = None,
    *,
    bsa: str = "mosteller",
    phases: str = "given",
    frames_from: str | None = None,
    walls: bool = False,
    subjects=None,
) -> pd.DataFrame:
    """What one observer's masks say of each subject and session: KEYS, then `MEASURES` that masks can give.

    Undefined is NaN, its reason is in `flags` (joined by `;`), with what the observer warns of itself. NaN, too, is
    what no heart has and what too few slices show (`plausible`). phases: "given" (the observer's frames, else the
    cohort's ED and ES, else the curve) or "curve". frames_from: an observer whose ED and ES count. walls: AHA segments
    too. LA and RA extremes come from their own curves. Raises ValueError where the observer drew nothing.
    """
    if phases not in ("given", "curve"):
        raise ValueError(f"phases={phases!r}; expected 'given' or 'curve'")
    conventions = conventions or Conventions()
    people = cohort.subjects.drop_duplicates("participant_id").set_index("participant_id")
    rows = []
    for participant, session, found in studies(cohort, observer, subjects, frames_from):
        row, flags = _body(people.loc[participant], bsa)
        _ventricles(row, flags, found, conventions, phases, walls)
        _long_axis(row, flags, found)
        flags += withhold(row, flags)
        flags += [f"{flag}:{view}" for view, (_, annotation) in found.items() for flag in annotation.flags]
        keys = {
            "participant_id": participant,
            "session": session,
            "convention": str(conventions),
            "flags": ";".join(flags),
        }
        rows.append(keys | row)
    if not rows:
        raise ValueError(
            f"{cohort.path}: observer {observer!r} drew no masks"
            + (" of these subjects" if subjects is not None else "")
        )
    return _table(rows, walls)


def single_frames(cohort: Cohort, observer: str, conventions: Conventions | None = None, subjects=None) -> pd.DataFrame:
    """Volumes of short-axis stacks of one frame that nothing calls ED or ES, a row each: participant_id, session,
    lv_ml, myo_ml, rv_ml. They are no EDV, so `features` leaves them out."""
    rows = []
    for participant, session, found in studies(cohort, observer, subjects):
        cine, annotation = found.get("sax", (None, None))
        if cine is None or cine.frames > 1 or not cine.spacing_known or only_phase(cine, annotation):
            continue
        values = zip(("lv_ml", "myo_ml", "rv_ml"), volumes(cine, annotation, conventions=conventions)[0], strict=True)
        rows.append({"participant_id": participant, "session": session} | dict(values))
    return pd.DataFrame(rows, columns=["participant_id", "session", "lv_ml", "myo_ml", "rv_ml"])


def _table(rows, walls):
    table = pd.DataFrame(rows)
    indexed = indexed_features(table.reindex(columns=list(MEASURES)))
    table = pd.concat([table, indexed], axis=1)
    left_out = ("mapse", "sprime", "eprime", "aprime") + (() if walls else ("wall_", "thickening_"))
    literal = {name for name in MEASURES if name.endswith("i_pct_m2")}  # EF / BSA: a random forest's, not a reader's
    names = [n for n in MEASURES if not n.startswith(left_out) and n not in literal]
    table = table.reindex(columns=[*KEYS, *names])
    # frames are whole numbers or unknown
    return table.astype({"ed_frame": "Int64", "es_frame": "Int64"} | dict.fromkeys(names, float))


def _body(person, formula):
    height, weight = (_number(person.get(name)) for name in ("height_m", "weight_kg"))
    area = float(bsa_m2(height, weight, formula))
    row = {"bsa_m2": area, "heart_rate_bpm": _number(person.get("heart_rate_bpm"))}
    return row, [] if np.isfinite(area) else ["bsa_unknown"]


def _number(value):
    return float(pd.to_numeric(value, errors="coerce")) if value is not None else float("nan")


def _ventricles(row, flags, found, conventions, phases, walls):
    """Short-axis measures into `row`, reasons into `flags`."""
    if "sax" not in found:
        flags.append("no_sax")
        return
    cine, annotation = found["sax"]
    if np.isfinite(cine.heart_rate_bpm):
        row["heart_rate_bpm"] = cine.heart_rate_bpm
    known = cine.spacing_known
    # an empty chamber is a failed segmentation, flagged below, and not a volume of 0
    volume = volumes(cine, annotation, ("lv", "myo", "rv"), conventions, relative=not known)  # (frames, 3)
    volume = np.where(volume > 0, volume, np.nan)
    flags += list(cine.flags) + ([] if known else ["spacing_unknown"])
    chosen = _phases(cine, annotation, volume[:, 0], phases)
    if chosen is None and (one := only_phase(cine, annotation)) and one[1] not in missing_frames(cine):
        row |= _one_phase(*one, volume) if known else {}
        flags += _one_phase_flags(*one, cine, annotation, volume, conventions)
        return
    if chosen is None or set(chosen) & set(missing_frames(cine)):
        flags.append("ed_es_unknown" if chosen is None else "ed_es_on_missing_frame")
        return
    ed, es = chosen
    row |= {"ed_frame": ed, "es_frame": es}
    row |= _fractions(volume[ed], volume[es])
    if known:
        row |= _millilitres(volume, ed, es, row["heart_rate_bpm"], frame_times_ms(cine), cycle_ms(cine))
    flags += quality_flags(cine, annotation, ed, es, volume, conventions)
    if walls and known:
        table = study_walls(cine, annotation, (ed, es))
        row |= wide_walls(table)
        flags += [flag for flag in table["flags"].iloc[0].split(";") if flag]


def _one_phase(phase, frame, volume):
    """What a heart at ED alone, or at ES alone, allows. volume: (frames, 3) mL of LV, myocardium, RV."""
    row = {f"{phase}_frame": frame, f"lv{phase}v_ml": volume[frame, 0], f"rv{phase}v_ml": volume[frame, 2]}
    return row | ({"lvm_g": mass_g(volume[frame, 1])} if phase == "ed" else {})


def _one_phase_flags(phase, frame, cine, annotation, volume, conventions):
    """What the other phase is missing for, and the flags of this one's slices."""
    found = quality_flags(cine, annotation, frame, frame, volume, conventions)
    own = [flag for flag in found if flag.startswith((f"{phase}_", "heart_")) and not flag.endswith("_of_cycle")]
    return [f"{'es' if phase == 'ed' else 'ed'}_unknown", *own]


def _phases(cine, annotation, lv, phases):
    """(ED, ES) or None where neither names nor curve give them."""
    chosen = given_phases(cine, annotation) if phases == "given" else None
    if chosen is not None:
        return chosen
    times = frame_times_ms(cine)
    try:
        return ed_es_from_curve(lv, times if np.isfinite(times).all() else None, cycle_ms(cine))
    except ValueError:
        return None


def _fractions(ed, es):
    return {"lvef_pct": ejection_fraction_pct(ed[0], es[0]), "rvef_pct": ejection_fraction_pct(ed[2], es[2])}


def _millilitres(volume, ed, es, heart_rate_bpm, times_ms, rr_ms):
    """volume: (frames, 3) mL of LV, myocardium, RV."""
    row = {"lvm_g": mass_g(volume[ed, 1])}
    for column, chamber in ((0, "lv"), (2, "rv")):
        curve = volume[:, column]
        row |= {
            f"{chamber}edv_ml": curve[ed],
            f"{chamber}esv_ml": curve[es],
            f"{chamber}sv_ml": curve[ed] - curve[es],
        }
        row |= {f"{chamber}_{name}": value for name, value in peak_rates(curve, times_ms, rr_ms).items()}
    row["lvco_l_min"] = row["lvsv_ml"] * heart_rate_bpm / 1000
    return row


def _long_axis(row, flags, found):
    """Area–length measures into `row`: LA and LV from 2CH and 4CH, RA from 4CH."""
    usable = {view: pair for view, pair in found.items() if view in ("2ch", "4ch") and pair[0].spacing_known}
    unknown = sorted({"2ch", "4ch"} & set(found) - set(usable))
    flags += [f"spacing_unknown:{view}" for view in unknown]
    if "4ch" in usable and has_structure(usable["4ch"][1], "ra"):
        _chamber(row, flags, "ra", single_plane_curve(*usable["4ch"]), usable["4ch"][0])
    for chamber in ("la", "lv"):
        seen = [view for view in ("2ch", "4ch") if view in usable and has_structure(usable[view][1], chamber)]
        if len(seen) == 2:
            _chamber(row, flags, chamber, biplane_curve(usable["2ch"], usable["4ch"], chamber), usable["4ch"][0])
        elif seen and chamber == "la":
            flags.append(f"la_only_in:{seen[0]}")  # single-plane LA is another measure with other reference ranges


def _chamber(row, flags, chamber, curve, cine):
    largest, smallest = extremes(curve, phase_of(cine))
    fraction = ejection_fraction_pct(largest, smallest)
    if chamber == "lv":
        row |= {"lvedv_biplane_ml": largest, "lvesv_biplane_ml": smallest, "lvef_biplane_pct": fraction}
    else:
        row |= {
            f"{chamber}_max_ml": largest,
            f"{chamber}_min_ml": smallest,
            f"{chamber}sv_ml": largest - smallest,
            f"{chamber}ef_pct": fraction,
        }
    known = int(np.isfinite(curve).sum())
    if known < FEWEST_FRAMES:
        flags.append(f"{chamber}_long_axis_frames:{known}")
