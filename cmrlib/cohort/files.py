"""Files that other programs open too: TSV, JSON and NIfTI, written whole or not at all."""

import ast
import errno
import fcntl
import hashlib
import json
import re
import secrets
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd


@contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; move it there on success, remove it on any failure.

    A reader, a full disk or a killed process never meets half a file under its final name.
    """
    path, part = Path(path), _part(Path(path))
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            why = f"No space left on device for {path}: make room and run it again, what is done stays"
            raise OSError(error.errno, why) from error
        raise


def _part(path) -> Path:
    """An empty file beside `path`; OSError where that is a folder or cannot be written."""
    part = path.with_name(f".part-{secrets.token_hex(4)}-{path.name}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise OSError(f"cannot write in {path.parent}: {error.strerror}; choose a folder that you may write") from error
    return part


def require_writable(path):
    """Raise OSError before any work where the file `path` could not be written after it."""
    _part(Path(path)).unlink()


@contextmanager
def alone(lock, otherwise: str):
    """Hold a lock while at work: two that write the same files would take each other's for damaged ones. It falls with
    the process. Raises FileExistsError, `otherwise` its text, where somebody else holds it."""
    with Path(lock).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileExistsError(f"{otherwise}: wait until it is done, and ask again") from None
        yield


def write_json(value, path):
    """JSON; numpy values become plain ones, NaN and infinity become null."""
    with atomic(path) as part:
        part.write_text(json.dumps(as_json(value), indent=1, allow_nan=False) + "\n")


def as_json(value):
    """The value as `write_json` writes it and `read_json` reads it."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [as_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_arrays(value, path):
    """Nested dicts and lists of arrays, numbers and text → one .npz, which numpy opens without pickle."""
    arrays = {}

    def plain(part):
        if isinstance(part, dict):
            return {"dict": [[str(key), plain(item)] for key, item in part.items()]}
        if isinstance(part, list | tuple):
            return {"list": list(map(plain, part))}
        if isinstance(part, np.ndarray):
            arrays[name := f"array{len(arrays)}"] = part
            return {"array": name}
        return part.item() if isinstance(part, np.generic) else part

    tree = json.dumps(plain(value))
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, tree=tree, **arrays)


def read_arrays(path):
    """What `write_arrays` was given; tuples come back as lists."""
    with np.load(path, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}

    def built(part):
        if not isinstance(part, dict):
            return part
        ((kind, content),) = part.items()
        if kind == "array":
            return arrays[content]
        return {key: built(item) for key, item in content} if kind == "dict" else [built(item) for item in content]

    return built(json.loads(str(arrays["tree"])))


def read_json(path):
    try:
        return json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error}); restore it from its source") from error


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before texts that a spreadsheet would run: of = + - @ and more, but numbers."""

    def safe(cell):
        runs = isinstance(cell, str) and re.match(r"[=+\-@\t\r].", cell) and np.isnan(_number(cell))
        return f"'{cell}" if runs else cell

    table = table.copy(deep=False)
    for n, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            table.isetitem(n, table.iloc[:, n].map(safe, na_action="ignore"))
    return table


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def write_tsv(table: pd.DataFrame, path):
    """DataFrame → TSV; missing values are `n/a` as BIDS asks, floats keep 10 digits, formulas become text."""
    with atomic(path) as part:
        table = without_formulas(table)
        table.to_csv(part, sep="\t", index=False, na_rep="n/a", float_format="%.10g", lineterminator="\n")


def read_tsv(path) -> pd.DataFrame:
    """TSV → DataFrame; only `n/a` and empty cells are missing, identifiers stay text. ValueError where it is none."""
    names = ("participant_id", "session", "cine", "view", "flags", "observer", "group", "sex", "digest")
    options = {"na_values": ["n/a", ""], "keep_default_na": False, "dtype": dict.fromkeys(names, str)}
    try:
        table = pd.read_csv(path, sep="\t", **options)
    except ValueError as error:  # pandas' own and the encoding's are kinds of it
        raise ValueError(
            f"{path} is not readable as a table ({error}); save it as UTF-8, tabs between cells"
        ) from error
    return table.fillna({name: "" for name in ("session", "flags") if name in table})


def read_csv(path, columns=(), sep=",") -> pd.DataFrame:
    """A table of texts as other programs write it. ValueError where it is none, or lacks one of the columns."""
    try:
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{path} is not readable as a table ({error}); restore it from its source") from error
    if lacking := [name for name in columns if name not in table]:
        raise ValueError(f"{path} lacks the columns {', '.join(lacking)}; restore it from its source")
    return table


def write_nifti(path, pixels, affine, frame_step_ms=float("nan")) -> str:
    """Array (frames, slices, rows, columns) → NIfTI (i, j, k, t), sform and qform alike, mm and ms; compressed where
    the name ends in .gz. Returns the file's digest."""
    path, pixels = Path(path), np.asarray(pixels)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    image = nib.Nifti1Image(pixels.T, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "msec")
    if np.isfinite(frame_step_ms):
        image.header["pixdim"][4] = frame_step_ms
    with atomic(path) as part:
        if path.suffix == ".gz":
            nib.save(image, part)
            return digest(part)
        image.header["vox_offset"] = 352  # nibabel would copy the array slice by slice, and the digest read it again
        image.header.set_slope_inter(1, 0)
        head, written = image.header.binaryblock + bytes(4), hashlib.blake2b(digest_size=16)
        with part.open("wb") as file:
            for block in (head, pixels):
                file.write(block)
                written.update(block)
        return written.hexdigest()


def map_nifti(path) -> tuple[np.ndarray, np.ndarray]:
    """NIfTI → (array (frames, slices, rows, columns), affine); a zero-copy memory map where uncompressed.

    Raises ValueError naming the file where it is damaged, FileNotFoundError where it is gone.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing from {path.parent}; ingest the subject again")
    try:
        image = nib.load(path)
        data = np.asanyarray(image.dataobj)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as NIfTI ({type(error).__name__}: {error}); it is damaged or cut short: "
            "restore it or ingest the subject again"
        ) from error
    return data.reshape(data.shape + (1,) * (4 - data.ndim)).T, image.affine


def short_digest(content: bytes) -> str:
    """The first half of `digest` for bytes in memory: by what a cohort names a file of its source."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()[:16]


def digest(path) -> str:
    """Digest of a file's bytes (blake2b, 16 bytes, hexadecimal)."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def code_of(source: str) -> str:
    """What Python source does: its syntax tree without docstrings, comments and layout, as text to take a digest of."""
    tree = ast.parse(source)
    holders = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
