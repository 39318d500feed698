"""Patients grouped by numbers: clustering with and without sex regressed out, its stability, and what it agrees with.

For any table with one row a subject: embeddings of a network, the 18 measurements, an expert's spreadsheet.

    table = read_features("runs/full/08_heartmae_predict/tables/embeddings.csv")
    groups = cluster(adjusted(table, subjects["sex"]), 2)
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import kruskal

from cmrlib.agreement import bootstrap, unpaired_test
from cmrlib.agreement.resampling import MIN_SUBJECTS


@dataclass(frozen=True)
class Groups:
    """labels: indexed by participant_id, 1 for the largest group. tree: scipy's linkage of the same subjects."""

    labels: pd.Series
    tree: np.ndarray

    @property
    def n(self) -> int:
        return int(self.labels.nunique())


def read_features(path, columns=()) -> pd.DataFrame:
    """A CSV or TSV with a row a subject → numbers indexed by participant_id.

    columns: which to take; default all numeric ones but keys. A subject's first row counts where there are several
    (sessions, observers). Raises ValueError naming what is missing.
    """
    text = dict.fromkeys(("participant_id", "session", "observer"), str)
    table = pd.read_csv(path, sep="\t" if str(path).endswith(".tsv") else ",", na_values=["n/a"], dtype=text)
    if lacking := [name for name in ("participant_id", *columns) if name not in table]:
        raise ValueError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(table.columns[:12])}")
    first = table.groupby("participant_id", sort=True).first()
    numbers = first[list(columns)] if len(columns) else first.select_dtypes("number")
    if numbers.empty or not numbers.shape[1]:
        raise ValueError(f"{path} has no numeric column beside its keys")
    return numbers.astype(float)


def standardised(features: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features with mean 0 and SD 1, what was left out or filled): constants go, missing values become the mean."""
    notes = [
        {"feature": name, "note": f"{int(features[name].isna().sum())} missing, filled with the mean"}
        for name in features
        if features[name].isna().any()
    ]
    spread = features.std()
    flat = [name for name in features if not spread[name] > 1e-12]
    notes += [{"feature": name, "note": "constant, left out"} for name in flat]
    kept = features.drop(columns=flat)
    if not kept.shape[1]:
        raise ValueError("no feature varies between subjects, so there is nothing to group them by")
    return ((kept - kept.mean()) / kept.std()).fillna(0.0), pd.DataFrame(notes, columns=["feature", "note"])


def adjusted(features: pd.DataFrame, covariate: pd.Series) -> pd.DataFrame:
    """Residuals of each feature after a linear regression on a covariate such as sex (HeartMAE, § 4.5).

    covariate: indexed by participant_id; text is taken as classes. Subjects without it are left out.
    """
    known = covariate.reindex(features.index).dropna()
    if known.empty:
        raise ValueError(f"nobody's {covariate.name or 'covariate'} is known, so nothing can be adjusted for it")
    design = (
        known.to_frame().astype(float)
        if pd.api.types.is_numeric_dtype(known)
        else pd.get_dummies(known, drop_first=True, dtype=float)
    )
    design = np.c_[np.ones(len(known)), design.to_numpy()]
    values = features.loc[known.index].to_numpy(float)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return pd.DataFrame(values - fitted + values.mean(0), known.index, features.columns)


def cluster(features: pd.DataFrame, n_groups: int = 2) -> Groups:
    """Agglomerative clustering (Ward's linkage on standardised features). Raises ValueError for too few subjects."""
    if not 2 <= n_groups < len(features):
        raise ValueError(
            f"{n_groups} groups of {len(features)} subjects: expected at least 2 groups and more subjects than groups"
        )
    numbers, _ = standardised(features)
    tree = linkage(numbers.to_numpy(), "ward")
    labels = pd.Series(fcluster(tree, n_groups, "maxclust"), features.index, name="cluster")
    return Groups(labels.map({label: n + 1 for n, label in enumerate(labels.value_counts().index)}), tree)


def telling(features: pd.DataFrame, groups: Groups, most: int = 60) -> pd.DataFrame:
    """The standardised features that differ most between the groups, the most telling first: subjects as rows, in the
    order of the groups' tree."""
    numbers = standardised(features)[0].loc[groups.labels.index]
    spread = numbers.groupby(groups.labels).mean().std()
    return numbers[spread.sort_values(ascending=False, kind="stable").index[:most]]


def stability(features: pd.DataFrame, n_groups: int = 2, n_boot: int = 100, seed: int = 1) -> pd.DataFrame:
    """Adjusted Rand index between the clustering of all and those of bootstrap samples, over the subjects drawn.

    One row: stability (mean over samples), low, high (2.5 and 97.5 %), n, n_boot. 1: every sample gives the same
    groups; 0: no more alike than by chance.
    """
    whole, rng, found = cluster(features, n_groups).labels.to_numpy(), np.random.default_rng(seed), []
    for _ in range(n_boot):
        drawn = np.unique(rng.integers(len(features), size=len(features)))
        if len(drawn) > n_groups:
            again = cluster(features.iloc[drawn], n_groups).labels.to_numpy()
            found.append(adjusted_rand(whole[drawn], again))
    low, high = np.quantile(found, [0.025, 0.975])
    return pd.DataFrame([{"stability": np.mean(found), "low": low, "high": high, "n": len(features), "n_boot": n_boot}])


def _counts(groups, classes):
    """Subjects by group and class: (groups, classes)."""
    rows, columns = (np.unique(one, return_inverse=True)[1] for one in (groups, classes))
    across = columns.max() + 1
    return np.bincount(rows * across + columns, minlength=(rows.max() + 1) * across).reshape(-1, across)


def adjusted_rand(groups, classes) -> float:
    """Pairs that both partitions put together, above chance: 0 by chance, 1 the same (Hubert and Arabie, 1985)."""
    counts = _counts(groups, classes)
    together, rows, columns = ((n * (n - 1) / 2).sum() for n in (counts, counts.sum(1), counts.sum(0)))
    pairs = counts.sum() * (counts.sum() - 1) / 2
    chance = rows * columns / pairs if pairs else 0.0
    most = (rows + columns) / 2
    return float((together - chance) / (most - chance)) if most > chance else 1.0


def purity(groups, classes) -> float:
    """Share of subjects who are in the commonest class of their group."""
    counts = _counts(groups, classes)
    return float(counts.max(axis=1).sum() / counts.sum())


def agreement_with(groups: Groups, classes: dict) -> pd.DataFrame:
    """How groups agree with known classes: a row a name: adjusted_rand, purity with intervals over subjects, chance
    (the purity of a single group), n. classes: name → Series indexed by participant_id."""
    rows = []
    for name, known in classes.items():
        known = known.reindex(groups.labels.index).dropna()
        if known.nunique() < 2:
            continue
        pair = np.c_[groups.labels[known.index], pd.factorize(known)[0]].astype(float)
        row = {"classes": name, "n_classes": int(known.nunique())}
        for measure, statistic in (("adjusted_rand", adjusted_rand), ("purity", purity)):
            one = bootstrap(pair, statistic, n_boot=400).iloc[0]
            row |= {measure: one["estimate"], f"{measure}_low": one["low"], f"{measure}_high": one["high"]}
        rows.append(row | {"chance": known.value_counts(normalize=True).iloc[0], "n": len(known)})
    return pd.DataFrame(rows)


def group_metrics(agreement: pd.DataFrame, again: pd.DataFrame) -> dict:
    """rand_CLASSES_FEATURES and purity_… with intervals, and stability_FEATURES, of the tables of `agreement_with` and
    `stability` with a column `features`."""
    metrics = {
        f"{short}_{row['classes']}_{row['features']}{end}": row[name + end]
        for row in agreement.to_dict("records")
        for end in ("", "_low", "_high")
        for short, name in (("rand", "adjusted_rand"), ("purity", "purity"))
    }
    return metrics | {f"stability_{row.features}": row.stability for row in again.itertuples()}


def between_groups(groups: Groups, values: pd.DataFrame) -> pd.DataFrame:
    """Each value in each pair of groups, a row a pair: value, group_a, group_b, medians, Mann–Whitney p, effect with
    interval (`agreement.unpaired_test`), and p_all, Kruskal–Wallis over all groups (of two, Mann–Whitney's p)."""
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
    first = ["value", "group_a", "group_b"]
    return table[[*first, *[c for c in table if c not in first]]]


def projected(features: pd.DataFrame, seed: int = 1, neighbours: int = 15) -> pd.DataFrame:
    """UMAP of standardised features: participant_id, umap_1, umap_2. A map for the eye: distances in it mean little."""
    from umap import UMAP

    numbers, _ = standardised(features)
    if len(numbers) < 5:
        raise ValueError(f"a map of {len(numbers)} subjects says nothing; 5 or more are needed")
    mapped = UMAP(
        n_neighbors=min(neighbours, len(numbers) - 1),
        random_state=seed,
        n_jobs=1,
        init="spectral" if len(numbers) > 12 else "random",
    ).fit_transform(numbers.to_numpy())
    return pd.DataFrame(mapped, columns=["umap_1", "umap_2"]).assign(participant_id=features.index)[
        ["participant_id", "umap_1", "umap_2"]
    ]
