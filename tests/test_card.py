"""Every learner on a GPU: one smoke training with mixed precision against fp32 on the processor."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from cmrlib.app.runs import resolve

TRAINING = ("01_segmentation", "03_tempreg", "04_mvnet", "05_cussp", "06_sslhf", "07_heartmae_pretrain")

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no CUDA device here: losses on a card with mixed precision were not compared with those of the processor",
)


def executed(notebook, runs, precision, card):
    """Run one notebook of profile smoke, with or without the card."""
    words = ["execute", notebook, "--profile", "smoke", "--runs", str(runs)]
    words += ["-p", f"precision={precision}"] if "precision" in resolve(notebook, "smoke") else []
    env = os.environ if card else os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "cmrlib.app.runs", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return runs / "smoke" / notebook


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Folders of runs with the card, and without; both have the cohort."""
    folders = {card: tmp_path_factory.mktemp("card" if card else "processor") for card in (True, False)}
    for folder in folders.values():
        executed("00_cohort", folder, "fp32", card=False)
    return folders


@pytest.mark.parametrize("notebook", TRAINING)
def test_first_epochs_have_the_loss_of_the_processor(both, notebook):
    tables = {
        card: pd.read_csv(executed(notebook, both[card], "bf16" if card else "fp32", card) / "tables" / "losses.csv")
        for card in both
    }
    assert len(tables[True]) == len(tables[False]) > 0
    first = tables[False]["epoch"] == tables[False]["epoch"].min()
    np.testing.assert_allclose(tables[True].loc[first, "train"], tables[False].loc[first, "train"], rtol=0.02)
