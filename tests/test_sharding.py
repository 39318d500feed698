"""Large studies: who is in which shard, what a change costs, and the merge against one cohort made at once."""

import os
import stat
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hearts import small_networks, write_heart
from repositories import repository

from cmrlib.app.cli.comparing import compare_runs
from cmrlib.app.cli.stages import run_stage
from cmrlib.app.runs import UsageError, load_profile
from cmrlib.app.runs.parameters import STUDY
from cmrlib.app.sharding import fingerprint, left_over, merge_shards, plan_shards, read_plan
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import read_tsv
from cmrlib.datasets import ingest

PEOPLE = ("Ada", "Bo", "Cy", "Di", "Ed")


@pytest.fixture
def source(tmp_path):
    for seed, name in enumerate(PEOPLE):
        write_heart(tmp_path / "source", name, seed)
    return tmp_path / "source"


def ingested(study):
    """All shards of a study that were not ingested before."""
    made = []
    for shard in sorted((study / "shards").iterdir()):
        if not (shard / "ingest.json").exists():
            made += [run_stage("ingest", shard, STUDY)]
    return made


def members(study):
    return {path.name: (path / "subjects.txt").read_text().split() for path in sorted((study / "shards").iterdir())}


def state(folder):
    return {path: path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_who_is_new_or_changed_comes_into_a_new_shard(source, tmp_path):
    study = tmp_path / "study"
    first = plan_shards("nifti", source, study, 2)
    assert members(study) == {"0000": ["Ada", "Bo"], "0001": ["Cy", "Di"], "0002": ["Ed"]}
    before = state(study)
    assert plan_shards("nifti", source, study, 2).equals(first) and state(study) == before
    write_heart(source, "Fay", 5)
    write_heart(source, "Bo", 6)
    (source / "Di" / "sax.nii").unlink()
    (source / "Di").rmdir()
    second = plan_shards("nifti", source, study, 2).set_index("participant_id")["shard"]
    assert second.to_dict() == {"Ada": "0000", "Bo": "0003", "Cy": "0001", "Ed": "0002", "Fay": "0003"}
    assert {path: when for path, when in state(study / "shards").items() if path in before and path.is_file()} == {
        path: when for path, when in before.items() if path.is_file() and "shards" in path.parts
    }


def test_a_change_of_any_file_is_seen(source):
    item = {"files": (source / "Ada" / "sax.nii",), "person": {"sex": "F"}}
    first = fingerprint(item)
    assert fingerprint(item) == first != fingerprint(item | {"person": {"sex": "M"}})
    os.utime(source / "Ada" / "sax.nii", ns=(1, 1))
    assert fingerprint(item) != first
    folder = fingerprint(source / "Bo")
    (source / "Bo" / "more.json").write_text("{}")
    assert fingerprint(source / "Bo") != folder


def test_the_merge_is_the_cohort_made_at_once(source, tmp_path):
    study, whole = tmp_path / "study", ingest("nifti", source, tmp_path / "whole", workers=1, progress=False)
    plan_shards("nifti", source, study, 2)
    assert [done["subjects"] for done in ingested(study)] == [2, 2, 1]
    assert merge_shards(study)["subjects"] == 5
    merged = Cohort.open(study / "cohort")
    pd.testing.assert_frame_equal(merged.subjects, whole.subjects)
    pd.testing.assert_frame_equal(merged.cines.drop(columns="digest"), whole.cines.drop(columns="digest"))
    assert (merged.check()["state"] == "ok").all()
    for name in whole.cines["cine"]:
        np.testing.assert_array_equal(merged.cine(name).pixels, whole.cine(name).pixels)


def test_a_merge_follows_the_plan(source, tmp_path):
    study = tmp_path / "study"
    plan_shards("nifti", source, study, 2)
    ingested(study)
    merge_shards(study)
    old = Cohort.open(study / "cohort").cine("sub-Bo_view-sax").pixels.copy()
    kept = state(study / "shards")
    write_heart(source, "Bo", 7)
    (source / "Ed" / "sax.nii").unlink()
    (source / "Ed").rmdir()
    plan_shards("nifti", source, study, 2)
    assert [done["subjects"] for done in ingested(study)] == [1]
    merge_shards(study)
    merged = Cohort.open(study / "cohort")
    assert sorted(merged.subjects["participant_id"]) == ["Ada", "Bo", "Cy", "Di"]
    assert not (study / "cohort" / "sub-Ed").exists()
    assert not np.array_equal(merged.cine("sub-Bo_view-sax").pixels, old)
    assert all(when == kept[path] for path, when in state(study / "shards").items() if path in kept and path.is_file())


def test_whom_nobody_can_read_is_named_and_stops_nobody(source, tmp_path):
    write_heart(source, "Zoe", broken=True)
    study = tmp_path / "study"
    plan_shards("nifti", source, study, 5)
    assert [done["cines"] for done in ingested(study)] == [5, 0]
    for shard in (study / "shards").iterdir():
        run_stage("measure", shard, STUDY)  # nothing segmented: nothing to measure, and no error
    merge_shards(study)
    rejected = read_tsv(study / "cohort" / "rejected.tsv")
    assert rejected["participant_id"].tolist() == ["Zoe"]
    assert len(Cohort.open(study / "cohort").cines) == 5


def test_what_failed_is_named_and_what_waits_for_it_is_not(source, tmp_path):
    study = tmp_path / "study"
    plan_shards("nifti", source, study, 3)
    run_stage("ingest", study / "shards" / "0000", STUDY)
    waits = {"ingest": [], "measure": ["ingest"], "pages": ["measure"]}
    assert left_over(study, waits) == [
        "measure of shard 0000 failed (3 subjects, Ada to Cy)",
        "ingest of shard 0001 failed (2 subjects, Di to Ed)",
    ]


def test_source_paths_stay_private(source, tmp_path):
    study = tmp_path / "study"
    plan_shards("nifti", source, study, 5)
    ingested(study)
    merge_shards(study)
    for path in study.rglob("*"):
        if path.is_file() and str(source).encode() in path.read_bytes():
            assert path.name.startswith(".") and stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_study_is_of_one_kind_and_must_be_ingested(source, tmp_path):
    study = tmp_path / "study"
    plan_shards("nifti", source, study, 2)
    with pytest.raises(ValueError, match="was planned as"):
        plan_shards("phantom", "", study, 2, {"subjects": 2})
    with pytest.raises(FileNotFoundError, match="3 shards are not ingested, first 0000"):
        merge_shards(study)
    with pytest.raises(ValueError, match="unknown stage 'polish'; there are ingest, segment"):
        run_stage("polish", study / "shards" / "0000", STUDY)
    with pytest.raises(ValueError, match="choose visits: 1"):
        plan_shards("phantom", "", tmp_path / "visits", 2, {"subjects": 2, "visits": 2})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no nifti subject"):
        plan_shards("nifti", tmp_path / "empty", tmp_path / "other")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return small_networks(tmp_path_factory.mktemp("models"))


def test_shards_of_two_have_the_tables_of_one_and_nothing_is_made_twice(source, tmp_path, models):
    for name, size in (("many", 2), ("one", 5)):
        study = tmp_path / name
        plan_shards("nifti", source, study, size)
        for shard in sorted((study / "shards").iterdir()):
            for stage in ("ingest", "segment", "measure", "flow", "features"):
                done = run_stage(stage, shard, models)
                assert done["made"] and done["peak_mb"] > 10 and done["startup_seconds"] >= 0
        merged = merge_shards(study)["tables"]
        assert merged == {"embeddings.csv": 5, "flow.csv": 15, "measures.csv": 5, "segmented.csv": 5}
    differences, n_tables = compare_runs(tmp_path / "many", tmp_path / "one")
    assert n_tables == 4 and not differences
    again = [run_stage(stage, shard, models)["made"] for stage in ("segment", "features")]
    assert again == [0, 0]
    laid = Cohort.open(study / "cohort", [study / "observers" / "ternausnet"])
    assert len(laid.observer("ternausnet").measures()) == 5
    assert laid.observer("ternausnet").mask("sub-Ada_view-sax").mask.shape == (8, 3, 48, 48)


def test_snakemake_computes_who_is_new(source, tmp_path):
    profile = "study: {kind: nifti, source: SOURCE, subjects_a_shard: 3, stages: [ingest, measure]}"
    root = repository(tmp_path / "repository", {}, {"quick": profile.replace("SOURCE", str(source))}, needs={})
    command = [sys.executable, "-m", "cmrlib.app.runs", "all", "--cores", "1", "--follow"]
    shards = root / "runs" / "quick" / "study" / "shards"

    def make():
        done = subprocess.run(
            command, env=os.environ | {"CMR_ROOT": str(root)}, cwd=root, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.parent.name: path.stat().st_mtime_ns for path in sorted(shards.glob("*/ingest.json"))}

    first = make()
    assert list(first) == ["0000", "0001"]
    write_heart(source, "Fay", 5)
    time.sleep(0.01)
    second = make()
    assert list(second) == ["0000", "0001", "0002"] and {name: second[name] for name in first} == first
    assert len(read_plan(shards.parent)) == len(Cohort.open(shards.parent / "cohort").subjects) == 6


def test_a_profile_says_no_more_of_a_study_than_there_is(tmp_path, monkeypatch):
    from cmrlib.app.runs import parameters

    repository(
        tmp_path,
        {},
        {
            "big": "study: {kind: ukbb, mem_mb: {flow: 9}}",
            "bad": "study: {shards: 8}",
            "bigger": "extends: big\nstudy: {copies: 1}",
        },
    )
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    assert load_profile("bigger").study == STUDY | {
        "kind": "ukbb",
        "copies": 1,
        "mem_mb": STUDY["mem_mb"] | {"flow": 9},
    }
    assert load_profile("quick").study == {}
    with pytest.raises(UsageError, match="unknown parameter 'shards'"):
        load_profile("bad")
