"""Arrays that are made once and found again: patches, flow maps, features of frozen networks."""

import hashlib
import inspect
import json
from pathlib import Path

import numpy as np

from cmrlib.cohort.files import atomic, code_of, read_json, write_json
from cmrlib.cohort.progress import with_progress


class ArrayCache:
    """A folder NAME_DIGEST with one .npy per key (a cine or a subject), and one .json where there are facts about it.

        cache = ArrayCache(run.state, "patches", cohort, "truth", asdict(settings), code=(preparation,))
        cache.fill(cines, lambda name: (pixels, {"ed": 3.0}))
        cache[name], cache.facts(name)

    The digest is taken of the cohort, of what the observer drew (its name does not count), of settings and of code, so
    that another mask or another line of code never meets old arrays. Each file is there whole or not at all: a killed
    run loses the key at work, and several processes may fill one folder.
    """

    def __init__(self, folder, name: str, cohort, annotations: str = "", settings: dict | None = None, code=()):
        self.name, self.settings = name, (settings or {}) | {"cohort": cohort.digest}
        if annotations:
            self.settings["annotations"] = cohort.observer(annotations).digest
        parts = [json.dumps(self.settings, sort_keys=True, default=str)]
        parts += [code_of(inspect.getsource(module)) for module in code]
        self.digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
        self.folder = Path(folder) / f"{name}_{self.digest}"

    def __contains__(self, key: str) -> bool:
        return (self.folder / f"{key}.npy").exists()

    def __getitem__(self, key: str) -> np.ndarray:
        """The array, a read-only memory map; of length 0 where there could be none. KeyError where it was not made."""
        if key not in self:
            raise KeyError(f"{key}: no array in {self.folder}; fill the cache first")
        return np.load(self.folder / f"{key}.npy", mmap_mode="r")

    def facts(self, key: str) -> dict:
        """What was noted beside an array, or why there is none; empty where nothing was."""
        path = self.folder / f"{key}.json"
        return read_json(path) if path.exists() else {}

    def fill(self, keys, make) -> "ArrayCache":
        """Make what is missing. make: key → array, or (array, facts); (None, facts) where there can be no array."""
        missing = [key for key in keys if key not in self]
        if missing:
            write_json(self.settings, self.folder / "settings.json")
        for key in with_progress(missing, self.name, "array"):
            made = make(key)
            array, facts = made if isinstance(made, tuple) else (made, {})
            if facts:
                write_json(facts, self.folder / f"{key}.json")
            with atomic(self.folder / f"{key}.npy") as part, part.open("wb") as file:  # last: now the key is there
                np.save(file, np.empty(0) if array is None else array)
        return self
