# The notebooks as a workflow: `make run`, or on a cluster
#   snakemake --executor slurm --jobs 50 --directory runs/full --config profile=full
# Its working directory is runs/PROFILE, so that every profile has its own records and may run beside the others.

import json
import sys
from pathlib import Path

from cmrlib import runs
from cmrlib.runs.execution import follow_parent

# What each notebook reads of others. A new notebook is one more line.
NEEDS = {
    "00_cohort": [],
    "01_segmentation": ["00_cohort"],
    "02_measurements": ["00_cohort", "01_segmentation"],
    "03_tempreg": ["00_cohort", "01_segmentation"],
    "04_mvnet": ["00_cohort"],
    "05_cussp": [],
    "06_sslhf": ["01_segmentation"],
    "07_heartmae_pretrain": ["00_cohort"],
    "08_heartmae_predict": ["00_cohort", "07_heartmae_pretrain"],
    "09_agreement": ["02_measurements"],
    "10_stratification": ["00_cohort", "08_heartmae_predict"],
    "11_figures": ["01_segmentation", "02_measurements", "03_tempreg", "04_mvnet", "05_cussp", "06_sslhf",
                   "07_heartmae_pretrain", "08_heartmae_predict", "10_stratification"],
    "12_explore": ["00_cohort", "02_measurements", "03_tempreg", "04_mvnet"],
}

profile = runs.load_profile(config["profile"])
if config.get("follow"):
    follow_parent()


onsuccess:
    print(f"profile {profile.name} is complete: {Path.cwd()}")


onerror:
    print(f"profile {profile.name} is not complete; the errors stand above, what is done is kept in {Path.cwd()}")


rule all:
    default_target: True
    input:
        [f"{notebook}/manifest.json" for notebook in profile.notebooks or NEEDS],
        "index.html",


# Pages to look at and to send: the executed notebooks, and an index with their metrics.
rule pages:
    input: [f"{notebook}/manifest.json" for notebook in profile.notebooks or NEEDS]
    output: "index.html"
    params:
        python=sys.executable,
        profile=profile.name,
    shell:
        "exec {params.python} -m cmrlib.runs pages --profile {params.profile} --runs .. --follow"


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
        threads: parameters.get("threads", 1)
        params:
            notebook=notebook,
            profile=profile.name,
            python=sys.executable,
            parameters=json.dumps(parameters, sort_keys=True),
            code=runs.code_digest(notebook),
        # `exec`: the process that watches for its parent's end must be Snakemake's own child.
        shell:
            "exec {params.python} -m cmrlib.runs execute {params.notebook} --profile {params.profile}"
            " --runs .. --follow"
