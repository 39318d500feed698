"""python -m cmrlib.app.runs: one notebook, all of a profile, its pages, its record, or the parameters of a notebook."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from cmrlib.app.runs.execution import NotebookFailed, execute, follow_parent, snakemake
from cmrlib.app.runs.parameters import ROOT, UsageError, resolve

# jsonschema, which nbformat imports, builds a grammar of web addresses from this package: a second in every process,
# for a format that no notebook has.
sys.modules.setdefault("rfc3987_syntax", None)


def arguments(words=None):
    parser = argparse.ArgumentParser(prog="python -m cmrlib.app.runs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("execute", "parameters", "all", "pages", "record"):
        command = commands.add_parser(name)
        if name in ("execute", "parameters"):
            command.add_argument("notebook", help="its name without .ipynb, say 01_segmentation")
            command.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
            command.add_argument("--part", default="", help="name of a run of some trainings, kept beside the whole")
        command.add_argument("--profile", default="quick", help="profiles/NAME.yaml (default quick)")
        command.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs are kept (default runs)")
        command.add_argument("--cores", type=int, default=2, help="for notebooks side by side (default 2)")
        command.add_argument("--cluster", default="", help="slurm or kubernetes: where jobs run (default here)")
        command.add_argument("--follow", action="store_true", help="end when the calling process ends")
    return parser.parse_args(words)


def main(words=None) -> int:
    given = arguments(words)
    if given.follow:
        follow_parent()
    try:
        overrides = [word.partition("=") for word in getattr(given, "overrides", ())]
        overrides = {name: yaml.safe_load(value) for name, _, value in overrides}
        if given.command == "all":
            return snakemake(given.profile, given.runs, given.cores, given.follow, given.cluster)
        elif given.command == "record":
            from cmrlib.app.runs import record

            print("figures/record/ has one more line of:", ", ".join(record.append(given.profile, given.runs)))
        elif given.command == "pages":
            from cmrlib.app.runs.pages import write_pages  # brings nbconvert

            print(write_pages(given.profile, given.runs))
        elif given.command == "execute":
            execute(given.notebook, given.profile, given.runs, overrides, given.part)
        else:
            print(json.dumps(resolve(given.notebook, given.profile, overrides), indent=1))
    except KeyboardInterrupt:
        return 130
    except (UsageError, NotebookFailed, OSError) as error:  # OSError: say, a disk that is full
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
