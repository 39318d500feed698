"""Models of numbers in place of pictures: the paper's random forest on measurements."""

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.measures import FEATURES, features
from cmrlib.measures.arealength import single_plane_curve
from cmrlib.measures.names import indexed_features
from cmrlib.measures.plausible import withhold
from cmrlib.measures.volumes import bsa_m2, ejection_fraction_pct, mass_g

GRID = {
    "n_estimators": list(range(10, 101)),
    "max_depth": list(range(2, 17)),
    "max_features": ["sqrt", "log2"],
    "min_samples_leaf": list(range(2, 9)),
}
"""Section 3.2. The paper's best: 20, 8, log2, 2."""


def measured_features(cohort, observer: str, subjects=None) -> pd.DataFrame:
    """participant_id and the 18 features divided by body surface area, as section 2.2.1 has it, EF too.

    From all views where the observer drew the short axis, with ED and ES from its own curves; from 4CH alone otherwise
    (`four_chamber_features`). One row per subject (the first session).
    """
    subjects = list(cohort.subjects["participant_id"] if subjects is None else subjects)
    reference = cohort.observer(observer)
    sax = cohort.cines[(cohort.cines["view"] == "sax") & cohort.cines["participant_id"].isin(subjects)]
    whole = any(reference.has(name) for name in sax["cine"])
    if whole:
        table = features(cohort, observer, subjects=subjects, phases="curve")
    else:
        table = four_chamber_features(cohort, observer, subjects)
    table = table.drop_duplicates("participant_id").reindex(columns=["participant_id", "bsa_m2", *FEATURES])
    return indexed_features(table, literal=True)


def four_chamber_features(cohort, observer: str, subjects) -> pd.DataFrame:
    """The 18 features as far as one view can tell: every chamber by the single-plane area–length method, mass from what
    the wall adds to it. participant_id, bsa_m2, FEATURES; NaN where a chamber was not found or a value is impossible.
    """
    people = cohort.subjects.drop_duplicates("participant_id").set_index("participant_id")
    people = people.reindex(columns=["height_m", "weight_kg", "heart_rate_bpm"]).apply(pd.to_numeric, errors="coerce")
    cines = cohort.cines[(cohort.cines["view"] == "4ch") & cohort.cines["participant_id"].isin(set(subjects))]
    rows, reference = [], cohort.observer(observer)
    for row in cines.drop_duplicates("participant_id").itertuples():
        height_m, weight_kg, rate = people.loc[row.participant_id]
        found, cine = {}, cohort.cine(row.cine)
        if reference.has(row.cine) and cine.spacing_known:
            rate = cine.heart_rate_bpm if np.isfinite(cine.heart_rate_bpm) else rate
            found = _single_plane(cine, reference.mask(row.cine), rate)
        rows.append({"participant_id": row.participant_id, "bsa_m2": float(bsa_m2(height_m, weight_kg))} | found)
    return pd.DataFrame(rows, columns=["participant_id", "bsa_m2", *FEATURES])


def _single_plane(cine, annotation, heart_rate_bpm):
    """FEATURES of one 4CH cine."""
    curves = {name: single_plane_curve(cine, annotation, name) for name in ("lv", "rv", "la", "ra")}
    found = {}
    for chamber, curve in curves.items():
        largest, smallest = ("edv", "esv") if chamber.endswith("v") else ("_max", "_min")
        high, low = (np.nanmax(curve), np.nanmin(curve)) if np.isfinite(curve).any() else (np.nan, np.nan)
        found |= {f"{chamber}{largest}_ml": high, f"{chamber}{smallest}_ml": low}
        found |= {f"{chamber}sv_ml": high - low, f"{chamber}ef_pct": ejection_fraction_pct(high, low)}
    if np.isfinite(curves["lv"]).any():
        with_wall = np.where(annotation.mask == STRUCTURES["myo"], STRUCTURES["lv"], annotation.mask)
        wall_ml = single_plane_curve(cine, replace(annotation, mask=with_wall), "lv") - curves["lv"]
        found["lvm_g"] = float(mass_g(wall_ml[np.nanargmax(curves["lv"])]))
    found["lvco_l_min"] = found["lvsv_ml"] * heart_rate_bpm / 1000
    withhold(found)
    return found


def forest_search(table: pd.DataFrame, labels: pd.Series, seed: int = 0, n_iter: int = 50, folds: int = 10):
    """Random forest by random search with cross-validation over GRID, on rows of labelled subjects.

    table: participant_id and numbers. labels: participant_id → 0 or 1. Missing numbers become the training median.
    Returns the fitted RandomizedSearchCV, scored by ROC AUC. With fewer cases of a class than folds, there are as many
    folds as cases. Raises ValueError for fewer than two cases of a class.
    """
    rows = table.set_index("participant_id")
    y = labels.reindex(rows.index).dropna().astype(int)
    without, having = (int((y == value).sum()) for value in (0, 1))
    if min(without, having) < 2:
        raise ValueError(f"a forest needs two cases of each class, got {without} without and {having} with")
    search = RandomizedSearchCV(
        make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True), RandomForestClassifier(random_state=seed)
        ),
        {f"randomforestclassifier__{name}": values for name, values in GRID.items()},
        n_iter=n_iter,
        scoring="roc_auc",
        cv=StratifiedKFold(min(folds, without, having), shuffle=True, random_state=seed),
        random_state=seed,
    )
    return search.fit(rows.loc[y.index], y)


def probabilities(model, table: pd.DataFrame, subjects) -> pd.Series:
    """participant_id → probability; NaN for subjects of whom the table has nothing."""
    rows = table.set_index("participant_id").reindex(list(subjects))
    found = model.predict_proba(rows[list(model.feature_names_in_)])[:, 1]
    return pd.Series(found, index=rows.index).where(rows.notna().any(axis=1))
