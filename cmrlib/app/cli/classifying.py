"""`cmr classify`: scores of a cohort's cines by a trained classifier, whichever paper it is from."""

from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort
from cmrlib.cohort.files import atomic, digest, write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.report.classifiers import Classifier, score_cine

COLUMNS = ["participant_id", "session", "cine", "view", "score", "threshold", "positive", "reason"]


def classify(cohort: Cohort, observer: str, classifier: Classifier, folder, subjects=None) -> pd.DataFrame:
    """COLUMNS, a row a cine of the classifier's view; also written as scores.csv in `folder`.

    observer: whose masks say where the heart is. Who cannot be judged has no score and a reason.
    Raises ValueError for unknown subjects and a folder inside the cohort.
    """
    folder, looked = Path(folder), cohort.observer(observer)
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    wanted = cohort.cines[cohort.cines["view"] == classifier.view]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(subjects)]
    if wanted.empty:
        raise ValueError(
            f"the classifier is for {classifier.view}, of which {cohort.path} has no cine among these "
            f"subjects; it has {', '.join(sorted(set(cohort.cines['view'])))}"
        )
    rows = []
    for row in with_progress(list(wanted.itertuples()), "classify", "cine"):
        score, reason = score_cine(cohort, looked, classifier, row)
        positive = None if score is None else int(score >= classifier.threshold)
        rows.append(
            (row.participant_id, row.session, row.cine, row.view, score, classifier.threshold, positive, reason)
        )
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"score": float, "positive": "Int64"})
    with atomic(folder / "scores.csv") as part:
        table.to_csv(part, index=False, lineterminator="\n")
    write_json(
        {
            "made_by": "cmr classify",
            "network": classifier.name,
            "observer": observer,
            "cohort": cohort.digest,
            "weights": digest(classifier.path.with_suffix(".safetensors")),
        },
        folder / "scores.json",
    )
    return table
