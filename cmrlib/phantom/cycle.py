"""Volume, valve-plane and valve curves over the cardiac cycle, 0 to 1, periodic with the RR interval.

All are sums of smooth steps (continuous slopes), so that every peak velocity follows from a share and a duration:
a step of height h over d ms is fastest in its middle, 1.5 h / d.

ED is time 0 (largest LV), ES is `es_ms` (smallest LV). In atrial fibrillation nothing happens before ED: no kick in
the volumes, the plane or the atria. Early filling and the plane's recoil rest in diastasis; fast hearts have none, and
the waves run into each other.
"""

import numpy as np

ISOVOLUMIC_RELAXATION_MS = 65.0
PLANE_LEADS_MS = 30.0
"""The valve plane moves before the aortic valve opens."""

TRICUSPID_LEADS_MS = 15.0
"""The tricuspid valve opens before the mitral one."""

SLACK, SLOW = 0.012, 0.06
"""What volumes do while all valves are closed, so that ED and ES are single instants; what diastasis adds."""


def rise(x):
    """Smooth step from 0 (x ≤ 0) to 1 (x ≥ 1); its steepest slope is 1.5."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bump(x):
    """Slope of `rise`, scaled to a peak of 1 at x = .5; 0 outside 0 … 1."""
    x = np.clip(x, 0, 1)
    return 4 * x * (1 - x)


def _push(x):
    """Smooth step that is fastest in its first half: ejection, and the descent of the plane."""
    return 0.5 * rise(x) + 0.5 * rise(x / 0.7)


def wave_ms(subject) -> dict[str, float]:
    """Onset of ejection and valve openings (ms after the trigger), lengths of the filling waves (ms)."""
    s, opening = subject, subject.es_ms + ISOVOLUMIC_RELAXATION_MS
    room, most = s.rr_ms - opening, 0.85 if s.rhythm == "af" else 0.6
    return {
        "ejection": max(25.0, s.es_ms - s.lvet_ms),
        "opening": opening,
        "room": room,
        "early": min(s.filling_early_ms, most * room),
        "late": min(s.filling_late_ms, 0.4 * room),
        "plane_early": min(s.plane_early_ms, most * room),
        "plane_late": min(s.plane_late_ms, 0.4 * room),
    }


def cycle(subject, times_ms) -> dict[str, np.ndarray]:
    """The cycle at times after the trigger (any shape; periodic with the RR interval); dimensionless, 0 … 1.

    emptied, rv_emptied: 0 at ED, 1 at ES. plane: descent of the mitral plane, 0 at ED, 1 at ES. atrial, ra_fullness:
    0 smallest, 1 fullest. mitral_open, tricuspid_open, aortic_open: 0 closed. jet, decoy: strength of
    the plumes in the LA (`jets`). inflow: speed through the mitral valve, 1 at the faster of its two waves.
    """
    s, w = subject, wave_ms(subject)
    t = np.mod(np.asarray(times_ms, float), s.rr_ms)
    kick, opening, tricuspid = s.rhythm != "af", w["opening"], w["opening"] - TRICUSPID_LEADS_MS
    lv_early = s.early_filling if kick else 1.0
    rv_early = 0.9 * lv_early if kick else 1.0  # the right side fills later and more by its atrium
    rv_ms = min(1.15 * w["early"], w["room"] - (kick and w["late"]))
    early, late = _bump((t - opening) / w["early"]), _bump((t - (s.rr_ms - w["late"])) / w["late"])
    ratio = (1 - lv_early) / lv_early * w["early"] / w["late"]  # A wave over E wave
    return {
        "emptied": _ventricle(s, w, t, lv_early, w["early"]),
        "rv_emptied": _ventricle(s, w, t, rv_early, rv_ms),
        "plane": _plane(s, w, t, kick),
        "atrial": _atrium(s, w, t, opening, kick * min(0.7, 1.15 * (1 - s.early_filling))),
        "ra_fullness": _atrium(s, w, t, tricuspid, kick * min(0.7, 1.25 * (1 - s.early_filling))),
        "mitral_open": _valve(s, w, t, opening, kick),
        "tricuspid_open": _valve(s, w, t, tricuspid, kick),
        "aortic_open": np.clip(rise((t - w["ejection"]) / 40) - rise((t - s.es_ms + 60) / 60), 0, 1),
        "jet": _plume(s.plumes[0], w, t, s.rr_ms),
        "decoy": _plume(s.plumes[1], w, t, s.rr_ms),
        "inflow": np.maximum(early, ratio * late) / max(1.0, ratio),
    }


def peaks(subject) -> dict[str, float]:
    """Fastest motion of the mitral plane (s', e', a', all positive) and filling of the LV; late ones NaN in AF.

    Early and late meet where atrial contraction begins.
    """
    s, w = subject, wave_ms(subject)
    step = s.rr_ms / 1500
    t = np.arange(1500) * step
    curves = cycle(s, np.append(t, s.rr_ms - 1e-6))
    down = np.diff(curves["plane"]) / step * s.mapse_mm * 100  # mm/ms = 100 cm/s
    filling = -np.diff(curves["emptied"]) / step * (s.lvedv_ml - s.lvesv_ml) * 1000
    diastole, late = t >= s.es_ms, t >= s.rr_ms - max(w["late"], w["plane_late"])
    kick = s.rhythm != "af"
    return {
        "sprime_cm_s": float(down[~diastole].max()),
        "eprime_cm_s": float(-down[diastole & ~late].min()),
        "aprime_cm_s": float(-down[late].min()) if kick else float("nan"),
        "pfr_early_ml_s": float(filling[diastole & ~late].max()),
        "pfr_late_ml_s": float(filling[late].max()) if kick else float("nan"),
    }


def _waves(s, t, opening, early_ms, late_ms):
    """Steps of early filling from `opening` on, of atrial contraction, and of the whole time from `opening`."""
    late = rise((t - (s.rr_ms - late_ms)) / late_ms)
    return rise((t - opening) / early_ms), late, rise((t - opening) / (s.rr_ms - opening))


def _ventricle(s, w, t, share, early_ms):
    start = max(10.0, w["ejection"] - PLANE_LEADS_MS)
    systole = SLACK * rise(t / s.es_ms) + (1 - SLACK) * _push((t - start) / (s.es_ms - start))
    early, late, slow = _waves(s, t, w["opening"], early_ms, w["late"])
    filled = (1 - SLOW) * (share * early + (1 - share) * late) + SLOW * slow
    filled = SLACK * rise((t - s.es_ms) / (w["opening"] - s.es_ms)) + (1 - SLACK) * filled
    return np.where(t <= s.es_ms, systole, 1 - filled)


def _plane(s, w, t, kick):
    """Descends with ejection, recoils early (before the valve opens), rests, and is pulled up by the atrium."""
    start = max(10.0, w["ejection"] - PLANE_LEADS_MS)
    share = s.plane_early if kick else 1.0
    early, late, slow = _waves(s, t, w["opening"] - 20.0, w["plane_early"], w["plane_late"])
    up = (1 - SLOW) * (share * early + (1 - share) * late) + SLOW * slow
    return np.where(t <= s.es_ms, _push((t - start) / (s.es_ms - start)), 1 - up)


def _atrium(s, w, t, opening, booster):
    """Reservoir, conduit, booster; the booster's share goes with the ventricle's late filling (about .37 of the LA)."""
    early, late, conduit = _waves(s, t, opening, w["early"], w["late"])
    emptied = (0.95 - booster) * early + 0.05 * conduit + booster * late
    return np.where(t <= opening, rise(t / opening), 1 - emptied)


def _valve(s, w, t, opening, kick):
    """Opens, drifts towards closure in diastasis, opens again with the atrium, closes before ED."""
    opened = rise((t - opening) / 60) - (0.55 if kick else 0.35) * rise((t - opening - 140) / 80)
    again = 0.5 * kick * rise((t - (s.rr_ms - w["late"])) / w["late"])
    return np.clip(opened + again - rise((t - s.rr_ms + 45) / 45), 0, 1)


def _plume(plume, w, t, rr_ms):
    """Strength of a plume from its start to its end; systole ends as the mitral valve opens."""
    systole = w["opening"] - 50
    start, end = (
        share * systole if share <= 1 else systole + (share - 1) * (rr_ms - systole)
        for share in (plume.start, plume.end)
    )
    return plume.strength * rise((t - start) / 50) * (1 - rise((t - end) / 50))
