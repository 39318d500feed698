"""How far two sets of embeddings lie apart."""

import numpy as np


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
