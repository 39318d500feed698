"""Several cohorts to learn from as one."""

from types import SimpleNamespace

import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cohort.files import short_digest


class Pooled:
    """Several cohorts to learn from as one, each with the name of an observer of its own.

    Serves `Task.items`, `block` and `job`, for which the name of the observer then does not count. Raises ValueError
    where two cohorts have a cine of one name.
    """

    def __init__(self, sources):
        self.sources = [(cohort, cohort.observer(annotations)) for cohort, annotations in sources]
        self.path = self.sources[0][0].path
        self.cines = pd.concat([cohort.cines.assign(source=n) for n, (cohort, _) in enumerate(self.sources)])
        if self.cines["cine"].duplicated().any():
            raise ValueError(f"cohorts have cines of one name: {self.cines['cine'][self.cines['cine'].duplicated()]}")
        self._source = dict(zip(self.cines["cine"], self.cines["source"]))

    @property
    def digest(self) -> str:
        return short_digest(" ".join(cohort.digest for cohort, _ in self.sources).encode())

    def cine(self, name: str) -> Cine:
        return self.sources[self._source[name]][0].cine(name)

    def observer(self, name: str = ""):
        """Has, mask and points of each cine by its own cohort's observer."""

        def own(cine):
            return self.sources[self._source[cine]][1]

        return SimpleNamespace(
            has=lambda cine, *what: own(cine).has(cine, *what),
            mask=lambda cine: own(cine).mask(cine),
            points=lambda cine: own(cine).points(cine),
            digest=short_digest(" ".join(observer.digest for _, observer in self.sources).encode()),
        )
