"""How far real hearts lie from those a network was trained on, in numbers: embeddings of one cohort beside
another's. Cohorts that kept ED and ES only (ACDC) are compared with the same two frames of this one's cines."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.agreement.stratification import standardised
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.heartmae.clips import section_table
from cmrlib.papers.heartmae.features import Embedder, feature_shards

STILL = ", ED and ES"
"""Behind a cohort's name: its sections as two frames, to and fro."""

COMPONENTS = 16
"""Principal components in which Fréchet distances are taken: with few subjects more would only measure noise."""


class StillEmbedder(Embedder):
    """An embedder that is shown ED and ES alone, to and fro, as cohorts like ACDC keep them."""

    def __init__(self, embedder: Embedder):
        super().__init__(embedder.model, embedder.preprocessing, embedder.precision, embedder.crops, embedder.times)
        self.key = embedder.key + STILL

    def clips(self, cine, k: int):
        return super().clips(cine.select([cine.ed, cine.es]), k)


def domain_rows(cohort, others: dict, embedder: Embedder, sections: pd.DataFrame, state) -> dict:
    """View → {cohort name: (features (sections, width), rows of its section table)}, this cohort's test subjects first.

    Sections are the rows, each the mean of its views: real samples are few subjects. Only views that this cohort and
    another one have. Cines of fewer than 8 frames are no cycle: they count as ED and ES, beside this cohort's.
    """
    own = sections[sections["split"] == "test"]
    tables = [(cohort.description["Name"], cohort, own)]
    for name, other in others.items():
        people = pd.Series("test", index=sorted(set(other.cines["participant_id"])))
        tables.append((name, other, section_table(other, people)))
    asked = []
    for name, one, table in tables:
        cycle = table["frames"] >= FEWEST_FRAMES
        known = one.cines.set_index("cine")[["ed", "es"]].notna().all(axis=1)
        few = table if one is cohort else table[~cycle]
        asked += [
            (name, one, table[cycle], embedder),
            (name + STILL, one, few[few["cine"].map(known).astype(bool)], StillEmbedder(embedder)),
        ]
    theirs = [(name.endswith(STILL), set(table["view"])) for name, one, table, _ in asked if one is not cohort]
    views = {still: set().union(*(part for kind, part in theirs if kind or not still)) for still in (False, True)}
    found = {}
    for name, one, table, seeing in asked:
        shown = table[table["view"].isin(views[name.endswith(STILL)] & set(own["view"]))]
        if shown.empty:
            continue
        shards = feature_shards(one, shown, seeing, state, seeing.key)
        for view, part in shown.groupby("view"):
            rows = np.stack([shards[row.cine, row.k].mean(0) for row in part.itertuples()])
            found.setdefault(view, {})[name] = (rows, part)
    return found


def distance_table(domains: dict, seed: int = 1) -> pd.DataFrame:
    """`domain_distances` of every view of `domain_rows`: whole cycles beside this cohort's, ED and ES beside its."""
    tables = []
    for view, found in domains.items():
        for still in (False, True):
            group = {name: rows for name, (rows, _) in found.items() if name.endswith(STILL) == still}
            if len(group) > 1:
                reference = next(iter(group))
                tables.append(domain_distances(group, reference, seed).assign(view=view, reference=reference))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def frechet_distance(a, b) -> float:
    """Between Gaussians fitted to rows of a (n, width) and b: |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½).

    Heusel et al., NeurIPS 2017, equation 6. NaN where one side has fewer than two rows.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if min(len(a), len(b)) < 2:
        return float("nan")
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ second @ root)  # same eigenvalues as Σ_a Σ_b, symmetric
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.clip(middle, 0, None)).sum()
    return float(np.sum((a.mean(0) - b.mean(0)) ** 2) + trace)


def domain_distances(embeddings: dict, reference: str, seed: int = 1, n_null: int = 20) -> pd.DataFrame:
    """A row a cohort beside the reference: n, frechet (in the reference's principal components, each with SD 1 there),
    frechet_null (mean between random halves of the reference, of the cohort's size where that is smaller: what no
    difference looks like), classifier_auc (logistic regression told apart in cross-validation: .5 alike, 1 foreign).

    embeddings: cohort → (rows, width). Rows of one subject must not lie on both sides: give subject means.
    """
    base = np.asarray(embeddings[reference], float)
    centre = base.mean(0)
    _, scale, axes = np.linalg.svd(base - centre, full_matrices=False)
    kept = [n for n in range(min(COMPONENTS, len(scale), len(base) - 1)) if scale[n] > 1e-9]
    project = axes[kept].T / (scale[kept] / np.sqrt(len(base) - 1))
    rng, rows = np.random.default_rng(seed), []
    own = (base - centre) @ project
    for name, other in embeddings.items():
        if name == reference:
            continue
        there = (np.asarray(other, float) - centre) @ project
        size = min(len(own) // 2, max(2, len(there)))
        null = []
        for _ in range(n_null):
            order = rng.permutation(len(own))
            null.append(frechet_distance(own[order[:size]], own[order[size:]]))
        rows.append(
            {
                "cohort": name,
                "n": len(there),
                "frechet": frechet_distance(own, there),
                "frechet_null": float(np.mean(null)) if null else np.nan,
                "classifier_auc": told_apart(own, there, seed),
            }
        )
    return pd.DataFrame(rows, columns=["cohort", "n", "frechet", "frechet_null", "classifier_auc"])


def told_apart(a, b, seed: int = 1) -> float:
    """Area under the ROC curve of a cross-validated logistic regression that tells rows of a from rows of b."""
    folds = min(5, len(a), len(b))
    if folds < 2:
        return float("nan")
    labels = np.r_[np.zeros(len(a)), np.ones(len(b))]
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, np.r_[a, b], labels, cv=split, method="decision_function")
    return float(roc_auc_score(labels, scores))


def domain_map(domains: dict, seed: int = 1) -> pd.DataFrame:
    """One UMAP of all sections of `domain_rows`: umap_1, umap_2, cohort, view."""
    from umap import UMAP  # compiles for seconds

    parts = [(view, name, len(rows), rows) for view, found in domains.items() for name, (rows, _) in found.items()]
    numbers, _ = standardised(pd.DataFrame(np.concatenate([rows for *_, rows in parts])))
    nearest = {"n_neighbors": min(15, len(numbers) - 1), "init": "spectral" if len(numbers) > 12 else "random"}
    mapped = UMAP(random_state=seed, n_jobs=1, **nearest).fit_transform(numbers.to_numpy())
    sizes = [n for _, _, n, _ in parts]
    return pd.DataFrame(mapped, columns=["umap_1", "umap_2"]).assign(
        cohort=np.repeat([name for _, name, *_ in parts], sizes), view=np.repeat([view for view, *_ in parts], sizes)
    )
