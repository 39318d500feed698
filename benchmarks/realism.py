"""How well a classifier tells real hearts from phantoms, and a sheet of both side by side for the eye.

    python benchmarks/realism.py [--subjects 54] [--sheet sheet.png]

Real: the ACDC patients that fold 0 trains on (never validation or test), below $CMR_DATA_DIR. Both sides: SAX at base,
middle and apex, ED and ES; quantised to 8 bits with the top 1 % clipped, as the public copies of ACDC are; the central
144 mm resampled to 1.5 mm and normalised by percentiles. A random forest sees histogram, spectrum and local contrast;
no subject is on both sides of a split. AUC 0.5: cannot tell; 1.0: always tells. Nothing of a real pixel is kept.
"""

import argparse
import os
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from cmrlib.cine import Plane
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort.splits import committed_list, split_subjects
from cmrlib.datasets import acdc
from cmrlib.phantom import Heart, Protocol, Scan, sample_subject

PLACES = {"base": 0.15, "middle": 0.5, "apex": 0.85}
"""Share of the slices that show the LV at ED."""

STEP_MM, CROP = 1.5, 96
SEED = 2026


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=54, help="phantom subjects, and at most so many patients")
    parser.add_argument("--sheet", metavar="FILE", help="draw real | phantom to this PNG")
    arguments = parser.parse_args()
    if not os.environ.get("CMR_DATA_DIR"):
        print(
            "CMR_DATA_DIR is not set: it names the folder that holds acdc/training (README, 'Your data')",
            file=sys.stderr,
        )
        sys.exit(2)
    data = Path(os.environ["CMR_DATA_DIR"])
    cv2.setNumThreads(1)
    real = patients(data / "acdc", arguments.subjects)
    synthetic = phantoms(arguments.subjects)
    if arguments.sheet:
        four_chamber = kaggle_4ch(data / "dsb2015" / "manual_lax4ch.zip")
        cv2.imwrite(arguments.sheet, sheet(real, synthetic, four_chamber, phantom_4ch(len(four_chamber))))
    auc, table = tell_apart(real, synthetic)
    print(table.to_string(float_format="%.3f"))
    print(f"auc={auc:.3f} n_real={len(real)} n_phantom={len(synthetic)}")


def patients(folder, most) -> pd.DataFrame:
    """Rows (subject, place, phase, image (rows, columns) uint8, step_mm) of the training patients of fold 0."""
    found = acdc.find(folder)
    studies = {label: acdc.read(label, path) for label, path in found.items()}
    subjects = pd.DataFrame([study.participant for study in studies.values()])
    split = split_subjects(subjects, 0, lists=committed_list("acdc"))
    rows = []
    for label in split.index[split == "train"][:most]:
        cine, mask = studies[label].cines[0], studies[label].observers["manual"]
        rows += images(label, cine, next(iter(mask.values())).mask)
    return pd.DataFrame(rows)


def phantoms(count, **settings) -> pd.DataFrame:
    """The same rows of phantom subjects; sizes as wide as the patients' images."""
    rows = []
    for number in range(1, count + 1):
        protocol = Protocol(**{"frames": 8, "views": ("sax",), "size": None, "spacing_mm": None} | settings)
        cine, truth = Scan(Heart(sample_subject(SEED, number)), protocol).cine("sax", f"P{number:04d}")
        rows += images(f"P{number:04d}", cine, truth.mask)
    return pd.DataFrame(rows)


def images(label, cine, mask) -> list[dict]:
    """ED and ES at the three places, quantised as the public ACDC copies are (per volume)."""
    shown = np.flatnonzero((mask[cine.ed] == STRUCTURES["lv"]).any((1, 2)))
    rows = []
    for phase, t in (("ED", cine.ed), ("ES", cine.es)):
        volume = eight_bits(np.asarray(cine.pixels[t], np.float32))
        rows += [
            {
                "subject": label,
                "place": place,
                "phase": phase,
                "step_mm": cine.spacing_mm[1:],
                "image": volume[shown[min(int(share * len(shown)), len(shown) - 1)]],
            }
            for place, share in PLACES.items()
        ]
    return rows


def eight_bits(volume):
    low, high = volume.min(), np.percentile(volume, 99)
    return np.rint(np.clip((volume - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def crop(image, step_mm, side_mm=STEP_MM * CROP, spacing_mm=STEP_MM):
    """The image's central square, float32, resampled."""
    side = round(side_mm / spacing_mm)
    return Plane.around(image.shape, spacing_mm / np.array(step_mm), (side, side)).pixels(image)


# --- features --------------------------------------------------------------------------------------------------------


def features(image) -> dict:
    """Histogram, radial power spectrum and local contrast of one crop (rows, columns)."""
    low, high = np.percentile(image, [1, 99])
    x = np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    counts = np.histogram(x, 20, (0, 1))[0] / x.size
    named = {f"histogram {n / 20:.2f}": value for n, value in enumerate(counts)}
    window = np.outer(np.hanning(len(x)), np.hanning(len(x)))
    power = np.abs(np.fft.fftshift(np.fft.fft2((x - x.mean()) * window))) ** 2
    rows, columns = np.indices(power.shape) - len(x) // 2
    ring = np.minimum(np.hypot(rows, columns) * 16 / (len(x) / 2), 15).astype(int)
    level = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    named |= {f"spectrum {n / 16 / 2 / STEP_MM:.3f}/mm": value for n, value in enumerate(np.log(level / level.sum()))}
    for size in (3, 9):
        spread = np.sqrt(np.maximum(cv2.blur(x * x, (size, size)) - cv2.blur(x, (size, size)) ** 2, 0))
        named |= {
            f"deviation {size} px p{p}": v
            for p, v in zip((5, 25, 50, 75, 95), np.percentile(spread, (5, 25, 50, 75, 95)))
        }
        bright, dark = x > 0.5, x < 0.15
        named |= {
            f"deviation {size} px {name}": float(np.median(spread[where])) if where.any() else 0.0
            for name, where in (("bright", bright), ("dark", dark))
        }
    edge = np.hypot(cv2.Sobel(x, cv2.CV_32F, 1, 0), cv2.Sobel(x, cv2.CV_32F, 0, 1))
    return named | {
        f"gradient p{p}": v for p, v in zip((50, 75, 90, 97, 99.5), np.percentile(edge, (50, 75, 90, 97, 99.5)))
    }


def tell_apart(real, synthetic) -> tuple[float, pd.DataFrame]:
    """Cross-validated AUC of the forest, and the features that give most away with their own AUC."""
    both = pd.concat([real, synthetic], ignore_index=True)
    X = pd.DataFrame([features(crop(row.image, row.step_mm)) for row in both.itertuples()])
    y = np.r_[np.zeros(len(real)), np.ones(len(synthetic))]
    score, importance = np.zeros(len(y)), np.zeros(X.shape[1])
    for train, test in GroupKFold(5).split(X, y, both.subject):
        forest = RandomForestClassifier(300, min_samples_leaf=2, random_state=0).fit(X.iloc[train], y[train])
        score[test] = forest.predict_proba(X.iloc[test])[:, 1]
        importance += forest.feature_importances_ / 5
    order = np.argsort(-importance)[:12]
    table = pd.DataFrame(
        {
            "feature": X.columns[order],
            "importance": importance[order],
            "auc": [roc_auc_score(y, X.iloc[:, n]) for n in order],
            "real": X[y == 0].median().to_numpy()[order],
            "phantom": X[y == 1].median().to_numpy()[order],
        }
    )
    return roc_auc_score(y, score), table


# --- the sheet -------------------------------------------------------------------------------------------------------


def sheet(real, synthetic, real_4ch, phantom_4ch, each=4, side_mm=270, columns=6) -> np.ndarray:
    """Thumbnails uint8: left real, right phantom; a row a subject with its places at ED and ES, then 4CH."""
    step = side_mm / 150
    halves = []
    for table in (real, synthetic):
        chosen = table.subject.unique()[:: max(1, table.subject.nunique() // each)][:each]
        halves.append(
            np.vstack(
                [
                    np.hstack(
                        [crop(r.image, r.step_mm, side_mm, step) for r in table[table.subject == label].itertuples()]
                    )
                    for label in chosen
                ]
            )
        )
    for n, row in enumerate((real_4ch, phantom_4ch)):
        squares = [cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA) for image in row]
        lines = [np.hstack(squares[m : m + columns]) for m in range(0, len(squares), columns)]
        halves[n] = np.vstack([halves[n], *[line.astype(np.float32) for line in lines]])
    gap = np.full((len(halves[0]), 8), 255, np.float32)
    return np.rint(np.hstack([halves[0], gap, halves[1]])).clip(0, 255).astype(np.uint8)


def kaggle_4ch(path, count=12) -> list[np.ndarray]:
    """4CH images of Kaggle patients with odd numbers, the first of each patient, uint8."""
    with zipfile.ZipFile(path) as archive:
        names = {}
        for name in sorted(archive.namelist()):
            parts = Path(name).stem.split("_")
            if "images/" in name and parts[0] == "ch4" and parts[1].isdigit() and int(parts[1]) % 2:
                names.setdefault(int(parts[1]), name)
        chosen = [names[n] for n in sorted(names)[:: max(1, len(names) // count)][:count]]
        return [_square(cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_GRAYSCALE)) for n in chosen]


def phantom_4ch(count, **settings) -> list[np.ndarray]:
    rows = []
    for number in range(101, 101 + count):
        protocol = Protocol(**{"frames": 8, "views": ("4ch",), "size": None, "spacing_mm": None} | settings)
        cine, _ = Scan(Heart(sample_subject(SEED, number)), protocol).cine("4ch", "P")
        rows.append(_square(eight_bits(np.asarray(cine.pixels[cine.ed, 0], np.float32))))
    return rows


def _square(image):
    """The central square."""
    rows, columns = image.shape
    side = min(rows, columns)
    return image[(rows - side) // 2 :][:side, (columns - side) // 2 :][:, :side]


if __name__ == "__main__":
    main()
