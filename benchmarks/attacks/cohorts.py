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


def cut(path):
    path.write_bytes(path.read_bytes()[:-5000])


def remove(suffix, observer=""):
    return lambda place: path_of(place, ONE, suffix, observer).unlink()


def description(text):
    return lambda place: (place.src / "dataset_description.json").write_text(text)


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


ATTACKS = [
    Attack(name, "cohort", change, words, *rest)
    for name, (words, change, *rest) in (SIDECARS | ARRAYS | TABLES).items()
]
