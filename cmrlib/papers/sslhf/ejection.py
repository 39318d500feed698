"""The comparator that the paper lacks: EF by segmentation."""

import numpy as np
import pandas as pd

from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.progress import with_progress
from cmrlib.measures import features
from cmrlib.papers.ternausnet import Segmenter


def measured_by_network(cohort: Cohort, segmenter: Segmenter, folder, subjects, copies: int = 1) -> pd.DataFrame:
    """Measures of short-axis masks by a trained TernausNet, drawn at the cohort's ED and ES (in the whole cycle where
    it names none) and laid over the cohort as the observer in `folder`. A row a subject, see `measures.features`."""
    observer = Observer(folder)
    wanted = cohort.cines[(cohort.cines["view"] == "sax") & cohort.cines["participant_id"].isin(list(subjects))]
    for name in with_progress(list(wanted["cine"]), "segment", "cine"):
        cine = cohort.cine(name)
        known = cine.ed is not None and cine.es is not None
        frames = [cine.ed, cine.es] if known else list(range(cine.frames))
        mask, _, _ = segmenter.predict(cine, frames, copies)
        observer.write(cine, Annotation(mask, dict.fromkeys(frames, segmenter.structures)))
    laid = Cohort.open(cohort.path, [folder])
    return features(laid, observer.name, subjects=list(subjects))


def known_ef(cohort: Cohort, observer: str) -> pd.DataFrame:
    """participant_id, lvef_pct that came with an observer (a phantom's formulas), else by its masks; NaN where neither
    tells."""
    table = cohort.observer(observer).measures()
    table = table if "lvef_pct" in table else features(cohort, observer)
    return table.groupby("participant_id", as_index=False)["lvef_pct"].mean().astype({"lvef_pct": np.float64})
