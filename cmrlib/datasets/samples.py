"""The real hearts that travel with the repository: a name → the folder that holds them."""

from pathlib import Path

import cmrlib

FOLDER = Path(cmrlib.__file__).parents[1] / "samples"
SAMPLES = {"patient1": "dicom", "sunnybrook": "sunnybrook"}
"""Name → the kind of reader it is for; samples/README.md says what they are and where they came from."""


def sample(name: str = "patient1") -> Path:
    """Folder of a sample, for `ingest(SAMPLES[name], sample(name), DEST)`.

    Raises ValueError for an unknown name, FileNotFoundError where the package is installed without its repository.
    """
    if name not in SAMPLES:
        raise ValueError(f"unknown sample {name!r}; there are {', '.join(SAMPLES)}")
    if not (FOLDER / name).is_dir():
        raise FileNotFoundError(
            f"no folder {FOLDER / name}: samples travel with the repository, not with the package; "
            "clone the repository and install it with `pip install -e .`"
        )
    return FOLDER / name
