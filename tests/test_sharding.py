"""Large cohorts: which subjects a shard holds, and the verbs by shards against the verbs at once."""

import filecmp
import os
import subprocess
import sys

import pandas as pd
import pytest
from hearts import small_networks, write_heart
from repositories import repository
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.app.cli.comparing import compare_runs
from cmrlib.app.runs import UsageError, load_profile, parameters
from cmrlib.app.runs.parameters import STUDY
from cmrlib.cohort import Cohort
from cmrlib.cohort.sharding import Shard, join_tables

PEOPLE = ("Ada", "Bo", "Cy", "Di", "Ed")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for seed, name in enumerate(PEOPLE):
        write_heart(folder, name, seed)
    write_heart(folder, "Zoe", broken=True)
    return folder


def cmr(*words):
    """`cmr WORDS`, which must end well."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def test_shards_divide_all_subjects_evenly():
    subjects = [f"S{k:05d}" for k in range(8000)]
    shards = [Shard(k, 8) for k in range(8)]
    members = [[subject for subject in subjects if subject in shard] for shard in shards]
    assert sorted(one for part in members for one in part) == subjects
    assert all(abs(len(part) - 1000) < 100 for part in members)
    assert Shard.parse("3/8") == shards[3]
    for text in ("8/8", "3", "-1/8", "a/b", "1/0", ""):
        with pytest.raises(ValueError, match="a shard is K/N with K from 0"):
            Shard.parse(text)


def test_joined_tables_keep_every_digit(tmp_path):
    for k, (subject, value) in enumerate((("b", "0.10"), ("a", "1e-3"))):
        (tmp_path / f"{k}.csv").write_text(f"participant_id,x\n{subject},{value}\n")
    paths = sorted(tmp_path.glob("?.csv"))
    join_tables(paths, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == "participant_id,x\na,1e-3\nb,0.10\n"
    with pytest.raises(ValueError, match="b is in two of these tables"):
        join_tables([paths[0], paths[0]], tmp_path / "all.csv")


def test_snakemake_runs_every_stage_by_shards(source, tmp_path):
    """Against the same verbs at once; a second run does nothing."""
    weights = small_networks(tmp_path / "models")["weights"]
    profile = (
        f"study: {{kind: nifti, source: {source}, shards: 2, stages: [ingest, segment, measure], "
        f"weights: {weights}, n_tta: 1}}"
    )
    root = repository(tmp_path / "repository", {}, {"quick": profile}, needs={})
    study = root / "runs" / "quick" / "study"

    def make():
        words = [sys.executable, "-m", "cmrlib.app.runs", "all", "--cores", "2", "--follow"]
        env = os.environ | {"CMR_ROOT": str(root)}
        done = subprocess.run(words, env=env, cwd=root, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return {path: path.stat().st_mtime_ns for path in study.rglob("*.done")}

    made = make()
    assert len(made) == 3 * (2 + 1) and make() == made
    assert pd.read_csv(study / "benchmarks" / "segment_0.tsv", sep="\t")["s"][0] > 0

    cohort, masks = tmp_path / "c", tmp_path / "ternausnet"
    cmr("ingest", "nifti", source, cohort, "--workers", 1)
    files = [str(path.relative_to(cohort)) for path in cohort.rglob("*") if path.is_file()]
    for name in ("dataset_description.json", "digests.json"):  # the plan in it names the source as it was written
        files.remove(name)
    assert len(files) > 10 and "rejected.tsv" in files
    assert filecmp.cmpfiles(cohort, study / "cohort", files, shallow=False)[0] == files
    cmr("segment", cohort, "--weights", weights, "--n-tta", 1, "--threads", 1, "--out", masks)
    cmr("measure", cohort, "--observer", masks)
    differences, n = compare_runs(study / "observers" / "ternausnet" / "segmented.csv", masks / "segmented.csv")
    assert n == 1 and not differences
    laid = Cohort.open(study / "cohort", [study / "observers" / "ternausnet"]).observer("ternausnet").measures()
    assert laid["participant_id"].tolist() == list(PEOPLE)
    assert (study / "observers/ternausnet/measures.tsv").read_bytes() == (masks / "measures.tsv").read_bytes()


def test_a_profile_says_no_more_of_a_study_than_there_is(tmp_path, monkeypatch):
    profiles = {
        "big": "study: {kind: ukbb, mem_mb: {embed: 9}}",
        "bigger": "extends: big\nstudy: {n_tta: 1}",
        "bad": "study: {subjects_a_shard: 8}",
        "worse": "study: {stages: [polish]}",
    }
    repository(tmp_path, {}, profiles)
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    mem_mb = STUDY["mem_mb"] | {"embed": 9}
    assert load_profile("bigger").study == STUDY | {"kind": "ukbb", "n_tta": 1, "mem_mb": mem_mb}
    assert load_profile("quick").study == {}
    with pytest.raises(UsageError, match="unknown parameter 'subjects_a_shard'"):
        load_profile("bad")
    with pytest.raises(UsageError, match="unknown stage 'polish'"):
        load_profile("worse")
