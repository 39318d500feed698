"""The phantom's healthy people beside published ones: distributions by sex, and correlations by sign.

Rows that describe other people, another modality or another convention are shown for orientation and do not count:
`counts` is False and the source says why. "Recalled" means that we could not look the number up.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cmrlib.phantom.anatomy import Heart
from cmrlib.phantom.diagnoses import BODY, MAPSE_MM, RANGES_95
from cmrlib.phantom.subject import Subject

MODELLED = 150
"""Walls follow from the modelled heart, which takes time: of the first so many subjects."""

PETERSEN = "Petersen 2017, J Cardiovasc Magn Reson 19:18, middle and width of the 95 % range"
RUIJSINK = "Ruijsink 2020, JACC Cardiovasc Imaging 13:684, three age groups of the UK Biobank pooled"
KAWEL_BOEHM = "Kawel-Boehm 2020, J Cardiovasc Magn Reson 22:87"
DALEN = "Dalen 2010, Circ Cardiovasc Imaging 3:614, pulsed tissue Doppler: echo, all adult ages"
SOURCES = {
    "annulus_mm": "Ricci 2020, J Cardiovasc Magn Reson 23:5, 4CH at ED, middle and width of the 95 % range",
    "lv_length_mm": "Aquaro 2017, 4CH at ED, middle and width of the 95 % range",
}

MEANS = [  # quantity, men (mean, SD), women (mean, SD), source, does it count
    ("lvm_index_g_m2", (53, 9), (42, 7), "Petersen 2017, J Cardiovasc Magn Reson 19:18, mean and SD", True),
    ("lvco_l_min", (6.1, 1.1), (4.9, 1.0), f"{KAWEL_BOEHM}, table 5 (papillary muscles in the volume)", True),
    ("la_min_ml", (30, 10), (26, 8), "Petersen 2017, LA maximum less LA stroke volume; SD of Kawel-Boehm 2020", True),
    ("mapse_mm", MAPSE_MM, MAPSE_MM, "Seemann 2017, atrioventricular plane displacement, both sexes", True),
    ("lv_pfr_early_ml_s", (375, 93), (329, 67), f"{RUIJSINK}; not Kawel-Boehm's 527 and 477 (from 20 years)", True),
    ("lv_pfr_late_ml_s", (252, 88), (219, 78), RUIJSINK, True),
    ("age_years", (59, 8.5), (59, 8.5), "Petersen 2017: 45-74 years in even groups, SD of a flat distribution", True),
    ("wall_mm", (6.3, 1.1), (5.3, 0.9), "Kawel 2012, Circ Cardiovasc Imaging 5:500, mid cavity: MESA, sectors", False),
    ("height_m", BODY["M"]["height_m"], BODY["F"]["height_m"], "UK Biobank, recalled", False),
    ("bmi", BODY["M"]["bmi"], BODY["F"]["bmi"], "UK Biobank below 30, recalled", False),
    ("heart_rate_bpm", BODY["M"]["heart_rate_bpm"], BODY["F"]["heart_rate_bpm"], "UK Biobank imaging, recalled", False),
    ("weight_kg", (78, 10), (62, 9), "UK Biobank with a BMI below 30, recalled", False),
    ("bsa_m2", (1.93, 0.15), (1.65, 0.14), "Petersen 2017, mass over mass index; SD ours", False),
    ("ra_min_ml", (55, 18), (37, 10), "Petersen 2017, RA maximum × (1 - RAEF); SD ours", False),
    ("sprime_cm_s", (8.6, 1.4), (8.2, 1.3), DALEN, False),
    (
        "eprime_cm_s",
        (9.5, 3.0),
        (9.5, 3.0),
        "no CMR table found: broad, ours (Dalen 2010 by pulsed Doppler 10.8 and 11.8; MVnet 2021 in patients 6.6±3.7)",
        False,
    ),
    ("aprime_cm_s", (7.5, 2.5), (7.5, 2.5), "no CMR table found: broad, ours", False),
]

CORRELATIONS = [  # first, second, sign, source
    ("height_m", "lvedv_ml", 1, "textbook: volumes scale with the body"),
    ("bsa_m2", "lvm_g", 1, "Petersen 2017, PLoS One 12:e0185114 (body mass)"),
    ("age_years", "lvedv_ml", -1, "Petersen 2017, J Cardiovasc Magn Reson 19:18"),
    ("age_years", "rvedv_ml", -1, "Petersen 2017, J Cardiovasc Magn Reson 19:18"),
    ("age_years", "eprime_cm_s", -1, "PMC4924872, r = -.53; Dalen 2010"),
    ("age_years", "early_over_late", -1, "Dalen 2010; textbook"),
    ("age_years", "mapse_mm", -1, "Wang 2023, Eur Heart J Cardiovasc Imaging 24:1384; Støylen 2020, Open Heart 7"),
    ("age_years", "lv_pfr_early_ml_s", -1, "Ruijsink 2020, JACC Cardiovasc Imaging 13:684"),
    ("heart_rate_bpm", "lvedv_ml", -1, "Ma 2023, Front Cardiovasc Med, UK Biobank"),
    ("heart_rate_bpm", "systole_share", 1, "QS2 against RR: Lance; textbook"),
    ("lvedv_ml", "rvedv_ml", 1, "textbook: both eject the same"),
    ("lvedv_ml", "lvm_g", 1, "textbook"),
    ("lvsv_ml", "rvsv_ml", 1, "textbook: the circulation is in series"),
    ("age_years", "la_max_ml", 1, "textbook; weak in health (Maceira 2010, J Cardiovasc Magn Reson 12:65: none)"),
    ("bsa_m2", "la_max_ml", 1, "Petersen 2017, PLoS One 12:e0185114 (body mass)"),
    ("mapse_mm", "lvef_pct", 1, "textbook; Støylen 2020, Open Heart 7:e001243"),
    ("la_max_ml", "laef_pct", -1, "implied by the spreads of Petersen's LA maximum, stroke volume and fraction"),
    ("lvedv_ml", "lv_length_mm", 1, "geometry"),
]


def table() -> pd.DataFrame:
    """What is published: quantity, sex, published_mean, published_sd, source, counts; a row a quantity and sex."""
    rows = [
        (name, sex, (low + high) / 2, (high - low) / 3.92, SOURCES.get(name, PETERSEN), True)
        for sex, ranges in RANGES_95.items()
        for name, (low, high) in ranges.items()
    ]
    rows += [
        (name, sex, *values, source, counts)
        for name, men, women, source, counts in MEANS
        for sex, values in (("M", men), ("F", women))
    ]
    names = ["quantity", "sex", "published_mean", "published_sd", "source", "counts"]
    return pd.DataFrame(rows, columns=names)


def quantities(subjects: Sequence[Subject]) -> pd.DataFrame:
    """One row a subject: its measures, body and the quantities that `table` and `CORRELATIONS` need."""
    rows = []
    for s in subjects:
        rows.append(
            s.measures()
            | {
                "sex": s.sex,
                "age_years": s.age_years,
                "height_m": s.height_m,
                "weight_kg": s.weight_kg,
                "bmi": s.weight_kg / s.height_m**2,
                "lvm_index_g_m2": s.lvm_g / s.bsa_m2,
                "systole_share": s.es_ms / s.rr_ms,
                "lv_pfr_early_ml_s": s.peaks["pfr_early_ml_s"],
                "lv_pfr_late_ml_s": s.peaks["pfr_late_ml_s"],
                "early_over_late": s.e_prime_cm_s / s.a_prime_cm_s,
            }
        )
    return pd.DataFrame(rows)


def compare(subjects: Sequence[Subject]) -> pd.DataFrame:
    """Generated against published, a row a quantity and sex; meant for healthy subjects (diagnosis NOR).

    z: difference of the means in published SDs. sd_ratio: generated over published. Also n, mean, sd and `table`'s
    columns.
    """
    drawn = quantities(subjects)
    drawn["wall_mm"] = pd.Series([Heart(s).wall_ed_mm for s in subjects[:MODELLED]]).reindex(drawn.index)
    rows = []
    for row in table().itertuples(index=False):
        values = drawn.loc[drawn["sex"] == row.sex, row.quantity].dropna().to_numpy(float)
        mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
        rows.append(
            (
                row.quantity,
                row.sex,
                len(values),
                mean,
                sd,
                row.published_mean,
                row.published_sd,
                (mean - row.published_mean) / row.published_sd,
                sd / row.published_sd,
                row.source,
                row.counts,
            )
        )
    return pd.DataFrame(
        rows,
        columns=[
            "quantity",
            "sex",
            "n",
            "mean",
            "sd",
            "published_mean",
            "published_sd",
            "z",
            "sd_ratio",
            "source",
            "counts",
        ],
    )


def correlations(subjects: Sequence[Subject]) -> pd.DataFrame:
    """Pearson's r within the sexes (values less their sex's mean) beside the expected sign; a row a pair."""
    drawn = quantities(subjects)
    within = drawn.drop(columns="sex") - drawn.groupby("sex").transform("mean")
    rows = [(a, b, sign, float(within[a].corr(within[b])), len(drawn), source) for a, b, sign, source in CORRELATIONS]
    return pd.DataFrame(rows, columns=["first", "second", "sign", "r", "n", "source"])
