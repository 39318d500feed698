"""What real short-axis masks say without a network: EF class, and ACDC's five groups by a random forest.

SSLHF's own patients are not public. The nearest public question is ACDC's (Bernard et al., IEEE TMI 2018): five groups
from ED and ES masks; the challenge's best entries reached accuracies of about .9 to .96 on its 50 test patients.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from cmrlib.agreement import bootstrap, classification

MEASURES = (
    "lvedvi_ml_m2",
    "lvesvi_ml_m2",
    "lvsvi_ml_m2",
    "lvef_pct",
    "lvmi_g_m2",
    "rvedvi_ml_m2",
    "rvesvi_ml_m2",
    "rvsvi_ml_m2",
    "rvef_pct",
)
"""The nine of a short-axis stack, by body surface area where that is customary."""

_ALL = "all"


def group_features(measured: pd.DataFrame) -> pd.DataFrame:
    """MEASURES, thickness of the 16 segments at ED (mean, SD, largest sector), and ratios: LV to RV volume at ED and at
    ES, mass to volume at ED, wall at ES to wall at ED. A row a participant; NaN where something is undefined.

    measured: `measures.features(…, walls=True)`.
    """
    table = measured.drop_duplicates("participant_id").set_index("participant_id")
    walls = {phase: table[[f"wall_{phase}_{n:02d}_mm" for n in range(1, 17)]] for phase in ("ed", "es")}
    found = table[list(MEASURES)].copy()
    found["wall_ed_mean_mm"], found["wall_ed_sd_mm"] = walls["ed"].mean(axis=1), walls["ed"].std(axis=1)
    found["wall_ed_max_mm"] = table["wall_ed_max_mm"]
    found["lv_to_rv_ed"] = table["lvedv_ml"] / table["rvedv_ml"]
    found["lv_to_rv_es"] = table["lvesv_ml"] / table["rvesv_ml"]
    found["mass_to_volume_g_ml"] = table["lvm_g"] / table["lvedv_ml"]
    found["wall_es_to_ed"] = walls["es"].mean(axis=1) / walls["ed"].mean(axis=1)
    return found.replace([np.inf, -np.inf], np.nan).astype(float)


def predict_groups(
    features: pd.DataFrame, groups: pd.Series, folds: pd.Series, seed: int = 1, trees: int = 300
) -> pd.DataFrame:
    """Every participant's group by a forest that never saw him: participant_id, group, predicted, share (of the trees),
    fold. Nothing is tuned: as many trees as given, else scikit-learn's settings.

    groups, folds: by participant_id; folds of a committed list. Raises ValueError where one of them is unknown, or
    where a fold leaves fewer than two groups to learn.
    """
    unknown = sorted(set(features.index) - (set(groups.dropna().index) & set(folds.index)))
    if unknown:
        raise ValueError(f"no group or no fold for {unknown[:5]}; every participant needs both")
    parts = []
    for fold in sorted(folds[features.index].unique()):
        here = folds[features.index] == fold
        if groups[features.index[~here]].nunique() < 2:
            raise ValueError(f"without fold {fold} fewer than two groups are left to learn from")
        forest = RandomForestClassifier(trees, random_state=seed)  # takes NaN as it is
        forest.fit(features[~here], groups[features.index[~here]])
        shares = forest.predict_proba(features[here])
        parts.append(
            pd.DataFrame(
                {
                    "participant_id": features.index[here],
                    "group": groups[features.index[here]].to_numpy(),
                    "predicted": forest.classes_[shares.argmax(1)],
                    "share": shares.max(1),
                    "fold": fold,
                }
            )
        )
    return pd.concat(parts, ignore_index=True).sort_values("participant_id", ignore_index=True)


def group_accuracy(predicted: pd.DataFrame) -> pd.DataFrame:
    """Share of right groups with its interval over patients, over all and by group: group, accuracy, accuracy_low,
    accuracy_high, n."""
    rows = []
    for name, part in [(_ALL, predicted), *predicted.groupby("group")]:
        right = (part["group"] == part["predicted"]).astype(float)
        found = bootstrap(right, lambda a, axis=-1: np.mean(a, axis=axis)).iloc[0]
        rows.append(
            {
                "group": name,
                "accuracy": found["estimate"],
                "accuracy_low": found["low"],
                "accuracy_high": found["high"],
                "n": int(found["n"]),
            }
        )
    return pd.DataFrame(rows)


def ef_classes(reference: pd.DataFrame, other: pd.DataFrame, limit_pct: float = 50.0) -> pd.DataFrame:
    """Does another observer put hearts on the same side of an EF of `limit_pct`? `agreement.classification` with the
    reference's EF below the limit as the positive class and the other's EF as the score.

    reference, other: participant_id, lvef_pct. Participants whom only one of them measured are counted as missing.
    """
    both = reference[["participant_id", "lvef_pct"]].merge(
        other[["participant_id", "lvef_pct"]], on="participant_id", how="left", suffixes=("", "_other")
    )
    positive = (both["lvef_pct"] < limit_pct).where(both["lvef_pct"].notna()).astype(float)
    threshold = float(np.nextafter(-limit_pct, 0))  # EF strictly below the limit
    return classification(positive, -both["lvef_pct_other"], threshold)
