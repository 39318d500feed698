"""What a job of a large study does with one shard; every stage goes on where it was killed, and leaves STAGE.json."""

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort, Observer
from cmrlib.cohort.files import atomic, write_json

OBSERVER = "ternausnet"
FOLDERS = {
    "ingest": "cohort",
    "segment": "observers",
    "measure": "parts",
    "flow": "flow",
    "features": "embeddings",
    "pages": "pages",
}
"""Where a stage leaves what takes room."""


def run_stage(stage: str, shard, settings: dict) -> dict:
    """Do one of STAGES for the shard's folder. Returns, and writes as STAGE.json, last: subjects, cines, made (done now
    and not before), seconds, cpu_seconds, startup_seconds (of the processor, before the work), gpu_seconds (of the
    clock, where there is a card), peak_mb, disk_mb (what the stage left).

    A shard whose subjects could not be read, or lack a view, has an empty result and is no error. Raises ValueError
    for an unknown stage, and whatever the stage raises.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    shard, work = Path(shard), STAGES[stage]()  # its imports
    (shard / f"{stage}.json").unlink(missing_ok=True)
    start, startup = time.monotonic(), _cpu_seconds()
    cohort = None if stage == "ingest" else _opened(shard)
    made = work(shard, cohort, settings) if cohort is not None or stage == "ingest" else 0
    cohort = _opened(shard)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    seconds, disk = time.monotonic() - start, _bytes(shard / FOLDERS[stage])
    done = {
        "stage": stage,
        "subjects": len((shard / "subjects.txt").read_text().split()),
        "cines": 0 if cohort is None else len(cohort.cines),
        "made": made,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(_cpu_seconds() - startup, 2),
        "startup_seconds": round(startup, 2),
        "gpu_seconds": round(seconds, 2) if _card() else 0.0,
        "peak_mb": round(peak),
        "disk_mb": round(disk / 1e6, 3),
        "settings": json.dumps(settings),
    }
    write_json(done, shard / f"{stage}.json")
    return done


def _card() -> bool:
    """Whether this stage uses one; asked without importing torch for it."""
    return "torch" in sys.modules and sys.modules["torch"].cuda.is_available()


def _bytes(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cpu_seconds():
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _opened(shard):
    """The shard's cohort with its masks, None where nobody could be read."""
    if not (shard / "cohort" / "dataset_description.json").exists():
        return None
    masks = shard / "observers" / OBSERVER
    return Cohort.open(shard / "cohort", [masks] if masks.is_dir() else [])


def _write(table: pd.DataFrame, path):
    with atomic(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def _ingest():
    from cmrlib.app.sharding import ingest_shard

    def work(shard, cohort, settings):
        made = ingest_shard(shard)
        return 0 if made is None else len(made.cines)

    return work


def _segment():
    from cmrlib.app.cli.app import REAL, credited
    from cmrlib.app.cli.segmenting import load_weights_of, segment_rest
    from cmrlib.learning.training import set_threads_and_seed

    def work(shard, cohort, settings):
        set_threads_and_seed(0, settings["threads"])  # nothing is drawn at random
        weights = load_weights_of(credited(settings["weights"] or REAL, "01_segmentation"))
        if not set(cohort.cines["view"]) & set(weights):
            return 0
        table, made = segment_rest(cohort, weights, shard / "observers" / OBSERVER, copies=settings["copies"])
        _write(table, shard / "parts" / "segmented.csv")
        return made

    return work


def _measure():
    from cmrlib.app.cli.observers import measured
    from cmrlib.measures import Conventions

    def work(shard, cohort, settings):
        if OBSERVER not in cohort.observers:
            return 0
        table, _ = measured(cohort, OBSERVER, Conventions())
        Observer(shard / "observers" / OBSERVER).write_measures(table)
        _write(table, shard / "parts" / "measures.csv")
        return len(table)

    return work


def _flow():
    from cmrlib.papers.heartmae import flow_shards, section_table

    def work(shard, cohort, settings):
        sections = section_table(cohort, pd.Series("test", cohort.subjects["participant_id"]), sax_share=1.0)
        maps = flow_shards(cohort, sections, shard / "flow")
        means = [maps[row.cine, row.k].mean() / 255 for row in sections.itertuples()]
        table = sections[["participant_id", "cine", "view", "k"]].assign(mean_weight=means)
        _write(table, shard / "parts" / "flow.csv")
        return len(table)

    return work


def _features():
    from cmrlib.app.cli.embedding import embed
    from cmrlib.learning.training import set_threads_and_seed

    def work(shard, cohort, settings):
        set_threads_and_seed(0, settings["threads"])
        table, made, _ = embed(cohort, settings["encoder"], shard / "embeddings", precision=settings["precision"])
        _write(table, shard / "parts" / "embeddings.csv")
        return made

    return work


def _pages():
    from cmrlib.app.cli.app import REAL, credited
    from cmrlib.learning.training import set_threads_and_seed
    from cmrlib.learning.weightsets import SETS
    from cmrlib.report import make_report

    def work(shard, cohort, settings):
        set_threads_and_seed(0, settings["threads"])
        # the page names the networks that drew the masks: those of the profile that the study's weights are from
        weights = settings["weights"] or REAL
        networks = settings["runs"] or credited(weights if weights in SETS else str(Path(weights).parent))
        made = 0
        for subject in cohort.cines["participant_id"].unique():
            page = shard / "pages" / f"sub-{subject}.html"
            if not page.exists():
                own = cohort.cines.loc[cohort.cines["participant_id"] == subject, "cine"]
                make_report(cohort.part(own), page, networks, title=f"sub-{subject}")
                made += 1
        return made

    return work


STAGES = {
    "ingest": _ingest,
    "segment": _segment,
    "measure": _measure,
    "flow": _flow,
    "features": _features,
    "pages": _pages,
}
"""Stage → what imports its part of the library and returns work(shard, cohort, settings) → how much was made now."""
