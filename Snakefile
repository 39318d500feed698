# The notebooks as a workflow: `make run`, or on a cluster
#   make run PROFILE=full CLUSTER=slurm
# Its working directory is runs/PROFILE, so that every profile has its own records and may run beside the others.

import json
import os
import sys
from pathlib import Path

from cmrlib.app import runs
from cmrlib.app.runs.execution import follow_parent
from cmrlib.app.sharding import left_over, plan_shards, read_plan
from cmrlib.learning.weightsets import SETS

# What each notebook reads of others. A new notebook is one more line.
NEEDS = {
    "00_cohort": [],
    "01_segmentation": ["00_cohort"],
    "02_measurements": ["00_cohort", "01_segmentation"],
    "03_tempreg": ["00_cohort"],
    "03b_tempreg_table1": ["00_cohort", "01_segmentation", "03_tempreg"],
    "04_mvnet": ["00_cohort"],
    "05_cussp": [],
    "06_sslhf": ["01_segmentation"],
    "07_heartmae_pretrain": ["00_cohort"],
    "08_heartmae_predict": ["00_cohort", "07_heartmae_pretrain"],
    "09_agreement": ["02_measurements"],
    "10_stratification": ["00_cohort", "08_heartmae_predict"],
    "11_figures": ["01_segmentation", "02_measurements", "03_tempreg", "03b_tempreg_table1", "04_mvnet", "05_cussp", "06_sslhf",
                   "07_heartmae_pretrain", "08_heartmae_predict", "10_stratification"],
    "12_explore": ["00_cohort", "02_measurements", "03_tempreg", "04_mvnet"],
}

# What a newcomer looks at first, and what most others wait for: it gets the cores first.
FIRST = ["00_cohort", "01_segmentation", "02_measurements", "09_agreement"]

# What each stage of a large study waits for, and what of its profile's `study` it must be told.
STAGES = {
    "ingest": ([], []),
    "segment": (["ingest"], ["weights", "copies", "threads"]),
    "measure": (["segment"], []),
    "flow": (["ingest"], []),
    "features": (["ingest"], ["encoder", "precision", "threads"]),
    "pages": (["segment"], ["runs", "weights", "threads"]),
}

profile = runs.load_profile(config["profile"])
notebooks = profile.notebooks or ([] if profile.study else list(NEEDS))
if config.get("follow"):
    follow_parent()


onsuccess:
    print(f"profile {profile.name} is complete: {Path.cwd()}")


onerror:
    print(f"profile {profile.name} is not complete; the errors stand above, what is done is kept in {Path.cwd()}")
    if profile.study:
        print("\n".join(left_over("study", waits)))
        print("what jobs on a cluster said last: .snakemake/slurm_logs/rule_study_STAGE/SHARD")


rule all:
    default_target: True
    input:
        [f"{notebook}/manifest.json" for notebook in notebooks],
        ["index.html"] if notebooks else [],
        ["study/merged.json"] if profile.study else [],


# Pages to look at and to send: the executed notebooks, and an index with their metrics.
rule pages:
    input: [f"{notebook}/manifest.json" for notebook in notebooks]
    output: "index.html"
    params:
        python=sys.executable,
        profile=profile.name,
    shell:
        "exec {params.python} -m cmrlib.app.runs pages --profile {params.profile} --runs .. --follow"


# The manifest is the only declared output: Snakemake deletes the outputs of a failed job, and a notebook that failed
# must stay to be looked at. `parameters` and `code` are there to be compared: a change of either is a new run.
for notebook, needs in NEEDS.items():
    parameters = runs.resolve(notebook, profile)
    if parameters.get("ratings"):  # 09_agreement on a table of its own
        needs = []

    rule:
        name: notebook
        input: [f"{need}/manifest.json" for need in needs]
        output: f"{notebook}/manifest.json"
        # One that trains says threads: 2 and so has both cores; those that need one run side by side.
        threads: max(parameters.get("threads", 1), parameters.get("workers", 1))
        priority: len(NEEDS) * (notebook in FIRST) + sum(notebook in others for others in NEEDS.values())
        params:
            notebook=notebook,
            profile=profile.name,
            python=sys.executable,
            parameters=json.dumps(parameters, sort_keys=True),
            code=runs.code_digest(notebook),
        # `exec`: the process that watches for its parent's end must be Snakemake's own child.
        shell:
            "exec {params.python} -m cmrlib.app.runs execute {params.notebook} --profile {params.profile}"
            " --runs .. --follow"


# A large study: every stage in shards of subjects, one job a shard, and one merge. Jobs on other machines read the plan
# that the main process wrote; a stage's stamp (STAGE.json) is its only declared output, so that a killed job goes on.
if profile.study:
    study = profile.study
    if workflow.is_main_process:
        source = Path(os.environ.get("CMR_DATA_DIR", ".")) / study["source"]
        plan_shards(study["kind"], source, "study", study["subjects_a_shard"], study["options"])
    shards = sorted(set(read_plan("study")["shard"]))
    for folder in ("weights", "encoder", "runs"):
        if study[folder] and study[folder] not in SETS:
            study[folder] = str(runs.ROOT / study[folder])

    waits = {stage: [need for need in STAGES[stage][0] if need in study["stages"]] for stage in study["stages"]}

    for stage in study["stages"]:
        rule:
            name: f"study_{stage}"
            input:
                "study/shards/{shard}/subjects.txt",
                [f"study/shards/{{shard}}/{need}.json" for need in waits[stage]],
            output: f"study/shards/{{shard}}/{stage}.json"
            threads: study["threads"]
            # Killed, out of memory or off with its node: twice more, each time with more memory.
            retries: 2 if workflow.is_main_process else 0
            resources:
                mem_mb=lambda wildcards, attempt, most=study["mem_mb"][stage]: most * attempt,
                runtime=study["minutes"],
            params:
                stage=stage,
                python=sys.executable,
                settings=json.dumps({name: study[name] for name in STAGES[stage][1]}, sort_keys=True),
            shell:
                "exec {params.python} -m cmrlib.app.cli study run {params.stage} study/shards/{wildcards.shard}"
                " --settings {params.settings:q} --follow"

    rule study_merge:
        input:
            "study/plan.tsv",
            expand("study/shards/{shard}/{stage}.json", shard=shards, stage=study["stages"]),
        output: "study/merged.json"
        resources:
            mem_mb=4000,
        params:
            python=sys.executable,
        shell:
            "exec {params.python} -m cmrlib.app.cli study merge study"
