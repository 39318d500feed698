"""How often quality flags (`cmrlib.datasets.qc`) are right: on phantom hearts with a fault and without, and on
real hearts.

    CMR_DATA_DIR=… python benchmarks/quality.py [--subjects 30] [--seed 303]

Thresholds were set on seeds 101 and 202. Every subject is imaged twice, as SAX stack and 4CH: without breath-
hold shifts and mis-triggering, and with both. Beside what the phantom does itself, one trouble at a time is put into
the clean cines: a middle slice moved by 6 mm, grey values drawn together to three tenths. `judged`: where the method
gives a number at all. `unlike_training`: the reference is half of the clean SAX stacks of one scanner. Of real hearts
the column says how many are flagged; ACDC's shifts are held against the experts' outlines too. --real: no phantoms.
"""

import argparse
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import codes
from cmrlib.cohort.files import read_tsv
from cmrlib.cohort.splits import committed_list
from cmrlib.datasets import acdc, dicom, dsb2015, qc, sunnybrook
from cmrlib.learning.appearance import appearance, appearance_distance, appearance_reference
from cmrlib.phantom import EFFECTS, make_study, subject_specs

TROUBLES = ("breath_hold", "mistrigger")
FLAGS = ("slices_shifted", "contrast_low")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--seed", type=int, default=303, help="another one than 101 and 202")
    parser.add_argument("--real", action="store_true", help="only ACDC's stacks against the experts' outlines")
    arguments = parser.parse_args()
    against_outlines(Path(os.environ.get("CMR_DATA_DIR", "/nonexistent")) / "acdc" / "training")
    if arguments.real:
        return
    rows, shifts, looks = defaultdict(list), [], {"many": []}
    for number in range(1, arguments.subjects + 1):
        clean = one_subject(arguments.seed, number, rows, shifts)
        if number % 2:
            looks["many"].append(clean)
    for name, cines in real_cines(os.environ.get("CMR_DATA_DIR")).items():
        rows[name] = [qc.qc_flags(cine) for cine in cines]
        looks[name] = cines
    report(rows, shifts)
    report_looks(looks, arguments)


def phantom(seed, number, views, effects=EFFECTS, **settings) -> list[Cine]:
    *_, order = subject_specs(number, seed, views=views, effects=effects, **settings).values()
    return make_study("", order).cines


def one_subject(seed, number, rows, shifts) -> Cine:
    """Flags of one subject's cines by situation, and what is said of single slices beside their truth."""
    rng = np.random.default_rng([seed, number])
    quiet = tuple(name for name in EFFECTS if name not in TROUBLES)
    clean, long_axis = phantom(seed, number, ("sax", "4ch"), quiet)
    (stack,) = phantom(seed, number, ("sax",))
    (uneven,) = phantom(seed, number, ("sax",), diagnoses=["AF"])  # every fourth slice is mis-triggered
    for name, cine in (
        ("phantom SAX, clean", clean),
        ("phantom 4CH, clean", long_axis),
        ("phantom SAX, as it comes", stack),
        ("phantom SAX, AF", uneven),
        ("one slice moved by 6 mm", moved(clean, 6.0, rng)),
        ("contrast drawn together", faded(clean)),
    ):
        rows[name].append(qc.qc_flags(cine))
    for cine in (stack, uneven):
        shifts.append(np.c_[true_shifts_mm(cine), qc.slice_shifts_mm(cine)])
    return clean


def true_shifts_mm(cine) -> np.ndarray:
    """What `slice_shifts_mm` is to find, from the breath-holds that the phantom made."""
    directions = cine.affine[:3, :2] / np.linalg.norm(cine.affine[:3, :2], axis=0)
    place = np.array(cine.meta["breath_hold_mm"]) @ directions
    away = np.full(len(place), np.nan)
    away[1:-1] = np.linalg.norm(place[1:-1] - (place[:-2] + place[2:]) / 2, axis=1)
    return away


def middle(cine, rng) -> int:
    return int(rng.integers(cine.slices // 3, max(cine.slices // 3 + 1, 2 * cine.slices // 3)))


def moved(cine, mm, rng) -> Cine:
    """A middle slice moved in its plane, in any direction."""
    k, angle, pixels = middle(cine, rng), rng.uniform(0, 2 * np.pi), cine.pixels.copy()
    step = mm * np.array([np.sin(angle), np.cos(angle)]) / cine.spacing_mm[1:]
    pixels[:, k] = ndimage.shift(pixels[:, k].astype(np.float32), (0, *step), order=1, mode="nearest")
    return replace(cine, pixels=pixels)


def faded(cine, share=0.3) -> Cine:
    """Grey values drawn towards their mean."""
    pixels = cine.pixels.astype(np.float32)
    return replace(cine, pixels=pixels.mean() + share * (pixels - pixels.mean()))


def real_cines(data_dir) -> dict[str, list[Cine]]:
    """Cines of the samples that are at hand, without the patients of the committed test lists."""
    root, found = Path(data_dir or "/nonexistent"), {}
    for name, reader, folder in (
        ("Sunnybrook SAX", sunnybrook, "sunnybrook"),
        ("MVnet 2CH and 4CH", dicom, "mvnet_sample"),
        ("ACDC SAX, two frames", acdc, "acdc/training"),
        ("Kaggle 4CH, two frames", dsb2015, "dsb2015"),
    ):
        if (root / folder).is_dir():
            kept = set() if reader is dicom else tested(reader.__name__.rpartition(".")[2])
            found[name] = [
                cine
                for label, item in reader.find(root / folder).items()
                if label not in kept
                for cine in reader.read(label, item).cines
            ]
    return {name: cines for name, cines in found.items() if cines}


def against_outlines(folder):
    """`slices_shifted` of ACDC's stacks against the experts' outlines at ED: whether the centre of LV and myocardium
    lies further than the threshold from the middle between its neighbours' in any slice."""
    rows = []
    for label, item in acdc.find(folder).items() if folder.is_dir() else ():
        study = acdc.read(label, item)
        cine, drawn = study.cines[0], study.observers["manual"][study.cines[0].name]
        heart = np.isin(drawn.mask[min(drawn.annotated)], codes(["lv", "myo"]))
        centres = [ndimage.center_of_mass(one) if one.sum() > 20 else (np.nan, np.nan) for one in heart]
        centres = np.array(centres) * cine.spacing_mm[1:]  # (slices, 2), mm
        off_mm = np.linalg.norm(centres[1:-1] - (centres[:-2] + centres[2:]) / 2, axis=1)
        rows.append(("slices_shifted" in qc.qc_flags(cine), np.nanmax(off_mm) > qc.SHIFT_MM))
    flagged, shifted = np.array(rows, bool).reshape(-1, 2).T
    print(
        f"ACDC: {len(rows)} stacks, {flagged.sum()} with slices_shifted, of which outlines agree in "
        f"{(flagged & shifted).sum()}; of {(~shifted).sum()} whose outlines lie in line {(flagged & ~shifted).sum()} "
        f"have it; of {shifted.sum()} whose outlines do not {(~flagged & shifted).sum()} lack it"
    )


def tested(kind) -> set[str]:
    """Subjects of a committed list who are for testing only."""
    table = read_tsv(committed_list(kind))
    return set(table.loc[table["split"] == "test" if "split" in table else table["fold"] == 0, "participant_id"])


def report(rows, shifts):
    table = pd.DataFrame(
        {
            name: {"n": len(flags), **{flag: np.mean([flag in one for one in flags]) for flag in FLAGS}}
            for name, flags in rows.items()
        }
    ).T
    print("share of cines that get a flag\n" + table.round(2).astype({"n": int}).to_string())
    true, seen = np.concatenate(shifts).T
    there, judged = true > qc.SHIFT_MM, np.isfinite(seen) & np.isfinite(true)
    print(
        f"slices, shift_mm: {np.isfinite(true).sum()}, judged {judged.sum() / np.isfinite(true).sum():.2f}, "
        f"correlation {np.corrcoef(true[judged], seen[judged])[0, 1]:.2f}, "
        f"median error {np.median(np.abs(seen - true)[judged]):.3f}; beyond the threshold {there.sum()}, "
        f"judged {(there & judged).sum()}, found {(there & (seen > qc.SHIFT_MM)).sum()}; "
        f"flagged of those below {(~there & (seen > qc.SHIFT_MM)).sum()}"
    )


def report_looks(looks, arguments):
    """Flags of appearance: reference of one scanner's hearts, then other hearts of the same and of other scanners."""
    own = [phantom(arguments.seed, k, ("sax",), domain="one")[0] for k in range(1, arguments.subjects + 1)]
    looks = {
        "same scanner": own[1::2],
        "many scanners": looks.pop("many"),
        "random appearance": [
            phantom(arguments.seed, k, ("sax",), appearance="random")[0] for k in range(1, arguments.subjects, 2)
        ],
    } | looks
    reference = appearance_reference(own[::2])
    print(f"unlike_training, reference of {reference['n']} hearts of one scanner, limit {reference['limit']:.1f}")
    for name, cines in looks.items():
        apart = [appearance_distance(appearance(cine), reference) for cine in cines]
        if apart:
            print(
                f"  {name}: n {len(apart)}, median distance {np.median(apart):.1f}, "
                f"flagged {np.mean(np.array(apart) > reference['limit']):.2f}"
            )


if __name__ == "__main__":
    main()
