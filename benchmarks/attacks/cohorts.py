"""Cohorts, observers and weights that somebody touched, and commands that are told to write where they may not."""

import json
import os
import shutil

import nibabel as nib
import numpy as np

from attacks import Attack
from attacks.bases import MEASURE, SEGMENT

CHECK = "check {src}"
ONE, TWO = "sub-P0001_view-sax", "sub-P0002_view-sax"


def path_of(place, name, suffix="cine.nii", observer=""):
    folder = place.src / "derivatives" / observer if observer else place.src
    return folder / name.split("_")[0] / f"{name}_{suffix}"


def side(suffix="cine.json", observer="", text=None, **values):
    """Values of a sidecar; a dotted name stands for a nested one; `text` for the whole file."""

    def changed(place):
        path = path_of(place, ONE, suffix, observer)
        content = json.loads(path.read_text())
        for name, value in values.items():
            where, (*outer, last) = content, name.split("__")
            for key in outer:
                where = where[key]
            where[last] = value
        path.write_text(json.dumps(content) if text is None else text)

    return changed


def drawn(**values):
    return side("dseg.json", "truth", **values)


def table(name, change):
    """Change the text of a table."""

    def changed(place):
        path = place.src / name
        content = change(path.read_text())
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return changed


def cell(name, old, new):
    return table(name, lambda text: text.replace(old, new, 1))


def exchanged(suffix, observer=""):
    """`mv` exchanges two patients' files: sizes and times stay."""

    def changed(place):
        one, two = (path_of(place, name, suffix, observer) for name in (ONE, TWO))
        away = one.with_name("away")
        one.rename(away)
        two.rename(one)
        away.rename(two)

    return changed


def same_time(change, suffix="cine.nii", observer=""):
    """Change a file's bytes and leave its times, as `cp -p` and `rsync -t` do."""

    def changed(place):
        path = next(
            one for one in (path_of(place, ONE, end, observer) for end in (suffix, suffix + ".gz")) if one.exists()
        )
        stat = path.stat()
        change(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return changed


def doubled_spacing(path):
    content = bytearray(path.read_bytes())
    numbers = np.frombuffer(bytes(content[80:92]), "<f4") * 2
    content[80:92] = numbers.astype("<f4").tobytes()
    rows = np.frombuffer(bytes(content[280:328]), "<f4") * 2
    content[280:328] = rows.astype("<f4").tobytes()
    path.write_bytes(content)


def relabelled(path):
    old = nib.load(path)
    mask = np.asarray(old.dataobj).copy()
    mask[mask == 3] = 1
    nib.save(nib.Nifti1Image(mask, old.affine), path)


def label_9(path):
    old = nib.load(path)
    mask = np.asarray(old.dataobj).copy()
    mask[mask == 1] = 9
    nib.save(nib.Nifti1Image(mask, old.affine), path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5000])


def remove(suffix, observer=""):
    return lambda place: path_of(place, ONE, suffix, observer).unlink()


def description(text):
    return lambda place: (place.src / "dataset_description.json").write_text(text)


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
NESTED = "[" * 200_000
SIDECARS = {
    "meta_a_list": ("sub-P0001.*(damaged|changed)", side(meta=[])),
    "meta_missing_99": ("sub-P0001.*(damaged|changed)", side(meta={"missing": [[99, 99]]})),
    "meta_missing_text": ("sub-P0001.*(damaged|changed)", side(meta={"missing": "all"})),
    "frames_of_5": ("sub-P0001.*(damaged|changed)", side(frames_of=5)),
    "nested_200000_deep": ("sub-P0001.*(JSON|changed)", side(text=NESTED)),
    "no_json": ("sub-P0001.*(JSON|changed)", side(text="{")),
    "empty_json": ("sub-P0001.*(JSON|changed)", side(text="")),
    "a_number": ("sub-P0001.*(damaged|changed)", side(text="5")),
    "gone": ("sub-P0001.*missing", remove("cine.json")),
    "subject_climbs": ("sub-P0001.*(damaged|changed)|that of", side(subject="..")),
    "subject_of_another": ("that of|changed", side(subject="P0002")),
    "view_of_another": ("that of|changed", side(view="2ch")),
    "ed_99": ("sub-P0001|ED|ed", side(ed=99)),
    "ed_of_text": ("sub-P0001", side(ed="first")),
    "flags_a_number": ("sub-P0001.*(damaged|changed)", side(flags=5)),
    "times_of_another_length": ("sub-P0001.*(damaged|changed)", side(frame_times_ms=[[0, 1]])),
    "times_of_text": ("sub-P0001.*(damaged|changed)", side(frame_times_ms=[["a"]])),
    "positions_of_another_length": ("sub-P0001.*(damaged|changed)", side(slice_position_mm=[0, 1])),
    "positions_times_10": ("sub-P0001", side(slice_position_mm=[80.0 * k for k in range(6)])),
    "rr_of_a_microsecond": ("sub-P0001|rr", side(rr_ms=[0.001] * 6)),
    "spacing_known_no": ("sub-P0001", side(spacing_known="no")),
}
ARRAYS = {
    "arrays_exchanged": ("sub-P000[12]", exchanged("cine.nii"), SEGMENT),
    "arrays_exchanged_check": ("changed", exchanged("cine.nii"), CHECK),
    "spacing_doubled": ("sub-P0001", same_time(doubled_spacing)),
    "spacing_doubled_check": ("changed", same_time(doubled_spacing), CHECK),
    "array_cut": ("sub-P0001", same_time(cut)),
    "array_gone": ("missing", remove("cine.nii")),
    "array_empty": ("sub-P0001", lambda place: path_of(place, ONE).write_bytes(b"")),
    "array_a_folder": ("sub-P0001", lambda place: (remove("cine.nii")(place), path_of(place, ONE).mkdir())),
    "array_a_pipe": ("sub-P0001", lambda place: (remove("cine.nii")(place), os.mkfifo(path_of(place, ONE)))),
    "masks_exchanged": ("sub-P000[12]|changed", exchanged("dseg.nii", "truth")),
    "masks_exchanged_check": ("changed", exchanged("dseg.nii", "truth"), CHECK),
    "masks_relabelled": ("sub-P0001|changed", same_time(relabelled, "dseg.nii", "truth")),
    "masks_relabelled_check": ("changed", same_time(relabelled, "dseg.nii", "truth"), CHECK),
    "mask_cut": ("sub-P0001", same_time(cut, "dseg.nii", "truth")),
    "mask_gone": ("sub-P0001", remove("dseg.nii", "truth")),
    "mask_list_gone": ("drew no masks", remove("dseg.json", "truth"), MEASURE + " --subjects P0001"),
    "mask_list_a_list": ("sub-P0001", drawn(text="[]")),
    "mask_list_of_unknown": ("sub-P0001", drawn(annotated={"0": ["liver"]})),
    "mask_list_of_text": ("sub-P0001", drawn(annotated={"first": ["lv"]})),
    "frames_table_empty": ("sub-P0001|frames", lambda place: path_of(place, ONE, "frames.tsv", "truth").write_text("")),
    "observer_without_files": (
        "no masks|nobody|drew",
        lambda place: (
            shutil.rmtree(place.src / "derivatives" / "truth" / "sub-P0001")
            or shutil.rmtree(place.src / "derivatives" / "truth" / "sub-P0002")
        ),
    ),
}
TABLES = {
    "id_climbs": ("participant_id|cines.tsv", cell("cines.tsv", "P0001\t", "x/../../../escape\t"), SEGMENT),
    "session_climbs": ("cines.tsv", cell("cines.tsv", "P0001\t\t", "P0001\t/../../escape\t"), SEGMENT),
    "cine_climbs": ("cines.tsv", cell("cines.tsv", ONE, "../../escape"), SEGMENT),
    "id_formula": ("participants.tsv", cell("participants.tsv", "P0001", "=cmd|' /C calc'!A0")),
    "id_of_nobody": ("cines.tsv", cell("cines.tsv", "P0001\t", "P0009\t")),
    "cines_empty": ("cines.tsv", table("cines.tsv", lambda text: "")),
    "cines_without_columns": ("cines.tsv", table("cines.tsv", lambda text: "a\tb\n1\t2\n")),
    "cines_not_utf8": ("cines.tsv", table("cines.tsv", lambda text: text.encode() + b"\xff\n")),
    "cines_cut": ("cines.tsv", table("cines.tsv", lambda text: text[: len(text) * 2 // 3])),
    "cines_there_twice": ("cines.tsv", table("cines.tsv", lambda text: text + text.splitlines()[-1] + "\n")),
    "cines_with_commas": ("cines.tsv", table("cines.tsv", lambda text: text.replace("\t", ","))),
    "frames_of_text": ("cines.tsv", cell("cines.tsv", "\t8\t6\t", "\tmany\t6\t")),
    "bytes_of_text": (
        "cines.tsv|sub-P0001",
        table("cines.tsv", lambda text: text.replace(text.split("\t")[-2], "x", 1)),
    ),
    "people_there_twice": ("participants.tsv", table("participants.tsv", lambda t: t + t.splitlines()[-1] + "\n")),
    "people_gone": ("participants.tsv", lambda place: (place.src / "participants.tsv").unlink()),
    "description_a_list": ("format|dataset_description", description("[]")),
    "description_no_json": ("dataset_description", description("{")),
    "description_version_only": ("dataset_description|format", description('{"FormatVersion": "2"}')),
    "description_of_tomorrow": ("format", description('{"FormatVersion": "99", "Name": "x"}')),
    "description_a_list_check": ("format|dataset_description", description("[]"), CHECK),
}


def card(text=None, name="", **values):
    """The network's card changed; the weights are copied beside it."""

    def changed(place):
        from attacks.bases import weights

        shutil.copytree(weights(), place.root / "network")
        path = place.root / "network" / "sax.json"
        content = json.loads(path.read_text())
        content["architecture"] |= {"name": name} if name else {}
        content["preprocessing"] |= values
        path.write_text(json.dumps(content) if text is None else text)

    return changed


def network(change):
    """The weights' file changed."""

    def changed(place):
        card()(place)
        path = place.root / "network" / "sax.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return changed


def poison():
    import pickle

    class Poison:
        def __reduce__(self):
            return open, ("poisoned", "w")

    return pickle.dumps(Poison(), 2)


def scaled(value):
    """All numbers of the network are `value`."""

    def changed(place):
        from safetensors.numpy import load_file, save_file

        card()(place)
        path = place.root / "network" / "sax.safetensors"
        arrays = {name: np.full_like(array, value) for name, array in load_file(path).items()}
        path.unlink()
        save_file(arrays, path)

    return changed


NETWORK = SEGMENT.replace("{weights}", "{root}/network")
CARDS = {
    "card_spacing_0": ("spacing", card(spacing_mm=0)),
    "card_spacing_1e-6": ("spacing|memory|large", card(spacing_mm=1e-6)),
    "card_spacing_50": ("spacing", card(spacing_mm=50)),
    "card_spacing_text": ("spacing|card", card(spacing_mm="x")),
    "card_width_1e9": ("width|memory|card|size", card(width=10**9)),
    "card_architecture_unknown": ("card|network|architecture", card(name="x")),
    "card_view_unknown": ("view|card", card(views=["5ch"])),
    "card_structures_twice": ("structures|card|fields", card(structures=["lv", "lv", "rv"])),
    "card_a_list": ("card|JSON|sax", card(text="[]")),
    "card_no_json": ("JSON|card", card(text="{")),
    "weights_cut": ("sax", network(lambda b: b[: len(b) // 2])),
    "weights_empty": ("sax", network(lambda b: b"")),
    "weights_of_text": ("sax", network(lambda b: b"<html>")),
    "weights_a_pickle": ("sax|pickle", network(lambda b: poison())),
    "weights_header_of_1_TB": ("sax", network(lambda b: b"\xff\xff\xff\xff\xff\0\0\0" + b[8:])),
    "weights_of_nan": ("not finite", scaled(np.nan)),
    "weights_of_0": ("all alike", scaled(0)),
    "no_weights": ("not found", lambda place: None),
}
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
    *(
        Attack(name, "cohort", change, words, *rest)
        for name, (words, change, *rest) in (SIDECARS | ARRAYS | TABLES).items()
    ),
    *(Attack(name, "cohort", change, words, NETWORK, like=SEGMENT) for name, (words, change) in CARDS.items()),
    *(Attack(name, "cohort", change, words, OWN, like=MEASURE) for name, (words, change) in OBSERVERS.items()),
    *(Attack(name, "cohort", beside, words, command) for name, (words, command) in WRITES.items()),
]
