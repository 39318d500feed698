"""Parameters: a notebook's own defaults, overlaid by a profile; nothing unknown and no wrong type passes.

A profile is profiles/NAME.yaml:

    extends: quick            another profile to start from (optional)
    after: [carryover]        profiles whose runs this one reads: `make run` runs them first (optional)
    record: true              runs wait for `python -m cmrlib.app.runs record` (optional)
    pool: true                … and a row a subject, so that folds run one at a time can be pooled (optional)
    notebooks: [00_cohort]    what `make run` runs, with what it needs (optional; all without it)
    parts: {03b_x: [folds]}   a job for every combination of what these lists of a notebook hold, before the whole of it
                              runs, which finds their trainings in runs/.state (optional)
    cost: {00_cohort: [9, 1]} GB of disk and GPU hours of a notebook, told and compared with the disk first (optional)
    study: {kind: ukbb, …}    `cmr` commands on a large cohort, in shards of subjects; see STUDY below (optional)
    common: {seed: 1}         for every notebook that declares such a parameter
    01_segmentation: {…}      for that notebook
"""

import ast
import difflib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# The repository. CMR_ROOT is for tests, and for a package installed away from its notebooks.
ROOT = Path(os.environ.get("CMR_ROOT") or Path(__file__).parents[3]).resolve()
STUDY = {
    "kind": "",  # of source, as for `cmr ingest`
    "source": "",  # its folder; relative to the environment variable CMR_DATA_DIR
    "options": "",  # more for `cmr ingest`, say --phase ed
    "cohort": "study/cohort",  # one that exists serves stages without ingest; relative to runs/PROFILE
    "shards": 100,  # jobs of a stage
    "stages": ["ingest", "segment", "measure", "embed", "report"],
    "weights": "real",  # a run of 01_segmentation, or a set that travels with the package: real, open, synthetic
    "n_tta": 3,  # passes of test-time augmentation
    "encoder": "",  # a run of 07_heartmae_pretrain or 08_heartmae_predict; embed needs one
    "runs": "",  # a profile's runs for the pages; default those of the weights
    "threads": 1,  # of a job
    "mem_mb": {"ingest": 2000, "segment": 2000, "measure": 2000, "embed": 4000, "report": 3000},
    "minutes": 240,  # time limit of a job
}
"""What a profile's `study` may say, and its defaults."""


class UsageError(ValueError):
    """Something asked for that cannot be: shown as one message, without a traceback."""


@dataclass(frozen=True)
class Profile:
    name: str
    record: bool = False
    pool: bool = False
    notebooks: list = field(default_factory=list)  # empty: all of them
    after: list = field(default_factory=list)
    parts: dict = field(default_factory=dict)  # notebook → names of lists among its parameters
    cost: dict = field(default_factory=dict)  # notebook → (GB, GPU hours)
    study: dict = field(default_factory=dict)  # empty: none; else all of STUDY
    common: dict = field(default_factory=dict)
    own: dict = field(default_factory=dict)  # notebook → its parameters


SETTINGS = {"extends": "", **{key: value for key, value in vars(Profile("")).items() if key not in ("name", "own")}}
"""What a profile may say beside parameters, and its default."""


def resolve(notebook: str, profile: str | Profile, overrides: dict | None = None) -> dict:
    """All parameters of a notebook under a profile, as plain literals. Raises UsageError naming what exists."""
    profile = load_profile(profile) if isinstance(profile, str) else profile
    declared = defaults(notebook)
    common = profile.common | {"profile": profile.name}
    given = {name: common[name] for name in common.keys() & declared} | profile.own.get(notebook, {})
    for name, value in (overrides or {}).items():  # of a dict, what is not named stays as the profile has it
        both = isinstance(value, dict) and isinstance(given.get(name), dict)
        given[name] = given[name] | value if both else value
    return declared | checked(given, declared, f"{notebook} with profile {profile.name}")


def checked(given: dict, declared: dict, where: str) -> dict:
    """The given parameters as the types of their defaults. Raises UsageError for unknown names and wrong types."""
    for name in given:
        if name not in declared:
            raise unknown("parameter", name, declared, where)
    return {name: _cast(value, declared[name], f"{where}: parameter {name}") for name, value in given.items()}


def load_profile(name: str) -> Profile:
    """profiles/NAME.yaml with what it extends, checked against every notebook that it speaks of."""
    profile, where = _merged(name), f"profiles/{name}.yaml"
    declared = {notebook: defaults(notebook) for notebook in notebook_names()}
    _check_order(name)
    for notebook in [*profile.own, *profile.notebooks, *profile.cost]:
        if notebook not in declared:
            raise unknown("notebook", notebook, declared, where)
    for notebook, given in profile.own.items():
        checked(given, declared[notebook], f"{where}, {notebook}")
    for notebook, names in profile.parts.items():
        checked({name: [] for name in names}, declared.get(notebook, {}), f"{where}, parts of {notebook}")
    every = set().union(*declared.values())
    for parameter in profile.common if every else ():
        if parameter not in every:
            raise unknown("parameter", parameter, every, f"{where}, common")
    return profile


def _check_order(name, waiting=()):
    """Raises UsageError where profiles wait for each other."""
    if name in waiting:
        raise UsageError(f"profiles run after each other in a circle: {' → '.join([*waiting, name])}")
    for first in _merged(name).after:
        _check_order(first, (*waiting, name))


def _merged(name, inner=()) -> Profile:
    """The profile that this one extends, overlaid by its own words."""
    names = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
    if name not in names:
        raise unknown("profile", name, names)
    if name in inner:
        raise UsageError(f"profiles extend each other in a circle: {' → '.join([*inner, name])}")
    where = f"profiles/{name}.yaml"
    try:
        content = yaml.safe_load((ROOT / where).read_text()) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{where} must hold `notebook: parameters` blocks, got a {type(content).__name__}")
    own = {key: value or {} for key, value in content.items() if key not in SETTINGS}
    for key, value in own.items():
        if not isinstance(value, dict):
            raise UsageError(f"{where}: {key} must hold `parameter: value` lines, got {value!r}")
    given = checked({key: content[key] for key in SETTINGS if content.get(key) is not None}, SETTINGS, where)
    base = _merged(given.pop("extends"), (*inner, name)) if "extends" in given else Profile(name)
    inherited = {key: getattr(base, key) for key in ("record", "notebooks", "after")}  # pool and cost belong to one
    merged = {key: getattr(base, key) | given.pop(key, {}) for key in ("parts", "common")}
    study = _study(base.study, given.pop("study", {}), where)
    own = base.own | {key: base.own.get(key, {}) | value for key, value in own.items()}
    return Profile(name, **inherited | merged | given, study=study, own=own)


def _study(base, given, where) -> dict:
    """A profile's `study` with all its defaults; empty where neither it nor the profile it extends has one."""
    checked(given, STUDY, f"{where}, study")
    for stage in [*given.get("stages", ()), *given.get("mem_mb", ())]:
        if stage not in STUDY["stages"]:
            raise unknown("stage", stage, STUDY["stages"], f"{where}, study")
    merged = {**STUDY, **base, **given}
    merged["mem_mb"] = {**STUDY["mem_mb"], **base.get("mem_mb", {}), **given.get("mem_mb", {})}
    return merged if base or given else {}


def notebook_names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))


def cells(notebook: str) -> list[dict]:
    """Cells of a notebook, `source` joined to one string. Raises UsageError where there is no such notebook."""
    if notebook not in notebook_names():
        raise unknown("notebook", notebook, notebook_names())
    content = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    return [cell | {"source": "".join(cell["source"])} for cell in content["cells"]]


def is_parameters(cell: dict) -> bool:
    return cell["cell_type"] == "code" and "parameters" in cell.get("metadata", {}).get("tags", [])


def defaults(notebook: str) -> dict:
    """Names and values of the notebook's cell tagged `parameters`, which holds `name = literal` lines only."""
    tagged = [cell["source"] for cell in cells(notebook) if is_parameters(cell)]
    if len(tagged) != 1:
        raise UsageError(f"{notebook} needs exactly one cell tagged `parameters`, found {len(tagged)}")
    found = {}
    for node in ast.parse(tagged[0]).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        try:
            if isinstance(node, ast.AugAssign) or len(targets) > 1:
                raise ValueError
            found[targets[0].id] = _plain(ast.literal_eval(node.value))
        except (AttributeError, ValueError, TypeError):
            line = ast.get_source_segment(tagged[0], node)
            raise UsageError(f"{notebook}: the parameters cell holds only `name = literal`, got {line!r}") from None
    return found


def _plain(value):
    """A tuple is a list: papermill would turn it into text."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _cast(value, default, where):
    """`value` as the type of `default`. An int may stand for a float; nothing else is converted."""
    kind = type(default)
    if default is None:
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # also from text: YAML 1.1 reads 1e-3, without a dot, as a string
        except ValueError:
            pass
    elif kind is list and isinstance(value, list | tuple):
        return [_cast(item, default[0] if default else None, f"{where}[{i}]") for i, item in enumerate(value)]
    elif kind is dict and isinstance(value, dict) and default:
        return default | checked(value, default, where)
    elif type(value) is kind:
        return value
    raise UsageError(f"{where} must be {kind.__name__} like {default!r}, got {value!r} ({type(value).__name__})")


def unknown(kind: str, name: str, known, where: str = "") -> UsageError:
    """The error for a name that does not exist: what was meant, and what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(f"{where + ': ' if where else ''}unknown {kind} {name!r}.{meant} There are: {', '.join(known)}")
