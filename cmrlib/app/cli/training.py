"""A notebook's trainings on several cards or machines; see `cmrlib.learning.distributed`.

    torchrun --nproc-per-node 4 -m cmrlib.app.cli.training 06_sslhf --profile paper -p cohort=COHORT

Every process runs the notebook's code as far as the last cell tagged `training`, and takes its share of every batch
there. The checkpoints lie where the notebook looks for them: run it afterwards, with the same profile and parameters,
and it finds all its trainings finished. Started again after a crash, they go on from their last epoch.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import matplotlib
import torch.distributed as dist
import yaml

from cmrlib.app.runs import resolve
from cmrlib.app.runs.parameters import ROOT
from cmrlib.app.runs.run import LEFT
from cmrlib.learning.distributed import barrier, join


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", help="01_segmentation, 03_tempreg, 04_mvnet, 05_cussp or 06_sslhf")
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(words)
    overrides = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in given.overrides)}
    train(given.notebook, given.profile, given.runs, overrides)


def train(notebook: str, profile: str, runs, overrides: dict | None = None):
    """Run the cells of a notebook that lead to its trainings; the first process alone makes what all then find.

    Raises ValueError for a notebook without a cell tagged `training`.
    """
    before, trainings = cells_of(notebook)
    parameters = resolve(notebook, profile, overrides)
    rank, world = join()
    matplotlib.use("Agg")
    first, folder = (Path(runs).resolve() / profile / f".{notebook}-{k}" for k in (0, rank))  # beside the others' runs
    os.environ["CMR_RUN_FOLDER"] = str(folder)
    namespace = {"__name__": "__main__", "display": lambda *_, **__: None}  # which Jupyter has without an import
    if rank:
        barrier()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for made in first.iterdir():  # cohorts and patches, but not what a run starts without
            if made.name not in LEFT:
                (folder / made.name).symlink_to(made)
    _run(before, namespace, parameters)
    if not rank:
        barrier()
    _run(trainings, namespace, parameters)
    barrier()
    shutil.rmtree(folder)  # after a crash it stays, with the cohorts that were made
    if world > 1:
        dist.destroy_process_group()


def cells_of(notebook: str) -> tuple[list, list]:
    """(name, source, tags) of the code cells before the first one tagged `training`, and from there to the last."""
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    cells = [
        (f"{notebook}, cell {cell['id']}", "".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells
    ]
    tagged = [place for place, (_, _, tags) in enumerate(cells) if "training" in tags]
    if not tagged:
        raise ValueError(f"{notebook} has no cell tagged `training`, so there is nothing to do by several processes")
    return cells[: tagged[0]], cells[tagged[0] : tagged[-1] + 1]


def _run(cells, namespace, parameters):
    for name, source, tags in cells:
        exec(compile(source, name, "exec"), namespace)
        if "parameters" in tags:
            namespace.update(parameters)


if __name__ == "__main__":
    main()
