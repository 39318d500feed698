"""Patients grouped by numbers: clustering with and without a covariate regressed out, its stability, and known classes.

For any table with one row per subject: embeddings of a network, the 18 measurements, an expert's spreadsheet.

    features = pd.read_csv("embeddings.csv", index_col="participant_id")
    groups = cluster(regress_out(features, subjects["sex"]), 2)
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import kruskal
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from cmrlib.agreement.areas import holm
from cmrlib.agreement.ranks import unpaired_test
from cmrlib.agreement.resampling import MIN_SUBJECTS, complete, intervals


@dataclass(frozen=True)
class Groups:
    """labels: indexed by participant_id, 1 for the largest group. tree: scipy's linkage of the same subjects."""

    labels: pd.Series
    tree: np.ndarray

    @property
    def n(self) -> int:
        return int(self.labels.nunique())


def standardised(features: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features with mean 0 and SD 1, what was left out or filled): constants go, missing values become the mean."""
    missing, flat = features.isna().sum(), ~(features.std() > 1e-12)
    notes = [{"feature": f, "note": f"{n} missing, filled with the mean"} for f, n in missing.items() if n]
    notes += [{"feature": f, "note": "constant, left out"} for f in features.columns[flat]]
    kept = features.loc[:, ~flat]
    if not kept.shape[1]:
        raise ValueError("no feature varies between subjects, so there is nothing to group them by")
    return ((kept - kept.mean()) / kept.std()).fillna(0.0), pd.DataFrame(notes, columns=["feature", "note"])


def regress_out(features: pd.DataFrame, covariate: pd.Series) -> pd.DataFrame:
    """Residuals of each feature after a linear regression on a covariate such as sex, plus its mean (HeartMAE, § 4.5).

    covariate: indexed by participant_id; text is taken as classes. Subjects without it are left out.
    """
    known = covariate.reindex(features.index).dropna()
    if known.empty:
        raise ValueError(f"{covariate.name or 'the covariate'} is known for no subject, so it cannot be regressed out")
    numbers = known.astype(float) if pd.api.types.is_numeric_dtype(known) else pd.get_dummies(known, drop_first=True)
    design = np.c_[np.ones(len(known)), numbers.to_numpy(float)]
    values = features.loc[known.index].to_numpy(float)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return pd.DataFrame(values - fitted + values.mean(0), known.index, features.columns)


def cluster(features: pd.DataFrame, n_groups: int = 2) -> Groups:
    """Agglomerative clustering (Ward's linkage on standardised features). Raises ValueError for too few subjects."""
    if not 2 <= n_groups < len(features):
        raise ValueError(
            f"{n_groups} groups of {len(features)} subjects: expected at least 2 groups and more subjects than groups"
        )
    tree = linkage(standardised(features)[0].to_numpy(), "ward")
    labels = pd.Series(fcluster(tree, n_groups, "maxclust"), features.index, name="cluster")
    return Groups(labels.map({label: n + 1 for n, label in enumerate(labels.value_counts().index)}), tree)


def top_features(features: pd.DataFrame, groups: Groups, most: int = 60) -> pd.DataFrame:
    """The standardised features that differ most between the groups, largest difference first; subjects are rows."""
    numbers = standardised(features)[0].loc[groups.labels.index]
    spread = numbers.groupby(groups.labels).mean().std()
    return numbers[spread.sort_values(ascending=False, kind="stable").index[:most]]


def stability(features: pd.DataFrame, n_groups: int = 2, n_boot: int = 100, seed: int = 1) -> pd.DataFrame:
    """Adjusted Rand index between the clustering of all and those of bootstrap samples, over the subjects drawn.

    One row: stability (mean over samples), low, high (2.5 and 97.5 %), n, n_boot (samples with more subjects than
    groups; NaN where there is none). 1: every sample gives the same groups; 0: no more alike than by chance.
    """
    features = features.copy()  # a table of single columns, as read from CSV, is a hundred times as slow
    whole, rng, found = cluster(features, n_groups).labels.to_numpy(), np.random.default_rng(seed), []
    for _ in range(n_boot):
        drawn = np.unique(rng.integers(len(features), size=len(features)))
        if len(drawn) > n_groups:
            again = cluster(features.iloc[drawn], n_groups).labels.to_numpy()
            found.append(adjusted_rand_score(whole[drawn], again))
    low, high = np.quantile(found, [0.025, 0.975]) if found else (np.nan, np.nan)
    mean = float(np.mean(found)) if found else np.nan
    return pd.DataFrame([{"stability": mean, "low": low, "high": high, "n": len(features), "n_boot": len(found)}])


def purity(groups, classes) -> float:
    """Share of subjects who are in the commonest class of their group."""
    counts = contingency_matrix(classes, groups)  # (classes, groups)
    return float(counts.max(axis=0).sum() / counts.sum())


def agreement_with(groups: Groups, classes: dict) -> pd.DataFrame:
    """Agreement of groups with known classes, one row per name: adjusted_rand, purity with intervals over subjects,
    chance (the purity of a single group), n. classes: name → Series indexed by participant_id."""
    rows = []
    for name, known in classes.items():
        known = known.reindex(groups.labels.index).dropna()
        if known.nunique() < 2:
            continue
        row = {"classes": name, "n_classes": int(known.nunique())}
        pairs = complete(groups.labels[known.index].to_numpy(), pd.factorize(known)[0])
        row |= intervals(pairs, 400, 0, adjusted_rand=adjusted_rand_score, purity=purity)
        rows.append(row | {"chance": known.value_counts(normalize=True).iloc[0], "n": len(known)})
    return pd.DataFrame(rows)


def between_groups(groups: Groups, values: pd.DataFrame) -> pd.DataFrame:
    """Each value in each pair of groups, one row per pair: value, group_a, group_b, medians, Mann–Whitney p, effect
    with interval (`agreement.unpaired_test`), p_holm (p of all rows, corrected by Holm), and p_all, Kruskal–Wallis over
    all groups (of two, Mann–Whitney's p)."""
    rows = []
    for name in values:
        known = values[name].reindex(groups.labels.index)
        parts = {label: known[groups.labels == label].to_numpy(float) for label in range(1, groups.n + 1)}
        pairs = [
            unpaired_test(parts[a], parts[b]).assign(value=name, group_a=a, group_b=b)
            for a, b in combinations(parts, 2)
        ]
        tested = [part for part in (part[np.isfinite(part)] for part in parts.values()) if len(part) >= MIN_SUBJECTS]
        several = len(tested) > 2 and np.ptp(np.concatenate(tested)) > 0
        p_all = kruskal(*tested).pvalue if several else pairs[0]["p"].iloc[0] if len(parts) == 2 else np.nan
        rows += [pair.assign(p_all=p_all) for pair in pairs]
    table = pd.concat(rows, ignore_index=True)
    table["p_holm"] = holm(table["p"])
    first = ["value", "group_a", "group_b"]
    return table[[*first, *[c for c in table if c not in first]]]
