# The notebooks as a workflow: `make run`, or on a cluster
#   make run PROFILE=full CLUSTER=slurm
# Its working directory is runs/PROFILE, so that every profile has its own records and may run beside the others.

import json
import os
import shlex
import sys
from itertools import product
from pathlib import Path

from cmrlib.app import runs
from cmrlib.app.runs.execution import follow_parent
from cmrlib.learning.weightsets import SETS

# What each notebook reads of others. A new notebook is one more line.
NEEDS = {
    "00_cohort": [],
    "01_segmentation": ["00_cohort"],
    "01b_few_labels": ["00_cohort", "01_segmentation"],
    "02_measurements": ["00_cohort", "01_segmentation"],
    "03_tempreg": ["00_cohort"],
    "03b_tempreg_table1": ["00_cohort", "01_segmentation", "03_tempreg"],
    "03c_tempreg_patients": ["00_cohort", "01_segmentation"],
    "04_mvnet": ["00_cohort"],
    "04b_mvnet_people": ["00_cohort", "04_mvnet"],
    "04c_mvnet_real": ["04_mvnet"],
    "05_cussp": [],
    "05b_cussp_table2": ["05_cussp"],
    "05c_cussp_real": [],
    "05d_cussp_factorial": ["05_cussp"],
    "06_sslhf": [],
    "06b_sslhf_tables": ["01_segmentation", "06_sslhf"],
    "06c_sslhf_groups": ["00_cohort", "06_sslhf"],
    "06d_sslhf_patients": ["00_cohort", "01_segmentation"],
    "07_heartmae_pretrain": ["00_cohort"],
    "08_heartmae_predict": ["00_cohort", "07_heartmae_pretrain"],
    "08c_heartmae_domains": ["00_cohort", "08_heartmae_predict"],
    "08d_heartmae_patients": ["00_cohort", "01_segmentation", "07_heartmae_pretrain"],
    "09_agreement": ["02_measurements"],
    "10_stratification": ["00_cohort", "08_heartmae_predict"],
    "11_figures": ["01_segmentation", "02_measurements", "03_tempreg", "03b_tempreg_table1", "04_mvnet", "04b_mvnet_people",
                   "05_cussp", "05b_cussp_table2", "06_sslhf", "06b_sslhf_tables", "07_heartmae_pretrain",
                   "08_heartmae_predict", "10_stratification"],
    "12_explore": ["00_cohort", "02_measurements", "03_tempreg", "04_mvnet"],
}

# What a newcomer looks at first, and what most others wait for: it gets the cores first.
FIRST = ["00_cohort", "01_segmentation", "02_measurements", "09_agreement"]

# A large cohort: the stages before, the `cmr` command of one shard (with --shard K/N), and what makes all shards one.
STAGES = {
    "ingest": ([], "ingest {kind} {source} {cohort} {options}", "ingest {kind} {source} {cohort} {options}"),
    "segment": (
        ["ingest"],
        "segment {cohort} --weights {weights} --n-tta {n_tta} --threads {threads} --out study/observers/ternausnet",
        "segment {cohort} --weights {weights} --n-tta {n_tta} --out study/observers/ternausnet",
    ),
    "measure": (
        ["segment"],
        "measure {cohort} --observer study/observers/ternausnet --out study/measures/{shard}",
        "join study/observers/ternausnet/measures.tsv study/measures/*/measures.tsv",
    ),
    "embed": (
        ["ingest"],
        "embed {cohort} --weights {encoder} --threads {threads} --out study/embeddings/{shard}",
        "join study/embeddings.csv study/embeddings/*/embeddings.csv",
    ),
    "report": (
        ["segment"],
        "report {cohort} --observer study/observers/ternausnet --weights {runs} --threads {threads} --out study/pages",
        "",
    ),
}

profile = runs.load_profile(config["profile"])
notebooks = profile.notebooks or ([] if profile.study else list(NEEDS))
if config.get("follow"):
    follow_parent()


onsuccess:
    print(f"profile {profile.name} is complete: {Path.cwd()}")


onerror:
    print(f"profile {profile.name} is not complete; the errors stand above, what is done is kept in {Path.cwd()}")


rule all:
    default_target: True
    input:
        [f"{notebook}/manifest.json" for notebook in notebooks],
        ["index.html"] if notebooks else [],
        [f"study/{stage}.done" for stage in profile.study.get("stages", [])],


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
    if parameters.get("drawn"):  # 04c_mvnet_real trains networks of its own
        needs = ["00_cohort"]
    if parameters.get("acdc"):  # 06c_sslhf_groups of ACDC in place of 00_cohort's phantoms
        needs = [need for need in needs if need != "00_cohort"]
    code = runs.code_digest(notebook)
    # Every combination of some lists (folds and seeds, say) trains in a job of its own; the whole finds these trainings.
    lists = profile.parts.get(notebook, [])
    parts = ["-".join(map(str, values)) for values in product(*(parameters[name] for name in lists))] if lists else []

    for part in [*parts, ""]:
        own = [f"{name}=[{value}]" for name, value in zip(lists, part.split("-"))] if part else []

        rule:
            name: f"{notebook}_{part}" if part else notebook
            input:
                [f"{need}/manifest.json" for need in needs],
                [] if part else [f"{notebook}@{one}/manifest.json" for one in parts],
            output: f"{notebook}@{part}/manifest.json" if part else f"{notebook}/manifest.json"
            # One that trains says threads: 2 and so has both cores; those that need one run side by side.
            threads: max(parameters.get("threads", 1), parameters.get("workers", 1))
            priority: len(NEEDS) * (notebook in FIRST) + sum(notebook in others for others in NEEDS.values())
            params:
                notebook=notebook,
                profile=profile.name,
                python=sys.executable,
                parameters=json.dumps(parameters, sort_keys=True),
                code=code,
                part=shlex.join([word for value in own for word in ("-p", value)] + ["--part", part]),
            # `exec`: the process that watches for its parent's end must be Snakemake's own child.
            shell:
                "exec {params.python} -m cmrlib.app.runs execute {params.notebook} --profile {params.profile}"
                " --runs .. --follow {params.part}"


# A large cohort: one job a stage and shard, then one that makes all shards one. Every command goes on where it was killed.
if profile.study:
    study, cmr = profile.study, f"exec {sys.executable} -m cmrlib.app.cli --follow"
    for name in ("weights", "encoder", "runs"):
        if study[name] and study[name] not in SETS:
            study[name] = str(runs.ROOT / study[name])
    study["runs"] = study["runs"] or (study["weights"] if study["weights"] in SETS else str(Path(study["weights"]).parent))
    study["source"] = str(Path(os.environ.get("CMR_DATA_DIR", ".")) / study["source"])
    values = {name: value if name == "options" else shlex.quote(str(value)) for name, value in study.items()}
    if "CMR_DATA_DIR" in os.environ:

        envvars:
            "CMR_DATA_DIR",

    for stage in study["stages"]:
        before, shard_command, all_command = STAGES[stage]
        # ingest makes the cohort that all others open; the others need only their own shard
        needs = ["study/ingest.done" if need == "ingest" else f"study/{need}/{{shard}}.done" for need in before
                 if need in study["stages"]]

        rule:
            name: f"study_{stage}"
            input: needs
            output: touch(f"study/{stage}/{{shard}}.done")
            benchmark: f"study/benchmarks/{stage}_{{shard}}.tsv"
            threads: study["threads"]
            # Killed, out of memory or lost with its node: twice more, each time with more memory.
            retries: 2 if workflow.is_main_process else 0
            resources:
                mem_mb=lambda wildcards, attempt, most=study["mem_mb"][stage]: most * attempt,
                runtime=study["minutes"],
            params:
                cmr=cmr,
                command=lambda wildcards, command=shard_command: command.format(shard=wildcards.shard, **values),
                shards=study["shards"],
            shell: "{params.cmr} {params.command} --shard {wildcards.shard}/{params.shards}"

        rule:
            name: f"study_{stage}_all"
            input: expand("study/{stage}/{shard}.done", stage=stage, shard=range(study["shards"]))
            output: touch(f"study/{stage}.done")
            resources:
                mem_mb=study["mem_mb"][stage],
                runtime=study["minutes"],
            params:
                command=f"{cmr} {all_command}".format(**values) if all_command else "true",
            shell: "{params.command}"
