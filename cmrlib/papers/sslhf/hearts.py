"""SSLHF's own phantom cohort: patients with heart failure, in the paper's share of reduced EF."""

from cmrlib.cohort import Cohort
from cmrlib.datasets.ingestion import build_cohort
from cmrlib.phantom import DESCRIPTION, draw_member, make_orders, make_study

PATIENTS = {"HFrEF": 63, "HFpEF": 121}
"""The paper's 184."""


def make_hearts(dest, subjects: int = 184, seed: int = 1, workers: int | None = None, **settings) -> Cohort:
    """Short-axis cines of the first `subjects` people of the phantom's mix `hf` who have heart failure, of each kind as
    many as the paper's share says. Made at `dest`, or opened where it was made. settings: of `phantom.make_orders`.

    People of that mix without heart failure are passed over: SSLHF tells its two kinds apart, not the sick from the
    healthy. Raises ValueError for fewer than 10, who could not be dealt to five folds.
    """
    if subjects < 10:
        raise ValueError(f"{subjects} patients cannot be dealt to five folds with both kinds in each; ask for more")
    reduced = round(subjects * PATIENTS["HFrEF"] / sum(PATIENTS.values()))
    wanted, chosen, number = {"HFrEF": reduced, "HFpEF": subjects - reduced}, [], 0
    while any(wanted.values()):
        number += 1
        kind = draw_member("hf", seed, number).labels()["hf_type"]
        if wanted.get(kind):
            wanted[kind] -= 1
            chosen.append(number)
    orders = make_orders(number, seed, views=["sax"], cohort="hf", **settings)
    kept = {f"P{k:04d}": orders[f"P{k:04d}"] for k in chosen}
    return build_cohort(kept, make_study, dest, DESCRIPTION | {"Seed": int(seed), "Mix": "hf"}, workers)
