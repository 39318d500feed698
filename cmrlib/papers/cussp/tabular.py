"""Models of numbers in place of pictures: the paper's random forest, and what bounds all models from both sides."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort.files import atomic
from cmrlib.measures import FEATURES, features
from cmrlib.measures.arealength import area_length, single_plane_ml, valve_middle
from cmrlib.measures.names import indexed_features, indexed_name
from cmrlib.measures.plausible import withhold
from cmrlib.measures.volumes import bsa_m2, ejection_fraction_pct, mass_g

GRID = {
    "n_estimators": list(range(10, 101)),
    "max_depth": list(range(2, 17)),
    "max_features": ["sqrt", "log2"],
    "min_samples_leaf": list(range(2, 9)),
}
"""Section 3.2. The paper's best: 20, 8, log2, 2."""

TRUE_PARAMETERS = [*FEATURES, "regurgitant_ml", "forward_sv_ml", "annulus_mm", "mapse_mm"]
"""What a phantom knows of a heart: the 18 features and the leak itself."""


def measured_features(cohort, observer: str, subjects=None, cache=None) -> pd.DataFrame:
    """participant_id and the 18 features divided by body surface area, as section 2.2.1 has it, EF too.

    From all views where the observer drew the short axis; from 4CH alone otherwise (`four_chamber_features`). One row
    a subject (the first session). cache: folder in which the table is found again.
    """
    subjects = list(cohort.subjects["participant_id"] if subjects is None else subjects)
    key = hashlib.blake2b(json.dumps([cohort.digest, observer, subjects]).encode(), digest_size=8).hexdigest()
    path = None if cache is None else Path(cache) / f"features_{key}.csv"
    if path is not None and path.exists():
        return pd.read_csv(path, dtype={"participant_id": str})
    looked = cohort.observer(observer)
    sax = cohort.cines[(cohort.cines["view"] == "sax") & cohort.cines["participant_id"].isin(subjects)]
    if any(looked.has(name) for name in sax["cine"]):
        table = features(cohort, observer, subjects=subjects).drop_duplicates("participant_id")
    else:
        table = four_chamber_features(cohort, observer, subjects)
    table = indexed_features(table.reindex(columns=["participant_id", "bsa_m2", *FEATURES]), literal=True)
    if path is not None:
        with atomic(path) as part:
            table.to_csv(part, index=False)
    return table


def four_chamber_features(cohort, observer: str, subjects) -> pd.DataFrame:
    """The 18 features as far as one view can say: every chamber by the single-plane area–length method, mass from what
    the wall adds to it. Coarser than section 2.1's, for a cohort without short axis; participant_id, bsa_m2, FEATURES.
    NaN where a chamber was not found, and what no heart has.
    """
    looked = cohort.observer(observer)
    people = cohort.subjects.drop_duplicates("participant_id").set_index("participant_id")
    cines = cohort.cines[(cohort.cines["view"] == "4ch") & cohort.cines["participant_id"].isin(set(subjects))]
    rows = []
    for row in cines.drop_duplicates("participant_id").itertuples():
        person = people.loc[row.participant_id]
        body = [pd.to_numeric(person.get(name), errors="coerce") for name in ("height_m", "weight_kg")]
        found = {"participant_id": row.participant_id, "bsa_m2": float(bsa_m2(*body))}
        if looked.has(row.cine):
            rate = float(pd.to_numeric(person.get("heart_rate_bpm"), errors="coerce"))
            cine = cohort.cine(row.cine)
            rate = cine.heart_rate_bpm if np.isfinite(cine.heart_rate_bpm) else rate
            found |= _single_plane(cine, looked.mask(row.cine), rate)
        rows.append(found)
    return pd.DataFrame(rows, columns=["participant_id", "bsa_m2", *FEATURES])


def _single_plane(cine, annotation, heart_rate_bpm):
    """FEATURES of one 4CH cine."""
    if not cine.spacing_known:
        return {}
    spacing, frames = cine.spacing_mm[1:], sorted(annotation.annotated)
    curves = {name: np.full(len(frames), np.nan) for name in ("lv", "epi", "rv", "la", "ra")}
    for n, t in enumerate(frames):
        mask = np.asarray(annotation.mask[t, 0])
        mitral, tricuspid = (valve_middle(mask, spacing, name) for name in ("la", "ra"))
        whole = np.where(mask == STRUCTURES["myo"], STRUCTURES["lv"], mask)  # cavity and wall as one
        for name, labels, structure, valve in (
            ("lv", mask, "lv", mitral),
            ("epi", whole, "lv", mitral),
            ("la", mask, "la", mitral),
            ("rv", mask, "rv", tricuspid),
            ("ra", mask, "ra", tricuspid),
        ):
            if valve is not None and (labels == STRUCTURES[structure]).any():
                curves[name][n] = single_plane_ml(*area_length(labels, spacing, structure, valve))
    found = {}
    for name, ends in (
        ("lv", ("edv", "esv")),
        ("rv", ("edv", "esv")),
        ("la", ("_max", "_min")),
        ("ra", ("_max", "_min")),
    ):
        known = np.isfinite(curves[name]).any()
        high, low = (np.nanmax(curves[name]), np.nanmin(curves[name])) if known else (np.nan, np.nan)
        found |= {
            f"{name}{ends[0]}_ml": high,
            f"{name}{ends[1]}_ml": low,
            f"{name}sv_ml": high - low,
            f"{name}ef_pct": ejection_fraction_pct(high, low),
        }
    if np.isfinite(curves["lv"]).any():
        ed = int(np.nanargmax(curves["lv"]))
        found["lvm_g"] = float(mass_g(curves["epi"][ed] - curves["lv"][ed]))
    found["lvco_l_min"] = found["lvsv_ml"] * heart_rate_bpm / 1000
    withhold(found)
    return found


def true_features(cohort, observer: str = "truth") -> pd.DataFrame:
    """The same 18 indexed features from an observer's table of measures: for phantoms, from their formulas."""
    table = cohort.observer(observer).measures().drop_duplicates("participant_id")
    return indexed_features(table.drop(columns="session", errors="ignore"), literal=True)


def forest_search(table: pd.DataFrame, labels: pd.Series, seed: int = 0, n_iter: int = 50, folds: int = 10):
    """Random forest by random search with cross-validation over GRID, on rows of labelled subjects.

    table: participant_id and numbers. labels: participant_id → 0 or 1. Missing numbers become the training median.
    Returns the fitted RandomizedSearchCV, scored by ROC AUC. With fewer cases of a class than folds, there are as many
    folds as cases. Raises ValueError where one class is missing.
    """
    y, x = _known(table, labels)
    fewest = int(min((y == 0).sum(), (y == 1).sum()))
    if fewest < 2:
        raise ValueError(
            f"a forest needs two cases of each class, got {int((y == 0).sum())} without and "
            f"{int((y == 1).sum())} with: one class only in a fold teaches nothing"
        )
    search = RandomizedSearchCV(
        make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True), RandomForestClassifier(random_state=seed)
        ),
        {f"randomforestclassifier__{name}": values for name, values in GRID.items()},
        n_iter=n_iter,
        scoring="roc_auc",
        cv=StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed),
        random_state=seed,
        n_jobs=1,
    )
    return search.fit(x, y)


def ceiling_model(table: pd.DataFrame, labels: pd.Series):
    """Logistic regression on the phantom's true parameters: no picture can tell more. table: measures of the truth."""
    y, x = _known(table[["participant_id", *[name for name in TRUE_PARAMETERS if name in table]]], labels)
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=10.0, max_iter=10_000),
    )
    return model.fit(x, y)


def probabilities(model, table: pd.DataFrame, subjects) -> pd.Series:
    """participant_id → probability; a table without one of the subjects gives NaN."""
    rows = table.set_index("participant_id").reindex(list(subjects))
    names = getattr(model, "feature_names_in_", rows.columns)
    return pd.Series(model.predict_proba(rows[list(names)])[:, 1], index=rows.index).where(rows.notna().any(axis=1))


def search_table(search) -> pd.DataFrame:
    """The best setting beside the paper's: a row a parameter."""
    paper = {"n_estimators": 20, "max_depth": 8, "max_features": "log2", "min_samples_leaf": 2}
    best = {name.split("__")[1]: value for name, value in search.best_params_.items()}
    return pd.DataFrame([{"parameter": name, "found": best[name], "paper": paper[name]} for name in GRID])


def importances(search) -> pd.DataFrame:
    """Mean decrease of impurity of each feature, largest first."""
    forest = search.best_estimator_[-1]
    table = pd.DataFrame({"feature": search.feature_names_in_, "importance": forest.feature_importances_})
    return table.sort_values("importance", ascending=False, ignore_index=True)


def _known(table, labels):
    rows = table.set_index("participant_id")
    y = labels.reindex(rows.index)
    return y[y.notna()].to_numpy(int), rows[y.notna().to_numpy()]


LITERAL = [indexed_name(name) for name in FEATURES]
"""Columns of `measured_features`."""
