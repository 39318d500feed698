"""Which code a notebook depends on, read from the sources without importing anything.

Snakemake compares `code_digest` between runs: a changed module reruns the notebooks that import it, directly or
through others, and no other. Comments, layout and prose do not count.
"""

import ast
import re
from functools import cache
from pathlib import Path

from cmrlib.app.runs.parameters import cells, is_parameters
from cmrlib.cohort.files import code_of, short_digest

PACKAGE = Path(__file__).parents[2]
LISTS = (".tsv", ".yaml")  # committed beside the modules that read them: test subjects, label maps
NOT_COUNTED = "cmrlib.app"  # how a run is kept and called says nothing about its results
MAKERS = ("cmrlib.datasets", "cmrlib.phantom")


def code_digest(notebook: str, package: Path = PACKAGE) -> str:
    """Digest of the notebook's code and of all cmrlib modules that it reaches; its parameters are not part of it."""
    code = [cell["source"] for cell in cells(notebook) if cell["cell_type"] == "code" and not is_parameters(cell)]
    modules = reached(set().union(*(imports(source, package) for source in code)), package)
    return _digest([*map(_normal, code), *_contents(modules, package)])


def making_digest() -> str:
    """Digest of the modules that make cohorts, and of what they import."""
    return _digest(_contents(reached(set(MAKERS))))


def reached(names: set[str], package: Path = PACKAGE) -> set[str]:
    """These modules, the packages that hold them, and all that they import."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith(NOT_COUNTED):
            continue
        found.add(name)
        waiting |= imports(_file(name, package).read_text(encoding="utf-8"), package)
        if "." in name:
            waiting.add(name.rpartition(".")[0])
        if name == "cmrlib.datasets":  # imports its modules by a name that it is told
            waiting |= {f"{name}.{path.stem}" for path in (package / "datasets").glob("[a-z]*.py")}
    return found


@cache
def imports(source: str, package: Path = PACKAGE) -> set[str]:
    """cmrlib modules that a module or a cell names in its imports, wherever they stand."""
    names = set()
    for node in ast.walk(_parsed(source)) if "cmrlib" in source else ():
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == "cmrlib" and _file(name, package)}


def _parsed(source):
    """Syntax tree; `%magic` and `!command` lines of a cell are passed over, a cell of another language is empty."""
    for text in (source, re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.MULTILINE)):
        try:
            return ast.parse(text)
        except SyntaxError:
            continue
    return ast.parse("")


@cache
def _normal(source):
    """Source without prose and layout; magics stay."""
    try:
        return code_of(source)
    except SyntaxError:
        return source


def _file(name, package):
    """Source file of a dotted name, None where it names no module (but, say, a function)."""
    path = package.joinpath(*name.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _contents(modules, package=PACKAGE):
    """Normalised sources, in a fixed order, and the committed lists that lie beside them."""
    files = {_file(name, package) for name in modules}
    below = {file.parent: "*" if file.parent == package else "**/*" for file in files}
    lists = {path for folder, inside in below.items() for path in folder.glob(inside) if path.suffix in LISTS}
    for path in sorted(files | lists):
        text = path.read_text(encoding="utf-8")
        yield f"{path.relative_to(package)}\n{_normal(text) if path.suffix == '.py' else text}"


def _digest(texts):
    return short_digest("\n\n".join(texts).encode())
