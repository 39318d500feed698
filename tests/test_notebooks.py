"""All notebooks, from end to end, through the workflow that `make run` uses, with smoke settings."""

import subprocess
import sys

import pandas as pd
import pytest

from cmrlib.app.runs.execution import manifests
from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort import Cohort

METRICS = {
    "00_cohort": "n",
    "01_segmentation": "dice_lv dice_myo dice_rv hd95_lv_mm confidence_rho n",
    "01b_few_labels": "dice_scratch_2 dice_pretrained_2 dice_gain_2_low n",
    "02_measurements": "n",
    "03_tempreg": "afd_ed afd_es afd_ed_ms afd_es_ms afd_es_constant seconds_per_sequence n",
    "03b_tempreg_table1": "afd_es_without_tsc afd_es_level_set structured_loss_gain_es n",
    "03c_tempreg_patients": "afd_ed afd_es_low afd_es_area afd_ed_component afd_es_cut confidence_rho n_seeds n",
    "04_mvnet": "euclid_mm_stage1 euclid_mm_person mapse_icc_person mapse_icc lvef_cut_mae_pct smooth_ms n",
    "04b_mvnet_people": "people_yale_euclid_mm people_lund_mapse_icc euclid_mm_yale_on_lund_low n",
    "04c_mvnet_real": "edges_refused_pct annulus_pct_mvnet_median sample_mapse_mm sample_confidence n",
    "05_cussp": "siam25_auc siam25_f1_low shadow_auc n_pretraining refused_pct training_minutes n",
    "05b_cussp_table2": "rf_auc cnnlstm_auc cussp1_f1 cussp2_ap siam25_auc shadow_auc siam25_minus_cnnlstm n",
    "05c_cussp_real": "n",
    "05d_cussp_factorial": "start_gain_24 pairs_gain_24_low n_arms n",
    "06_sslhf": "patient_auc patch_acc scratch_patient_auc restoration_mse gain_over_scratch_low n",
    "06b_sslhf_tables": "patient_acc patch_auc few6_gain_over_scratch_low more_few6_patient_auc n",
    "06c_sslhf_groups": "groups_acc n",
    "06d_sslhf_patients": "auc_sslhf_8 auc_scalars_all gain_over_scratch_8 groups_scalars restoration_mse n",
    "07_heartmae_pretrain": "explained_plain explained_moving_flow training_minutes n",
    "08_heartmae_predict": "lvef_mae_ratio gain_vs_random_pct flow_gain_pct flow_gain_pct_low n",
    "08c_heartmae_domains": "n n_cohorts",
    "08d_heartmae_patients": "lvef_mae_flow_mean lvef_gain_flow_mean_over_plain_mean_low acc_scalars explained_flow n",
    "09_agreement": "lvef_mae_pct lvef_bias_pct lvef_loa_low_pct lvef_loa_high_pct lvef_icc mass_mae_g n",
    "10_stratification": "rand_group_raw rand_sex_adjusted purity_group_raw stability_raw n",
    "11_figures": "n_figures n_tables",
    "12_explore": "n n_observers",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke") / "runs"
    words = ["-m", "cmrlib.app.runs", "all", "--profile", "smoke", "--runs", str(folder)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stdout + done.stderr
    return folder / "smoke", manifests(folder / "smoke")


def test_every_notebook_runs_and_says_what_it_found(executed):
    _, manifests = executed
    assert set(manifests) >= set(METRICS)
    for notebook, names in METRICS.items():
        manifest = manifests[notebook]
        assert set(names.split()) <= set(manifest["metrics"]), notebook
        assert manifest["profile"] == "smoke" and manifest["seconds"] > 0 and manifest["versions"]["torch"]


def test_pages_and_paper_figures_are_made(executed):
    """Every notebook as a page below an index; every figure whose tables are there, none of them hard-coded away."""
    folder, manifests = executed
    index = (folder / "index.html").read_text()
    for notebook in manifests:
        assert f"{notebook}/page.html" in index and (folder / notebook / "page.html").exists()
    overview = pd.read_csv(folder / "11_figures" / "tables" / "overview.csv")
    made = overview[overview["state"] == "made"]
    assert len(made) == manifests["11_figures"]["metrics"]["n_figures"] >= 25
    missing = overview.loc[~overview["state"].str.startswith(("made", "not made")), "item"]
    # needs enough of a disease, maps: none of them in this profile
    assert set(missing) <= {"figure 2", "figure S2"}


def test_the_real_heart_is_read_outlined_and_measured(executed):
    folder, _ = executed
    views = pd.read_csv(folder / "00_cohort" / "tables" / "sample_contents.csv")["view"]
    seen = pd.read_csv(folder / "01_segmentation" / "tables" / "sample_segmented.csv")
    assert {"sax", "4ch", "2ch", "3ch"} <= set(views) and {"sax", "4ch"} <= set(seen["view"])
    measured = pd.read_csv(folder / "02_measurements" / "tables" / "sample_measures.csv")
    assert len(measured) == 1 and measured["participant_id"][0] == "patient1"
    assert (folder / "01_segmentation" / "figures" / "sample.png").exists()


def test_test_subjects_are_segmented_and_no_others(executed):
    folder, _ = executed
    split = pd.read_csv(folder / "01_segmentation" / "tables" / "split.csv").set_index("participant_id")["0"]
    observer = folder / "01_segmentation" / "observers" / "ternausnet"
    cohort = Cohort.open(folder / "00_cohort" / "cohort", observers=[observer])
    drawn = {row.participant_id for row in cohort.cines.itertuples() if cohort.observer("ternausnet").has(row.cine)}
    assert drawn == set(split.index[split == "test"])
    assert set(split) == {"train", "validation", "test"}


def test_measures_join_network_and_truth(executed):
    folder, _ = executed
    table = pd.read_csv(folder / "02_measurements" / "tables" / "measures.csv")
    assert set(table["observer"]) == {"ternausnet", "truth masks", "truth"}
    assert (table["convention"].dropna() == "papillary as drawn, basal all slices, discs").all()
    assert (folder / "02_measurements" / "observers" / "ternausnet" / "measures.tsv").exists()
