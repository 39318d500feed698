"""How far real hearts lie from those a network was trained on, in numbers: embeddings of one cohort beside
another's."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.stratification import projected

COMPONENTS = 16
"""Principal components in which Fréchet distances are taken: with few subjects more would only measure noise."""


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
        rows.append({"cohort": name, "n": len(there), "frechet": frechet_distance(own, there),
                     "frechet_null": float(np.mean(null)) if null else np.nan,
                     "classifier_auc": told_apart(own, there, seed)})
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


def domain_map(rows: dict, seed: int = 1) -> pd.DataFrame:
    """One UMAP of several cohorts' sections: umap_1, umap_2, cohort. rows: of `bags.domain_rows` for one view."""
    features = np.concatenate([part for part, _ in rows.values()])
    mapped = projected(pd.DataFrame(features).rename(columns=str), seed)
    return mapped.assign(cohort=np.repeat(list(rows), [len(part) for part, _ in rows.values()]))
