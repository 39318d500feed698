"""Masks of somebody's own, and commands that are told to write where they may not, or to read what is not there."""

import shutil

import nibabel as nib
import numpy as np

from attacks import Attack
from attacks.bases import MEASURE, SEGMENT
from attacks.cohorts import ONE


def of_own(change):
    """The command's observer is a copy outside the cohort, changed."""

    def changed(place):
        folder = place.root / "reader"
        shutil.copytree(place.src / "derivatives" / "truth", folder, ignore=lambda *_: {"digests.json"})
        change(folder)

    return changed


def each_mask(change):
    def changed(folder):
        for path in folder.rglob("*_dseg.nii"):
            old = nib.load(path)
            nib.save(nib.Nifti1Image(change(np.asarray(old.dataobj).copy()), old.affine), path)

    return changed


def few_slices(mask):
    mask[:, :, [k for k in range(mask.shape[2]) if k != 2]] = 0
    return mask


OWN = "measure {src} --observer {root}/reader --out {out} --phases given"
OBSERVERS = {
    "mask_label_9": ("label|9", of_own(each_mask(lambda m: np.where(m == 1, 9, m)))),
    "mask_of_floats": ("", of_own(each_mask(lambda m: m.astype(np.float32)))),
    "mask_of_halves": ("label|value", of_own(each_mask(lambda m: m * np.float32(0.5)))),
    "mask_of_another_shape": ("shape", of_own(each_mask(lambda m: m[:-1]))),
    "mask_of_one_slice": ("extent|slices|few|short|myo", of_own(each_mask(few_slices))),
    "mask_all_lv": ("myo|lv|large|ef|volume", of_own(each_mask(lambda m: np.full_like(m, 1)))),
    "mask_empty": ("empty|no |lv|myo", of_own(each_mask(np.zeros_like))),
    "mask_all_unknown": ("no |lv|empty|myo", of_own(each_mask(lambda m: np.full_like(m, 255)))),
    "mask_mirrored": ("masks_turned", of_own(each_mask(lambda m: m[::-1]))),
}
WRITES = {
    "measure_into_the_cohort": ("inside the cohort", "measure {src} --observer truth --out {src}"),
    "measure_into_a_subfolder": ("inside the cohort", "measure {src} --observer truth --out {src}/derivatives/mine"),
    "measure_by_a_link": ("inside the cohort", "measure {src} --observer truth --out {root}/link"),
    "segment_into_the_cohort": ("inside the cohort", SEGMENT.replace("{out}", "{src}/derivatives/net")),
    "segment_by_name_that_climbs": (
        "one word|slashes",
        SEGMENT.replace("--out {out}", "--observer ../../net"),
    ),
    "correct_into_the_cohort": ("inside the cohort", "correct {src} --observer truth --out {src}/mine"),
    "correct_by_name_that_climbs": ("one word|slashes", "correct {src} --observer truth --name ../../mine"),
    "correct_over_others": ("choose another", "correct {src} --observer truth --out {root}/taken"),
    "segment_over_others": ("choose another", SEGMENT.replace("{out}", "{root}/taken")),
    "measure_to_proc": ("cannot write", "measure {src} --observer truth --out /proc/mine"),
    "measure_to_a_file": ("cannot write|folder", "measure {src} --observer truth --out {root}/file"),
    "measure_nobody": ("there are truth", "measure {src} --observer nobody --out {out}"),
    "measure_nobodys_folder": ("no masks|drew", "measure {src} --observer {root}/taken2 --out {out}"),
    "measure_unknown_subject": ("P9", MEASURE + " --subjects P9"),
    "measure_climbing_subject": ("not in|subjects", MEASURE + " --subjects ../x"),
    "measure_unknown_rule": ("expected one of", MEASURE + " --papillary maybe"),
    "measure_no_cohort": ("no complete cohort", "measure {root}/nowhere --observer truth"),
    "measure_a_file": ("no complete cohort|no folder", "measure {root}/file --observer truth"),
    "check_the_source_of_nothing": ("no complete cohort", "check {root}"),
    "report_over_a_source_file": (
        "not a page|overwrit|written over|exists|no report",
        "report {src} -o {src}/cines.tsv",
    ),
    "report_over_an_array": (
        "exists|report|written over",
        "report {src} -o {src}/sub-P0001/sub-P0001_view-sax_cine.nii",
    ),
    "report_into_the_cohort": ("inside|people", "report {src} -o {src}/new.html"),
    "report_to_a_folder": ("folder|people", "report {src} -o {root}/folder.html"),
    "report_of_two_people": ("2 people", "report {src} -o {out}/x.html"),
    "report_of_nothing": ("exist|no folder|holds", "report {root}/nowhere -o {out}/x.html"),
    "compare_nothing": ("does not exist", "compare {root}/nowhere {root}/nowhere"),
    "join_nothing": ("No such file", "join {out}/x.tsv {root}/nowhere.tsv"),
    "join_over_its_own_table": ("itself", "join {src}/participants.tsv {src}/participants.tsv"),
}


def beside(place):
    """What WRITES' commands name: a link into the cohort, a file, folders of others."""
    (place.root / "link").symlink_to(place.src)
    (place.root / "file").write_text("mine")
    (place.root / "folder.html").mkdir()
    for name in ("taken", "taken2"):
        (place.root / name / "sub-P0001").mkdir(parents=True)
        (place.root / name / "sub-P0001" / f"{ONE}_note.txt").write_text("mine")


ATTACKS = [
    *(Attack(name, "cohort", change, words, OWN, like=MEASURE) for name, (words, change) in OBSERVERS.items()),
    *(Attack(name, "cohort", beside, words, command) for name, (words, command) in WRITES.items()),
]
